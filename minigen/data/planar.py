"""Point clouds in the plane, small enough to watch a model learn them.

Every set is a function `(n, rng) -> float32 (n, 2)` that draws n independent points.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
Rng = np.random.Generator

RING_SIGMA = 0.01
GRID_SIGMA = 0.05


def ring_centres() -> Points:
    """The 8 mode centres (8, 2) of `ring`: on the unit circle, at multiples of 45 degrees."""
    angle = 2 * np.pi * np.arange(8) / 8
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def grid_centres() -> Points:
    """The 25 mode centres (25, 2) of `grid`: {-4, -2, 0, 2, 4}^2."""
    line = np.arange(-4, 5, 2)
    centres = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    return centres.reshape(25, 2).astype(np.float32)


def ring(n: int, rng: Rng) -> Points:
    """8 Gaussians around `ring_centres`, sigma 0.01 (the 2D-ring of PacGAN, Lin et al. 2018)."""
    return _mixture(ring_centres(), RING_SIGMA, n, rng)


def grid(n: int, rng: Rng) -> Points:
    """25 Gaussians around `grid_centres`, sigma 0.05 (the 2D-grid of PacGAN, Lin et al. 2018)."""
    return _mixture(grid_centres(), GRID_SIGMA, n, rng)


def moons(n: int, rng: Rng) -> Points:
    """Two interleaved half circles with Gaussian noise; mean 0 and E|x|^2 = 2, as for N(0, I).

    Before scaling: radius 1, sigma 0.05, the upper around (-1/2, -1/4), the lower its negative.
    """
    angle = rng.uniform(0, np.pi, n)
    upper = np.stack([np.cos(angle) - 1 / 2, np.sin(angle) - 1 / 4], axis=1)
    curve = upper * rng.choice([-1, 1], size=(n, 1))
    return _noisy_and_scaled(curve, sigma=0.05, mean_square=(21 / 16 - 1 / np.pi) / 2, rng=rng)


def swiss_roll(n: int, rng: Rng) -> Points:
    """A spiral with Gaussian noise; mean 0 and E|x|^2 = 2, as for N(0, I).

    Before scaling: t (cos t, sin t), t uniform in [3 pi/2, 9 pi/2], turns 2 pi apart; sigma 0.5.
    """
    t = rng.uniform(1.5 * np.pi, 4.5 * np.pi, n)
    mean = np.array([2, 2 / (3 * np.pi)])
    curve = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) - mean
    mean_square = (9.75 * np.pi**2 - mean @ mean) / 2
    return _noisy_and_scaled(curve, 0.5, mean_square, rng)


def _mixture(centres: Points, sigma: float, n: int, rng: Rng) -> Points:
    modes = rng.integers(len(centres), size=n)
    return (centres[modes] + sigma * rng.standard_normal((n, 2))).astype(np.float32)


def _noisy_and_scaled(curve: np.ndarray, sigma: float, mean_square: float, rng: Rng) -> Points:
    """Adds noise to centred points with E|x|^2 = 2 mean_square, and divides so that E|x|^2 = 2."""
    noisy = curve + sigma * rng.standard_normal(curve.shape)
    return (noisy / np.sqrt(mean_square + sigma**2)).astype(np.float32)
