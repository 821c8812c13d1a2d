"""Mixtures of Gaussians against Bayes' rule: integrals over a line, and gradients of densities."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tensor as T
from minigen.models.ddpm import Diffusion, beta_schedule
from minigen.models.mixture import Mixture
from tensor import Tensor
from tensor.strategies import tensors

LINE = np.linspace(-12, 12, 6001)
STEP = LINE[1] - LINE[0]


def mixtures(d: int) -> st.SearchStrategy[Mixture]:
    def arrays(low: float, high: float, *shape: int) -> st.SearchStrategy[np.ndarray]:
        return hnp.arrays(float, shape, elements=st.floats(low, high), fill=st.nothing())

    return st.integers(1, 3).flatmap(
        lambda K: st.builds(Mixture, arrays(-2, 2, K, d), arrays(0.3, 1.5, K, d), arrays(0.1, 1, K))
    )


def normal(x: Any, mean: Any, std: Any) -> Any:
    return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))


@given(mixture=mixtures(2), data=st.data())
def test_the_density_is_the_weighted_sum_of_normal_densities(
    mixture: Mixture, data: st.DataObject
) -> None:
    x = data.draw(tensors((4, 2), min_value=-3, max_value=3)).detach()
    components = normal(x.numpy()[:, None], mixture.means, mixture.std).prod(2) * mixture.weights
    p = components.sum(1)
    assert mixture.log_prob(x).numpy() == pytest.approx(np.log(p))
    assert mixture.posterior(x).numpy() == pytest.approx(components / p[:, None])


@given(mixture=mixtures(1), a=st.floats(0.1, 1.5), b=st.floats(0.3, 2), x=st.floats(-3, 3))
def test_noise_makes_the_density_that_bayes_rule_gives(
    mixture: Mixture, a: float, b: float, x: float
) -> None:
    """p(x) is the integral of p(x_0) N(x; a x_0, b^2), p(k, x) that of the k-th part of p(x_0)."""
    seen, at = normal(x, a * LINE, b), Tensor(np.array([[x]]))
    parts = mixture.weights * normal(LINE[:, None], mixture.means.T, mixture.std.T)
    joint = seen @ parts * STEP
    assert mixture.log_prob(at, a, b).item() == pytest.approx(np.log(joint.sum()))
    assert mixture.posterior(at, a, b).numpy()[0] == pytest.approx(joint / joint.sum())


@given(mixture=mixtures(2), x=tensors((3, 2), min_value=-3, max_value=3), data=st.data())
def test_the_score_is_the_gradient_of_the_log_density(
    mixture: Mixture, x: Tensor, data: st.DataObject
) -> None:
    """Each item has a signal and a spread of its own."""
    a, b = (data.draw(hnp.arrays(float, 3, elements=st.floats(0.1, 2))) for _ in range(2))
    (gradient,) = T.grad(mixture.log_prob(x, a, b).sum(), x)
    assert mixture.score(x, a, b).numpy() == pytest.approx(gradient.numpy(), rel=1e-9, abs=1e-9)
    alone = [mixture.score(x[i : i + 1], a[i], b[i]).numpy()[0] for i in range(3)]
    assert mixture.score(x, a, b).numpy() == pytest.approx(np.array(alone), rel=1e-9, abs=1e-9)


@given(mixture=mixtures(1), t=st.integers(1, 10), x=st.floats(-3, 3))
def test_the_denoiser_is_the_mean_of_the_noise_given_what_is_seen(
    mixture: Mixture, t: int, x: float
) -> None:
    """E[eps | x_t], eps = (x_t - a_t x_0) / b_t, with p(x_0 | x_t) ~ p(x_0) N(x_t; a_t x_0, b_t^2):
    the least mean square, so that no denoiser has a smaller loss."""
    diffusion = Diffusion(beta_schedule("linear", 10) * 20)
    a, b = np.sqrt(diffusion.alpha_bar[t]), np.sqrt(1 - diffusion.alpha_bar[t])
    prior = normal(LINE[:, None], mixture.means.T, mixture.std.T) @ mixture.weights
    weight = prior * normal(x, a * LINE, b)
    expected = weight @ ((x - a * LINE) / b) / weight.sum()
    eps = mixture.denoiser(diffusion)(Tensor(np.array([[x]])), np.array([t]))
    assert eps.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_samples_come_from_each_gaussian_as_often_as_its_weight_says() -> None:
    mixture = Mixture([[-3, 0], [3, 1]], [[0.5, 0.1], [0.2, 0.3]], [1, 3])
    x = mixture.sample(4000, np.random.default_rng(0))
    left = x[:, 0] < 0
    assert x.shape == (4000, 2) and x.dtype == np.float32
    assert left.mean() == pytest.approx(0.25, abs=0.03)
    for part, mean, std in zip((x[left], x[~left]), mixture.means, mixture.std):
        assert part.mean(0) == pytest.approx(mean, abs=0.07)
        assert part.std(0) == pytest.approx(std, rel=0.08)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mixture_answers_in_the_dtype_and_on_the_device_of_x(device: str, dtype: type) -> None:
    mixture, x = Mixture([[0.0], [1.0]], 0.5), Tensor(np.ones((3, 1)), dtype=dtype, device=device)
    eps = mixture.denoiser(Diffusion([0.1]))(x, np.array([0, 1, 1]))
    for y in (mixture.log_prob(x), mixture.posterior(x), mixture.score(x, 1.0, 0.1), eps):
        assert y.dtype == dtype and y.device == x.device
    assert eps.numpy()[0] == 0, "at time 0 there is no noise"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.0, 1.0], 1.0), r"means must be \(K, d\), got \(2,\)"),
        (([[0.0], [1.0]], 0.0), "must be positive"),
        (([[0.0], [1.0]], 1.0, [1, 0]), "must be positive"),
        (([[0.0], [1.0]], 1.0, [1.0]), r"2 means, but weights \(1,\)"),
    ],
)
def test_what_is_no_mixture_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mixture(*arguments)
    with pytest.raises(ValueError, match=r"expected x \(N, 1\), got \(3, 2\)"):
        Mixture([[0.0]], 1.0).score(Tensor(np.ones((3, 2))))
