"""What the examples share: training loops, a network applied to arrays, and figures that become files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure
from tqdm import trange

import nn
import tensor as T
from minigen.evaluation.pictures import show
from minigen.models.gan import GAN
from tensor import Tensor

OUT = Path("runs/examples")
"""Where the pictures go."""

ROWS = 8


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
        descend(optimizer, value, lr * nn.schedules.cosine(k, steps))
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
    for k in trange(1, steps + 1, unit="step"):
        rows = rng.integers(len(data), size=batch_size)
        told = None if labels is None else labels[rows]
        rate = lr * nn.schedules.cosine(k - 1, steps)
        descend(discriminator, model.discriminator_loss(Tensor(data[rows]), told, rng, penalty), rate)
        descend(generator, model.generator_loss(batch_size, told, rng), rate)
        yield k


def descend(optimizer: nn.Adam, loss: Tensor, lr: float) -> None:
    """A step of the optimiser's own parameters down the gradient of the loss."""
    optimizer.zero_grad()
    loss.backward(inputs=optimizer.view.parameters)
    optimizer.lr = lr
    optimizer.step()


@T.no_grad()
def apply(f: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """f(x) for arrays, without a graph."""
    return f(Tensor(x)).numpy()


def columns(part: SubFigure, title: str, images: dict[str, np.ndarray]) -> None:
    """Sets of images side by side in a part of a figure, each under its name, the first ROWS of each."""
    part.suptitle(title)
    for axes, (name, x) in zip(part.subplots(1, len(images)), images.items()):
        show(axes, x[:ROWS], 1)
        axes.set_title(name)


def save(figure: Figure, path: Path) -> None:
    """Write the figure, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(path)
