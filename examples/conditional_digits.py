"""A conditional GAN: digits of the class that is asked for.

    python -m examples.conditional_digits

Both networks see the label. The discriminator sees images with their labels, so that a good image
of another class than asked does not pass for data, and the generator must heed the label it is
given (Mirza & Osindero 2014). Each column is a class; along a row, all ten digits are made from
the same noise z. Look down a column for variety, and along a row for what the noise decides when
the class is given: thick or thin, upright or slanted. Printed is which share of samples a reader by
the three nearest neighbours among the training digits takes for the class asked for, and its share
for real test digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, save
from minigen.data.digits import load_digits
from minigen.evaluation.neighbours import knn_classify
from minigen.evaluation.pictures import show
from minigen.models.gan import GAN
from minigen.networks.dcgan import dcgan_discriminator, dcgan_generator
from minigen.networks.labels import with_labels
from minigen.training.learner import Learner, cosine
from tensor import Tensor

CLASSES, LATENT, ROWS = 10, 16, 8


@T.no_grad()
def sheet(model: GAN, rng: np.random.Generator) -> np.ndarray:
    """ROWS rows of images (10 ROWS, 1, 8, 8): one of each class, the same noise along a row."""
    z = rng.standard_normal((ROWS, LATENT)).repeat(CLASSES, 0)
    labels = np.tile(np.arange(CLASSES), ROWS)
    return model.generator(with_labels(Tensor(z, dtype=np.float32), labels, CLASSES)).numpy()


def main(steps: int = 1500, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    (train, train_labels), (test, test_labels) = load_digits("train"), load_digits("test")
    players = dcgan_generator(LATENT + CLASSES, (1, 8, 8)), dcgan_discriminator((1 + CLASSES, 8, 8))
    model = GAN(*players, LATENT, "non-saturating", CLASSES)
    D = Learner(model.discriminator, 5e-4, (0.5, 0.99), cosine(steps))
    G = Learner(model.generator, 5e-4, (0.5, 0.99), cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        rows = rng.integers(len(train), size=64)
        x, labels = Tensor(train[rows]), train_labels[rows]
        D.descend(model.discriminator_loss(x, labels, rng), k)
        G.descend(model.generator_loss(64, labels, rng), k)

    model.eval()
    asked = np.arange(1000) % CLASSES
    with T.no_grad():
        images = model.generate(len(asked), asked, rng).numpy()
    share = np.mean(knn_classify(train, train_labels, images) == asked)
    best = np.mean(knn_classify(train, train_labels, test) == test_labels)
    print(f"read as the class asked for: {share:.1%} of 1000 samples; real test digits: {best:.1%}")

    figure = Figure(figsize=(8, 6.9), layout="constrained")
    axes = figure.subplots()
    show(axes, sheet(model, np.random.default_rng(1)), CLASSES)
    axes.set_title(f"Digits asked for by class: {share:.1%} are read as the class")
    axes.set_xticks(9 * np.arange(CLASSES) + 4.5, [str(label) for label in range(CLASSES)])
    axes.set_yticks(9 * np.arange(ROWS) + 4.5, [f"$z_{{{k}}}$" for k in range(1, ROWS + 1)])
    axes.set(xlabel="class asked for", ylabel="noise, the same along a row")
    axes.tick_params(length=0)
    save(figure, out / "conditional_digits.png")


if __name__ == "__main__":
    main()
