"""Reading and writing PNGs."""

import io
import os
from pathlib import Path

import matplotlib.image
import numpy as np
from numpy.typing import NDArray

from minigen.data.files import write_atomically
from minigen.data.resampling import resampled


def read_png(path: str | os.PathLike[str], size: int) -> NDArray[np.float32]:
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
    return 2 * resampled(square, size) - 1


def write_png(path: str | os.PathLike[str], image: NDArray[np.float32]) -> None:
    """Writes image (3, H, W), clipped to [-1, 1], as a PNG of 8 bits per channel.

    Raises ValueError for another shape.
    """
    if image.ndim != 3 or len(image) != 3:
        raise ValueError(f"write_png: image has shape {image.shape}, expected (3, H, W)")
    levels = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, levels.transpose(1, 2, 0), format="png", origin="upper")
    write_atomically(path, buffer.getvalue())
