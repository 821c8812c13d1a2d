"""Data sets by name: `load("digits")`, and the names the command line offers.

Images are float32 (N, 1, H, W) in [-1, 1], points float32 (N, 2).
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigen.data import planar
from minigen.data.digits import load_digits
from minigen.data.idx import load_mnist
from tensor import Tensor

__all__ = ["CLASSES", "MODES", "NAMES", "SHAPES", "Dataset", "repeating_labels", "load"]

_PLANAR = {
    "ring": planar.ring,
    "grid": planar.grid,
    "moons": planar.moons,
    "swiss-roll": planar.swiss_roll,
}

Rng = np.random.Generator
Integers = NDArray[np.int64]

_IMAGES: dict[str, tuple[int, ...]] = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}

SHAPES = _IMAGES | dict.fromkeys(_PLANAR, (2,))
"""The shape of one image or point of each data set."""

NAMES = tuple(SHAPES)

MODES = {
    "ring": (planar.ring_centres(), planar.RING_SIGMA),
    "grid": (planar.grid_centres(), planar.GRID_SIGMA),
}
"""The centres and the sigma of each mixture of equally likely Gaussians."""

CLASSES = 10
"""How many classes there are in each data set that has labels."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A train and a test set; labels are int64 (N,), or None for points that have none."""

    name: str
    train: NDArray[np.float32]
    test: NDArray[np.float32]
    train_labels: Integers | None = None
    test_labels: Integers | None = None

    def batch(self, n: int, rng: Rng, device: str = "cpu") -> tuple[Tensor, Integers | None]:
        """n random items of the train set, and their labels if there are any."""
        rows = rng.integers(len(self.train), size=n)
        labels = None if self.train_labels is None else self.train_labels[rows]
        return Tensor(self.train[rows], device=device), labels

    @property
    def most_evaluated(self) -> int:
        """How many samples can be compared with as many test items and as many train items."""
        return min(len(self.train), len(self.test))


def repeating_labels(n: int) -> NDArray[np.int64]:
    """0, 1, ..., 9, 0, 1, ... as the labels of n samples: (n,)."""
    return np.arange(n) % CLASSES


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """The data set called `name`, one of NAMES; the same arrays each time.

    "mnist" reads its IDX files, or Fashion-MNIST's, from `data_dir`; the other sets need no folder.
    The planar sets are drawn once and for all: 10,000 points to train, 2,500 to test.

    Raises ValueError for another name, or a `data_dir` that is missing or not needed.
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; choose from {', '.join(NAMES)}")
    if name == "mnist":
        folder = _required(data_dir)
        train, test = load_mnist("train", folder), load_mnist("test", folder)
        return Dataset(name, train[0], test[0], train[1], test[1])
    if data_dir is not None:
        folder = repr(str(data_dir))
        raise ValueError(f"{name} is not read from a folder, got {folder}: leave out --data-dir")
    if name in _PLANAR:
        rng = np.random.default_rng(0)
        return Dataset(name, train=_PLANAR[name](10_000, rng), test=_PLANAR[name](2_500, rng))
    train, test = load_digits("train"), load_digits("test")
    return Dataset(name, train[0], test[0], train[1], test[1])


def _required(data_dir: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    if not data_dir:
        raise ValueError(
            "mnist is read from a folder: pass --data-dir DIR with the four IDX files "
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
            "t10k-labels-idx1-ubyte (each may end in .gz). "
            "With a network, minigen.data.idx.download_mnist(DIR) fetches them."
        )
    return data_dir
