"""What every data set is to a recipe: items to train on, items to test with, and what they are."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tensor import Tensor

Rng = np.random.Generator
Integers = NDArray[np.int64]


class About(NamedTuple):
    """What a network must know of data: the shape of one image (C, H, W) or point (2,), and the
    number of classes, 0 if there are no labels."""

    shape: tuple[int, ...]
    classes: int = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test set; labels are int64 (N,), or None where there are none.

    Images are float32 (N, C, H, W) in [-1, 1], points float32 (N, 2).
    """

    name: str
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    train_labels: Integers | None = None
    test_labels: Integers | None = None
    class_names: tuple[str, ...] = ()
    modes: tuple[NDArray[np.float32], float] | None = None
    """The centres (K, 2) and the sigma of a mixture of equally likely Gaussians."""
    levels: int | None = None
    """How many values a pixel has, evenly spread over [-1, 1]; None if that is not known."""
    train_captions: tuple[str, ...] = ()
    test_captions: tuple[str, ...] = ()
    """What each image shows in the words of `scenes`, if it is of that world."""

    @property
    def about(self) -> About:
        """The shape of an item, and the number of classes."""
        return About(self.train.shape[1:], len(self.class_names))

    def batch(self, n: int, rng: Rng, device: str = "cpu") -> tuple[Tensor, Integers | None]:
        """n random items of the train set, and their labels if there are any."""
        rows = rng.integers(len(self.train), size=n)
        labels = None if self.train_labels is None else self.train_labels[rows]
        return Tensor(self.train[rows], device=device), labels

    def captioned(self, n: int, rng: Rng, device: str = "cpu") -> tuple[Tensor, list[str]]:
        """n random images of the train set, and their captions."""
        rows = rng.integers(len(self.train), size=n)
        return Tensor(self.train[rows], device=device), [self.train_captions[k] for k in rows]

    @property
    def most_evaluated(self) -> int:
        """How many samples can be compared with as many test items and as many train items."""
        return min(len(self.train), len(self.test))
