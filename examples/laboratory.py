"""A laboratory of the game in the plane, as a film: both players at work on eight modes.

    python -m examples.laboratory

Behind, the discriminator: red where it takes a point for data, blue where for a sample, white where
it cannot tell. Black dots are data, green ones samples. The net of grey lines is the generator's
manifold: a square grid of noise z, in [-2, 2]^2, as G bends it. The arrows on some samples show
which way, and how strongly, the discriminator drives them: up the gradient of d(x). Look for the
net that is stretched towards the modes, for the folds where it has to cross from one to the next,
for arrows that die away, and for the colours, which fade where the densities have become the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from tqdm import trange

import tensor as T
from examples.common import OUT, apply
from minigen import data
from minigen.evaluation.metrics import mode_coverage
from minigen.evaluation.slides import FONT, TITLE, frame, save_film
from minigen.models.gan import GAN
from minigen.networks.points import mlp_discriminator, mlp_generator
from minigen.training.learner import Learner, cosine
from tensor import Tensor

LIMIT = 1.6
FRAMES = 50


def square(limit: float, n: int) -> np.ndarray:
    """A grid of points (n, n, 2) over [-limit, limit]^2."""
    line = np.linspace(-limit, limit, n, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), -1)


def uphill(model: GAN, x: np.ndarray) -> np.ndarray:
    """The gradient of d at the points x (N, 2), (N, 2)."""
    points = Tensor(x, requires_grad=True)
    (gradient,) = T.grad(model.judge(points).sum(), points)
    return gradient.numpy()


def draw(axes: Axes, model: GAN, real: np.ndarray) -> np.ndarray:
    """Both players over the data; returns the samples."""
    plane = square(LIMIT, 61)
    D = apply(lambda x: T.sigmoid(model.judge(x)), plane.reshape(-1, 2)).reshape(61, 61)
    net = apply(model.generator, square(2, 31).reshape(-1, 2)).reshape(31, 31, 2)
    with T.no_grad():
        samples = model.generate(600, rng=np.random.default_rng(1)).numpy()
    axes.clear()
    axes.contourf(*plane.transpose(2, 0, 1), D, np.linspace(0, 1, 21), cmap="bwr", alpha=0.6)
    lines = [*net, *net.transpose(1, 0, 2)]
    axes.add_collection(LineCollection(lines, colors="gray", linewidths=0.7, alpha=0.7))
    axes.scatter(real[:, 0], real[:, 1], s=12, color="black", label="data")
    axes.scatter(samples[:, 0], samples[:, 1], s=12, color="C2", label="samples")
    arrows = samples[:60]
    field = *arrows.T, *uphill(model, arrows).T
    axes.quiver(*field, angles="xy", scale_units="xy", scale=20, width=0.004, color="darkgreen")
    axes.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")
    axes.set_xlabel("$x_1$", fontsize=FONT)
    axes.set_ylabel("$x_2$", fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.legend(loc="upper right", fontsize=FONT, markerscale=2)
    return samples


def main(steps: int = 1000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    ring = data.load("ring")
    model = GAN(mlp_generator(2, 2), mlp_discriminator(2), latent=2, loss="gan-gp")
    D = Learner(model.discriminator, 1e-3, (0.5, 0.9), cosine(steps))
    G = Learner(model.generator, 1e-3, (0.5, 0.9), cosine(steps))

    moments = {round(k) for k in np.geomspace(1, steps, FRAMES)}
    figure = Figure(figsize=(9.6, 8.1), layout=ConstrainedLayoutEngine(w_pad=0.15))
    axes, frames = figure.subplots(), []
    for k in trange(1, steps + 1, unit="step"):
        x, _ = ring.batch(256, rng)
        D.descend(model.discriminator_loss(x, rng=rng, penalty=0.1), k)
        G.descend(model.generator_loss(256, rng=rng), k)
        if k in moments:
            samples = draw(axes, model, ring.test[:400])
            modes, good, _ = mode_coverage(samples, *data.MODES["ring"])
            axes.set_title(f"step {k}: {modes} modes, {good:.0%} good samples", fontsize=TITLE)
            if not figure.axes[1:]:
                bar = figure.colorbar(axes.collections[0], ax=axes, ticks=np.linspace(0, 1, 6))
                bar.set_label("D(x)", fontsize=FONT)
                bar.ax.tick_params(labelsize=FONT)
            frames.append(frame(figure, dpi=80))
    out.mkdir(parents=True, exist_ok=True)
    save_film(out / "laboratory.gif", frames)
    print(f"after {steps} steps: {modes} of 8 modes, {good:.1%} good samples")
    print(out / "laboratory.gif")


if __name__ == "__main__":
    main()
