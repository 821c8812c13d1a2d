"""Data sets by name, or the user's own: `load("digits")`, `load("photos")`.

Images are float32 (N, C, H, W) in [-1, 1], points float32 (N, 2).
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minigen.data import planar
from minigen.data.dataset import About, Dataset
from minigen.data.digits import load_digits
from minigen.data.idx import load_mnist
from minigen.data.own import from_arrays, load_own
from minigen.data.shapes import SIDE, load_shapes

__all__ = ["ABOUT", "MODES", "NAMES", "About", "Dataset", "from_arrays", "labels_to_draw", "load"]

_PLANAR = {
    "ring": planar.ring,
    "grid": planar.grid,
    "moons": planar.moons,
    "swiss-roll": planar.swiss_roll,
}

_IMAGES = {
    "digits": About((1, 8, 8), 10),
    "mnist": About((1, 28, 28), 10),
    "shapes": About((3, SIDE, SIDE)),
}

ABOUT = _IMAGES | dict.fromkeys(_PLANAR, About((2,)))
"""What is known, before it is loaded, of each data set that has a name."""

NAMES = tuple(ABOUT)

LIMITS = {"ring": 1.1, "grid": 4.4, "moons": 2.5, "swiss-roll": 2.5}
"""No coordinate of a planar set is larger; images lie in [-1, 1]."""

MODES = {
    "ring": (planar.ring_centres(), planar.RING_SIGMA),
    "grid": (planar.grid_centres(), planar.GRID_SIGMA),
}
"""The centres and the sigma of each mixture."""

_DIGITS = tuple("0123456789")


def labels_to_draw(n: int, classes: int, label: int | None = None) -> NDArray[np.int64] | None:
    """The labels of n samples: (n,), all of them `label`, or 0, 1, ..., classes - 1, 0, 1, ...

    None without classes.
    """
    if not classes:
        return None
    return np.arange(n) % classes if label is None else np.full(n, label)


def load(
    name: str, data_dir: str | os.PathLike[str] | None = None, size: int | None = None,
    channels: int | None = None,
) -> Dataset:  # fmt: skip
    """The data set called `name`, one of NAMES, or at the path `name`; the same arrays each time.

    data_dir: the folder where "mnist" finds its IDX files, or Fashion-MNIST's; where data of the
        user's own lie now, if not at `name`
    size, channels: of the user's own images, see `load_own`

    The planar sets and "shapes" are drawn once and for all: 10,000 items to train, 2,500 to test.

    Raises OSError and ValueError for data that cannot be read, and ValueError for another name, or
    a `data_dir` that is missing or not needed.
    """
    if name not in NAMES:
        path = Path(data_dir or name)
        if path.is_absolute() and not path.exists():
            raise ValueError(f"there is no {path}: if the data lie elsewhere now, pass `data_dir`")
        if not name or not path.exists():
            choice = f"{', '.join(NAMES)}, or pass a folder of images, or a .npy or .npz file"
            raise ValueError(f"unknown data set {str(data_dir or name)!r}; choose from {choice}")
        return load_own(path, size, channels)
    if name == "mnist":
        folder = _required(data_dir)
        train, test = load_mnist("train", folder), load_mnist("test", folder)
        return Dataset(name, train[0], test[0], train[1], test[1], _DIGITS, levels=256)
    if data_dir is not None:
        folder = repr(str(data_dir))
        raise ValueError(f"{name} is not read from a folder, got {folder}: leave out `data_dir`")
    if name in _PLANAR:
        rng = np.random.default_rng(0)
        x, y = _PLANAR[name](10_000, rng), _PLANAR[name](2_500, rng)
        return Dataset(name, x, y, modes=MODES.get(name))
    if name == "shapes":
        (x, said), (y, said_of_test) = load_shapes(10_000, seed=0), load_shapes(2_500, seed=1)
        return Dataset(name, x, y, train_captions=said, test_captions=said_of_test)
    train, test = load_digits("train"), load_digits("test")
    return Dataset(name, train[0], test[0], train[1], test[1], _DIGITS, levels=17)


def _required(data_dir: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    if not data_dir:
        raise ValueError(
            "mnist is read from a folder: pass as `data_dir` one with the four IDX files "
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
            "t10k-labels-idx1-ubyte (each may end in .gz). "
            "With a network, minigen.data.idx.download_mnist(DIR) fetches them."
        )
    return data_dir
