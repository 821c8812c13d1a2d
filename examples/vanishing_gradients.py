"""Why the generator's loss matters: gradients that vanish when the discriminator is too good.

    python -m examples.vanishing_gradients

The generator is poor and kept fixed: its samples lie in one heap, away from the ring of data. The
discriminator alone is trained, and every few steps we ask each loss how strongly it would now push
the generator's weights. Minimax: once D(G(z)) is near 0, log(1 - D) is flat, and the gradient falls
by orders of magnitude: the better the discriminator, the less the generator learns. Non-saturating:
-log D is steep there, and the gradient does not vanish, but goes on growing with the slope of the
discriminator. WGAN-GP: the critic's slope is held near 1, and the gradient keeps its size however
long the critic trains (Arjovsky & Bottou 2017, theorem 2.4, figures 2 and 3; Gulrajani et al.
2017).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, save
from minigen import data
from minigen.models.gan import GAN
from minigen.networks.coders import mlp
from minigen.training.learner import Learner
from tensor import Tensor

LOSSES = {"minimax": "C3", "non-saturating": "C0", "wgan-gp": "C2"}
EVERY = 20


def push(model: GAN, seed: int = 1) -> float:
    """The norm of the gradient of the generator's loss with respect to its weights, for 512 samples
    of this seed."""
    loss = model.generator_loss(512, rng=np.random.default_rng(seed))
    gradients = T.grad(loss, list(model.generator.parameters()))
    return float(np.sqrt(sum(np.sum(g.numpy() ** 2) for g in gradients)))


def trained(loss: str, points: np.ndarray, steps: int) -> tuple[GAN, list[int], list[float]]:
    """A GAN of which only the discriminator is trained, the steps after which it was asked for its
    push, and the pushes."""
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    model = GAN(mlp(2, 64, 64, 2), mlp(2, 64, 64, 1), latent=2, loss=loss)
    D = Learner(model.discriminator, lr=1e-3)
    moments, norms = [0], [push(model)]
    for k in trange(1, steps + 1, desc=loss, unit="step"):
        x = Tensor(points[rng.integers(len(points), size=128)])
        D.descend(model.discriminator_loss(x, rng=rng), k)
        if k % EVERY == 0 or k == steps:
            moments.append(k)
            norms.append(push(model))
    return model, moments, norms


def main(steps: int = 3000, out: Path = OUT) -> None:
    points = data.load("ring").train
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    for loss, colour in LOSSES.items():
        model, moments, norms = trained(loss, points, steps)
        right.plot(moments, norms, color=colour, label=loss)
        after = f"{norms[-1]:.2g} after {steps} steps of the discriminator"
        print(f"{loss}: gradient norm {norms[0]:.2g} before, {after}")
    samples = model.generate(500, rng=np.random.default_rng(1)).numpy()
    left.scatter(*points[:500].T, s=6, color="gray", label="data")
    left.scatter(*samples.T, s=6, color="C1", label="samples of the generator, fixed")
    left.set(title="The situation", xlabel="$x_1$", ylabel="$x_2$")
    left.set(aspect="equal", ylim=(-1.2, 1.5))
    left.legend(loc="upper center", ncols=2, markerscale=2, fontsize="small")
    right.set(title="The gradient that reaches the generator", yscale="log", xlim=(0, steps))
    right.set_xlabel("steps of the discriminator alone")
    right.set_ylabel("norm of the gradient of the generator's loss")
    right.legend(loc="center right")
    right.grid(alpha=0.3)
    save(figure, out / "vanishing_gradients.png")


if __name__ == "__main__":
    main()
