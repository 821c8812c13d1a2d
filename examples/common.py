"""What the examples share: a training loop, a network applied to arrays, and figures that become files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import nn
import tensor as T
from tensor import Tensor

OUT = Path("runs/examples")
"""Where the pictures go."""


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


def save(figure: Figure, path: Path) -> None:
    """Write the figure, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
