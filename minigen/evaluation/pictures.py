"""Pictures of images, points and losses. Every function writes one labelled PNG."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigen.data.files import write_atomically
from minigen.training.run import Run

ROWS = 8
"""How many images a picture of a run shows from top to bottom."""


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    write_atomically(path, buffer.getvalue())


def tiles(x: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] as one: (rows (H + 1) + 1, columns (W + 1) + 1, C) in 0..1."""
    N, C, H, W = x.shape
    rows = -(-N // columns)
    canvas = np.full((rows, columns, C, H + 1, W + 1), 0.5, np.float32)
    canvas.reshape(rows * columns, C, H + 1, W + 1)[:N, :, 1:, 1:] = np.clip(x, -1, 1) / 2 + 0.5
    sheet = canvas.transpose(0, 3, 1, 4, 2).reshape(rows * (H + 1), columns * (W + 1), C)
    return np.pad(sheet, ((0, 1), (0, 1), (0, 0)), constant_values=0.5)


def show(axes: Axes, x: np.ndarray, columns: int) -> None:
    """Images as tiles, points as a cloud."""
    if x.ndim == 4:
        sheet = tiles(x, columns)
        sheet = sheet if sheet.shape[2] == 3 else sheet[:, :, 0]
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    else:
        axes.scatter(x[:, 0], x[:, 1], s=2, alpha=0.5, linewidths=0)
        axes.set_aspect("equal")


def samples(path: Path, x: np.ndarray, title: str) -> None:
    """Images in a square sheet, or points in the plane."""
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    show(axes, x, columns=int(np.ceil(np.sqrt(len(x)))))
    axes.set_title(title, parse_math=False)
    _save(figure, path)


def sequence(
    path: Path, states: Sequence[np.ndarray], labels: Sequence[str], title: str, math: bool = False
) -> None:
    """The same images or points at several moments, one column each, labelled by text or `math`."""
    height = 5.2 if states[0].ndim == 4 else 2.2
    figure = Figure(figsize=(1.3 * len(states), height), layout="constrained")
    panels = figure.subplots(1, len(states), sharex=True, sharey=True, squeeze=False)
    for axes, x, label in zip(panels[0], states, labels):
        show(axes, x, columns=1)
        axes.set_title(label, fontsize=9, parse_math=math)
    figure.suptitle(title, parse_math=False)
    _save(figure, path)


def overlay(path: Path, sets: dict[str, np.ndarray], title: str) -> None:
    """Sets of points in one plane, the later over the earlier."""
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    for x in sets.values():
        show(axes, x, columns=1)
    axes.legend(list(sets), markerscale=5)
    axes.set_title(title, parse_math=False)
    _save(figure, path)


def curves(path: Path, metrics: list[dict[str, float]], names: Sequence[str], title: str) -> None:
    """Metrics over the steps, as logged and as a running mean; logarithmic if all are positive."""
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    steps = np.array([line["step"] for line in metrics])
    for k, name in enumerate(names):
        values = np.array([line[name] for line in metrics])
        window = max(1, len(values) // 50)
        mean = np.convolve(values, np.ones(window) / window, "valid")
        axes.plot(steps, values, color=f"C{k}", alpha=0.25, linewidth=0.8)
        axes.plot(steps[window - 1 :], mean, color=f"C{k}", label=f"{name}, mean of {window} steps")
    if all(line[name] > 0 for line in metrics for name in names):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=", ".join(names))
    axes.set_title(title, parse_math=False)
    axes.legend()
    _save(figure, path)


def losses(run: Run, names: Sequence[str], title: str) -> None:
    """loss.png, of what was logged under these names. A run that has lost its metrics has none."""
    if metrics := run.metrics(*names):
        curves(run.path / "loss.png", metrics, names, title)
