"""How many bits a digit takes: the quantised code of an autoencoder against PNG.

    python -m examples.compression

The code is squeezed into (0, 1) and rounded to one of 16 values, so that a code of n numbers takes
4n bits. Rounding has no useful derivative; training takes that of the identity (the
straight-through estimator: Bengio et al. 2013). PNG loses nothing of what it is given, so it is
given the digits in 17 grey values, which is all they have, and in fewer. To be fair to PNG, all
test digits lie in one file: a header and checksums for every digit would cost more than the digit.
To be fair to both: the decoder is not counted, and it knows what digits look like, which PNG does
not.

In the picture, higher is better, further to the left is cheaper. Where much may be lost, the
autoencoder needs half of PNG's bits or fewer. But every further bit gains it less, while each gains
PNG the same, until nothing is lost.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import trange

import nn
import tensor as T
from examples.common import OUT, apply, save
from minigen import data
from minigen.evaluation.metrics import psnr
from minigen.models.autoencoder import Autoencoder, reconstruction_error
from minigen.networks.coders import mlp_decoder, mlp_encoder
from minigen.training.learner import Learner, cosine
from tensor import Tensor

CODES = (4, 8, 16, 32)
BITS = 4


class Quantised(nn.Module):
    """Rounds numbers in (0, 1) to 2^bits values; its derivative is taken to be 1."""

    def __init__(self, bits: int):
        self.most = 2**bits - 1

    def forward(self, h: Tensor) -> Tensor:
        return h + (np.round(h.numpy() * self.most) / self.most - h.numpy())


def png_bits(x: np.ndarray) -> float:
    """Bits an image for images (N, 1, H, W) in [-1, 1], 8 bits deep, under one another in one
    PNG."""
    grey = np.round((x + 1) * 127.5).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey.reshape(-1, grey.shape[-1])).save(buffer, "png", optimize=True)
    return 8 * len(buffer.getvalue()) / len(x)


def trained_autoencoder(n: int, images: np.ndarray, steps: int) -> Autoencoder:
    """One with a code of n quantised numbers."""
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder = nn.Sequential(mlp_encoder((1, 8, 8), n), nn.Sigmoid(), Quantised(BITS))
    model = Autoencoder(encoder, mlp_decoder(n, (1, 8, 8)))
    learner = Learner(model, lr=4e-3, schedule=cosine(steps))
    for k in trange(1, steps + 1, unit="step"):
        x = Tensor(images[rng.integers(len(images), size=128)])
        learner.descend(reconstruction_error(model(x), x), k)
    return model


def main(steps: int = 1200, out: Path = OUT, codes: tuple[int, ...] = CODES) -> None:
    digits = data.load("digits")
    autoencoder = []
    for n in codes:
        model = trained_autoencoder(n, digits.train, steps)
        quality = psnr(digits.test, apply(model, digits.test))
        autoencoder.append((BITS * n, quality))
        print(f"autoencoder, {n} numbers of {BITS} bits: {BITS * n} bits, {quality:.1f} dB")

    png = []
    for greys in (2, 3, 5, 9):
        coarse = np.round((digits.test + 1) / 2 * (greys - 1)) / (greys - 1) * 2 - 1
        png.append((png_bits(coarse), psnr(digits.test, coarse)))
        print(f"PNG, {greys} grey values: {png[-1][0]:.0f} bits, {png[-1][1]:.1f} dB")
    exact = png_bits(digits.test)
    alone = f"{np.mean([png_bits(digits.test[k : k + 1]) for k in range(100)]):.0f} bits"
    print(f"PNG, 17 grey values: {exact:.0f} bits, exact; with a file for each digit: {alone}")

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    numbers = ", ".join(map(str, codes))
    axes.plot(*zip(*autoencoder), "o-", label=f"autoencoder, codes of {numbers} numbers")
    axes.plot(*zip(*png), "s-", label="PNG of all test digits, in 2, 3, 5 and 9 grey values")
    axes.axvline(exact, color="C1", linestyle="--", label="the same, in all 17 grey values: exact")
    axes.set(title="Bits and quality of the test digits", xlabel="bits per digit")
    axes.set(ylabel="PSNR, dB", xlim=(0, None))
    axes.legend(loc="lower right")
    save(figure, out / "compression.png")


if __name__ == "__main__":
    main()
