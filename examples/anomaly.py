"""Finding what does not belong: an autoencoder reconstructs badly what it has never seen.

    python -m examples.anomaly

An autoencoder is trained on all digits but one class, and its reconstruction error on test images
tells the unknown class from the known ones. AUROC is the chance that a random unknown digit has a
larger error than a random known one: 0.5 is guessing, 1 perfect. Right, the AUROC for each class
held out once; left, the errors for the class that hides best. Such a digit is made of strokes
that others have too, and the autoencoder draws it tolerably well without having met it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen import data
from minigen.models.autoencoder import Autoencoder, reconstruction_error
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine
from tensor import Tensor

HELD_OUT = tuple(range(10))
LATENT = 6


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """The share of pairs in which the unknown has the larger error; equal errors count half."""
    return float(np.mean((unknown[:, None] > known) + 0.5 * (unknown[:, None] == known)))


def errors_without(digit: int, digits: data.Dataset, steps: int) -> np.ndarray:
    """Squared error of each test image (N,) for an autoencoder that never saw this digit."""
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Autoencoder(mlp_encoder((1, 8, 8), LATENT), mlp_decoder(LATENT, (1, 8, 8)))
    known = digits.train[digits.train_labels != digit]
    learner = Learner(model, lr=2e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = Tensor(known[rng.integers(len(known), size=128)])
        learner.descend(reconstruction_error(model(x), x), k)
    return np.sum((apply(model, digits.test) - digits.test) ** 2, axis=(1, 2, 3))


def main(steps: int = 600, out: Path = OUT, held_out: tuple[int, ...] = HELD_OUT) -> None:
    digits = data.load("digits")
    errors, areas = {}, {}
    for digit in held_out:
        error, unknown = errors_without(digit, digits, steps), digits.test_labels == digit
        errors[digit] = {"known digits": error[~unknown], f"{digit}, held out": error[unknown]}
        areas[digit] = auroc(*errors[digit].values())
        print(f"{digit} held out: AUROC {areas[digit]:.3f}")
    print(f"mean AUROC: {np.mean(list(areas.values())):.3f}")

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    histogram, bars = figure.subplots(1, 2)
    worst = min(areas, key=areas.__getitem__)
    bins = np.linspace(0, max(error.max() for error in errors[worst].values()), 30)
    for name, error in errors[worst].items():
        histogram.hist(error, bins, density=True, alpha=0.6, label=name)
    title = f"the hardest: {worst} held out, AUROC {areas[worst]:.3f}"
    histogram.set(title=title, xlabel="squared error per image", ylabel="density")
    histogram.legend()
    labels = bars.bar([str(digit) for digit in areas], list(areas.values()))
    bars.bar_label(labels, fmt="%.3f", fontsize=8)
    bars.axhline(0.5, color="black", linestyle="--", label="guessing")
    bars.set(title="each class held out once", xlabel="digit held out")
    bars.set(ylabel="AUROC", ylim=(0, 1.08))
    bars.legend(loc="lower right")
    save(figure, out / "anomaly.png")


if __name__ == "__main__":
    main()
