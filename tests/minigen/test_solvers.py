"""Solvers of the probability-flow ODE against its solutions, which for Gaussian data are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.models.ddpm import Diffusion, beta_schedule
from minigen.models.predictions import PREDICTIONS, Prediction
from minigen.models.solvers import dpm_solver, heun
from tensor import Tensor
from tests.minigen.oracles import Gaussian, close, gaussians, silent

SOLVERS: dict[str, Callable] = {"heun": heun, "dpm_solver": dpm_solver}

g = Gaussian(Diffusion(beta_schedule("cosine", 4096)), np.array([0.5]), np.array([0.09]))
"""Data in a process of so many steps that few of them are as good as continuous."""


def error(solver: Callable, steps: int) -> float:
    """How far x_s is from the solution: (x_s - a_s m) / sqrt(V_s) stays as it is."""
    start, end = 3584, 1024
    times = np.linspace(start, end, steps + 1).astype(int).tolist()
    x = Tensor(np.array([[0.7], [-1.3]]))
    *_, last = solver(g.diffusion, g.denoiser, x, times, None)
    there = (x.numpy() - g.a(start) * g.m) * np.sqrt(g.V(end) / g.V(start)) + g.a(end) * g.m
    return float(abs(last.x.numpy() - there).max())


def euler(diffusion: Diffusion, denoiser: Any, x: Tensor, times: list[int], clip: None) -> Any:
    """DDIM between the given times."""
    for t, s in zip(times, times[1:]):
        x = diffusion.q_sample(
            *diffusion.seen(denoiser, x, t, clip)[:1], s, denoiser(x, np.full(len(x), t))
        )
        yield type("State", (), {"x": x})


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2), (dpm_solver, 2)])
def test_halving_the_steps_divides_the_error_by_two_to_the_order(
    solver: Callable, order: int
) -> None:
    errors = np.array([error(solver, steps) for steps in (32, 64, 128, 256)])
    assert np.log2(errors[:-1] / errors[1:]) == pytest.approx(order, abs=0.05)


@given(x=st.floats(-3, 3), s=st.integers(1, 4095), data=st.data())
def test_a_step_of_heun_takes_the_mean_of_the_slopes_at_both_ends(
    x: float, s: int, data: st.DataObject
) -> None:
    """Karras et al. 2022 Algorithm 1, lines 4 to 8, for y = x / a and sigma = b / a."""
    t = data.draw(st.integers(s + 1, 4096))

    def slope(y: float, t: int) -> float:
        return g.denoiser(Tensor(np.array([[g.a(t) * y]])), np.array([t])).item()

    y, h = x / g.a(t), g.b(s) / g.a(s) - g.b(t) / g.a(t)
    euler = y + h * slope(y, t)
    expected = y + h * (slope(y, t) + slope(euler, s)) / 2
    *_, last = heun(g.diffusion, g.denoiser, Tensor(np.array([[x]])), [t, s], None)
    assert last.x.item() == pytest.approx(g.a(s) * expected, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@given(x=st.floats(-3, 3), t=st.integers(1, 4096))
def test_one_step_to_data_is_what_the_denoiser_sees(solver: Callable, x: float, t: int) -> None:
    start = Tensor(np.array([[x]]))
    *_, last = solver(g.diffusion, g.denoiser, start, [t, 0], None)
    assert last.t == 0 and last.x.numpy() == close(
        g.diffusion.seen(g.denoiser, start, t, None)[0].numpy()
    )


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@given(data=st.data(), point=gaussians)
def test_of_data_at_one_point_any_steps_end_there(
    solver: Callable, data: st.DataObject, point: Gaussian
) -> None:
    """What is seen is the same at every time: x_0 = m."""
    point = Gaussian(point.diffusion, point.m, 0 * point.S)
    T = point.diffusion.T
    times = [T, *sorted(data.draw(st.sets(st.integers(1, T))) - {T}, reverse=True), 0]
    x = Tensor(np.array([[1.0, -2.0]]))
    states = list(solver(point.diffusion, point.denoiser, x, times, None))
    assert [state.t for state in states] == times
    assert states[-1].x.numpy() == pytest.approx(point.m[None], rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_solvers_clip_keep_dtype_and_device_and_record_nothing(
    device: str, solver: Callable, dtype: type
) -> None:
    diffusion = Diffusion(beta_schedule("cosine", 8))
    weight = Tensor(np.zeros(1), requires_grad=True, dtype=dtype, device=device)
    x = Tensor(np.full((2, 1), 3.0), dtype=dtype, device=device)
    *states, last = solver(diffusion, lambda x, t: weight * x, x, [8, 5, 2, 0], 0.5)
    for state in (*states, last):
        assert state.x.dtype == dtype and state.x.device == x.device and not state.x.requires_grad
    assert last.x.numpy() == close(np.full((2, 1), 0.5))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "beta",
    [*(beta_schedule("constant", T) for T in (10_000, 100_000)), np.full(1200, 0.6)],
    ids=["1e-88", "the least float64", "0"],
)
def test_in_a_long_process_that_leaves_nothing_they_stay_finite(beta: np.ndarray) -> None:
    """Of alpha_bar_T are left 1e-88, the least that a float64 can be, and 0."""
    diffusion = Diffusion(beta)
    x = Tensor(np.ones((2, 2)), dtype=np.float32)
    for name in PREDICTIONS:
        denoiser = Prediction(name, diffusion).denoiser(silent)
        for solver in SOLVERS.values():
            *_, last = solver(diffusion, denoiser, x, diffusion.spread_times(20), 1.0)
            assert np.isfinite(last.x.numpy()).all() and abs(last.x.numpy()).max() <= 1
        for eta in (0.0, 1.0):
            rng = np.random.default_rng(0)
            *_, last = diffusion.ddim(denoiser, x, 20, 1.0, eta, rng)
            assert np.isfinite(last.x.numpy()).all() and abs(last.x.numpy()).max() <= 1
