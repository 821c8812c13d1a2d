"""Data of the user's own: a folder of images, a file of arrays, or arrays in memory.

A tenth, at least one image, is held out: the same one each time.
"""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from minigen.data.dataset import Dataset
from minigen.data.folders import image_files, read_images
from minigen.data.images import Images, on_white
from minigen.data.resampling import resampled
from minigen.words import counted

SIZE = 32
"""Height and width of the images of a folder, unless it is said."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]
"""What red, green and blue add to grey (ITU-R BT.601)."""

_FULL_SCALE = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


def load_own(
    path: str | os.PathLike[str], size: int | None = None, channels: int | None = None
) -> Dataset:
    """The images in a folder, or the arrays in a .npy or .npz file.

    Where all images lie in folders below `path`, these are named after their classes. A .npz file
    has `images`, or one array, and may have `labels`: see `from_arrays` for what they may be.

    size: height and width that images get; by default 32 in a folder, their own in an array
    channels: 1 for grey, 3 for colour; by default 3 unless no image has a colour

    Raises OSError and ValueError for what cannot be read, and for fewer than two images.
    """
    path = Path(path)
    if path.is_dir():
        files = image_files(path, below=True)
        names = [file.parent.name for file in files if file.parent != path]
        labels = names if len(names) == len(files) else None
        return _split(path.name, read_images(files, size or SIZE), labels, channels)
    arrays = _arrays_in(path)
    labelled = arrays.pop("labels", None)
    images = arrays.get("images", next(iter(arrays.values())) if len(arrays) == 1 else None)
    if images is None:
        found = ", ".join(arrays) or "nothing"
        raise ValueError(f"{path}: expected `images`, and `labels` if there are any, found {found}")
    return from_arrays(path.stem, images, labelled, size, channels)


def _arrays_in(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file by their names, or that of a .npy file."""
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected a folder of images, or a .npy or .npz file")
    content = io.BytesIO(path.read_bytes())
    try:
        loaded = np.load(content, allow_pickle=False)
        return {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # numpy and zipfile fail on damage in a dozen ways
        raise ValueError(f"{path}: damaged, or not of plain arrays; save it again") from error


def from_arrays(
    name: str, x: Any, labels: Any = None, size: int | None = None, channels: int | None = None
) -> Dataset:
    """A data set of images or points in memory.

    x: images (N, H, W), (N, C, H, W) or (N, H, W, C), of which the largest centred squares are
        taken, with C = 1, 3, or 4 where the fourth is opacity: integers from 0 to full scale, or
        floats in [0, 1] or [-1, 1]; or points (N, 2), floats
    labels: (N,), integers or strings

    Raises ValueError for anything else, and for fewer than two.
    """
    try:
        x = as_array(x)
        if x.ndim == 2 and x.shape[1] == 2:
            points = _finite(x).astype(np.float32)
            if size or channels:
                raise ValueError("`size` and `channels` are for images, these are points")
            return _split(name, points, labels, None)
        _check_bright(x)
        return _split(name, 2 * _squares(_zero_to_one(x), size) - 1, labels, channels)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def as_images(x: Any, shape: tuple[int, ...]) -> Images:
    """Images (N, C, H, W) or (N, H, W, C) as a model of this shape (C, H, W) takes them.

    Floats lie in [-1, 1], as a model gives them, integers between 0 and full scale. Images of other
    sizes and colours are treated as those that the model was trained on were.

    Raises ValueError for what are no images, and for values that are not finite.
    """
    x = _finite(as_array(x))
    if x.dtype.kind == "f" and x.shape[1:] == shape and len(x):
        return x.astype(np.float32)
    if x.ndim == 3 and shape[0] == 3:
        raise ValueError(f"shape {x.shape}: expected colour images (N, 3, H, W) or (N, H, W, 3)")
    levels = (x.astype(np.float32) + 1) / 2 if x.dtype.kind == "f" else _zero_to_one(x)
    return _with_channels(2 * _squares(levels, shape[-1]) - 1, shape[0])


def as_labels(labels: Any) -> np.ndarray:
    """Labels (N,), integers or strings, as an array of one of the two. ValueError for others."""
    found = np.asarray(labels)
    found = found.astype(found.dtype.newbyteorder("="), copy=False)
    if found.dtype.kind == "O":
        found = np.array(list(labels))
    if found.ndim != 1 or found.dtype.kind not in "iuU":
        got = f"{found.dtype} {found.shape}"
        raise ValueError(f"labels must be integers or strings (N,), got {got}")
    return found


def as_array(x: Any) -> np.ndarray:
    """Images or points as one array in the machine's byte order; ValueError for images of different
    sizes."""
    try:
        array = np.asarray(x)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    except ValueError:
        raise ValueError("images of different sizes: a folder may hold such") from None


def _finite(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, got an array of {x.dtype}")
    if not np.isfinite(x).all():
        raise ValueError("expected finite numbers, got NaN or infinities")
    return x


def _check_bright(x: np.ndarray) -> None:
    """ValueError for integers that are all below a tenth of full scale: of another scale."""
    full = _FULL_SCALE.get(x.dtype, 255)
    if x.size and x.dtype.kind in "iu" and 0 < x.max() < full / 10:
        instead = "make them bool, or floats in [0, 1]"
        raise ValueError(f"{x.dtype} images up to {x.max()}, of {full}, are black: {instead}")


def _zero_to_one(x: np.ndarray) -> Images:
    """Images of any number format as float32 in 0..1."""
    low, high = (_finite(x).min(), x.max()) if x.size else (0, 0)
    full = _FULL_SCALE.get(x.dtype, 255)
    if x.dtype.kind in "biu" and low >= 0 and high <= full:
        return x.astype(np.float32) / full
    if x.dtype.kind == "f" and low >= -1 and high <= 1:
        return x.astype(np.float32) if low >= 0 else (x.astype(np.float32) + 1) / 2
    rule = "integers must lie in 0..255, floats in [0, 1] or [-1, 1]"
    raise ValueError(f"{x.dtype} images from {low} to {high}: {rule}")


def _squares(x: Images, size: int | None) -> Images:
    """The largest centred squares of images of any layout, in 0..1, resampled to a size if given:
    (N, 1 or 3, S, S)."""
    x = _channels_first(x)
    H, W = x.shape[-2:]
    side = min(H, W)
    top, left = (H - side) // 2, (W - side) // 2
    square = x[..., top : top + side, left : left + side]
    return resampled(square, size) if size else square


def _channels_first(x: Images) -> Images:
    """Images (N, 1 or 3, H, W), without opacity."""
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim == 4 and x.shape[1] not in (1, 3, 4) and x.shape[3] in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or 0 in x.shape:
        images = "images (N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1, 3 or 4"
        raise ValueError(f"shape {x.shape}: expected {images}, or points (N, 2)")
    if x.shape[1] == 4:
        x = on_white(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return x


def _split(name: str, x: Images, labels: Any, channels: int | None) -> Dataset:
    """Train and test, of as many channels as asked for or needed."""
    if x.ndim == 4:
        x = _with_channels(x, channels)
    if len(x) < 2:
        raise ValueError("one alone is not enough: one to train on, and one to test, are needed")
    order = np.random.default_rng(0).permutation(len(x))
    test, train = np.split(order, [max(1, len(x) // 10)])
    if labels is None:
        return Dataset(name, x[train], x[test])
    labels = as_labels(labels)
    if len(labels) != len(x):
        raise ValueError(f"{counted(len(labels), 'label')} for {counted(len(x), 'item')}")
    names, classes = np.unique(labels, return_inverse=True)
    classes = classes.astype(np.int64)
    named = tuple(map(str, names))
    return Dataset(name, x[train], x[test], classes[train], classes[test], named)


def _with_channels(x: Images, channels: int | None) -> Images:
    """Images (N, 1 or 3, S, S) in so many channels; by default in one if nothing has a colour."""
    grey = all(np.array_equal(x[:, 0], x[:, k]) for k in range(1, x.shape[1]))
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if channels == 3 or not (grey or channels):
        return x.repeat(3 // x.shape[1], axis=1)
    return np.ascontiguousarray(x[:, :1]) if grey else (LUMA * x).sum(1, keepdims=True)
