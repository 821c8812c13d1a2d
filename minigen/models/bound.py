"""The variational bound of a diffusion model, term by term (DDPM eqs. 5 and 8).

    -log p(x_0) <= L_0 + L_1 + ... + L_T in the mean over the noise, where

    L_T      = KL(q(x_T | x_0) || N(0, I))
    L_{t-1}  = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)),   t = T..2,   x_t ~ q(x_t | x_0)
    L_0      = -log p(x_0 | x_1)

p(x_{t-1} | x_t) has the mean of q(x_{t-1} | x_t, x_0) with what the denoiser sees for x_0 (eq. 7),
so that only the error of x_0 is left of the difference of the two means.
"""

import math

import numpy as np

import tensor as T
from minigen.models.ddpm import Denoiser, Diffusion, Rng
from tensor import Tensor


def bound(
    diffusion: Diffusion, denoiser: Denoiser, x0: Tensor, rng: Rng, variance: str | np.ndarray,
    levels: int | None = None, clip_x0: float | None = 1.0,
) -> np.ndarray:  # fmt: skip
    """L_0..L_T of each item of x0 (N, ...), by one draw of x_t each: (T + 1, N), in nats.

    variance: that of p(x_{t-1} | x_t): see `Diffusion.variance`. Where beta-tilde is 0, at t = 1,
        it is beta
    levels: how many values an element has, evenly spread over [-1, 1]; L_0 is then the negative log
        of a probability (eq. 13), and else of a density
    """
    sigma2 = diffusion.variance(variance)
    sigma2 = np.where(sigma2 > 0, sigma2, diffusion.beta)
    terms = np.empty((diffusion.T + 1, len(x0)))
    for t in range(1, diffusion.T + 1):
        xt = diffusion.q_sample(x0, t, T.randn_like(x0, generator=rng))
        seen, _ = diffusion.seen(denoiser, xt, t, clip_x0)
        if t == 1:
            nats = _decoder_nats(x0.numpy(), seen.numpy(), sigma2[1], levels)
        else:
            apart = diffusion.mean_of_x0[t] * (x0 - seen).numpy().astype(np.float64)
            nats = normal_kl(apart**2, diffusion.beta_tilde[t], sigma2[t])
        terms[t - 1] = _over_elements(nats)
    last = diffusion.alpha_bar[-1] * x0.numpy().astype(np.float64) ** 2
    terms[-1] = _over_elements(normal_kl(last, 1 - diffusion.alpha_bar[-1], 1.0))
    return terms


def bits_per_dimension(terms: np.ndarray, x0: Tensor) -> float:
    """The mean bound of items x0 (N, ...) in bits for each of their elements."""
    return float(terms.sum(0).mean() / x0[0].numel() / math.log(2))


def normal_kl(squared_difference: np.ndarray, v1: float, v2: float) -> np.ndarray:
    """KL(N(m1, v1) || N(m2, v2)) of each element, from (m1 - m2)^2."""
    return 0.5 * ((v1 + squared_difference) / v2 - 1 - math.log(v1 / v2))


def discretised_nats(x: np.ndarray, mean: np.ndarray, variance: float, levels: int) -> np.ndarray:
    """-log of the probability of x, one of `levels` values in [-1, 1], by N(mean, variance).

    Each value stands for what is nearest to it, the first and the last for all beyond: eq. 13.
    """
    half = 1 / (levels - 1)
    x, mean = np.asarray(x, np.float64), np.asarray(mean, np.float64)
    first, last = x < half - 1, x > 1 - half
    outwards = np.where(
        first | (~last & (x < mean)), -1, 1
    )  # away from the mean, or beyond the end
    distance = outwards * (x - mean)
    near = _log_tail((distance - half) / math.sqrt(variance))
    far = np.where(first | last, -np.inf, _log_tail((distance + half) / math.sqrt(variance)))
    return -(near + np.log1p(-np.exp(far - near)))


def _log_tail(z: np.ndarray) -> np.ndarray:
    """log P(Z > z) of Z ~ N(0, 1), also where the probability is smaller than any float64."""
    tail = np.vectorize(math.erfc, otypes=[np.float64])(z / math.sqrt(2)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = -z * z / 2 - np.log(z * math.sqrt(2 * math.pi)) + np.log1p(-1 / z**2)
        return np.where(z < 30, np.log(tail), beyond)


def _decoder_nats(
    x0: np.ndarray, mean: np.ndarray, variance: float, levels: int | None
) -> np.ndarray:
    if levels:
        return discretised_nats(x0, mean, variance, levels)
    squared = (x0.astype(np.float64) - mean) ** 2
    return 0.5 * (squared / variance + math.log(2 * math.pi * variance))


def _over_elements(nats: np.ndarray) -> np.ndarray:
    return nats.reshape(len(nats), -1).sum(1)
