"""Pictures of scores in the plane: fields of arrows, and the paths of chains."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigen.evaluation import pictures, slides
from minigen.evaluation.pictures import GREY, show

SIDE = 17
"""How many arrows a field has from left to right."""


def window(data: np.ndarray) -> np.ndarray:
    """A square grid of points, float32 (SIDE^2, 2), over points (N, 2) and their surroundings."""
    low, high = data.min(0), data.max(0)
    half = 0.65 * (high - low).max()
    line = np.linspace(-half, half, SIDE)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    return ((low + high) / 2 + grid).astype(np.float32)


def fields(
    path: Path, x: np.ndarray, arrows: Sequence[np.ndarray], rows: int, labels: Sequence[str],
    title: str, data: np.ndarray,
) -> None:  # fmt: skip
    """The directions of arrows (N, 2) at points x (N, 2), over data, in `rows` of panels; their
    colour is their length, by one scale for all panels."""
    figure, panels = slides.panels(rows, len(arrows) // rows, 1, labels, title, math=True)
    lengths = [np.linalg.norm(a, axis=1) for a in arrows]
    longest = np.quantile(np.concatenate(lengths), 0.95)
    for axes, a, length in zip(panels, arrows, lengths):
        show(axes, data, 1, GREY)
        u = a / np.maximum(length, 1e-12)[:, None]
        axes.quiver(
            *x.T, *u.T, length, cmap="plasma", clim=(0, 1.1 * longest), pivot="mid",
            scale=1.1 * SIDE, width=0.008,
        )  # fmt: skip
    pictures.surround(panels, x)
    slides.save(figure, path)


def paths(
    path: Path, chains: Sequence[np.ndarray], labels: Sequence[str], title: str, data: np.ndarray
) -> None:
    """Chains (S, n, 2) of S states, over data: a line for each, from a ring to a dot."""
    figure, panels = slides.panels(1, len(chains), 1, labels, title, math=True)
    for axes, states in zip(panels, chains):
        show(axes, data, 1, GREY)
        for k in range(states.shape[1]):
            line, color = states[:, k].T, f"C{k % 10}"
            axes.plot(*line, color=color, linewidth=1.2, alpha=0.8)
            axes.plot(*line[:, 0], "o", color=color, markersize=9, fillstyle="none")
            axes.plot(*line[:, -1], "o", color=color, markersize=9)
    pictures.surround(panels, window(data))
    slides.save(figure, path)
