"""What the examples share: a network applied to arrays, a denoiser, figures that become files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure
from tqdm import trange

import tensor as T
from minigen.evaluation.pictures import show
from minigen.models.ddpm import Diffusion
from minigen.networks.unet import UNet
from minigen.training.learner import Learner, cosine
from tensor import Tensor

OUT = Path("runs/examples")
"""Where the pictures go."""

ROWS = 8


@T.no_grad()
def apply(f: Callable[[Tensor], Tensor], x: np.ndarray) -> np.ndarray:
    """f(x) for arrays, without a graph."""
    return f(Tensor(x)).numpy()


def trained_denoiser(images: np.ndarray, diffusion: Diffusion, steps: int) -> Learner:
    """A U-Net that learns the noise in images (N, C, H, W), by DDPM Algorithm 1."""
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    denoiser = UNet(images.shape[1], (24, 48))
    learner = Learner(denoiser, 3e-3, (0.9, 0.99), cosine(steps, warmup_steps=100), ema=0.99)
    for k in trange(1, steps + 1, unit="step"):
        x0 = Tensor(images[rng.integers(len(images), size=64)])
        t = rng.integers(1, diffusion.T + 1, size=64)
        noise = T.randn(x0.shape, generator=rng)
        learner.descend(diffusion.loss(denoiser, x0, t, noise), k)
    return learner


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
