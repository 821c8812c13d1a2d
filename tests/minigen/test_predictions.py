"""Four things that a network may predict are one: each follows from each."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.models.bound import bound
from minigen.models.ddpm import Diffusion, beta_schedule
from minigen.models.predictions import PREDICTIONS, Prediction
from tensor import Tensor
from tests.minigen.oracles import Gaussian, close, gaussians, scenes

names = st.sampled_from(PREDICTIONS)


@given(scene=scenes(), name=names)
def test_from_what_is_predicted_follow_x0_and_noise(scene, name: str) -> None:
    diffusion, times, x0, _, noise = scene
    xt, prediction = diffusion.q_sample(x0, times, noise), Prediction(name, diffusion)
    predicted = prediction.target(x0, noise, times)
    tolerance: dict[str, Any] = {"rel": 1e-7, "abs": 1e-7}
    assert prediction.x0(xt, predicted, times).numpy() == pytest.approx(x0.numpy(), **tolerance)
    assert prediction.noise(xt, predicted, times).numpy() == pytest.approx(
        noise.numpy(), **tolerance
    )


@given(scene=scenes())
def test_the_targets_are_those_of_the_papers(scene) -> None:
    diffusion, times, x0, _, noise = scene
    xt = diffusion.q_sample(x0, times, noise)
    a, b = (np.sqrt(v[times, None]) for v in (diffusion.alpha_bar, 1 - diffusion.alpha_bar))
    targets = {
        name: Prediction(name, diffusion).target(x0, noise, times).numpy() for name in PREDICTIONS
    }
    assert targets["noise"] == close(noise.numpy()) and targets["x0"] == close(x0.numpy())
    assert targets["v"] == close(a * noise.numpy() - b * x0.numpy())
    assert targets["mean"] == close(diffusion.q_posterior(x0, xt, times)[0].numpy())


@given(scene=scenes())
def test_v_turns_x_t_by_a_right_angle(scene) -> None:
    """|x_t|^2 + |v|^2 = |x_0|^2 + |eps|^2: both are the same rotation of (x_0, eps)."""
    diffusion, times, x0, _, noise = scene
    xt = diffusion.q_sample(x0, times, noise).numpy()
    v = Prediction("v", diffusion).target(x0, noise, times).numpy()
    assert xt**2 + v**2 == close(x0.numpy() ** 2 + noise.numpy() ** 2)


@given(g=gaussians, name=names)
def test_the_best_network_for_each_is_the_best_denoiser(g: Gaussian, name: str) -> None:
    """The best network predicts E[target | x_t], the target of E[x_0 | x_t] and E[eps | x_t]."""
    diffusion = g.diffusion
    x, prediction = Tensor(np.array([[0.3, -2.0]] * diffusion.T)), Prediction(name, diffusion)
    times = np.arange(1, diffusion.T + 1)
    a, b, V = g.a(times)[:, None], g.b(times)[:, None], g.V(times[:, None])
    best_x0 = Tensor(g.m + a * g.S / V * (x.numpy() - a * g.m))
    best_noise = Tensor(b / V * (x.numpy() - a * g.m))
    denoiser = prediction.denoiser(lambda x, t: prediction.target(best_x0, best_noise, t))
    expected = g.denoiser(x, times).numpy()
    assert denoiser(x, times).numpy() == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(scene=scenes(), name=names, w=st.floats(-2, 2))
def test_the_loss_is_the_mean_square_error_of_what_is_predicted(scene, name: str, w: float) -> None:
    diffusion, times, x0, _, noise = scene
    prediction = Prediction(name, diffusion)
    loss = prediction.loss(lambda x, t: w * x, x0, times, noise)
    error = w * diffusion.q_sample(x0, times, noise) - prediction.target(x0, noise, times)
    assert loss.item() == close(np.mean(error.numpy() ** 2))
    if name == "noise":
        assert loss.item() == diffusion.loss(lambda x, t: w * x, x0, times, noise).item()


@given(scene=scenes(), name=names, w=st.floats(-2, 2), data=st.data())
def test_weighted_the_loss_is_a_term_of_the_bound_but_for_what_no_network_changes(
    scene, name: str, w: float, data: st.DataObject
) -> None:
    """L_{t-1} of a network that errs, less that of one that knows the noise; eq. 12."""
    diffusion, _, x0, _, noise = scene
    t, prediction = data.draw(st.integers(1, diffusion.T)), Prediction(name, diffusion)

    class Known:
        def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            return noise.numpy()

    def network(x: Tensor, t: np.ndarray) -> Tensor:
        return w * x + 0.3

    rng: Any = Known()
    erring, knowing = (
        bound(diffusion, denoiser, x0, rng, "beta", clip_x0=None)[t - 1]
        for denoiser in (prediction.denoiser(network), lambda x, t: noise)
    )
    loss = prediction.loss(network, x0, np.full(len(x0), t), noise, weighting="bound")
    expected = np.mean(erring - knowing) / x0[0].numel()
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_v_needs_no_large_factors_however_little_signal_is_left() -> None:
    diffusion = Diffusion(beta_schedule("constant", 2000))
    assert diffusion.signal[-1] < 1e-8
    prediction = Prediction("v", diffusion)
    for weights in (*prediction.x0_from, *prediction.noise_from):
        assert abs(weights[1:]).max() <= 1
    assert math.isclose(
        abs(Prediction("noise", diffusion).x0_from[1][-1]), 1 / diffusion.signal[-1]
    )


def test_the_known_predictions_are_named() -> None:
    with pytest.raises(ValueError, match="noise, x0, v, mean, got 'score'"):
        Prediction("score", Diffusion(beta_schedule("cosine", 3)))
