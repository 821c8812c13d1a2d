"""Slides: what every picture that a run leaves is drawn on."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from minigen.data.files import write_atomically

SLIDE = 12.0, 6.75
"""The width and the height of a slide in inches; a picture is no wider, and hardly higher."""

FONT, TITLE = 16, 18
"""The sizes of letters in points: 72 are an inch."""

LINE, LETTER, GAP = 0.3, 0.12, 0.12
"""The height of a line, the width of a letter of FONT, the space between panels, in inches."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG."""
    write_atomically(path, _png(figure, dpi=100).getvalue())


def frame(figure: Figure, dpi: int = 60) -> Image.Image:
    """A figure as a frame of a film."""
    return Image.open(_png(figure, dpi)).convert("RGB")


def save_film(path: Path, frames: Sequence[Image.Image]) -> None:
    """Write a GIF, which rests at its last frame."""
    durations = [100] * (len(frames) - 1) + [3000]  # in milliseconds
    first, *others = (image.quantize(dither=Image.Dither.NONE) for image in frames)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    write_atomically(path, buffer.getvalue())


def _png(figure: Figure, dpi: int) -> io.BytesIO:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer


def panels(
    rows: int, columns: int, aspect: float, labels: Sequence[str], title: str, math: bool = False
) -> tuple[Figure, list[Axes]]:
    """Equal panels, `aspect` times as high as wide, as large as they can be; one for each label."""
    W, H = SLIDE
    width = min((W - GAP) / columns - GAP, ((H - 2 * LINE) / rows - GAP - LINE) / aspect)
    height = aspect * width
    W = columns * (width + GAP) + GAP
    if not math:
        labels = [textwrap.fill(label, max(1, int(width / LETTER))) for label in labels]
    title = _wrapped(title, W)
    above = GAP + LINE * max(1 + label.count("\n") for label in labels)
    top = GAP + LINE * (1 + title.count("\n"))
    H = top + rows * (above + height) + GAP
    figure = Figure(figsize=(W, H))
    figure.suptitle(title, y=1 - GAP / H, va="top", fontsize=TITLE, parse_math=False)
    axes_of = []
    for (row, column), label in zip(np.ndindex(rows, columns), labels):
        left, bottom = GAP + column * (width + GAP), H - top - (row + 1) * (above + height)
        axes = figure.add_axes((left / W, bottom / H, width / W, height / H))
        axes.set_title(label, fontsize=FONT, parse_math=math)
        axes_of.append(axes)
    return figure, axes_of


def titled(title: str) -> Figure:
    """A figure as large as a slide, for panels of any kind."""
    figure = Figure(figsize=SLIDE, layout="constrained")
    figure.suptitle(_wrapped(title, SLIDE[0]), fontsize=TITLE, parse_math=False)
    return figure


def _wrapped(title: str, width: float) -> str:
    return textwrap.fill(title, int(width / LETTER * FONT / TITLE))
