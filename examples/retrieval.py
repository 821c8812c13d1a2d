"""Finding images that are alike: neighbours in the latent space of an autoencoder, and neighbours
by pixels.

    python -m examples.retrieval

For test digits (in blue), the nearest training digits by the distance of their codes (left) and of
their pixels (right), in red where the class is another one; above, the first test digits, below,
those for which both erred most. Printed is the share of the ten nearest that are of the query's
class. For digits this small and this well centred, pixels are hard to beat: the code does as well
with 8 numbers an image in place of 64, and that is its merit. It is that of a denoising
autoencoder, for noise in training makes the code keep what a digit is rather than how its strokes
were shaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen.data.digits import load_digits
from minigen.evaluation.pictures import show
from minigen.models.autoencoder import Autoencoder, gaussian_noise, reconstruction_error
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine
from tensor import Tensor

LATENT, SIGMA = 8, 0.5
K = 10
SHOWN = 4


def nearest(queries: np.ndarray, among: np.ndarray, k: int = K) -> np.ndarray:
    """For each query, the indices of the k nearest vectors, the nearest first: (N, D) and (M, D)
    to (N, k)."""
    distance = np.linalg.norm(queries[:, None] - among, axis=2)
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def main(steps: int = 2000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    (train, train_labels), (test, test_labels) = load_digits("train"), load_digits("test")

    model = Autoencoder(mlp_encoder((1, 8, 8), LATENT), mlp_decoder(LATENT, (1, 8, 8)))
    learner = Learner(model, lr=2e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = train[rng.integers(len(train), size=128)]
        noisy = gaussian_noise(x, SIGMA, rng)
        learner.descend(reconstruction_error(model(Tensor(noisy)), Tensor(x)), k)

    def pixels(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def code(x: np.ndarray) -> np.ndarray:
        return apply(model.encoder, x)

    found = {name: nearest(f(test), f(train)) for name, f in [("latent", code), ("pixel", pixels)]}
    right = {name: train_labels[rows] == test_labels[:, None] for name, rows in found.items()}
    for name, same in right.items():
        print(f"{name} distance: {same.mean():.1%} of the {K} nearest are of the same class")

    hardest = np.argsort(right["latent"].sum(1) + right["pixel"].sum(1), kind="stable")[:SHOWN]
    queries = np.concatenate([np.arange(SHOWN), hardest])
    figure = Figure(figsize=(13, 5.3), layout="constrained")
    for axes, (name, indices) in zip(figure.subplots(1, 2), found.items()):
        found_too = train[indices[queries]]  # (queries, K, 1, 8, 8)
        rows = np.concatenate([test[queries, None], found_too], 1)
        show(axes, rows.reshape(-1, 1, 8, 8), 1 + K)
        share = f"{right[name].mean():.1%} same class"
        axes.set_title(f"a digit and the {K} nearest by {name} distance: {share}")
        frame = Rectangle((0, 0), 9, 9 * len(queries), fill=False, color="tab:blue", linewidth=3)
        axes.add_patch(frame)
        for row, column in np.argwhere(~right[name][queries]):
            corner = 9 * column + 9, 9 * row
            axes.add_patch(Rectangle(corner, 9, 9, fill=False, color="red", linewidth=1.5))
    save(figure, out / "retrieval.png")


if __name__ == "__main__":
    main()
