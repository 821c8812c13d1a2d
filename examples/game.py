"""The game of two networks on a line: how the generator's density comes to be that of the data.

    python -m examples.game

The data are a Gaussian; the generator moves noise z ~ N(0, 1) to x = G(z), the arrows below.
Against a fixed generator the best discriminator is D*(x) = p_data(x) / (p_data(x) + p_G(x)),
dotted; the trained D is smoother, and a few turns behind. From left to right: the samples lie in
one heap, away from the data; they move to where D is higher; they spread; in the end the densities
are alike, and D can do no better than 1/2 wherever there are data (Goodfellow et al. 2014, figure 1
and proposition 1). Printed is the total variation distance of the densities, 0 if they are the same
and 1 if they do not overlap, and how far D is from 1/2 on average over the data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen.models.gan import GAN
from minigen.networks.coders import mlp
from minigen.training.learner import Learner, cosine
from tensor import Tensor

MEAN, SIGMA = 1.2, 0.6
X = np.linspace(-4, 4, 401, dtype=np.float32)[:, None]
SHARES = (0.0, 0.05, 0.1, 0.2, 1.0)


def density(x: np.ndarray) -> np.ndarray:
    """p_data(x), (N,), for points (N, 1)."""
    return np.exp(-0.5 * ((x[:, 0] - MEAN) / SIGMA) ** 2) / (np.sqrt(2 * np.pi) * SIGMA)


def kernel_density(samples: np.ndarray, x: np.ndarray, width: float = 0.1) -> np.ndarray:
    """The density at x (M, 1), (M,), of samples (N, 1), each blurred by a Gaussian of this
    width."""
    return np.mean(np.exp(-0.5 * ((x - samples.T) / width) ** 2), 1) / (np.sqrt(2 * np.pi) * width)


def draw(above: Axes, below: Axes, model: GAN, z: np.ndarray) -> tuple[float, float]:
    """The densities and D(x) above, arrows from z to G(z) below; returns the total variation, and E
    |D(x) - 1/2| of data."""
    p, q = density(X), kernel_density(apply(model.generator, z), X)
    D = apply(lambda x: T.sigmoid(model.judge(x)), X)
    above.fill_between(X[:, 0], p, color="gray", alpha=0.4, label="$p_{data}(x)$")
    above.plot(X, q, color="C2", linewidth=2, label="$p_G(x)$")
    above.plot(X, D, color="C0", linewidth=2, label="$D(x)$")
    best = np.where(p + q > 1e-3, p / (p + q + 1e-30), np.nan)
    above.plot(X, best, color="black", linestyle="dotted", label="$D^*(x)$, the best")
    above.axhline(0.5, color="gray", linewidth=0.5)
    start = np.linspace(-2.5, 2.5, 26, dtype=np.float32)[:, None]
    end = apply(model.generator, start)
    tail, arrow = np.hstack([start, 0 * start + 1]), np.hstack([end - start, 0 * start - 1])
    below.quiver(*tail.T, *arrow.T, angles="xy", scale_units="xy", scale=1, width=0.004, color="C2")
    step = X[1, 0] - X[0, 0]
    return float(0.5 * np.abs(p - q).sum() * step), float((p * np.abs(D - 0.5)).sum() * step)


def main(steps: int = 1000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    data = (MEAN + SIGMA * rng.standard_normal((10_000, 1))).astype(np.float32)
    z = np.random.default_rng(1).standard_normal((5000, 1)).astype(np.float32)
    model = GAN(mlp(1, 32, 32, 1), mlp(1, 128, 128, 1), latent=1, loss="non-saturating")

    moments = sorted({max(1, round(share * steps)) for share in SHARES})
    figure = Figure(figsize=(3.1 * len(moments), 5.6), layout="constrained")
    panels = figure.subplots(2, len(moments), squeeze=False, height_ratios=(3, 1))
    columns = iter(panels.T)
    D = Learner(model.discriminator, 1e-3, (0.0, 0.99), cosine(steps))
    G = Learner(model.generator, 1e-3, (0.0, 0.99), cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = Tensor(data[rng.integers(len(data), size=256)])
        D.descend(model.discriminator_loss(x, rng=rng), k)
        G.descend(model.generator_loss(256, rng=rng), k)
        if k in moments:
            above, below = next(columns)
            apart, unsure = draw(above, below, model, z)
            print(f"turn {k}: total variation {apart:.2f}, |D - 1/2| {unsure:.2f}")
            above.set(title=f"turn {k}\ntotal variation {apart:.2f}", xlabel="$x$")
            above.set(ylabel="density, probability", xlim=(-3, 4), ylim=(0, 1.25))
            below.set(xlim=(-3, 4), ylim=(-0.1, 1.1), xlabel="$x = G(z)$", ylabel="z to x")
            below.set_yticks([0, 1], ["$x$", "$z$"])
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    save(figure, out / "game.png")


if __name__ == "__main__":
    main()
