"""What the examples share: training loops, a network applied to arrays, and figures that become files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import nn
import tensor as T
from minigen.gan import GAN
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


def play(
    model: GAN,
    data: np.ndarray,
    steps: int,
    rng: np.random.Generator,
    labels: np.ndarray | None = None,
    lr: float = 1e-3,
    batch_size: int = 128,
    betas: tuple[float, float] = (0.5, 0.99),
    penalty: float = 10.0,
) -> Iterator[int]:
    """Turns of discriminator and generator (Goodfellow et al. 2014, Algorithm 1, with Adam), and after each its number.

    The learning rates fall to 0 along a cosine. Give `labels` to a conditional GAN; `penalty` is for gan-gp and wgan-gp.
    """
    discriminator, generator = (nn.Adam(player.parameters(), lr, betas) for player in (model.discriminator, model.generator))

    def descend(optimizer: nn.Adam, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward(inputs=optimizer.view.parameters)
        optimizer.lr = lr * nn.schedules.cosine(k - 1, steps)
        optimizer.step()

    for k in trange(1, steps + 1, unit="step"):
        rows = rng.integers(len(data), size=batch_size)
        told = None if labels is None else labels[rows]
        descend(discriminator, model.discriminator_loss(Tensor(data[rows]), told, rng, penalty))
        descend(generator, model.generator_loss(batch_size, told, rng))
        yield k


@T.no_grad()
def apply(f: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """f(x) for arrays, without a graph."""
    return f(Tensor(x)).numpy()


def save(figure: Figure, path: Path) -> None:
    """Write the figure, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
