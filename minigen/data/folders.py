"""Folders of images: what lies in them, and two of them as two domains."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minigen.data.domains import Domains
from minigen.data.images import KINDS, SUFFIXES, read_image
from minigen.progress import Bar
from minigen.words import counted

Folder = str | os.PathLike[str]


def load_folders(dir_x: Folder, dir_y: Folder, size: int, paired: bool = False) -> Domains:
    """X and Y from the images in two folders, sorted by name and read by `read_image`.

    The last tenth of X, at least one image, is held out. If `paired`, the folders have the same
    names, and the last tenth of Y is the truth; else there is none, and all of Y is for training.

    Raises NotADirectoryError; ValueError for fewer than two images, damaged ones, or other names.
    """
    x_paths, y_paths = image_files(dir_x), image_files(dir_y)
    if paired and (single := {path.stem for path in x_paths} ^ {path.stem for path in y_paths}):
        rule = "pairs need the same names in both folders"
        raise ValueError(f"{dir_x} and {dir_y}: {rule}, but {min(single)} is only in one")
    x, y = read_images(x_paths, size), read_images(y_paths, size)
    n = len(x) - max(1, len(x) // 10)
    return Domains("folders", x[:n], y[:n] if paired else y, x[n:], y[n:] if paired else None)


def image_files(folder: Folder, below: bool = False, fewest: int = 2) -> list[Path]:
    """The images in a folder, and `below` it too, sorted by path. Hidden files are none.

    Raises NotADirectoryError, and ValueError for fewer than `fewest`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; pass a folder of images ({KINDS})")
    paths = sorted(folder.rglob("*") if below else folder.iterdir())
    visible = [p for p in paths if not any(n.startswith(".") for n in p.relative_to(folder).parts)]
    images = [p for p in visible if p.suffix.lower() in SUFFIXES and p.is_file()]
    if len(images) < fewest:
        needed = "needs two or more: one to train on, one to test" if fewest == 2 else "needs one"
        kinds = ", ".join(f"*{suffix}" for suffix in SUFFIXES)
        others = sorted({p.suffix for p in visible if p not in images and p.is_file()})
        found = f"; there are {', '.join(others)}" if others else ""
        raise ValueError(
            f"{folder}: holds {counted(len(images), 'image')} ({kinds}), {needed}{found}"
        )
    return images


def read_images(paths: Sequence[Path], size: int) -> NDArray[np.float32]:
    """Images (N, 3, size, size) in [-1, 1]. ValueError names all that are damaged."""
    images, damaged = [], []
    for path in Bar(paths, desc="reading images", delay=1, leave=False):
        try:
            images.append(read_image(path, size))
        except (ValueError, OSError) as error:
            damaged.append(str(error))
    if damaged:
        more = f" (and {len(damaged) - 3} more)" if len(damaged) > 3 else ""
        found = f"{len(damaged)} of {counted(len(paths), 'image')} cannot be read"
        away = f"{found}: move them away, or mend them"
        raise ValueError(f"{away}: {'; '.join(damaged[:3])}{more}")
    return np.stack(images)
