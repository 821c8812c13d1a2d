"""Pictures of codes: what a regulariser makes of an autoencoder's."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from minigen.evaluation import slides
from minigen.evaluation.pictures import ROWS, show
from minigen.evaluation.slides import FONT

IMAGES = 100
"""How many codes are drawn as rows."""

DIRECTIONS = 5
"""How many directions are drawn of each image."""


def activations(path: Path, h: np.ndarray, title: str) -> None:
    """Codes h (N, latent): on the left as they are, a row each, units by falling mean magnitude; on
    the right the mean magnitude of the largest unit of a code, of the second largest, ..."""
    magnitude = np.abs(h)
    units = magnitude.mean(0).argsort()[::-1]
    ranked = np.sort(magnitude, 1)[:, ::-1].mean(0)
    figure = slides.titled(title)
    left, right = figure.subplots(1, 2)
    limit = np.quantile(magnitude, 0.99) or 1.0
    low, cmap = (0, "Blues") if h.min() >= 0 else (-limit, "RdBu")
    image = left.imshow(h[:IMAGES, units], cmap=cmap, vmin=low, vmax=limit, aspect="auto")
    image.set_interpolation("nearest")
    left.set_title("units of codes, by mean magnitude", fontsize=FONT)
    left.set_xlabel("unit", fontsize=FONT)
    left.set_ylabel("test image", fontsize=FONT)
    left.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=left).ax.tick_params(labelsize=FONT)
    right.bar(np.arange(1, len(ranked) + 1), ranked, color="C0")
    most = int(np.searchsorted(ranked.cumsum(), 0.9 * ranked.sum()) + 1)
    right.set_title(f"{most} of {len(ranked)} make 90 % of a code", fontsize=FONT)
    right.set_xlabel("rank of a unit in its code", fontsize=FONT)
    right.set_ylabel("mean magnitude", fontsize=FONT)
    right.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    right.tick_params(labelsize=FONT)
    slides.save(figure, path)


def sensitivity(path: Path, x: np.ndarray, J: np.ndarray, title: str) -> None:
    """Jacobians J (N, latent, C, H, W) of codes at images x (N, C, H, W).

    On the left images, and the directions in which their codes move most, the right singular
    vectors of J; on the right the singular values, which the contractive penalty sums squared.
    """
    N, latent = J.shape[:2]
    _, S, V = np.linalg.svd(J.reshape(N, latent, -1), full_matrices=False)
    directions = V[:, :DIRECTIONS].reshape(N, -1, *x.shape[1:])
    directions /= np.abs(directions).max((2, 3, 4), keepdims=True) + 1e-30
    sheet = np.concatenate([x[:, None], directions], 1)[:ROWS]  # (rows, columns, C, H, W)
    figure = slides.titled(title)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    show(left, sheet.reshape(-1, *x.shape[1:]), sheet.shape[1])
    left.set_title("a test image a row, and the directions\nthat move its code most", fontsize=FONT)
    ranks = np.arange(1, S.shape[1] + 1)
    low, high = np.quantile(S, (0.1, 0.9), axis=0)
    right.fill_between(ranks, low, high, color="C0", alpha=0.25, label="8 of 10 images")
    right.plot(ranks, S.mean(0), "o-", color="C0", linewidth=3, label="mean")
    size = np.square(S).sum(1).mean()
    right.set_title(f"singular values of dh/dx; $|dh/dx|^2$ = {size:.2g}", fontsize=FONT)
    right.set_xlabel("rank", fontsize=FONT)
    right.set(xlim=(0.5, len(ranks) + 0.5), ylim=(0, None))
    right.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    right.tick_params(labelsize=FONT)
    right.legend(fontsize=FONT)
    slides.save(figure, path)
