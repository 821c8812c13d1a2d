"""Reading images of any kind, and writing PNGs."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from minigen.data.files import write_atomically
from minigen.data.resampling import resampled

Images = NDArray[Any]  # float32

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""How the names of the files end that are taken for images, in small or capital letters."""


def read_image(path: str | os.PathLike[str], size: int) -> Images:
    """The largest centred square of the image `path`, resampled to (3, size, size) in [-1, 1].

    The image may be grey, coloured or of a palette, of 1 to 16 bits; it is turned as its camera
    says, and what is transparent is laid on white.

    Raises ValueError for a size below 1 or a damaged file, FileNotFoundError for none.
    """
    if size < 1:
        raise ValueError(f"read_image: size is {size}, must be 1 or more")
    content = io.BytesIO(Path(path).read_bytes())
    try:
        with Image.open(content) as image:
            image.draft(None, (4 * size, 4 * size))  # of a large JPEG, half or less is decoded
            pixels = _on_white(_centred_square(ImageOps.exif_transpose(image)))
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: too large ({error}); make it smaller") from error
    except Exception as error:  # Pillow fails on damage in a dozen ways
        cause = str(error).replace(repr(content), "its bytes")
        raise ValueError(f"{path}: damaged, or not an image ({cause}); export it again") from error
    return 2 * resampled(pixels.transpose(2, 0, 1), size) - 1


def adaptations(path: str | os.PathLike[str], size: int) -> list[str]:
    """What `read_image` does to the image `path`, which it can read, beyond making it smaller."""
    with Image.open(path) as image:
        W, H = image.size
        done = {
            "what is transparent is laid on white": image.has_transparency_data,
            "the centred square is taken of what is not square": W != H,
            f"enlarged to {size}x{size}": min(W, H) < size,
            "the first frame is taken of several": getattr(image, "n_frames", 1) > 1,
        }
    return [what for what, is_done in done.items() if is_done]


def _centred_square(image: Image.Image) -> Image.Image:
    W, H = image.size
    side = min(W, H)
    left, top = (W - side) // 2, (H - side) // 2
    return image.crop((left, top, left + side, top + side))


def _on_white(image: Image.Image) -> Images:
    """Red, green and blue (H, W, 3) in 0..1."""
    if image.mode.startswith("I"):  # grey of 16 bits
        levels = np.asarray(image, np.float32) / 65535
        levels[np.asarray(image) == image.info.get("transparency")] = 1
        return levels[:, :, None].repeat(3, axis=2)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"), np.float32) / 255
    return on_white(np.asarray(image.convert("RGBA"), np.float32) / 255)


def on_white(pixels: Images) -> Images:
    """Colours and opacity (..., 4) in 0..1 as the colours (..., 3) that a white page shows."""
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    return alpha * colours + (1 - alpha)


def write_png(path: str | os.PathLike[str], image: Images) -> None:
    """Writes image (1 or 3, H, W), clipped to [-1, 1], as a PNG of 8 bits per channel.

    Raises ValueError for another shape.
    """
    if image.ndim != 3 or len(image) not in (1, 3):
        raise ValueError(f"write_png: image has shape {image.shape}, expected (1 or 3, H, W)")
    levels = np.rint((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(levels.squeeze(2) if len(image) == 1 else levels).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
