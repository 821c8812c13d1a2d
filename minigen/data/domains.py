"""Two domains of images to translate between: made from the digits, with a known truth, or read from folders of PNGs.

Images are float32 (N, 3, S, S) in [-1, 1].
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minigen.checkpoint import write_atomically
from minigen.data.digits import load_digits
from minigen.metrics import knn_classify

Images = NDArray[np.float32]

SIZE = 16
PAPER, INK, OUTLINE = np.array([[1.0, 0.95, 0.82], [0.0, 0.18, 0.42], [1.0, 0.42, 0.12]], np.float32)[:, :, None, None]
"""Red, green and blue in 0..1, each (3, 1, 1). Only ink lacks red."""


@dataclass(frozen=True, eq=False)
class Domains:
    """Training images of X and Y, and held-out images: test_y[i] is the truth for test_x[i], or test_y is None.

    `test_labels` are the digits' classes, int64 (N,), or None.
    """

    name: str
    train_x: Images
    train_y: Images
    test_x: Images
    test_y: Images | None = None
    test_labels: NDArray[np.int64] | None = None


# Domains made from the digits


def load_domains(paired: bool) -> Domains:
    """X: grey digits on black, 16x16. Y: `to_paper` of such digits. The same arrays each time.

    For `paired` training train_y[i] is the truth for train_x[i]; else X has every other training digit and Y the rest.
    """
    return _made("paper", on_black, to_paper, paired)


def load_symmetric_domains(paired: bool) -> Domains:
    """A pair on which CycleGAN's losses cannot tell right from wrong; arrays and `paired` as in `load_domains`.

    X: grey digits on black, and the negative of each. Y: y = (x, 0, -x), orange on blue or blue on orange. As X is its
    own negative, the wrong map (-x, 0, x) sends it onto the same Y, and its inverse back: zero cycle loss.
    """

    def both(digits: Images) -> Images:
        x = on_black(digits)
        return np.stack([x, -x], axis=1).reshape(-1, *x.shape[1:])

    return _made("symmetric", both, to_orange_and_blue, paired)


def _made(name: str, draw: Callable[[Images], Images], rule: Callable[[Images], Images], paired: bool) -> Domains:
    (train, _), (test, labels) = load_digits("train"), load_digits("test")
    train_x, test_x = draw(train if paired else train[::2]), draw(test)
    train_y = rule(draw(train if paired else train[1::2]))
    return Domains(name, train_x, train_y, test_x, rule(test_x), np.repeat(labels, len(test_x) // len(test)))


def on_black(digits: Images) -> Images:
    """Digits (N, 1, 8, 8) as images of X (N, 3, 16, 16): bilinear, grey in three equal channels."""
    return np.repeat(_resampled(digits, SIZE), 3, axis=1)


def to_paper(x: Images) -> Images:
    """The truth in Y for x (N, 3, H, W) in X. With s in 0..1 the grey of x, and o = (maximum of s over 3x3) - s,

        y = (1 - s - o) PAPER + s INK + o OUTLINE,

    mapped from 0..1 to [-1, 1]. Paper and outline are full of red and ink has none, so that red is 1 - s.
    """
    s = (x.mean(axis=1, keepdims=True) + 1) / 2
    around = np.pad(s, ((0, 0), (0, 0), (1, 1), (1, 1)))
    o = sliding_window_view(around, (3, 3), axis=(2, 3)).max(axis=(4, 5)) - s
    return 2 * (PAPER + s * (INK - PAPER) + o * (OUTLINE - PAPER)) - 1


def from_paper(y: Images) -> Images:
    """The x in X of y (N, 3, H, W) in Y: grey is the negative of red, for `to_paper` hides ink in no other channel."""
    return np.repeat(np.clip(-y[:, :1], -1, 1), 3, axis=1)


def to_orange_and_blue(x: Images) -> Images:
    """The truth (x, 0, -x) in the symmetric Y for x (N, 3, H, W)."""
    return x * np.array([1, 0, -1], np.float32)[:, None, None]


def read_digits(x: Images) -> NDArray[np.int64]:
    """The class (N,) of each image x (N, 3, 16, 16) of X, read by its 3 nearest neighbours among all training digits."""
    digits, labels = load_digits("train")
    return knn_classify(_resampled(digits, SIZE), labels, x.mean(axis=1, keepdims=True))


# Folders of PNGs


def load_folders(dir_x: str | os.PathLike[str], dir_y: str | os.PathLike[str], size: int, paired: bool = False) -> Domains:
    """X and Y from the PNGs in two folders, sorted by name and read by `read_png`.

    The last tenth of X, at least one image, is held out. If `paired`, the files have the same names in both folders, and
    the last tenth of Y is the truth; else there is no truth, and all of Y is for training.

    Raises NotADirectoryError, and ValueError for a folder with fewer than two PNGs, a damaged PNG, or names that differ.
    """
    x_paths, y_paths = _pngs(dir_x), _pngs(dir_y)
    if paired and (single := {path.name for path in x_paths} ^ {path.name for path in y_paths}):
        raise ValueError(f"{dir_x} and {dir_y}: pairs need the same names in both folders, but {min(single)} is only in one")
    x, y = (np.stack([read_png(path, size) for path in paths]) for paths in (x_paths, y_paths))
    n = len(x) - max(1, len(x) // 10)
    return Domains("folders", x[:n], y[:n] if paired else y, x[n:], y[n:] if paired else None)


def _pngs(folder: str | os.PathLike[str]) -> list[Path]:
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{folder}: not a folder; pass a folder of PNG files")
    paths = png_files(folder)
    if len(paths) < 2:
        raise ValueError(f"{folder}: holds {len(paths)} PNG files (*.png), needs two or more: one to train on, one to test")
    return paths


def png_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The PNGs in a folder, sorted by name."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() == ".png")


def read_png(path: str | os.PathLike[str], size: int) -> Images:
    """The largest centred square of the image `path`, resampled to (3, size, size) in [-1, 1].

    The PNG may be grey or coloured, of 8 or 16 bits; what is transparent is laid on white.

    Raises ValueError for a size below 1 or a damaged file, FileNotFoundError for none.
    """
    if size < 1:
        raise ValueError(f"read_png: size is {size}, must be 1 or more")
    content = io.BytesIO(Path(path).read_bytes())
    try:
        pixels = matplotlib.image.imread(content, format="png")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or not a PNG ({error}); export it again") from error
    if pixels.ndim == 2:
        pixels = pixels[:, :, None].repeat(3, axis=2)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:]
        pixels = alpha * pixels[:, :, :3] + (1 - alpha)
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side].transpose(2, 0, 1)
    return 2 * _resampled(square, size) - 1


def write_png(path: str | os.PathLike[str], image: Images) -> None:
    """Writes image (3, H, W), clipped to [-1, 1], as a PNG of 8 bits per channel.

    Raises ValueError for another shape.
    """
    if image.ndim != 3 or len(image) != 3:
        raise ValueError(f"write_png: image has shape {image.shape}, expected (3, H, W)")
    levels = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, levels.transpose(1, 2, 0), format="png", origin="upper")
    write_atomically(path, buffer.getvalue())


def _resampled(x: Images, size: int) -> Images:
    """Square images (..., S, S) as (..., size, size), under a triangle as wide as the coarser of the two pixel grids.

    That is bilinear interpolation to enlarge, a weighted mean of all pixels below to reduce, and x itself for size S.
    """
    S = x.shape[-1]
    centres = (np.arange(size) + 0.5) * S / size - 0.5
    distance = np.abs(centres[:, None] - np.arange(S))
    weights = np.maximum(0, 1 - distance / max(1, S / size))
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights @ x @ weights.T).astype(np.float32)
