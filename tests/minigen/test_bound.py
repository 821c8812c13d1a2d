"""The variational bound against what it bounds: for Gaussian data both are known."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.models.bound import bits_per_dimension, bound, discretised_nats, normal_kl
from minigen.models.ddpm import Diffusion, beta_schedule
from tensor import Tensor
from tests.minigen.oracles import Gaussian, close, diffusions


class Corners:
    """A generator whose noise is 1 for the first half of the items and -1 for the others: the mean
    of a square of a sum over both is its expectation over standard normal noise."""

    def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        noise = np.ones(shape, dtype)
        noise[len(noise) // 2 :] = -1
        return noise


def expected_terms(g: Gaussian, x0: float, variance: Any) -> np.ndarray:
    """The terms of the bound for x_0, in the mean over the noise."""
    corners: Any = Corners()
    x = Tensor(np.full((2, 1), x0))
    return bound(g.diffusion, g.denoiser, x, corners, variance, clip_x0=None).mean(1)


def true_variance(g: Gaussian) -> np.ndarray:
    """That of q(x_{t-1} | x_t): what eq. 7 has for a known x_0, and what is not known of x_0."""
    t = np.arange(g.diffusion.T + 1)
    unknown = g.S * g.b(t) ** 2 / g.V(t)
    return g.diffusion.beta_tilde + g.diffusion.mean_of_x0**2 * unknown


scalars = st.builds(Gaussian, diffusions, m=st.floats(-2, 2), S=st.floats(0.01, 4))


@given(g=scalars, x0=st.floats(-3, 3))
def test_with_the_exact_denoiser_the_bound_is_the_density_but_for_x_T(
    g: Gaussian, x0: float
) -> None:
    """Then p(x_{t-1} | x_t) = q(x_{t-1} | x_t), and what is left is that x_T is not N(0, I):
    L = -log q(x_0) + E[log q(x_T) - log N(x_T; 0, 1)] over q(x_T | x_0)."""
    T, S, m = g.diffusion.T, g.S, g.m
    nats = 0.5 * ((x0 - m) ** 2 / S + math.log(2 * math.pi * S))
    a, b, V = g.a(T), g.b(T), g.V(T)
    log_q = -0.5 * (math.log(2 * math.pi * V) + (a**2 * (x0 - m) ** 2 + b**2) / V)
    log_p = -0.5 * (math.log(2 * math.pi) + a**2 * x0**2 + b**2)
    terms = expected_terms(g, x0, true_variance(g))
    assert terms.sum() == pytest.approx(nats + log_q - log_p, rel=1e-9, abs=1e-9)


@given(g=scalars, variance=st.sampled_from(["beta", "beta_tilde"]))
def test_another_variance_or_denoiser_has_a_larger_bound(g: Gaussian, variance: str) -> None:
    """In the mean over the data, m +- sqrt(S)."""
    data = [g.m - math.sqrt(g.S), g.m + math.sqrt(g.S)]
    least, other, wrong = (
        sum(expected_terms(h, x, v).sum() for x in data) / 2
        for h, v in [
            (g, true_variance(g)),
            (g, variance),
            (Gaussian(g.diffusion, g.m + 0.3, g.S), true_variance(g)),
        ]
    )
    if variance == "beta_tilde":  # at t = 1, where it is 0, it is beta
        assert other >= least - 1e-9
    assert wrong > least and other >= least - 1e-9


@given(g=scalars, x0=st.floats(-3, 3), eps=st.floats(-2, 2))
def test_a_term_is_the_square_error_of_the_noise_weighted_as_in_equation_12(
    g: Gaussian, x0: float, eps: float
) -> None:
    """L_{t-1} = beta^2 / (2 sigma^2 alpha (1 - alpha_bar)) |eps - eps_theta|^2 + C, and C is what
    is left where the denoiser is right; sigma^2 = beta."""
    diffusion = g.diffusion
    x, constant = Tensor(np.full((2, 1), x0)), expected_terms(g, x0, "beta")

    class Fixed:
        def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            return np.full(shape, eps, dtype)

    rng: Any = Fixed()
    right = bound(diffusion, lambda x, t: 0 * x + eps, x, rng, "beta", clip_x0=None)[:, 0]
    wrong = bound(diffusion, lambda x, t: 0 * x + eps + 0.5, x, rng, "beta", clip_x0=None)[:, 0]
    beta, alpha, left = (v[1:] for v in (diffusion.beta, diffusion.alpha, 1 - diffusion.alpha_bar))
    assert wrong[:-1] - right[:-1] == close(beta / (2 * alpha * left) * 0.25)
    assert wrong[-1] == right[-1] == constant[-1]


@given(mean=st.floats(-3, 3), scale=st.floats(1e-3, 3), levels=st.integers(2, 256))
def test_the_probabilities_of_all_levels_are_one(mean: float, scale: float, levels: int) -> None:
    nats = discretised_nats(np.linspace(-1, 1, levels), np.full(levels, mean), scale**2, levels)
    assert np.exp(-nats).sum() == pytest.approx(1, rel=1e-9) and (nats >= -1e-12).all()


@given(mean=st.floats(-1, 1), scale=st.floats(0.05, 1), level=st.integers(1, 9998))
def test_of_many_levels_each_has_the_density_times_its_width(
    mean: float, scale: float, level: int
) -> None:
    x = np.array([2 * level / 9999 - 1])
    density = 0.5 * (((x - mean) / scale) ** 2 + math.log(2 * math.pi * scale**2))
    nats = discretised_nats(x, np.array([mean]), scale**2, 10_000)
    assert nats == pytest.approx(density - math.log(2 / 9999), abs=1e-3)


@given(z=st.floats(3, 60), levels=st.integers(2, 256))
def test_what_is_nearly_impossible_has_finitely_many_nats(z: float, levels: int) -> None:
    """The tail of N(0, 1) beyond z lies between phi(z) / z (1 - 1 / z^2) and phi(z) / z (Mills);
    of the last level's, nothing is cut off."""
    x, half = 1.0, 1 / (levels - 1)
    scale = (x + 1 - half) / z
    (nats,) = discretised_nats(np.array([x]), np.array([-1.0]), scale**2, levels)
    most = 0.5 * z * z + math.log(z * math.sqrt(2 * math.pi))
    assert most - 1e-9 <= nats <= most - math.log1p(-1 / z**2) + 1e-9


@given(d=st.floats(-3, 3), v1=st.floats(0.1, 3), v2=st.floats(0.1, 3))
def test_the_divergence_is_that_of_the_distributions(d: float, v1: float, v2: float) -> None:
    import nn.distributions as D

    p, q = (D.Normal(np.array(m), np.array(math.sqrt(v))) for m, v in ((d, v1), (0.0, v2)))
    assert normal_kl(np.array(d * d), v1, v2) == close(D.kl_divergence(p, q).item())


def test_bits_per_dimension_are_nats_per_element_in_bits() -> None:
    terms = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert bits_per_dimension(terms, Tensor(np.ones((2, 1, 2, 2)))) == close(1 / math.log(2))


def test_samples_of_many_elements_add_their_terms() -> None:
    diffusion = Diffusion(beta_schedule("cosine", 4))
    x = np.linspace(-1, 1, 12).reshape(2, 1, 2, 3)
    denoiser = lambda x, t: 0.5 * x  # noqa: E731
    corners: Any = Corners()
    images = bound(diffusion, denoiser, Tensor(x), corners, "beta", 12)
    flat = [
        bound(diffusion, denoiser, Tensor(x[:, :, i, j]), corners, "beta", 12)
        for i in range(2)
        for j in range(3)
    ]
    assert images.shape == (5, 2) and images == close(sum(flat))
