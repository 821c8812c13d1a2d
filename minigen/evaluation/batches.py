"""Networks outside training: a batch at a time, and only with numbers that are finite."""

from collections.abc import Callable, Iterator

import numpy as np

from tensor import Tensor

BATCH = 1000
"""How many images a network takes at once, and fewer if they have more numbers than LARGE."""

LARGE = 1024


def in_batches(
    f: Callable[..., Tensor], x: np.ndarray, *others: np.ndarray | None, device: str = "cpu"
) -> np.ndarray:
    """f of x, as a tensor, and of what goes with it, arrays or None: memory does not grow with the
    data.

    Raises FloatingPointError if an output is not finite.
    """
    outputs = []
    size = max(1, BATCH * LARGE // max(LARGE, x[0].size))
    for rows in slices(len(x), size):
        batch = Tensor(x[rows], dtype=np.float32, device=device)
        parts = (None if other is None else other[rows] for other in others)
        outputs.append(f(batch, *parts).numpy())
    return finite(np.concatenate(outputs))


def slices(n: int, size: int) -> Iterator[slice]:
    """The rows 0..n - 1 in parts of `size`, or of what is left."""
    for start in range(0, n, size):
        yield slice(start, min(n, start + size))


def finite(x: np.ndarray) -> np.ndarray:
    """x itself; FloatingPointError if it holds NaN or infinities."""
    if not np.isfinite(x).all():
        raise FloatingPointError("the outputs are not finite, for the weights have exploded")
    return x
