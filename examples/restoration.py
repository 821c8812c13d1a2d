"""Undoing damage: one autoencoder, five kinds of it.

    python -m examples.restoration --task TASK

TASK is denoising, inpainting, super-resolution, watermark or colouring. Train an autoencoder to
return the image x from a damaged copy of it, and it restores images that it has never seen: a
denoising autoencoder in the widest sense. Only the line that does the damage changes. Above, test
digits after the damage, then what the autoencoder makes of them, then the truth; the PSNR over all
test digits is printed before and after. What cannot be seen is guessed from what digits look like:
for colouring, each class has a colour of its own, so the autoencoder must recognise the digit, and
a wrong guess shows as a wrong or a muddy colour.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen.data.digits import load_digits
from minigen.evaluation.metrics import psnr
from minigen.evaluation.pictures import show
from minigen.models.autoencoder import Autoencoder, gaussian_noise, reconstruction_error
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine
from tensor import Tensor

Rng = np.random.Generator
CODE = 64
SHOWN = 12
DIAGONAL = np.add.outer(np.arange(8), np.arange(8)) % 4 == 0
MARK = np.where(DIAGONAL, np.float32(0.6), np.float32(0))  # opacity of stripes


def denoising(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Gaussian noise of sigma 0.5."""
    return gaussian_noise(x, 0.5, rng)


def inpainting(x: np.ndarray, rng: Rng) -> np.ndarray:
    """A square of 4x4 pixels, anywhere in the image, is grey."""
    top, left = rng.integers(0, 5, (2, len(x), 1, 1, 1))
    row, column = np.arange(8)[:, None], np.arange(8)
    inside = (row >= top) & (row < top + 4) & (column >= left) & (column < left + 4)
    return np.where(inside, np.float32(0), x)


def super_resolution(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Each 2x2 pixels are their mean."""
    N, C, H, W = x.shape
    small = x.reshape(N, C, H // 2, 2, W // 2, 2).mean((3, 5))
    return small.repeat(2, 2).repeat(2, 3)


def watermark(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Bright stripes lie over the image, shifted by 0 to 3 pixels, and let 40 % of it through."""
    opacity = np.stack([np.roll(MARK, k, 1) for k in range(4)])[rng.integers(4, size=len(x)), None]
    return x + opacity * (1 - x)


def colouring(x: np.ndarray, rng: Rng) -> np.ndarray:
    """Colour is lost: each channel becomes the brightest of the three."""
    return np.broadcast_to(x.max(1, keepdims=True), x.shape).copy()


DAMAGES = (denoising, inpainting, super_resolution, watermark, colouring)
TASKS = {damage.__name__.replace("_", "-"): damage for damage in DAMAGES}


def coloured(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Grey images (N, 1, H, W) in full colours (N, 3, H, W), one for each of the ten classes."""
    rgb = colormaps["hsv"](np.arange(10) / 10)[labels, :3].astype(np.float32)
    return (x + 1) * rgb[:, :, None, None] - 1


def main(task: str = "denoising", steps: int = 2000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    (train, train_labels), (test, test_labels) = load_digits("train"), load_digits("test")
    if task == "colouring":
        train, test = coloured(train, train_labels), coloured(test, test_labels)
    damage = TASKS[task]

    shape = train.shape[1:]
    model = Autoencoder(mlp_encoder(shape, CODE), mlp_decoder(CODE, shape))
    learner = Learner(model, lr=2e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = train[rng.integers(len(train), size=128)]
        learner.descend(reconstruction_error(model(Tensor(damage(x, rng))), Tensor(x)), k)

    before = damage(test, rng)
    after = apply(model, before)
    low, high = f"{psnr(test, before):.1f} dB", f"{psnr(test, after):.1f} dB"
    print(f"{task}: PSNR {low} before, {high} after")

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    rows = {f"before, {low}": before, f"after, {high}": after, "truth": test}
    for axes, (name, x) in zip(figure.subplots(3, 1), rows.items()):
        show(axes, x[:SHOWN], SHOWN)
        axes.set_title(name)
    figure.suptitle(f"Restoration: {task}. {damage.__doc__}")
    save(figure, out / f"restoration-{task}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train an autoencoder to undo damage to digits.")
    parser.add_argument("--task", choices=TASKS, default="denoising")
    main(parser.parse_args().task)
