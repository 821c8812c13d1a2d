"""The diffusion model against closed forms: for Gaussian data the best denoiser is known, so
nothing is trained."""

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.models.ddpm import SCHEDULES, Diffusion, SamplerState, beta_schedule
from tensor import Tensor
from tensor.strategies import tensors
from tests.minigen.oracles import (
    Gaussian,
    Probes,
    close,
    diffusions,
    gaussians,
    moments,
    scenes,
    silent,
)


def timed(x: Tensor, t: np.ndarray) -> Tensor:
    """A denoiser that reads a timestep for each item."""
    return x * Tensor(t[:, None])


# Schedules


@given(name=st.sampled_from(SCHEDULES), T=st.integers(1, 300))
def test_every_schedule_loses_some_signal_at_every_step(name: str, T: int) -> None:
    diffusion = Diffusion(beta_schedule(name, T))
    assert diffusion.T == T and diffusion.alpha_bar.shape == (T + 1,)
    assert diffusion.alpha_bar[0] == 1 and diffusion.beta[0] == diffusion.beta_tilde[0] == 0
    assert (np.diff(diffusion.alpha_bar) < 0).all() and diffusion.alpha_bar[-1] > 0


@pytest.mark.parametrize(("name", "T"), [("constant", 342), ("linear", 683), ("quadratic", 958)])
def test_the_first_schedule_that_leaves_a_thousandth_has_as_many_steps_as_promised(
    name: str, T: int
) -> None:
    """alpha_bar_T is the share of the data's variance in x_T, a product of 1 - beta_t."""
    shares = [math.prod(1 - beta_schedule(name, steps)) for steps in (T - 1, T, 1000)]
    assert shares[0] >= 1e-3 > shares[1] > shares[2]


@given(T=st.integers(1, 300))
def test_the_cosine_schedule_leaves_at_most_a_thousandth_whatever_the_steps(T: int) -> None:
    assert math.prod(1 - beta_schedule("cosine", T)) <= 1e-3 * (1 + 1e-9)


def test_the_linear_schedule_leaves_of_the_data_at_a_thousand_steps_what_ddpm_does() -> None:
    """4e-5 of the variance: nearly nothing, as appendix B asks of L_T."""
    assert math.prod(1 - beta_schedule("linear", 1000)) == pytest.approx(4e-5, rel=0.02)


@given(T=st.integers(1, 300))
def test_the_cosine_schedule_follows_its_paper(T: int) -> None:
    """Nichol & Dhariwal 2021 eq. 17; only the last beta is clipped."""
    f = [math.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(T)]
    assert Diffusion(beta_schedule("cosine", T)).alpha_bar[:-1] == close(np.array(f) / f[0])


def test_the_other_schedules_run_between_the_ends_of_the_linear_one() -> None:
    assert beta_schedule("linear", 3) == close(np.array([1e-4, 0.01005, 0.02]))
    assert np.sqrt(beta_schedule("quadratic", 3)) == close(
        np.array([0.01, (0.01 + 0.02**0.5) / 2, 0.02**0.5])
    )
    assert beta_schedule("constant", 3).tolist() == [0.02, 0.02, 0.02]


def test_unknown_schedules_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'sigmoid'.*cosine, linear, quadratic, constant"):
        beta_schedule("sigmoid", 10)
    with pytest.raises(ValueError, match="T must be at least 1"):
        beta_schedule("linear", 0)


@pytest.mark.parametrize("beta", [[], [0.0], [1.0], [-0.1], [math.nan], [[0.1]], 0.1])
def test_betas_are_a_vector_strictly_between_zero_and_one(beta: Any) -> None:
    with pytest.raises(ValueError, match="Diffusion: beta"):
        Diffusion(beta)


# The forward process


@given(diffusion=diffusions)
def test_single_steps_compose_to_the_closed_form(diffusion: Diffusion) -> None:
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps, t times over, is one draw of eq. 4."""
    factor, variance = 1.0, 0.0
    one, zero = Tensor(np.ones(1)), Tensor(np.zeros(1))
    for t in range(1, diffusion.T + 1):
        factor *= math.sqrt(1 - diffusion.beta[t])
        variance = (1 - diffusion.beta[t]) * variance + diffusion.beta[t]
        assert diffusion.q_sample(one, t, zero).item() == close(factor)
        assert diffusion.q_sample(zero, t, one).item() ** 2 == close(variance)


@given(scene=scenes())
def test_the_posterior_follows_from_bayes_rule(scene) -> None:
    """q(x_{t-1} | x_t, x_0) ~ q(x_t | x_{t-1}) q(x_{t-1} | x_0): precisions add, and weigh the
    means."""
    diffusion, times, x0, xt, _ = scene
    mean, variance = diffusion.q_posterior(x0, xt, times)
    for t in times[1:]:
        alpha, before = diffusion.alpha[t], diffusion.alpha_bar[t - 1]
        likelihood, prior = alpha / (1 - alpha), 1 / (1 - before)
        centre, prior_mean = (
            xt.numpy()[t - 1] / math.sqrt(alpha),
            math.sqrt(before) * x0.numpy()[t - 1],
        )
        assert variance.numpy()[t - 1] == close(1 / (likelihood + prior))
        assert mean.numpy()[t - 1] == close(
            (likelihood * centre + prior * prior_mean) / (likelihood + prior)
        )


@given(scene=scenes())
def test_before_the_first_step_the_posterior_is_x0_itself(scene) -> None:
    diffusion, _, x0, xt, _ = scene
    mean, variance = diffusion.q_posterior(x0, xt, 1)
    assert mean.numpy() == close(x0.numpy()) and not variance.numpy().any()


@given(scene=scenes())
def test_equation_7_with_predicted_noise_is_equation_11(scene) -> None:
    diffusion, times, _, xt, noise = scene
    mean, _ = diffusion.q_posterior(diffusion.predict_x0(xt, times, noise), xt, times)
    beta, alpha, alpha_bar = (
        v[times, None] for v in (diffusion.beta, diffusion.alpha, diffusion.alpha_bar)
    )
    equation_11 = (xt.numpy() - beta / np.sqrt(1 - alpha_bar) * noise.numpy()) / np.sqrt(alpha)
    assert mean.numpy() == pytest.approx(equation_11, rel=1e-7, abs=1e-7)


@given(scene=scenes())
def test_predict_x0_inverts_q_sample(scene) -> None:
    diffusion, times, x0, _, noise = scene
    recovered = diffusion.predict_x0(diffusion.q_sample(x0, times, noise), times, noise)
    assert recovered.numpy() == pytest.approx(x0.numpy(), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("t", [[-1, 1], [1, 4], [1.0, 2.0], [True, True]])
@pytest.mark.parametrize("method", ["q_sample", "q_posterior", "predict_x0"])
def test_timesteps_are_integers_in_range(device: str, method: str, t: list) -> None:
    x = Tensor(np.ones((2, 1)), device=device)
    arguments = {"q_sample": (x, t, x), "q_posterior": (x, x, t), "predict_x0": (x, t, x)}[method]
    with pytest.raises(IndexError, match=r"integers in \d\.\.3"):
        getattr(Diffusion(beta_schedule("linear", 3)), method)(*arguments)


@pytest.mark.parametrize(
    ("x", "y", "t"),
    [
        ((2, 3), (1, 3), (2,)),
        ((2, 1), (2, 3), (2,)),
        ((1, 3), (2, 3), (2,)),
        ((2, 3), (2, 3), (3,)),
        ((2, 3), (2, 3), (1,)),
        ((2, 3), (2, 3), (2, 1)),
        ((0, 3), (0, 3), (0,)),
        ((0, 3), (0, 3), ()),
    ],
)
@pytest.mark.parametrize("method", ["q_sample", "q_posterior", "predict_x0", "loss"])
def test_nothing_is_broadcast_but_a_single_timestep(
    method: str, x: tuple[int, ...], y: tuple[int, ...], t: tuple[int, ...]
) -> None:
    diffusion, a, b, times = (
        Diffusion(beta_schedule("linear", 3)),
        Tensor(np.ones(x)),
        Tensor(np.ones(y)),
        np.ones(t, int),
    )
    calls = {
        "q_sample": lambda: diffusion.q_sample(a, times, b),
        "q_posterior": lambda: diffusion.q_posterior(a, b, times),
        "predict_x0": lambda: diffusion.predict_x0(a, times, b),
        "loss": lambda: diffusion.loss(silent, a, times, b),
    }
    with pytest.raises(ValueError, match=re.escape(f"{x} and {y} with timesteps {t}, expected")):
        calls[method]()


@given(scene=scenes(), data=st.data())
def test_a_single_timestep_is_that_of_every_item(scene, data: st.DataObject) -> None:
    diffusion, times, x0, xt, noise = scene
    t = data.draw(st.integers(1, diffusion.T))
    every = np.full(len(times), t)
    for one, same in [
        (diffusion.q_sample(x0, t, noise), diffusion.q_sample(x0, every, noise)),
        (diffusion.q_posterior(x0, xt, t)[0], diffusion.q_posterior(x0, xt, every)[0]),
        (diffusion.predict_x0(xt, t, noise), diffusion.predict_x0(xt, every, noise)),
        (diffusion.loss(timed, x0, t, noise), diffusion.loss(timed, x0, every, noise)),
    ]:
        assert np.array_equal(one.numpy(), same.numpy())


def test_at_time_zero_there_is_neither_a_step_back_nor_a_loss() -> None:
    """A training loop that draws t from 0..T-1 is a mistake to be reported."""
    diffusion, x, t = (
        Diffusion(beta_schedule("linear", 3)),
        Tensor(np.ones((2, 1))),
        np.array([0, 1]),
    )
    with pytest.raises(IndexError):
        diffusion.q_posterior(x, x, t)
    with pytest.raises(IndexError):
        diffusion.loss(silent, x, t, x)


@given(scene=scenes(), w=st.floats(-2, 2))
def test_the_loss_is_the_mean_square_and_moves_only_the_denoiser(scene, w: float) -> None:
    diffusion, times, x0, _, noise = scene
    weight = Tensor(np.array(w), requires_grad=True)
    loss = diffusion.loss(lambda x, t: weight * x, x0, times, noise)
    loss.backward()
    xt = diffusion.q_sample(x0, times, noise).numpy()
    error = w * xt - noise.numpy()
    assert loss.item() == close(np.mean(error**2))
    assert weight.grad is not None and weight.grad.item() == close(np.mean(2 * error * xt))
    assert x0.grad is None and noise.grad is None


# Samplers


def sampled(
    diffusion: Diffusion, sampler: str, denoiser: Any, x: Tensor, seed: int = 0
) -> list[SamplerState]:
    """All states of a sampler that takes every step and clips."""
    if sampler == "ddim":
        return list(diffusion.ddim(denoiser, x, diffusion.T))
    return list(diffusion.ancestral(denoiser, x, np.random.default_rng(seed)))


def probed(g: Gaussian, variance: str) -> Iterator[SamplerState]:
    """Ancestral sampling of probes: for item 0 all is zero, x_T is 1 for item 1, one of the noises
    for each other."""
    x = np.zeros((g.diffusion.T + 1, 2))
    x[1] = 1
    rng: Any = Probes()
    return g.diffusion.ancestral(g.denoiser, Tensor(x), rng, variance, clip_x0=None)


@given(g=gaussians, slope=st.floats(-1, 1), offset=st.floats(-1, 1))
def test_the_best_denoiser_has_the_smallest_loss(g: Gaussian, slope: float, offset: float) -> None:
    """The loss is quadratic in x_0 and eps: over the corners m +- sqrt(S) and +-1 it averages to
    its expectation."""
    x0 = Tensor(g.m + np.sqrt(g.S) * np.array([[1], [1], [-1], [-1]]))
    noise = Tensor(np.array([[1.0, 1.0], [-1.0, -1.0]] * 2))
    for t in range(1, g.diffusion.T + 1):
        times, a, V = np.full(4, t), g.a(t), g.V(t)
        least = g.diffusion.loss(g.denoiser, x0, times, noise).item()
        other = g.diffusion.loss(
            lambda x, t: g.denoiser(x, t) + (slope * x + offset), x0, times, noise
        ).item()
        assert least == close(np.mean(a**2 * g.S / V))
        assert other - least == close(np.mean(slope**2 * V + (slope * a * g.m + offset) ** 2))


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@given(g=gaussians)
def test_ancestral_sampling_transports_means_and_variances(variance: str, g: Gaussian) -> None:
    """By the tower rule a step goes to E[x_{t-1} | x_t] = a_{t-1} m + k (x_t - a_t m), k =
    sqrt(alpha_t) V_{t-1} / V_t.

    To that comes noise of variance beta_t or beta-tilde_t, except in the last step.
    """
    diffusion, m = g.diffusion, g.m
    sigma2 = diffusion.beta if variance == "beta" else diffusion.beta_tilde
    mean, var = np.zeros(2), np.ones(2)
    for t, x, _ in probed(g, variance):
        assert moments(x.numpy()) == (close(mean), close(var))
        k = np.sqrt(diffusion.alpha[t]) * g.V(t - 1) / g.V(t)
        mean = g.a(t - 1) * m + k * (mean - g.a(t) * m)
        var = k**2 * var + sigma2[t] * (t > 1)


@pytest.mark.parametrize(("variance", "S"), [("beta", 1.0), ("beta_tilde", 0.0)])
@given(diffusion=diffusions, m=st.floats(-2, 2))
def test_each_variance_is_exact_for_its_data(
    variance: str, S: float, diffusion: Diffusion, m: float
) -> None:
    """beta_t for data from N(m, I), beta-tilde_t for a single point: DDPM sec. 3.2, where m = 0.
    Only the last step has no noise."""
    g = Gaussian(diffusion, np.full(2, m), np.full(2, S))
    for t, x, _ in probed(g, variance):
        mean, var = moments(x.numpy(), g.a(diffusion.T) * g.m, g.V(diffusion.T))
        assert mean == close(g.a(t) * g.m)
        assert var == close(g.V(t) if t else S * (1 - diffusion.beta[1]))


def test_the_last_step_adds_no_noise() -> None:
    only_step, x = Diffusion(beta_schedule("constant", 1)), Tensor(np.full((3, 2), 0.1))
    one, other = (sampled(only_step, "ancestral", silent, x, seed)[-1].x.numpy() for seed in (0, 1))
    assert np.array_equal(one, other)


@given(g=gaussians, data=st.data())
def test_ddim_is_the_affine_map_that_theory_gives(g: Gaussian, data: st.DataObject) -> None:
    """x_s - a_s m = k (x_t - a_t m) with k = (a_s a_t S + b_s b_t) / V_t, for t and s the timesteps
    that are kept."""
    steps = data.draw(st.integers(1, g.diffusion.T))
    states = list(
        g.diffusion.ddim(
            g.denoiser, Tensor(np.array([[0.0, 0.0], [1.0, 1.0]])), steps, clip_x0=None
        )
    )
    for (t, x, _), (s, y, _) in pairwise(states):
        k = (g.a(s) * g.a(t) * g.S + g.b(s) * g.b(t)) / g.V(t)
        assert y.numpy() == close(g.a(s) * g.m + k * (x.numpy() - g.a(t) * g.m))


@given(g=gaussians, seed=st.integers(0, 9))
def test_ddim_with_eta_1_is_ancestral_sampling(g: Gaussian, seed: int) -> None:
    """With every step kept, and beta-tilde: DDIM sec. 4.1."""
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    x = Tensor(np.array([[0.3, -1.0]]))
    ddim = g.diffusion.ddim(g.denoiser, x, g.diffusion.T, None, 1.0, rngs[0])
    ancestral = g.diffusion.ancestral(g.denoiser, x, rngs[1], "beta_tilde", None)
    for one, other in zip(ddim, ancestral, strict=True):
        assert one.t == other.t
        assert one.x.numpy() == pytest.approx(other.x.numpy(), rel=1e-7, abs=1e-7)


@given(diffusion=diffusions, m=st.floats(-2, 2), eta=st.floats(0, 1), data=st.data())
def test_ddim_keeps_the_marginals_with_any_noise(
    diffusion: Diffusion, m: float, eta: float, data: st.DataObject
) -> None:
    """DDIM lemma 1, for data at a single point; the first noise has the sigma of eq. 16."""
    g, steps = (
        Gaussian(diffusion, np.full(2, m), np.zeros(2)),
        data.draw(st.integers(1, diffusion.T)),
    )
    x, rng = np.zeros((diffusion.T + 2, 2)), Probes()
    x[1] = 1
    probes: Any = rng
    states = list(diffusion.ddim(g.denoiser, Tensor(x), steps, None, eta, probes))
    for t, x_t, _ in states:
        mean, variance = moments(x_t.numpy(), g.a(diffusion.T) * m, g.b(diffusion.T) ** 2)
        assert mean == close(np.full(2, g.a(t) * m))
        assert variance == pytest.approx(np.full(2, g.b(t) ** 2), rel=1e-7, abs=1e-7)
    t, s = diffusion.T, states[1].t
    added = states[1].x.numpy()[2] - states[1].x.numpy()[0]
    sigma = eta * g.b(s) / g.b(t) * math.sqrt(1 - diffusion.alpha_bar[t] / diffusion.alpha_bar[s])
    assert added == close(np.full(2, sigma))


@given(T=st.integers(1, 60), data=st.data())
def test_ddim_goes_down_evenly_from_T_to_0(T: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, T))
    states = Diffusion(beta_schedule("linear", T)).ddim(silent, Tensor(np.ones((1, 1))), steps)
    kept = np.array([state.t for state in states])
    assert len(kept) == steps + 1 and kept[0] == T and kept[-1] == 0
    assert (kept[:-1] > kept[1:]).all() and abs(kept[:-1] - kept[1:] - T / steps).max() < 1


def test_ddim_turns_noise_into_data_ever_better_with_more_steps() -> None:
    g = Gaussian(Diffusion(beta_schedule("cosine", 300)), np.array([0.5]), np.array([0.09]))
    errors = []
    for steps in (3, 10, 30, 100, 300):
        *_, last = g.diffusion.ddim(
            g.denoiser, Tensor(np.array([[0.0], [1.0]])), steps, clip_x0=None
        )
        mean, var = moments(last.x.numpy())
        assert abs(mean.item() - 0.5) < 1e-4
        errors.append(abs(math.sqrt(var.item()) - 0.3))
    assert sorted(errors, reverse=True) == errors and errors[-1] < 0.003


@given(diffusion=diffusions, x=tensors((3, 2), min_value=-4, max_value=4))
def test_ddim_derives_the_noise_anew_from_the_clipped_x0(diffusion: Diffusion, x: Tensor) -> None:
    for before, after in pairwise(sampled(diffusion, "ddim", silent, x.detach())):
        a, xt = math.sqrt(diffusion.alpha_bar[before.t]), before.x.numpy()
        x0 = np.clip(xt / a, -1, 1)
        noise = (xt - a * x0) / math.sqrt(1 - a * a)
        a = math.sqrt(diffusion.alpha_bar[after.t])
        assert after.x0 is not None and after.x0.numpy() == close(x0)
        assert after.x.numpy() == close(a * x0 + math.sqrt(1 - a * a) * noise)


@given(diffusion=diffusions, x=tensors((3, 2), min_value=-4, max_value=4))
def test_clipped_ancestral_samples_end_inside_the_box(diffusion: Diffusion, x: Tensor) -> None:
    first, *_, last = sampled(diffusion, "ancestral", silent, x.detach())
    assert first.x0 is None and last.x0 is not None
    assert abs(last.x.numpy()).max() <= 1 + 1e-12 and last.x.numpy() == close(last.x0.numpy())


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samplers_keep_dtype_and_device_and_record_nothing(
    device: str, sampler: str, dtype: type
) -> None:
    weight = Tensor(np.ones(1), requires_grad=True, dtype=dtype, device=device)
    x = Tensor(np.ones((2, 1)), dtype=dtype, device=device)
    for state in sampled(
        Diffusion(beta_schedule("cosine", 4)), sampler, lambda x, t: weight * x, x
    ):
        assert state.x.dtype == dtype and state.x.device == x.device and not state.x.requires_grad


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_only_ancestral_sampling_depends_on_the_generator(sampler: str) -> None:
    diffusion, x = Diffusion(beta_schedule("cosine", 4)), Tensor(np.full((2, 1), 0.1))
    one, again, other = (
        sampled(diffusion, sampler, silent, x, seed)[-1].x.numpy() for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert np.array_equal(one, other) == (sampler == "ddim")


@pytest.mark.parametrize("steps", [-1, 0, 5])
def test_ddim_takes_between_one_and_T_steps(steps: int) -> None:
    with pytest.raises(ValueError, match=r"steps must lie in 1\.\.4"):
        next(Diffusion(beta_schedule("cosine", 4)).ddim(silent, Tensor(np.ones((1, 1))), steps))


def test_there_are_two_variances() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="'beta' or 'beta_tilde', got 'both'"):
        next(
            Diffusion(beta_schedule("cosine", 4)).ancestral(
                silent, Tensor(np.ones((1, 1))), rng, "both"
            )
        )
