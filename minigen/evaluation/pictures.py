"""Pictures of images, points and losses, made to be projected: as large as a slide, with letters
that the last row can read, and no empty canvas."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from minigen.data.files import write_atomically
from minigen.training.run import Run

SLIDE = 12.0, 6.75
"""The width and the height of a slide in inches; a picture is no wider, and hardly higher."""

FONT, TITLE = 16, 18
"""The sizes of letters in points: 72 are an inch."""

LINE, LETTER, GAP = 0.3, 0.12, 0.12
"""The height of a line, the width of a letter of FONT, the space between panels, in inches."""

ROWS, COLUMNS = 5, 10
"""How many images of a sequence fill a slide from top to bottom, and about how many in a row."""

SHOWN = ROWS * COLUMNS
"""As many images as a sequence can show."""

POINTS = 1000
"""How many points a cloud shows at most."""

GREY = "0.65"


def _png(figure: Figure, dpi: int = 100) -> io.BytesIO:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, _png(figure).getvalue())


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


def _panels(
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
    panels = []
    for (row, column), label in zip(np.ndindex(rows, columns), labels):
        left, bottom = GAP + column * (width + GAP), H - top - (row + 1) * (above + height)
        axes = figure.add_axes((left / W, bottom / H, width / W, height / H))
        axes.set_title(label, fontsize=FONT, parse_math=math)
        panels.append(axes)
    return figure, panels


def _wrapped(title: str, width: float) -> str:
    return textwrap.fill(title, int(width / LETTER * FONT / TITLE))


def _frame(panels: Sequence[Axes], points: np.ndarray) -> None:
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
    _save(figure, path)


def edits(path: Path, sets: Mapping[str, np.ndarray], title: str) -> None:
    """Sets of images (N, C, H, W), a square panel for each, in which N = 1 is as large as many."""
    columns = math.ceil(math.sqrt(max(map(len, sets.values()))))
    figure, panels = _panels(1, len(sets), 1, list(sets), title)
    for axes, x in zip(panels, sets.values()):
        show(axes, x, min(columns, len(x)))
    _save(figure, path)


def _columns(n: int, aspect: float) -> int:
    """How many columns of n square tiles are about so wide, with few places left empty."""
    least = min(n, math.ceil(math.sqrt(aspect * n)))
    return min(range(least, least + least // 2 + 1), key=lambda columns: -n % columns)


def _sheets(
    sets: Sequence[np.ndarray], columns: int, labels: Sequence[str], title: str, math: bool = False
) -> tuple[Figure, list[Axes]]:
    """Images as tiles, a panel for each set."""
    H, W = tiles(sets[-1], columns).shape[:2]
    figure, panels = _panels(1, len(sets), H / W, labels, title, math)
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
    labels = ["data", "samples"] if len(data) else ["samples"]
    figure, panels = _panels(1, len(labels), 1, labels, title)
    for axes in panels:
        show(axes, data, 1, GREY)
    show(panels[-1], x, 1)
    if len(data):
        panels[-1].legend(labels, fontsize=FONT, markerscale=3, loc="upper right")
    _frame(panels, np.concatenate([data, x]))
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
        n = columns * min(ROWS, N // columns)
        figure, _ = _sheets([x[:n] for x in states], columns, labels, title, math)
    else:
        rows = 1 if S <= 5 else 2
        figure, panels = _panels(rows, -(-S // rows), 1, labels, title, math)
        for axes, x in zip(panels, states):
            show(axes, x, 1)
        _frame(panels, np.concatenate(states))
    _save(figure, path)


def film(path: Path, states: Sequence[np.ndarray], labels: Sequence[str], title: str) -> None:
    """A GIF of the same images or points at one moment after another, which rests at the last."""
    columns = _columns(len(states[0]), SLIDE[0] / SLIDE[1])
    frames = []
    for x, label in zip(states, labels):
        if x.ndim == 4:
            figure, _ = _sheets([x], columns, [label], title)
        else:
            figure, panels = _panels(1, 1, 1, [label], title)
            show(panels[0], x, 1)
            _frame(panels, np.concatenate(states))
        frames.append(Image.open(_png(figure, dpi=60)))
    durations = [100] * (len(frames) - 1) + [3000]  # in milliseconds
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    write_atomically(path, buffer.getvalue())


def curves(
    path: Path, metrics: list[dict[str, float]], names: Sequence[str], title: str,
    equilibrium: Mapping[str, float] = {},
) -> None:  # fmt: skip
    """Metrics over the steps, as logged and as a running mean.

    Those ten times smaller than the largest have a panel of their own. An axis is logarithmic if
    its metrics are positive, and one is ten times another.

    equilibrium: what some of the metrics would be in it, drawn as dashed lines
    """
    steps = np.array([line["step"] for line in metrics])
    values = {name: np.array([line[name] for line in metrics]) for name in names}
    size = {name: np.median(np.abs(values[name])) for name in names}
    large = [name for name in names if 10 * size[name] >= max(size.values())]
    groups = [large] + ([small] if (small := [n for n in names if n not in large]) else [])
    figure = Figure(figsize=SLIDE, layout="constrained")
    figure.suptitle(_wrapped(title, SLIDE[0]), fontsize=TITLE, parse_math=False)
    for axes, group in zip(figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups):
        for name in group:
            color = f"C{list(names).index(name)}"
            _curve(axes, steps, values[name], name, color)
            if name in equilibrium:
                label = f"{name} in equilibrium: {equilibrium[name]:.2f}"
                axes.axhline(equilibrium[name], color=color, linestyle="--", label=label)
        _scale(axes, np.concatenate([values[name] for name in group]))
        axes.set_ylabel(", ".join(group), fontsize=FONT)
        axes.legend(fontsize=FONT)
    axes.set_xlabel("step", fontsize=FONT)
    _save(figure, path)


def _curve(axes: Axes, steps: np.ndarray, y: np.ndarray, name: str, color: str) -> None:
    """y as it is, pale, and over it the mean of the last steps."""
    window = max(1, len(steps) // 50)
    mean = np.convolve(y, np.ones(window) / window, "valid")
    label = name if window == 1 else f"{name}, mean of {window} steps"
    axes.plot(steps, y, color=color, alpha=0.3, linewidth=1)
    axes.plot(steps[window - 1 :], mean, color=color, linewidth=3, zorder=3, label=label)


def _scale(axes: Axes, y: np.ndarray) -> None:
    """A logarithmic or a linear axis of y, whose ticks are plain numbers."""
    axes.tick_params(labelsize=FONT)
    if 0 < 10 * y.min() < y.max():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def losses(
    run: Run, names: Sequence[str], title: str, equilibrium: Mapping[str, float] = {}
) -> None:
    """loss.png, of what was logged under these names. A run that has lost its metrics has none."""
    if metrics := run.metrics(*names):
        curves(run.path / "loss.png", metrics, names, title, equilibrium)
