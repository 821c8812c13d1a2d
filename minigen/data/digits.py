"""The handwritten digits that come with minigen: 1,797 images of 8x8 (see README.md)."""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

_SPLITS = {"train": slice(0, 1297), "test": slice(1297, 1797)}


def load_digits(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images float32 (N, 1, 8, 8) in [-1, 1], labels int64 (N,): 1,297 for "train", 500 for "test".

    Raises ValueError for another split.
    """
    if split not in _SPLITS:
        raise ValueError(f"load_digits: unknown split {split!r}; choose from {', '.join(_SPLITS)}")
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as data:
        grey, labels = data["images"][_SPLITS[split]], data["labels"][_SPLITS[split]]
    return grey[:, None].astype(np.float32) / 8 - 1, labels.astype(np.int64)
