"""Scores: how they are learnt, and how Langevin dynamics samples with them (NCSN: Song & Ermon
2019).

Data under noise, x + sigma eps with eps ~ N(0, I), have a density p_sigma, whose score is the
gradient of log p_sigma. Whoever sees the noise knows the score, and the other way round:

    gradient of log p_sigma(x) = -E[eps | x] / sigma                                 Vincent 2011

With the score samples are drawn by going uphill and adding noise. Where there are no data a network
learns nothing about a small sigma, and chains that start there get lost or stuck, so NCSN goes from
a large sigma, which has filled the space, to a small one. A score is any function s(x, sigma) of
images or points (N, ...) and standard deviations (N,).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

import nn
import tensor as T
from minigen.models.ddpm import Denoiser, Diffusion, Rng, at, to_each
from tensor import Tensor

Score = Callable[[Tensor, np.ndarray], Tensor]


# Scores and denoisers


def score_of(denoiser: Denoiser, diffusion: Diffusion) -> Score:
    """The score of q(x_t), -eps(x_t, t) / sqrt(1 - alpha_bar_t), as a function of x_t and t >= 1:
    Song et al. 2021, score-based SDEs."""
    return lambda x, t: -denoiser(x, t) / at(diffusion.spread, t, x)


def denoiser_of(score: Score, diffusion: Diffusion) -> Denoiser:
    """The noise in x_t, -sqrt(1 - alpha_bar_t) score(x_t, t), for the score of q(x_t)."""
    return lambda x, t: -at(diffusion.spread, t, x) * score(x, t)


def denoised(score: Score, x: Tensor, sigma: float) -> Tensor:
    """The data seen behind x, E[x_0 | x] = x + sigma^2 s(x, sigma) (Tweedie's formula)."""
    with T.no_grad():
        return x + sigma**2 * score(x, np.full(len(x), sigma))


# Learning a score


def noise_ladder(largest: float, smallest: float, levels: int) -> np.ndarray:
    """sigma_1 > ... > sigma_L, each the same multiple of the next: float64 (L,), NCSN sec. 3.

    Raises ValueError unless largest > smallest > 0 and there are two levels at least.
    """
    if not largest > smallest > 0 or levels < 2:
        rule = "expected largest > smallest > 0 and two levels at least"
        raise ValueError(f"noise_ladder: {rule}, got {largest}, {smallest} and {levels}")
    return np.geomspace(largest, smallest, levels)


class ScoreNetwork(nn.Module):
    """s(x, sigma) = -network(x / sqrt(1 + sigma^2), i) / sigma, where sigma is level i of a ladder.

    A score is about 1 / sigma long (NCSN sec. 4.2), so the network need not be: as a denoiser, it
    predicts the noise. What it sees of data of unit size is of unit size at every level.

    network: takes x (N, ...) and levels (N,), from 1 to L, as a denoiser takes timesteps
    sigmas: the ladder, (L,); a sigma between two levels counts as the nearer one
    """

    def __init__(self, network: nn.Module, sigmas: np.ndarray):
        self.network = network
        self.sigmas = sigmas

    def forward(self, x: Tensor, sigma: np.ndarray) -> Tensor:
        i = 1 + np.abs(np.log(sigma[:, None] / self.sigmas)).argmin(1)
        noise = self.network(x / to_each(np.sqrt(1 + sigma**2), x), i)
        return -noise / to_each(sigma, x)


def denoising_score_matching(score: Score, x: Tensor, sigma: np.ndarray, noise: Tensor) -> Tensor:
    """1/2 sigma^2 |s(x + sigma eps, sigma) + eps / sigma|^2, summed over the dimensions and
    averaged over the batch: NCSN eqs. 5-6 with lambda(sigma) = sigma^2.

    Of all functions the score of p_sigma makes it least (Vincent 2011). With the weight sigma^2 it
    is DDPM's simple loss, |eps - eps(x)|^2 / 2, of the denoiser -sigma s.
    """
    spread = to_each(sigma, x)
    error = spread * score(x + spread * noise, sigma) + noise
    return 0.5 * T.sum(T.square(error)) / len(x)


# Langevin dynamics


class LangevinState(NamedTuple):
    """A state of Langevin dynamics: x, and the sigma of the score that led to it."""

    sigma: float
    x: Tensor


def langevin_step(score: Score, x: Tensor, sigma: float, step_size: float, rng: Rng) -> Tensor:
    """x + delta/2 s(x, sigma) + sqrt(delta) z, z ~ N(0, I), with delta = `step_size`: NCSN eq. 4.
    (With the gradients of minibatches it is the SGLD of Welling & Teh 2011.)

    After many steps, as delta goes to 0, the chain's distribution becomes p_sigma, the one whose
    score this is. For any other delta it is another: a chain for N(0, 1) ends with the variance
    1 / (1 - delta/4), and from delta = 4 on it runs away.
    """
    with T.no_grad():
        uphill = score(x, np.full(len(x), sigma))
    z = T.randn_like(x, generator=rng)
    return x + step_size / 2 * uphill + math.sqrt(step_size) * z


def langevin(
    score: Score, x: Tensor, sigma: float, step_size: float, steps: int, rng: Rng
) -> Iterator[LangevinState]:
    """Langevin dynamics at one level of noise: the states from x on, and `steps` more."""
    yield LangevinState(sigma, x)
    for _ in range(steps):
        x = langevin_step(score, x, sigma, step_size, rng)
        yield LangevinState(sigma, x)


def annealed_langevin(
    score: Score, x: Tensor, sigmas: np.ndarray, step_size: float, steps: int, rng: Rng
) -> Iterator[LangevinState]:
    """NCSN Algorithm 1: the states from x on, and `steps` more at each level of noise.

    step_size: epsilon, that at the last sigma; at the others it is larger in proportion to sigma^2
    """
    yield LangevinState(float(sigmas[0]), x)
    for sigma in sigmas.tolist():
        alpha = step_size * sigma**2 / float(sigmas[-1]) ** 2  # line 3
        for _ in range(steps):
            x = langevin_step(score, x, sigma, alpha, rng)  # lines 5-6
            yield LangevinState(sigma, x)
