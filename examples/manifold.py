"""The manifold that a VAE with two latent dimensions has learnt: every digit it can draw, on one
sheet.

    python -m examples.manifold

Each image is decoded from a point of the latent plane. The points are quantiles of the prior, so
that each image stands for an equally likely part of it (Kingma & Welling 2014, figure 4). Look for
classes that turn into one another without a gap, by way of shapes between them, and for those that
found no room of their own: two dimensions are few.
"""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen import data
from minigen.evaluation.pictures import show
from minigen.models.vae import VAE
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine

SIDE = 20


def quantiles(n: int) -> np.ndarray:
    """The middles of n equally likely parts of N(0, 1), (n,)."""
    return np.array([NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)], np.float32)


def main(steps: int = 3000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    digits = data.load("digits")

    model = VAE(mlp_encoder((1, 8, 8), 2 * 2), mlp_decoder(2, (1, 8, 8)), latent=2)
    learner = Learner(model, lr=2e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x, _ = digits.batch(128, rng)
        learner.descend(-T.mean(model.terms(x, rng=rng).elbo), k)
    elbo = apply(lambda x: model.terms(x, rng=rng).elbo, digits.test).mean()
    print(f"test ELBO: {elbo:.1f} nats an image")

    q = quantiles(SIDE)
    z = np.stack(np.meshgrid(q, q[::-1]), -1).reshape(-1, 2)  # z_1 grows to the right, z_2 upwards
    figure = Figure(figsize=(8, 8.4), layout="constrained")
    axes = figure.subplots()
    show(axes, apply(model.decode, z), SIDE)
    axes.set_title("Digits decoded at the quantiles of the prior")
    ticks = 9 * np.arange(SIDE) + 5  # an image is 8 wide, the line between two of them 1
    axes.set_xticks(ticks[::3], [f"{value:.2f}" for value in q[::3]])
    axes.set_yticks(ticks[::3], [f"{value:.2f}" for value in q[::-3]])
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    save(figure, out / "manifold.png")


if __name__ == "__main__":
    main()
