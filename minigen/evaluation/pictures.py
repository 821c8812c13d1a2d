"""Pictures of images and points, made to be projected: as large as a slide, with letters that the
last row can read, and no empty canvas."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigen.evaluation import slides
from minigen.evaluation.slides import SLIDE

ROWS, COLUMNS = 5, 10
"""How many images of a sequence fill a slide from top to bottom, and about how many in a row."""

SHOWN = ROWS * COLUMNS
"""As many images as a sequence can show."""

POINTS = 1000
"""How many points a cloud shows at most."""

GREY = "0.65"

HOLE = np.array([1.0, 0.0, -0.9])[:, None, None]
"""The orange, in [-1, 1], of what is not known of an image."""


def tiles(x: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] as one: (rows (H + 1) + 1, columns (W + 1) + 1, C) in 0..1."""
    N, C, H, W = x.shape
    rows = -(-N // columns)
    canvas = np.full((rows, columns, C, H + 1, W + 1), 0.5, np.float32)
    canvas.reshape(rows * columns, C, H + 1, W + 1)[:N, :, 1:, 1:] = np.clip(x, -1, 1) / 2 + 0.5
    sheet = canvas.transpose(0, 3, 1, 4, 2).reshape(rows * (H + 1), columns * (W + 1), C)
    return np.pad(sheet, ((0, 1), (0, 1), (0, 0)), constant_values=0.5)


def show(axes: Axes, x: np.ndarray, columns: int, color: str = "C0") -> None:
    """Images as tiles, points as a cloud."""
    axes.set(xticks=[], yticks=[])
    if x.ndim == 4:
        sheet = tiles(x, columns)
        sheet = sheet if sheet.shape[2] == 3 else sheet[:, :, 0]
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.scatter(x[:POINTS, 0], x[:POINTS, 1], s=14, alpha=0.6, linewidths=0, color=color)
        axes.set_aspect("equal")


def surround(panels: Sequence[Axes], points: np.ndarray) -> None:
    """The same limits for all panels, which leave out a few of the outermost points at most."""
    low, high = np.quantile(points, (0.005, 0.995), axis=0)
    half = 0.56 * (high - low).max() or 1.0
    for axes in panels:
        x, y = (low + high) / 2
        axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half))


def samples(
    path: Path, x: np.ndarray, title: str, data: np.ndarray | None = None,
    classes: Sequence[str] = (),
) -> None:  # fmt: skip
    """Samples beside data, if there are any: images in sheets, or points over those of the data.

    classes: the names of those that the samples belong to in turn; they then have a column each,
        below one image of `data` for each of them
    """
    if x.ndim == 2:
        figure = _over_data(x, title, data)
    elif classes:
        figure = _by_class(x, title, data, classes)
    else:
        sets = {"samples": x} if data is None else {"data": data[: len(x)], "samples": x}
        columns = _columns(len(x), SLIDE[0] / SLIDE[1] / len(sets))
        figure, _ = _sheets(list(sets.values()), columns, list(sets), title)
    slides.save(figure, path)


def edits(path: Path, sets: Mapping[str, np.ndarray], title: str) -> None:
    """Sets of images (N, C, H, W), a square panel for each, in which N = 1 is as large as many."""
    columns = math.ceil(math.sqrt(max(map(len, sets.values()))))
    figure, panels = slides.panels(1, len(sets), 1, list(sets), title)
    for axes, x in zip(panels, sets.values()):
        show(axes, x, min(columns, len(x)))
    slides.save(figure, path)


def _columns(n: int, aspect: float) -> int:
    """How many columns of n square tiles are about so wide, with few places left empty."""
    least = min(n, math.ceil(math.sqrt(aspect * n)))
    return min(range(least, least + least // 2 + 1), key=lambda columns: -n % columns)


def _sheets(
    sets: Sequence[np.ndarray], columns: int, labels: Sequence[str], title: str, math: bool = False
) -> tuple[Figure, list[Axes]]:
    """Images as tiles, a panel for each set."""
    H, W = tiles(sets[-1], columns).shape[:2]
    figure, panels = slides.panels(1, len(sets), H / W, labels, title, math)
    for axes, x in zip(panels, sets):
        show(axes, x, columns)
    return figure, panels


def _by_class(x: np.ndarray, title: str, data: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """A column for each class, of up to twelve, with as many samples as all of them have."""
    shown = classes[: min(len(x), 12)]
    rows = max(1, len(x) // len(classes))
    columns = [x[k :: len(classes)][:rows] for k in range(len(shown))]
    if data is None:
        return _sheets(columns, 1, shown, title)[0]
    columns = [np.concatenate([data[k : k + 1], column]) for k, column in enumerate(columns)]
    figure, panels = _sheets(columns, 1, shown, f"{title}: data above, samples below")
    for axes in panels:
        axes.axhline(x.shape[2] + 1, color="C1", linewidth=5)
    return figure


def _over_data(x: np.ndarray, title: str, data: np.ndarray | None) -> Figure:
    """Points in one panel; if there are data, these alone in another, and grey below the points."""
    data = x[:0] if data is None else data[:POINTS]
    labels = ["data", "samples, over the data"] if len(data) else ["samples"]
    figure, panels = slides.panels(1, len(labels), 1, labels, title)
    for axes in panels:
        show(axes, data, 1, GREY)
    show(panels[-1], x, 1)
    surround(panels, np.concatenate([data, x]))
    return figure


def sequence(
    path: Path, states: Sequence[np.ndarray], labels: Sequence[str], title: str, math: bool = False
) -> None:
    """The same images or points at several moments, each labelled by text or `math`.

    Images are in blocks of as many columns as fill a slide, of ROWS rows at most; what there is
    beyond that is left out. Points have a panel each, in two rows if there are more than five.
    """
    N, S = len(states[0]), len(states)
    if states[0].ndim == 4:
        columns = min(N, max(1, round(COLUMNS / S)))
        n = min(N, columns * min(ROWS, -(-N // columns)))
        figure, _ = _sheets([x[:n] for x in states], columns, labels, title, math)
    else:
        rows = 1 if S <= 5 else 2
        figure, panels = slides.panels(rows, -(-S // rows), 1, labels, title, math)
        for axes, x in zip(panels, states):
            show(axes, x, 1)
        surround(panels, np.concatenate(states))
    slides.save(figure, path)


def film(
    path: Path, states: Sequence[np.ndarray], labels: Sequence[str], title: str,
    classes: int = 0, data: np.ndarray | None = None,
) -> None:  # fmt: skip
    """A GIF of the same images or points at one moment after another, which rests at the last.

    classes: how many of them the images are of in turn; each of up to 16 has a column
    data: points of it, grey, below those of the states
    """
    n = len(states[0])
    if 0 < classes <= min(n, 16):
        columns, n = classes, n - n % classes
    else:
        columns = _columns(n, SLIDE[0] / SLIDE[1])
    frames = []
    for x, label in zip(states, labels):
        if x.ndim == 4:
            figure, _ = _sheets([x[:n]], columns, [label], title)
        else:
            figure, panels = slides.panels(1, 1, 1, [label], title)
            if data is not None:
                show(panels[0], data, 1, GREY)
            show(panels[0], x, 1)
            surround(panels, np.concatenate(states) if data is None else data)
        frames.append(slides.frame(figure))
    slides.save_film(path, frames)
