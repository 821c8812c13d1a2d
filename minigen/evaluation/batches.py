"""Networks outside training: a batch at a time, and only with numbers that are finite."""

from collections.abc import Callable

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
    for k in range(0, len(x), size):
        rows = slice(k, k + size)
        batch = Tensor(x[rows], dtype=np.float32, device=device)
        parts = (None if other is None else other[rows] for other in others)
        outputs.append(f(batch, *parts).numpy())
    return finite(np.concatenate(outputs))


def finite(x: np.ndarray) -> np.ndarray:
    """x itself; FloatingPointError if it holds NaN or infinities."""
    if not np.isfinite(x).all():
        raise FloatingPointError("the outputs are not finite, for the weights have exploded")
    return x
