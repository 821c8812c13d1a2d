"""What a denoising autoencoder learns: a field of arrows r(x) - x that points back to the data.

    python -m examples.denoising_field

The data lie on a curve. The autoencoder sees them with Gaussian noise and learns to take it away,
so r(x) - x leads from anywhere back to where data are likely: at best it is sigma^2 times the
gradient of the log density of the noisy data (Vincent 2011), which becomes that of the data, if
they have a density, as sigma goes to 0 (Alain & Bengio 2014, theorem 1). For points on a curve the
best possible answer is known: E[data | x], an average of the data weighted by how well the noise
explains x; colour tells how far the network is from it. Left, far: the arrows lead home from
everywhere, but beyond the reach of the noise (dotted, three sigma) the network was never asked, and
extrapolates. Right, near: arrows meet the curve at right angles and vanish there, and halfway
between two arms, where both could be meant, they vanish as well. They end a little inside the bend,
not quite on the curve: an average of points on a curve lies there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen.models.autoencoder import gaussian_noise, reconstruction_error
from minigen.networks.coders import mlp
from minigen.training.learner import Learner, cosine
from tensor import Tensor

SIGMA = 0.3
FAR, NEAR = (-4.0, 4.0, -4.0, 4.0), (0.2, 2.2, 0.2, 2.2)


def curve(n: int) -> np.ndarray:
    """A spiral and a half (n, 2), evenly in the angle."""
    t = np.linspace(0, 3 * np.pi, n)
    r = 0.5 + 0.2 * t
    return np.stack([r * np.cos(t), r * np.sin(t)], 1).astype(np.float32)


def best_answer(x: np.ndarray, data: np.ndarray) -> np.ndarray:
    """E[data | x] for x = data + sigma noise, (N, 2): no denoiser has a smaller squared error."""
    log_weight = -np.sum((x[:, None] - data) ** 2, 2) / (2 * SIGMA**2)
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    return weight @ data / weight.sum(1, keepdims=True)


def grid(left: float, right: float, bottom: float, top: float, n: int) -> np.ndarray:
    x, y = np.linspace(left, right, n), np.linspace(bottom, top, n)
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2).astype(np.float32)


def main(steps: int = 5000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    data = curve(1000)

    r = mlp(2, 128, 128, 2)
    learner = Learner(r, lr=5e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = data[rng.integers(len(data), size=128)]
        noisy = gaussian_noise(x, SIGMA, rng)
        learner.descend(reconstruction_error(r(Tensor(noisy)), Tensor(x)), k)

    plane = grid(*FAR, 81)
    distance = np.linalg.norm(plane[:, None] - data, axis=2).min(1)
    figure = Figure(figsize=(13, 6), layout="constrained")
    views = [("far", FAR, 25, 3), ("near", NEAR, 17, 1)]
    for axes, (name, window, n, scale) in zip(figure.subplots(1, 2), views):
        x = grid(*window, n)
        y = apply(r, x)
        error = np.linalg.norm(y - best_answer(x, data), axis=1)
        axes.plot(*data.T, color="black", linewidth=2, label="data")
        u, v, reach = *plane.T.reshape(2, 81, 81), distance.reshape(81, 81)
        axes.contour(u, v, reach, [3 * SIGMA], colors="gray", linestyles="dotted")
        style = {"angles": "xy", "scale_units": "xy", "scale": scale}
        field = axes.quiver(*x.T, *(y - x).T, error, cmap="viridis", clim=(0, 0.5), **style)
        length = "full length" if scale == 1 else f"1/{scale} of its length"
        axes.set(title=f"{name}: r(x) - x, at {length}", xlabel="$x_1$", ylabel="$x_2$")
        axes.set(aspect="equal", xlim=window[:2], ylim=window[2:])
        axes.legend(loc="upper right")
    label = "distance from r(x) to E[data | x]"
    figure.colorbar(field, ax=figure.axes, label=label, shrink=0.8, extend="max")

    error = np.linalg.norm(apply(r, plane) - best_answer(plane, data), axis=1)
    for low, high in [(0, 1), (1, 3), (3, 6), (6, 12)]:
        there = (low * SIGMA <= distance) & (distance < high * SIGMA)
        off = error[there].mean()
        print(f"{low} to {high} sigma from the curve: r(x) is {off:.3f} from E[data | x]")
    save(figure, out / "denoising_field.png")


if __name__ == "__main__":
    main()
