"""What the examples share: a dense network, a training loop, a network applied to arrays, and figures that become files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import trange

import nn
import tensor as T
from minigen.pictures import tiles
from tensor import Tensor

OUT = Path("runs/examples")
"""Where the pictures go."""


def mlp(*sizes: int) -> nn.Sequential:
    """Dense layers from sizes[0] to sizes[-1] features, with SiLU between them."""
    layers: list[nn.Module] = []
    for before, after in zip(sizes, sizes[1:]):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def fit(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[np.ndarray], Tensor],
    data: np.ndarray,
    steps: int,
    rng: np.random.Generator,
    lr: float = 2e-3,
    batch_size: int = 128,
) -> None:
    """Adam on random batches of the data; the learning rate falls to 0 along a cosine."""
    optimizer = nn.Adam(parameters, lr)
    bar = trange(steps, unit="step")
    for k in bar:
        value = loss(data[rng.integers(len(data), size=batch_size)])
        optimizer.zero_grad()
        value.backward()
        optimizer.lr = lr * nn.schedules.cosine(k, steps)
        optimizer.step()
        bar.set_postfix(loss=f"{value.item():.4g}", refresh=False)


@T.no_grad()
def apply(f: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """f(x) for arrays, without a graph."""
    return f(Tensor(x)).numpy()


def show(axes: Axes, x: np.ndarray, columns: int, title: str) -> None:
    """Images (N, C, H, W) in [-1, 1] side by side."""
    axes.imshow(tiles(x, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def save(figure: Figure, path: Path) -> None:
    """Write the figure, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
