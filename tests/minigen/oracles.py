"""What is known exactly of a diffusion: Gaussian data, whose best denoiser has a closed form, and
generators of noise that reveal what a sampler does with it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.models.ddpm import Diffusion
from tensor import Tensor
from tensor.strategies import tensors

TIGHT: dict[str, Any] = {"rel": 1e-9, "abs": 1e-11}

diffusions = st.builds(
    Diffusion,
    hnp.arrays(float, st.integers(1, 8), elements=st.floats(1e-4, 0.9), fill=st.nothing()),
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Diffusion, np.ndarray, Tensor, Tensor, Tensor]:
    """A diffusion, its timesteps 1..T, and for each of them a row of x_0, of x_t and of noise."""
    diffusion = draw(diffusions)
    x0, xt, noise = (draw(tensors((diffusion.T, 2))).detach() for _ in range(3))
    return diffusion, np.arange(1, diffusion.T + 1), x0, xt, noise


def close(expected: Any) -> Any:
    return pytest.approx(expected, **TIGHT)


def silent(x: Tensor, t: np.ndarray) -> Tensor:
    """The denoiser that never sees any noise."""
    return 0 * x


@dataclass(frozen=True)
class Gaussian:
    """Data from N(m, diag(S)). Then x_t, too, is Gaussian, of mean sqrt(alpha_bar_t) m and variance
    V(t)."""

    diffusion: Diffusion
    m: np.ndarray
    S: np.ndarray

    def a(self, t: Any) -> np.ndarray:
        return np.sqrt(self.diffusion.alpha_bar[t])

    def b(self, t: Any) -> np.ndarray:
        return np.sqrt(1 - self.diffusion.alpha_bar[t])

    def V(self, t: Any) -> np.ndarray:
        return self.a(t) ** 2 * self.S + self.b(t) ** 2

    def denoiser(self, x: Tensor, t: np.ndarray) -> Tensor:
        """E[eps | x_t] = b_t / V_t (x_t - a_t m): of all functions of x_t the one with the smallest
        loss."""
        t = t[:, None]
        return Tensor(self.b(t) / self.V(t)) * (x - Tensor(self.a(t) * self.m))


gaussians = st.builds(
    Gaussian,
    diffusions,
    m=hnp.arrays(float, 2, elements=st.floats(-2, 2)),
    S=hnp.arrays(float, 2, elements=st.floats(0.01, 4)),
)


class Probes:
    """A generator whose k-th draw is 1 for item k + 1 and 0 for the others: what it adds to them, a
    sampler reveals."""

    draws = 0

    def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.draws += 1
        noise = np.zeros(shape, dtype)
        noise[self.draws + 1] = 1
        return noise


def moments(x: np.ndarray, mean: Any = 0.0, variance: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of an affine map of x_T ~ N(mean, variance) and of unit noises, of which x
    holds the probes."""
    gains = x[1:] - x[0]
    return x[0] + gains[0] * mean, gains[0] ** 2 * variance + np.sum(gains[1:] ** 2, axis=0)
