"""Scores against closed forms: for Gaussians and their mixtures the score is known, so nothing is
trained, and where Langevin dynamics goes is known exactly."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nn
import tensor as T
from minigen.models.mixture import Mixture
from minigen.models.score import (
    LangevinState,
    ScoreNetwork,
    annealed_langevin,
    denoised,
    denoiser_of,
    denoising_score_matching,
    langevin,
    noise_ladder,
    score_of,
)
from tensor import Tensor
from tensor.strategies import tensors
from tests.minigen.oracles import Gaussian, Probes, close, diffusions, gaussians, moments

ladders = st.builds(noise_ladder, st.floats(1, 10), st.floats(0.01, 0.9), st.integers(2, 5))
sigmas_of_three = hnp.arrays(float, 3, elements=st.floats(0.1, 3), fill=st.nothing())
points = tensors((3, 2), min_value=-3, max_value=3)
TWO = Mixture([[-1.0], [1.0]], 0.3, [1, 2])


def curved(x: Tensor, level: np.ndarray) -> Tensor:
    """A score, or a denoiser, that is the gradient of nothing and has a bend for each level."""
    return T.tanh(x * Tensor(level[:, None])) + x[:, ::-1]


# Scores and denoisers


@given(g=gaussians, data=st.data())
def test_the_score_of_noisy_gaussian_data_is_that_of_a_gaussian(
    g: Gaussian, data: st.DataObject
) -> None:
    """x_t ~ N(a_t m, V_t), so its score is (a_t m - x) / V_t."""
    x = data.draw(points).detach()
    t = data.draw(hnp.arrays(int, 3, elements=st.integers(1, g.diffusion.T)))
    score = score_of(g.denoiser, g.diffusion)(x, t).numpy()
    a, V = g.a(t)[:, None], g.V(t[:, None])
    assert score == close((a * g.m - x.numpy()) / V)


@given(diffusion=diffusions, x=points, data=st.data())
def test_scores_and_denoisers_turn_into_each_other(
    diffusion: Any, x: Tensor, data: st.DataObject
) -> None:
    t = data.draw(hnp.arrays(int, 3, elements=st.integers(1, diffusion.T)))
    expected = close(curved(x, t).numpy())
    assert score_of(denoiser_of(curved, diffusion), diffusion)(x, t).numpy() == expected
    assert denoiser_of(score_of(curved, diffusion), diffusion)(x, t).numpy() == expected


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("x", [-2.0, 0.1, 3.0])
def test_what_is_seen_behind_the_noise_is_the_mean_of_the_data(sigma: float, x: float) -> None:
    """E[x_0 | x] with p(x_0 | x) ~ p(x_0) N(x; x_0, sigma^2), by the trapezoidal rule."""
    x0 = np.linspace(-5, 5, 2001)
    prior = TWO.log_prob(Tensor(x0[:, None])).exp().numpy()
    weight = prior * np.exp(-((x - x0) ** 2) / (2 * sigma**2))
    score = lambda x, sigma: TWO.score(x, spread=sigma)  # noqa: E731
    seen = denoised(score, Tensor(np.array([[x]])), sigma).item()
    assert seen == close(weight @ x0 / weight.sum())


# Learning a score


@given(sigmas=ladders)
def test_the_levels_of_a_ladder_fall_by_the_same_factor(sigmas: np.ndarray) -> None:
    assert (sigmas > 0).all() and (np.diff(sigmas) < 0).all()
    assert sigmas[:-1] / sigmas[1:] == close(np.full(len(sigmas) - 1, sigmas[0] / sigmas[1]))


def test_a_ladder_runs_from_the_largest_to_the_smallest() -> None:
    assert noise_ladder(1, 0.01, 3) == close(np.array([1, 0.1, 0.01]))
    for ends in [(1, 1, 3), (1, 2, 3), (1, 0, 3), (1, 0.1, 1)]:
        with pytest.raises(ValueError, match="largest > smallest > 0 and two levels at least"):
            noise_ladder(*ends)


@given(x=points, noise=points, sigma=sigmas_of_three)
def test_the_loss_is_the_weighted_one_of_the_paper(
    x: Tensor, noise: Tensor, sigma: np.ndarray
) -> None:
    """NCSN eq. 5, 1/2 |s(x~, sigma) + (x~ - x) / sigma^2|^2, for x~ = x + sigma eps, times sigma^2;
    eq. 6 is the mean over items and levels."""
    loss = denoising_score_matching(curved, x, sigma, noise).item()
    noisy = x.numpy() + sigma[:, None] * noise.numpy()
    missed = curved(Tensor(noisy), sigma).numpy() + (noisy - x.numpy()) / sigma[:, None] ** 2
    assert loss == close(np.mean(sigma**2 * 0.5 * (missed**2).sum(1)))


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.0])
def test_no_function_has_a_smaller_loss_than_the_score(sigma: float) -> None:
    """Data at -1 and 1, the noise by the trapezoidal rule, which is exact to rounding here. A score
    that is off by h costs sigma^2 / 2 E|h|^2 more, whatever h is (Vincent 2011)."""
    data = Mixture([[-1.0], [1.0]], 1e-9)
    noises = np.linspace(-8, 8, 161)
    weights = np.exp(-(noises**2) / 2)
    levels = np.array([sigma])

    def expected(f: Any) -> float:
        """The mean of f(x, eps), each (1, 1), over data and noise."""
        values = [
            (f(Tensor([[x]], dtype=np.float64), Tensor([[eps]], dtype=np.float64)).item())
            for x in (-1.0, 1.0)
            for eps in noises
        ]
        return float(np.tile(weights, 2) @ values / (2 * weights.sum()))

    def score(x: Tensor, sigma: np.ndarray) -> Tensor:
        return data.score(x, spread=sigma)

    def off(x: Tensor) -> Tensor:
        return 0.1 + 0.3 * T.sin(2 * x)

    def another(x: Tensor, sigma: np.ndarray) -> Tensor:
        return score(x, sigma) + off(x)

    least = expected(lambda x, eps: denoising_score_matching(score, x, levels, eps))
    more = expected(lambda x, eps: denoising_score_matching(another, x, levels, eps))
    cost = expected(lambda x, eps: T.square(off(x + sigma * eps)))
    assert more - least == pytest.approx(sigma**2 / 2 * cost, rel=1e-9)


class Wavy(nn.Module):
    """A denoiser of no particular kind, which keeps the levels that it was told."""

    def forward(self, x: Tensor, level: np.ndarray) -> Tensor:
        self.told = level.tolist()
        return T.sin(3 * x) + x[:, ::-1]


@given(diffusion=diffusions, x0=points, noise=points, data=st.data())
def test_matching_scores_is_the_simple_loss_of_ddpm(
    diffusion: Any, x0: Tensor, noise: Tensor, data: st.DataObject
) -> None:
    """x_t / sqrt(alpha_bar_t) = x_0 + sigma eps with sigma^2 = 1 / alpha_bar_t - 1, so a network
    that sees the one as a denoiser, and the other behind a score, has half its d-fold loss."""
    t = data.draw(st.integers(1, diffusion.T))
    sigma = np.full(3, math.sqrt(1 / diffusion.alpha_bar[t] - 1))
    network = Wavy()
    matching = denoising_score_matching(ScoreNetwork(network, sigma[:1]), x0, sigma, noise)
    assert matching.item() == close(2 / 2 * diffusion.loss(network, x0, t, noise).item())


def test_a_network_is_told_the_level_and_sees_numbers_as_large_as_the_data() -> None:
    sigmas, network = noise_ladder(4, 0.25, 5), Wavy()
    score = ScoreNetwork(network, sigmas)
    asked = np.array([4, 2, 1, 0.5, 0.25, 0.6, 2.9, 100, 1e-3])
    x = Tensor(np.ones((9, 2)))
    s = score(x, asked).numpy()
    assert network.told == [1, 2, 3, 4, 5, 4, 1, 1, 5]
    seen = 1 / np.sqrt(1 + asked**2)
    assert s[:, 0] == close(-(np.sin(3 * seen) + seen) / asked)


# Langevin dynamics


def gaussian_score(m: Any, S: Any) -> Any:
    """The score of data from N(m, S) with noise: that of N(m, S + sigma^2)."""
    return lambda x, sigma: (Tensor(m) - x) / (Tensor(S) + Tensor(sigma[:, None]) ** 2)


def probed(score: Any, sigmas: np.ndarray, step_size: float, steps: int) -> list[LangevinState]:
    """Annealed Langevin dynamics of probes: for item 0 all is zero, the start is 1 for item 1, one
    of the noises for each other."""
    x = np.zeros((2 + len(sigmas) * steps, 2))
    x[1] = 1
    rng: Any = Probes()
    return list(annealed_langevin(score, Tensor(x), sigmas, step_size, steps, rng))


positive = hnp.arrays(float, 2, elements=st.floats(0.1, 4), fill=st.nothing())
means = hnp.arrays(float, 2, elements=st.floats(-2, 2), fill=st.nothing())


@given(m=means, S=positive, share=st.floats(0.01, 0.9), sigma=st.floats(0.1, 1))
def test_a_chain_for_a_gaussian_settles_where_theory_says(
    m: np.ndarray, S: np.ndarray, share: float, sigma: float
) -> None:
    """For N(m, V) it is x' - m = (1 - delta / 2V) (x - m) + sqrt(delta) z, which keeps the mean m
    and the variance V / (1 - delta / 4V); any other start comes closer at every step."""
    V = S + sigma**2
    step_size = share * 4 * V.min()
    rng: Any = Probes()
    start = np.zeros((8, 2))
    start[1] = 1
    states = langevin(gaussian_score(m, S), Tensor(start), sigma, step_size, 6, rng)
    settled = V / (1 - step_size / (4 * V))
    shrinks = 1 - step_size / (2 * V)
    for k, state in enumerate(states):
        mean, variance = moments(state.x.numpy(), m, settled)
        assert mean == close(m) and variance == close(settled)
        mean, variance = moments(state.x.numpy(), 0.0, 0.0)
        assert mean - m == close(-(shrinks**k) * m)
        assert variance - settled == close(-(shrinks ** (2 * k)) * settled)
    assert k == 6


def test_the_variance_of_a_chain_for_a_standard_normal_is_the_documented_one() -> None:
    """1 / (1 - delta / 4) for data at 0 with sigma = 1: the mean of a long chain's squares."""
    for delta, variance in [(1.0, 4 / 3), (2.0, 2.0), (3.0, 4.0)]:
        *_, last = probed(gaussian_score(np.zeros(2), np.zeros(2)), np.ones(1), delta, 60)
        assert moments(last.x.numpy(), 0.0, 0.0)[1] == close(np.full(2, variance))


@given(m=means, S=positive, sigmas=ladders, share=st.floats(0.01, 0.9), steps=st.integers(1, 3))
def test_annealing_transports_means_and_variances(
    m: np.ndarray, S: np.ndarray, sigmas: np.ndarray, share: float, steps: int
) -> None:
    """NCSN Algorithm 1 for data from N(m, S): at level i delta = epsilon sigma_i^2 / sigma_L^2."""
    step_size = share * sigmas[-1] ** 2
    states = iter(probed(gaussian_score(m, S), sigmas, step_size, steps))
    first = next(states)
    assert first.sigma == sigmas[0]
    mean, variance = moments(first.x.numpy())
    for i, sigma in enumerate(sigmas):
        delta = step_size * (sigmas[i] / sigmas[-1]) ** 2
        for _ in range(steps):
            shrinks = 1 - delta / 2 / (S + sigma**2)
            mean, variance = m + shrinks * (mean - m), shrinks**2 * variance + delta
            state = next(states)
            assert state.sigma == sigma
            assert moments(state.x.numpy()) == (close(mean), close(variance))
    assert next(states, None) is None


def test_annealing_comes_from_afar_to_the_data_ever_better_with_smaller_steps() -> None:
    """From 30 to N(1, 0.2^2), which with the last noise has the variance 0.05."""
    sigmas, errors = noise_ladder(10, 0.1, 20), []
    score = gaussian_score(np.ones(2), np.full(2, 0.04))
    for share, steps in [(1.0, 10), (0.5, 30), (0.25, 90)]:
        last = probed(score, sigmas, share * 0.01, steps)[-1]
        mean, variance = moments(last.x.numpy(), 30.0, 0.0)
        assert mean == pytest.approx(1, abs=0.01)
        errors.append(abs(variance[0] / 0.05 - 1))
    assert sorted(errors, reverse=True) == errors and errors[-1] < 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chains_keep_dtype_and_device_and_record_nothing(device: str, dtype: type) -> None:
    weight = Tensor(np.ones(1), requires_grad=True, dtype=dtype, device=device)
    x = Tensor(np.ones((2, 1)), dtype=dtype, device=device)
    rng = np.random.default_rng(0)
    states = annealed_langevin(lambda x, sigma: weight * x, x, noise_ladder(2, 1, 2), 0.1, 2, rng)
    for y in [*(state.x for state in states), denoised(lambda x, sigma: weight * x, x, 0.5)]:
        assert y.dtype == dtype and y.device == x.device and not y.requires_grad


def test_a_seed_makes_a_chain() -> None:
    def ends(seed: int) -> Iterator[float]:
        rng, x = np.random.default_rng(seed), Tensor(np.ones((2, 1)))
        for state in langevin(lambda x, sigma: TWO.score(x), x, 0.0, 0.1, 3, rng):
            yield from state.x.numpy().ravel().tolist()

    one, again, other = (list(ends(seed)) for seed in (0, 0, 1))
    assert one == again != other and len(set(one)) == 7  # the two starts are the same
