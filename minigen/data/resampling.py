"""Images brought to another size."""

import numpy as np
from numpy.typing import NDArray


def resampled(x: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Images (..., S, S) as (..., size, size), under a triangle as wide as the coarser pixel.

    That is bilinear interpolation to enlarge, a weighted mean to reduce, and x itself for size S.
    """
    S = x.shape[-1]
    centres = (np.arange(size) + 0.5) * S / size - 0.5
    distance = np.abs(centres[:, None] - np.arange(S))
    weights = np.maximum(0, 1 - distance / max(1, S / size))
    weights /= weights.sum(axis=1, keepdims=True)
    return (weights @ x @ weights.T).astype(np.float32)
