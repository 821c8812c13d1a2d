"""What the examples share: a network applied to arrays, and figures that become files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

import tensor as T
from minigen.evaluation.pictures import show
from tensor import Tensor

OUT = Path("runs/examples")
"""Where the pictures go."""

ROWS = 8


@T.no_grad()
def apply(f: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """f(x) for arrays, without a graph."""
    return f(Tensor(x)).numpy()


def columns(figure: SubFigure, title: str, images: dict[str, np.ndarray]) -> None:
    """Sets of images side by side in a figure, each under its name, the first ROWS of each."""
    figure.suptitle(title)
    for axes, (name, x) in zip(figure.subplots(1, len(images)), images.items()):
        show(axes, x[:ROWS], 1)
        axes.set_title(name)


def save(figure: Figure, path: Path) -> None:
    """Write the figure, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
