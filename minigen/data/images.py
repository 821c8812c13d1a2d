"""Reading images of any kind, and writing PNGs."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from minigen.data.files import write_atomically
from minigen.data.resampling import resampled

Images = NDArray[Any]  # float32

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""How the names of the files end that are taken for images, in small or capital letters."""

KINDS = "PNG, JPEG, WebP, BMP, GIF or TIFF"


def read_image(path: str | os.PathLike[str], size: int) -> Images:
    """The largest centred square of the image `path`, resampled to (3, size, size) in [-1, 1].

    The image may be grey, coloured or of a palette, of 1 to 16 bits; it is turned as its camera
    says, and what is transparent is laid on white.

    Raises ValueError for a size below 1 or a damaged file, FileNotFoundError for none.
    """
    return 2 * resampled(on_white(_pixels(path, size)).transpose(2, 0, 1), size) - 1


def read_opacity(path: str | os.PathLike[str], size: int) -> Images:
    """How opaque the pixels of `read_image` are, (size, size) in 0..1; same errors."""
    return resampled(_pixels(path, size)[:, :, 3], size)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of an image, turned as its camera says; errors as in `read_image`."""
    with _opened(path) as image:
        return image.size


@contextmanager
def _opened(
    path: str | os.PathLike[str], draft: tuple[int, int] | None = None
) -> Iterator[Image.Image]:
    """An image, turned as its camera says; of a large JPEG, half or less is decoded if a `draft`
    of this size will do."""
    content = io.BytesIO(Path(path).read_bytes())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what cannot be read is an error
            with Image.open(content) as image:
                if draft:
                    image.draft(None, draft)
                if "transparency" in image.info:
                    image.info["transparency"] = _transparent_level(image)
                yield ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: damaged, or too large ({error}); make it smaller") from error
    except Exception as error:  # Pillow fails on damage in a dozen ways
        cause = str(error).replace(f"cannot identify image file {content!r}", "of no known kind")
        raise ValueError(f"{path}: damaged, or not an image ({cause}); export it again") from error


def _pixels(path: str | os.PathLike[str], size: int) -> Images:
    """Red, green, blue and opacity (S, S, 4) in 0..1 of the largest centred square."""
    if size < 1:
        raise ValueError(f"read_image: size is {size}, must be 1 or more")
    with _opened(path, draft=(4 * size, 4 * size)) as image:
        square = _centred_square(image)
        if square.mode.startswith(("I", "F")):  # grey of 16 bits, whatever holds them
            levels = np.asarray(square, np.float32) / 65535
            if square.mode == "F" or levels.min() < 0 or levels.max() > 1:
                raise ValueError("numbers of 32 bits do not say what white is")
            opacity = np.asarray(square) != square.info.get("transparency")
            return np.stack([levels, levels, levels, opacity], axis=2)
        colours = square if square.has_transparency_data else square.convert("RGB")
        return np.asarray(colours.convert("RGBA"), np.float32) / 255


def _transparent_level(image: ImageFile.ImageFile) -> Any:
    """The transparent level or colour of a PNG on the scale of the pixels: Pillow stretches levels
    of 2 and 4 bits to 8, and keeps the upper 8 of 16 bits of a colour, but not of this one."""
    key = image.info["transparency"]
    bits = image.tile[0].args if image.format == "PNG" else ""
    if bits == "RGB;16B":
        return tuple(level >> 8 for level in key)
    return key * {"L;2": 85, "L;4": 17}[bits] if bits in ("L;2", "L;4") else key


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
