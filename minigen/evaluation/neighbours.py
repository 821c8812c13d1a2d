"""Distances between points, and what the nearest of them say: a reader of digits.

Points come one per row; any trailing shape is flattened, and everything is float64.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigen.data.digits import load_digits
from minigen.data.domains import SIZE
from minigen.data.resampling import resampled

Reals = NDArray[np.float64]

BLOCK = 2**15
"""How many distances are held at once, or numbers of points: 256 KiB, which stay in the cache."""


def knn_classify(train: ArrayLike, labels: ArrayLike, x: ArrayLike, k: int = 3) -> NDArray[Any]:
    """The labels (M,) of x (M, ...), each the most frequent among the k nearest points of `train`
    (N, ...), labelled (N,): Cover & Hart 1967.

    Among equally frequent labels that of the nearest point is taken; of points equally near the
    first in `train` counts as the nearest.

    Raises ValueError for k not in 1..N, labels or features that do not fit, values not finite.
    """
    train, x = checked_points("knn_classify", at_least=1, train=train, x=x)
    labels = np.asarray(labels)
    if labels.shape != (len(train),):
        expected = f"expected ({len(train)},): one for each of train"
        raise ValueError(f"knn_classify: labels have shape {labels.shape}, {expected}")
    if not 1 <= k <= len(train):
        rule = f"must be in 1..{len(train)}, the number of points in train"
        raise ValueError(f"knn_classify: k is {k}, {rule}")
    nearest = [d.argsort(axis=1, kind="stable")[:, :k].copy() for d in squared_distances(x, train)]
    votes = labels[np.concatenate(nearest)]
    count = (votes[:, :, None] == votes[:, None, :]).sum(2)
    return votes[np.arange(len(x)), count.argmax(1)]


def read_digits(x: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class (N,) of each image x (N, 3, 16, 16) of X, by its 3 nearest training digits."""
    digits, labels = load_digits("train")
    return knn_classify(resampled(digits, SIZE), labels, x.mean(axis=1, keepdims=True))


def squared_distances(a: Reals, b: Reals) -> Iterator[Reals]:
    """|a_i - b_j|^2 for (N, D) and (M, D), as blocks (rows, M) of the (N, M) table.

    |a|^2 + |b|^2 - 2ab, of points moved to where b_0 is 0: a matrix product. Where it is small
    beside |a|^2 + |b|^2, and so imprecise, the differences are formed. Of the result 26 bits are
    kept: distances that are equal but for rounding are equal.
    """
    rows, few = max(1, BLOCK // len(b)), max(1, BLOCK // b.shape[1])
    moved = b - b[0]
    b2 = (moved * moved).sum(1)
    for start in range(0, len(a), rows):
        block = a[start : start + rows]
        at = block - b[0]
        sizes = (at * at).sum(1)[:, None] + b2
        total = sizes - 2 * (at @ moved.T)
        near = np.argwhere(total <= 1e-2 * sizes)
        for k in range(0, len(near), few):
            i, j = near[k : k + few].T
            difference = block[i] - b[j]
            total[i, j] = (difference * difference).sum(1)
        fraction, exponent = np.frexp(total)
        yield np.ldexp(np.rint(fraction * 2**26), exponent - 26)


def checked_points(caller: str, at_least: int, **sets: ArrayLike) -> list[Reals]:
    """The named sets as finite float64 (N, D) with N >= at_least and one D."""
    flat = {name: _flattened(caller, name, points) for name, points in sets.items()}
    for name, points in flat.items():
        if len(points) < at_least:
            raise ValueError(f"{caller}: {name} has {len(points)} points, needs {at_least} or more")
    if len({points.shape[1] for points in flat.values()}) > 1:
        counts = ", ".join(f"{name} has {points.shape[1]}" for name, points in flat.items())
        raise ValueError(f"{caller}: points must agree in their number of features, but {counts}")
    return list(flat.values())


def _flattened(caller: str, name: str, points: ArrayLike) -> Reals:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim == 0 or 0 in points.shape[1:]:
        expected = "expected (N, ...) with at least one feature"
        raise ValueError(f"{caller}: {name} has shape {points.shape}, {expected}")
    if not np.isfinite(points).all():
        count = np.sum(~np.isfinite(points))
        raise ValueError(f"{caller}: {name} has {count} values that are not finite")
    return points.reshape(len(points), int(np.prod(points.shape[1:])))
