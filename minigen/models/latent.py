"""Ways through a latent space."""

import numpy as np


def lerp(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """n points on the straight line from a to b, both (latent,): (n, latent)."""
    t = np.linspace(0, 1, n, dtype=a.dtype)[:, None]
    return (1 - t) * a + t * b


def slerp(a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
    """n points on the arc from a to b, which keeps to typical lengths (Shoemake 1985; White 2016).

    Parallel vectors, and zeros, have no arc between them: there it is the straight line.
    """
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = a @ b / lengths if lengths else 1.0
    angle = np.arccos(np.clip(cosine, -1, 1), dtype=np.float64)
    if np.sin(angle) < 1e-6:
        return lerp(a, b, n)
    t = np.linspace(0, 1, n)[:, None]
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).astype(a.dtype)


def traversal(z: np.ndarray, dim: int, values: np.ndarray) -> np.ndarray:
    """z (latent,) with one dimension running through `values` (n,): (n, latent)."""
    moved = np.repeat(z[None], len(values), 0)
    moved[:, dim] = values
    return moved
