"""The latent space of a VAE, and why its loss needs both of its terms.

    python -m examples.latent_space

Three VAEs with two latent dimensions, alike but for the loss. One draw of q(z | x) for each test
digit, coloured by class; the rings hold 39 % and 86 % of the prior. Reconstruction only: classes
lie apart, but scattered over a space ten times as wide as the prior, whose draws would decode
to the few that lie in the middle. KL only: every q(z | x) is the prior, and nothing of the digit is
left. Both: the classes keep apart as well as they can while together they fill the prior, so that
its draws decode to all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from tqdm import trange

import tensor as T
from examples.common import OUT, save
from minigen import data
from minigen.evaluation.slides import FONT, TITLE
from minigen.models.vae import VAE
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine
from tensor import Tensor

LOSSES = {"reconstruction only": (1, 0), "KL only": (0, 1), "both": (1, 1)}


def trained_vae(images: np.ndarray, reconstruction: float, kl: float, steps: int) -> VAE:
    """One for which the two terms of the bound have these weights."""
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    model = VAE(mlp_encoder((1, 8, 8), 2 * 2), mlp_decoder(2, (1, 8, 8)), latent=2)
    learner = Learner(model, lr=2e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = Tensor(images[rng.integers(len(images), size=128)])
        terms = model.terms(x, rng=rng)
        learner.descend(T.mean(reconstruction * terms.reconstruction + kl * terms.kl), k)
    return model


def main(steps: int = 1200, out: Path = OUT) -> None:
    digits = data.load("digits")
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    for axes, (name, weights) in zip(figure.subplots(1, 3), LOSSES.items()):
        model = trained_vae(digits.train, *weights, steps)
        with T.no_grad():
            test, rng = Tensor(digits.test), np.random.default_rng(1)
            z = model.posterior(test).sample(generator=rng).numpy()
            reconstruction, kl = (term.numpy().mean() for term in model.terms(test, rng=rng))
        print(f"{name}: reconstruction {reconstruction:.1f} nats, KL {kl:.1f} nats a test image")
        dots = axes.scatter(*z.T, c=digits.test_labels, cmap="tab10", s=10)
        for radius in (1, 2):
            axes.add_patch(Circle((0, 0), radius, fill=False, linestyle="--", color="black"))
        terms = f"reconstruction {reconstruction:.1f} nats\nKL {kl:.1f} nats"
        axes.set_title(f"{name}\n{terms}", fontsize=FONT)
        axes.set_xlabel("$z_1$", fontsize=FONT)
        axes.set_ylabel("$z_2$", fontsize=FONT)
        axes.tick_params(labelsize=FONT)
        axes.set_aspect("equal", adjustable="datalim")
    last, (handles, labels) = figure.axes[-1], dots.legend_elements()
    last.legend(handles, labels, fontsize=FONT, loc="center left", bbox_to_anchor=(1, 0.5))
    dashed = "one and two deviations of the prior"
    figure.suptitle(f"Draws of q(z | x) for test digits; dashed: {dashed}", fontsize=TITLE)
    save(figure, out / "latent_space.png")


if __name__ == "__main__":
    main()
