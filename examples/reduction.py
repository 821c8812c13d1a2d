"""From three dimensions to two: PCA against an autoencoder on a sheet that is rolled up.

    python -m examples.reduction

Above, the points of the sheet and what each method makes of them after keeping only two numbers a
point; below, those two numbers. Colour tells how far along the roll a point lies. PCA can only
flatten the roll onto a plane: what lies on opposite sides is squashed together. The autoencoder may
bend its two axes, and follows the sheet: look for colours that stay in order in its code, and for a
reconstruction that is rolled up again. The printed neighbours tell it in a number: of the ten
nearest points in the code, how many are among the ten nearest on the sheet, where distance is
measured along it?

Nothing in the loss asks for that order, though: with other seeds the autoencoder may tear the
sheet, and reconstruct it well. All that it does better it owes to its bends: a linear autoencoder
ends at the plane of PCA (Baldi & Hornik 1989), and the largest principal angle between its plane
and that one is printed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import nn
import tensor as T
from examples.common import OUT, apply, save
from minigen.evaluation.metrics import principal_angle
from minigen.models.autoencoder import Autoencoder, reconstruction_error
from minigen.networks.coders import mlp
from minigen.training.learner import Learner, cosine
from tensor import Tensor

SEED = 1
POINTS = 2000
K = 10


def rolled_sheet(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points in space (n, 3), and where they lie on the flat sheet (n, 2): along the roll, and
    across."""
    t = rng.uniform(1.5 * np.pi, 3.5 * np.pi, n)
    across = rng.uniform(-10, 10, n)
    along = (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2  # the length of the spiral r = t
    x = np.stack([t * np.cos(t), across, t * np.sin(t)], 1) / 6
    return (x - x.mean(0)).astype(np.float32), np.stack([along, across], 1)


def neighbours(x: np.ndarray, k: int = K) -> np.ndarray:
    """For each point of x (N, D), which are the k nearest others: (N, N), true or false."""
    distance = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distance, np.inf)
    return distance <= np.partition(distance, k - 1, 1)[:, k - 1 : k]


def train(model: Autoencoder, x: np.ndarray, steps: int, rng: np.random.Generator) -> None:
    """Bring random batches of the points back from their codes."""
    learner = Learner(model, lr=1e-2, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        batch = Tensor(x[rng.integers(len(x), size=128)])
        learner.descend(reconstruction_error(model(batch), batch), k)


def main(steps: int = 3000, out: Path = OUT) -> None:
    T.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    x, sheet = rolled_sheet(POINTS, rng)

    # PCA: the two directions in which the points vary most
    _, _, directions = np.linalg.svd(x, full_matrices=False)
    code_pca = x @ directions[:2].T
    back_pca = code_pca @ directions[:2]

    # The autoencoder: two numbers a point as well, but curved ways there and back
    model = Autoencoder(encoder=mlp(3, 64, 64, 2), decoder=mlp(2, 64, 64, 3))
    train(model, x, steps, rng)
    code_ae = apply(model.encoder, x)
    back_ae = apply(model.decoder, code_ae)

    # Without the bends
    basis = nn.Linear(2, 3, bias=False)
    linear = Autoencoder(nn.Linear(3, 2, bias=False), basis)
    train(linear, x, steps, rng)
    angle = principal_angle(basis.weight.numpy(), directions[:2].T)
    print(f"linear autoencoder: its plane is {np.degrees(angle):.2f} degrees from that of PCA")

    near_on_sheet = neighbours(sheet)
    figure = Figure(figsize=(12, 8), layout="constrained")
    pca, ae = ("PCA", back_pca, code_pca), ("Autoencoder", back_ae, code_ae)
    for k, (name, back, code) in enumerate([("The sheet", x, sheet), pca, ae], 1):
        lost = np.sum((back - x) ** 2) / np.sum(x**2)
        kept = np.sum(neighbours(code) & near_on_sheet) / (K * len(x))
        space: Any = figure.add_subplot(2, 3, k, projection="3d")
        space.scatter(*back.T, c=sheet[:, 0], s=4)
        space.view_init(elev=12, azim=-75)
        plane = figure.add_subplot(2, 3, k + 3)
        plane.scatter(code[:, 0], code[:, 1], c=sheet[:, 0], s=4)
        if name == "The sheet":
            space.set_title(f"{name}: {POINTS} points, rolled up")
            plane.set(title=f"{name}, laid flat", xlabel="along the roll", ylabel="across")
            continue
        space.set_title(f"{name}: back from two numbers\n{lost:.3%} of the variance lost")
        plane.set_title(f"{name}: the two numbers\n{kept:.0%} of the {K} neighbours kept")
        plane.set(xlabel="code 1", ylabel="code 2")
        neighbours_kept = f"{kept:.1%} of the {K} nearest neighbours kept"
        print(f"{name}: {lost:.3%} of the variance lost, {neighbours_kept}")
    save(figure, out / "reduction.png")


if __name__ == "__main__":
    main()
