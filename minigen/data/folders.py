"""Two domains of images read from two folders of PNGs."""

import os
from pathlib import Path

import numpy as np

from minigen.data.domains import Domains
from minigen.data.png import read_png

Folder = str | os.PathLike[str]


def load_folders(dir_x: Folder, dir_y: Folder, size: int, paired: bool = False) -> Domains:
    """X and Y from the PNGs in two folders, sorted by name and read by `read_png`.

    The last tenth of X, at least one image, is held out. If `paired`, the folders have the same
    names, and the last tenth of Y is the truth; else there is none, and all of Y is for training.

    Raises NotADirectoryError; ValueError for fewer than two PNGs, a damaged one, or other names.
    """
    x_paths, y_paths = _pngs(dir_x), _pngs(dir_y)
    if paired and (single := {path.name for path in x_paths} ^ {path.name for path in y_paths}):
        rule = "pairs need the same names in both folders"
        raise ValueError(f"{dir_x} and {dir_y}: {rule}, but {min(single)} is only in one")
    x, y = (np.stack([read_png(path, size) for path in paths]) for paths in (x_paths, y_paths))
    n = len(x) - max(1, len(x) // 10)
    return Domains("folders", x[:n], y[:n] if paired else y, x[n:], y[n:] if paired else None)


def _pngs(folder: Folder) -> list[Path]:
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; pass a folder of PNG files")
    paths = png_files(folder)
    if len(paths) < 2:
        needed = "needs two or more: one to train on, one to test"
        raise ValueError(f"{folder}: holds {len(paths)} PNG files (*.png), {needed}")
    return paths


def png_files(folder: Folder) -> list[Path]:
    """The PNGs in a folder, sorted by name."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() == ".png")
