"""Distributions: densities against quadrature and counting, draws against moments, KL."""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import nn
import tensor as T
from nn.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Laplace,
    MultivariateNormal,
    Normal,
    Uniform,
    kl_divergence,
    kl_monte_carlo,
)
from tensor import Tensor, grad
from tensor.strategies import broadcastable_shapes, dtypes, shapes, tensors
from tensor.testing import gradcheck, gradgradcheck

NORMALS = [
    "Normal",
    "MultivariateNormal",
    "MultivariateNormal of covariance",
    "MultivariateNormal of precision",
    "Independent",
]
DISCRETE = [
    "Bernoulli",
    "Bernoulli of probs",
    "Categorical",
    "Categorical of probs",
    "Independent Bernoulli",
]
CONTINUOUS = [*NORMALS, "Laplace", "Uniform"]
NAMES = [*CONTINUOUS, *DISCRETE]
WITH_KL = [*NORMALS, *DISCRETE]
N = 20_000
"""How many draws a mean is taken of."""

seeds = st.integers(0, 2**16)
few = st.integers(1, 3)
batches = shapes(max_dims=2, max_side=2)
every_name = pytest.mark.parametrize("name", NAMES)
every_kl = pytest.mark.parametrize("name", WITH_KL)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def lower(x: Tensor) -> Tensor:
    """Any matrices as Cholesky factors: lower triangular, with a positive diagonal."""
    d = x.shape[-1]
    return x * np.tri(d, k=-1, dtype=x.dtype) + T.exp(x) * np.eye(d, dtype=x.dtype)


def positive(x: Tensor) -> Tensor:
    """Any matrices as positive definite ones."""
    return lower(x) @ T.transpose(lower(x), -1, -2)


MAKERS: dict[str, Callable[..., Distribution]] = {
    "Normal": lambda loc, log_scale: Normal(loc, T.exp(log_scale)),
    "MultivariateNormal": lambda loc, matrix: MultivariateNormal(loc, scale_tril=lower(matrix)),
    "MultivariateNormal of covariance": lambda loc, x: MultivariateNormal(loc, positive(x)),
    "MultivariateNormal of precision": lambda loc, x: MultivariateNormal(
        loc, precision_matrix=positive(x)
    ),
    "Laplace": lambda loc, log_scale: Laplace(loc, T.exp(log_scale)),
    "Uniform": lambda low, log_width: Uniform(low, low + T.exp(log_width)),
    "Bernoulli": lambda logits: Bernoulli(logits=logits),
    "Bernoulli of probs": lambda logits: Bernoulli(T.sigmoid(logits)),
    "Categorical": lambda logits: Categorical(logits=logits),
    "Categorical of probs": lambda logits: Categorical(T.exp(logits)),
    "Independent": lambda loc, log_scale: Independent(Normal(loc, T.exp(log_scale)), 1),
    "Independent Bernoulli": lambda logits: Independent(Bernoulli(logits=logits), 1),
}
"""Distributions as functions of unconstrained numbers, which finite differences may move."""


def parameter_shapes(name: str, batch: tuple[int, ...], d: int) -> list[tuple[int, ...]]:
    return {
        "Normal": [batch, batch],
        "MultivariateNormal": [(*batch, d), (*batch, d, d)],
        "Laplace": [batch, batch],
        "Uniform": [batch, batch],
        "Bernoulli": [batch],
        "Categorical": [(*batch, d)],
        "Independent": [(*batch, d), (*batch, d)],
        "Independent Bernoulli": [(*batch, d)],
    }[name.split(" of ")[0]]


def parameters(name: str, batch=batches, dtype=np.float64) -> st.SearchStrategy[list[Tensor]]:
    """Leaves for the maker of that name."""
    sizes = st.builds(
        parameter_shapes,
        st.just(name),
        batch if isinstance(batch, st.SearchStrategy) else st.just(batch),
        few,
    )
    return sizes.flatmap(
        lambda sizes: st.tuples(*(tensors(size, dtype=dtype, max_value=1.0) for size in sizes)).map(
            list
        )
    )


@st.composite
def pairs(draw: st.DrawFn, name: str) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters of two distributions of the same shapes."""
    p = draw(parameters(name))
    return p, [draw(tensors(x.shape, max_value=1.0)) for x in p]


def made(name: str, xs: list[Tensor]) -> Distribution:
    return MAKERS[name](*xs)


def values_for(p: Distribution, seed: int, shape: tuple[int, ...] = ()) -> Tensor:
    return p.sample(shape, generator=rng(seed))


def grid(p: Normal, n: int = 4001) -> np.ndarray:
    """Points from 12 deviations below to 12 above the mean, in the first dimension."""
    return p.loc.numpy() + 12 * p.scale.numpy() * np.linspace(-1, 1, n).reshape(
        -1, *[1] * len(p.batch_shape)
    )


def assert_within(
    error: float, found: np.ndarray, expected: np.ndarray, standard_error: np.ndarray
) -> None:
    assert (abs(found - expected) <= error * standard_error + 1e-12).all()


def assert_close(found, expected, tolerance: float = 1e-10) -> None:
    found, expected = (x.numpy() if isinstance(x, Tensor) else x for x in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# Shapes


@every_name
@given(data=st.data(), batch=batches, shape=shapes(max_dims=2), seed=seeds)
def test_shapes(name: str, data: st.DataObject, batch: tuple, shape: tuple, seed: int) -> None:
    xs = data.draw(parameters(name, batch))
    p = made(name, xs)
    event = xs[0].shape[-1:] if name.startswith(("Multivariate", "Independent")) else ()
    assert (p.batch_shape, p.event_shape) == (batch, event)
    assert p.sample(shape).shape == shape + batch + event and p.sample().shape == batch + event
    assert p.log_prob(p.sample(shape)).shape == shape + batch and p.entropy().shape == batch
    if "Categorical" not in name:
        assert p.mean.shape == p.variance.shape == p.stddev.shape == batch + event


@given(drawn=broadcastable_shapes(2), shape=shapes(max_dims=1), d=few)
def test_parameters_broadcast(drawn: tuple, shape: tuple, d: int) -> None:
    """As if repeated beforehand; so do gradients, which come back in the parameters' shapes."""
    a, b = drawn
    batch = np.broadcast_shapes(a, b)
    loc, scale = (
        Tensor(rng().random(a), requires_grad=True),
        Tensor(1 + rng(1).random(b), requires_grad=True),
    )
    p, q = Normal(loc, scale), Normal(T.expand(loc, batch), T.expand(scale, batch))
    locs = Tensor(rng().random((*a, d)), requires_grad=True)
    trils = Tensor(np.tril(1 + rng(1).random((*b, d, d))), requires_grad=True)
    full = MultivariateNormal(
        T.expand(locs, (*batch, d)), scale_tril=T.expand(trils, (*batch, d, d))
    )
    for ours, repeated, leaves in (
        (p, q, [loc, scale]),
        (MultivariateNormal(locs, scale_tril=trils), full, [locs, trils]),
    ):
        x = ours.rsample(shape, generator=rng())
        assert ours.batch_shape == batch and x.shape == shape + batch + ours.event_shape
        assert_close(x, repeated.sample(shape, generator=rng()))
        assert_close(ours.log_prob(x), repeated.log_prob(x))
        assert [g.shape for g in grad(x.sum() + ours.log_prob(x).sum(), leaves)] == [
            leaf.shape for leaf in leaves
        ]


@given(xs=parameters("Normal", shapes(max_dims=3)), data=st.data(), seed=seeds)
def test_independent_moves_dimensions_to_the_event(
    xs: list[Tensor], data: st.DataObject, seed: int
) -> None:
    base = made("Normal", xs)
    n = data.draw(st.integers(0, len(base.batch_shape)))
    p, last = Independent(base, n), tuple(range(-n, 0))
    assert p.batch_shape + p.event_shape == base.batch_shape and len(p.event_shape) == n
    x = values_for(base, seed, (2,))
    assert_close(p.log_prob(x), base.log_prob(x).numpy().sum(last))
    assert_close(p.entropy(), base.entropy().numpy().sum(last))
    assert_close(p.sample((2,), generator=rng(seed)), x)


# Densities, against quadrature, counting, and formulas on NumPy arrays


@given(xs=parameters("Normal"))
def test_normal_densities_integrate_to_their_moments(xs: list[Tensor]) -> None:
    p = made("Normal", xs)
    x = grid(p)
    log_density = p.log_prob(Tensor(x)).numpy()

    def integral(f: np.ndarray) -> np.ndarray:
        return np.trapezoid(f * np.exp(log_density), x, axis=0)

    assert_close(integral(np.ones_like(x)), np.ones(p.batch_shape))
    assert_close(integral(x), p.mean)
    assert_close(integral((x - p.mean.numpy()) ** 2), p.variance)
    assert_close(integral(-log_density), p.entropy())


@pytest.mark.parametrize("name", ["Laplace", "Uniform"])
@given(data=st.data())
def test_densities_with_kinks_and_jumps_integrate_to_their_moments(
    name: str, data: st.DataObject
) -> None:
    """On a grid of 40 deviations to each side, whose steps cut a jump short by 0.0003 at most."""
    p = made(name, data.draw(parameters(name)))
    steps = np.linspace(-40, 40, 100_001).reshape(-1, *[1] * len(p.batch_shape))
    x = p.mean.numpy() + p.stddev.numpy() * steps
    log_density = p.log_prob(Tensor(x)).numpy()
    masses = np.exp(log_density) * (x[1] - x[0])
    assert_close(masses.sum(0), np.ones(p.batch_shape), 1e-3)
    assert_close((x * masses).sum(0), p.mean, 1e-3)
    assert_close(((x - p.mean.numpy()) ** 2 * masses).sum(0), p.variance, 1e-3)
    costs = np.where(masses > 0, -log_density, 0)
    assert_close((costs * masses).sum(0), p.entropy(), 1e-3)


def test_an_interval_holds_its_lower_end_and_not_its_upper_one() -> None:
    found = Uniform(-1.0, 1.0).log_prob(Tensor([-1.5, -1.0, 0.0, 1.0, 1.5]))
    assert_close(found, [-np.inf, -math.log(2), -math.log(2), -np.inf, -np.inf], 1e-6)


@given(xs=parameters("MultivariateNormal"), seed=seeds)
def test_multivariate_normal_densities_are_those_of_the_textbook(
    xs: list[Tensor], seed: int
) -> None:
    """With the covariance matrix, its determinant and its inverse."""
    p = made("MultivariateNormal", xs)
    L = lower(xs[1]).numpy()
    S, d = L @ np.swapaxes(L, -1, -2), L.shape[-1]
    x = values_for(p, seed, (3,))
    r = (x - p.mean).numpy()
    distance2 = (r[..., None, :] @ np.linalg.inv(S) @ r[..., None])[..., 0, 0]
    log_det = np.log(np.linalg.det(2 * np.pi * S))
    assert_close(p.log_prob(x), -0.5 * distance2 - 0.5 * log_det, 1e-7)
    assert_close(p.entropy(), 0.5 * log_det + d / 2)
    assert_close(p.covariance_matrix, S)
    assert_close(p.variance, np.diagonal(S, axis1=-2, axis2=-1))


@given(xs=parameters("Bernoulli"))
def test_bernoulli_probabilities_count_to_their_moments(xs: list[Tensor]) -> None:
    p = made("Bernoulli", xs)
    log_p = np.stack([p.log_prob(Tensor(np.full(p.batch_shape, k))).numpy() for k in (0.0, 1.0)])
    assert_close(np.exp(log_p[1]), 1 / (1 + np.exp(-xs[0].numpy())))
    assert_close(np.exp(log_p).sum(0), np.ones(p.batch_shape))
    assert_close(p.mean, np.exp(log_p[1]))
    assert_close(p.variance, np.exp(log_p[1]) - np.exp(2 * log_p[1]))
    assert_close(p.entropy(), -(np.exp(log_p) * log_p).sum(0))


@given(xs=parameters("Categorical"))
def test_categorical_probabilities_count_to_one(xs: list[Tensor]) -> None:
    p, K = made("Categorical", xs), xs[0].shape[-1]
    log_p = np.stack([p.log_prob(np.full(p.batch_shape, k)).numpy() for k in range(K)], -1)
    weights = np.exp(xs[0].numpy())
    assert_close(np.exp(log_p), weights / weights.sum(-1, keepdims=True))
    assert_close(p.probs, np.exp(log_p))
    assert_close(p.entropy(), -(np.exp(log_p) * log_p).sum(-1))


OTHER_PARAMETERS = [name for name in NAMES if " of " in name]


@pytest.mark.parametrize("name", OTHER_PARAMETERS)
@given(data=st.data(), seed=seeds)
def test_the_same_distribution_by_other_parameters(
    name: str, data: st.DataObject, seed: int
) -> None:
    """Probabilities are those of logits, a covariance L L^T is that of L, a precision its inverse.

    Two of them that are described differently have their divergence from each other: none.
    """
    kind = name.split(" of ")[0]
    xs = data.draw(parameters(name))
    p = made(name, xs)
    if "precision" in name:
        covariance = np.linalg.inv(positive(xs[1]).numpy())
        q: Distribution = MultivariateNormal(xs[0], Tensor((covariance + covariance.mT) / 2))
        assert_close(p.precision_matrix, positive(xs[1]), 1e-9)
    else:
        q = made(kind, xs)
    x = values_for(q, seed, (3,))
    assert_close(p.log_prob(x), q.log_prob(x), 1e-9)
    assert_close(p.entropy(), q.entropy(), 1e-9)
    assert_close(kl_divergence(p, q), np.zeros(p.batch_shape), 1e-9)
    assert_close(kl_divergence(q, p), np.zeros(p.batch_shape), 1e-9)
    assert_close(values_for(p, seed, (3,)), x, 1e-9)
    names = (
        ["covariance_matrix", "precision_matrix", "scale_tril", "variance"]
        if kind == "MultivariateNormal"
        else ["probs", "logits"]
    )
    for attribute in names:
        assert_close(getattr(p, attribute), getattr(q, attribute), 1e-9)


@every_name
@given(data=st.data(), seed=seeds)
def test_nothing_is_likelier_than_the_mode(name: str, data: st.DataObject, seed: int) -> None:
    p = made(name, data.draw(parameters(name)))
    if name == "Uniform":
        with pytest.raises(NotImplementedError, match="Uniform has no mode"):
            _ = p.mode
        return
    mode = p.mode
    if "Bernoulli" in name:
        assert_close(np.isnan(mode.numpy()), p.mean.numpy() == 0.5)
        mode = T.where(p.mean == 0.5, 0.0, mode)
    assert (p.log_prob(mode).numpy() >= p.log_prob(values_for(p, seed, (5,))).numpy() - 1e-12).all()


def test_numbers_take_the_dtype_of_what_they_stand_beside() -> None:
    for loc, expected in ((0, np.float32), (np.float64(0), np.float32), (np.zeros(2), np.float64)):
        p, q = Normal(loc, 1), Normal(loc, 1.0)
        assert p.loc.dtype == p.scale.dtype == p.sample().dtype == p.entropy().dtype == expected
        assert p.batch_shape == np.shape(loc) and (p.entropy() == q.entropy()).numpy().all()
    assert Uniform(0, Tensor(1.0, dtype=np.float64)).low.dtype == np.float64
    assert Bernoulli(0.5).log_prob(1).item() == pytest.approx(math.log(0.5))
    assert Bernoulli(logits=0).log_prob(1).dtype == np.float32


def test_values_may_be_lists_arrays_or_tensors() -> None:
    for x in ([0.0, 1.0], np.array([0, 1]), Tensor([0, 1]), Tensor([False, True])):
        for p in (Bernoulli(logits=Tensor([0.0, 0.0])), Bernoulli(Tensor([0.5, 0.5]))):
            assert_close(p.log_prob(x), np.log([0.5, 0.5]), 1e-6)
    for x in ([0, 1], np.uint8([0, 1]), Tensor([0, 1])):
        assert_close(Categorical(logits=T.zeros(2, 4)).log_prob(x), np.log([0.25, 0.25]), 1e-6)


# Draws


@every_name
@given(data=st.data(), seed=seeds)
def test_draws_have_the_mean_and_the_variance(name: str, data: st.DataObject, seed: int) -> None:
    """Within 5 standard errors, which the draws show. For classes: the shares of each."""
    p = made(name, data.draw(parameters(name, shapes(max_dims=1, max_side=2))))
    x = values_for(p, seed, (N,)).numpy()
    if isinstance(p, Categorical):
        counts, mean = (x[..., None] == np.arange(p.probs.shape[-1])).astype(float), p.probs.numpy()
        assert_within(5, counts.mean(0), mean, np.sqrt(mean * (1 - mean) / N))
        return
    mean, variance = p.mean.numpy(), p.variance.numpy()
    assert_within(5, x.mean(0), mean, np.sqrt(variance / N))
    squares = (x - mean) ** 2
    assert_within(5, squares.mean(0), variance, squares.std(0) / math.sqrt(N))


@every_name
@given(data=st.data(), seed=seeds)
def test_the_entropy_is_the_mean_of_minus_log_p(name: str, data: st.DataObject, seed: int) -> None:
    p = made(name, data.draw(parameters(name, shapes(max_dims=1, max_side=2))))
    costs = -p.log_prob(values_for(p, seed, (N,))).numpy()
    assert_within(5, costs.mean(0), p.entropy().numpy(), costs.std(0) / math.sqrt(N))


@given(xs=parameters("MultivariateNormal", ()), seed=seeds)
def test_draws_have_the_covariance(xs: list[Tensor], seed: int) -> None:
    p = made("MultivariateNormal", xs)
    r = values_for(p, seed, (N,)).numpy() - p.mean.numpy()
    products = r[:, :, None] * r[:, None, :]
    assert_within(5, products.mean(0), p.covariance_matrix.numpy(), products.std(0) / math.sqrt(N))


@every_name
@given(data=st.data(), seed=seeds)
def test_the_same_seed_gives_the_same_draws(name: str, data: st.DataObject, seed: int) -> None:
    p = made(name, data.draw(parameters(name)))
    x, y, other = (values_for(p, s, (20,)).numpy() for s in (seed, seed, seed + 1))
    assert np.array_equal(x, y)
    assert name not in CONTINUOUS or not np.array_equal(x, other)
    T.manual_seed(seed)
    assert np.array_equal(p.sample((20,)).numpy(), x)


@every_name
@given(data=st.data())
def test_draws_are_constants_and_rsample_has_gradients(name: str, data: st.DataObject) -> None:
    xs = data.draw(parameters(name))
    p = made(name, xs)
    x = p.sample((2,), generator=rng())
    assert not x.requires_grad and all(leaf.requires_grad for leaf in xs)
    if name in CONTINUOUS:
        z = p.rsample((2,), generator=rng())
        assert z.requires_grad and np.array_equal(z.numpy(), x.numpy())
        gradcheck(lambda *xs: made(name, xs).rsample((2,), generator=rng()), xs)
    else:
        with pytest.raises(
            NotImplementedError,
            match="(Bernoulli|Categorical) is discrete: it has sample.* but no rsample",
        ):
            p.rsample()


@every_name
@given(data=st.data(), dtype=dtypes())
def test_dtypes_stay(name: str, data: st.DataObject, dtype: np.dtype) -> None:
    p = made(name, data.draw(parameters(name, dtype=dtype)))
    x = p.sample((2,))
    assert x.dtype == (np.int64 if isinstance(p, Categorical) else dtype)
    found = [p.log_prob(x), p.entropy(), *kl_monte_carlo(p, p, 2)]
    found += [kl_divergence(p, p)] if name in WITH_KL else []
    found += [p.probs] if isinstance(p, Categorical) else [p.mean, p.variance, p.stddev]
    if isinstance(p, (Bernoulli, Categorical)):
        found += [p.log_prob(1 if name == "Bernoulli" else 0), p.probs, p.logits]
    assert {y.dtype for y in found} == {dtype}


@given(mean=st.floats(-1, 1), log_scale=st.floats(-1, 0.3))
def test_pathwise_gradients_of_moments(mean: float, log_scale: float) -> None:
    """d E[f(z)] / d(loc, scale) for z, z^2 and exp z, from one batch of draws whose noise has the
    moments of N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    loc, scale = (Tensor(np.array(v), requires_grad=True) for v in (mean, math.exp(log_scale)))
    m, s = loc.item(), scale.item()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.distributions, "_noise", lambda like, shape, generator: Tensor(nodes))
        z = Normal(loc, scale).rsample((40,))
    e = math.exp(m + s * s / 2)
    for f, by_loc, by_scale in [(z, 1, 0), (z * z, 2 * m, 2 * s), (T.exp(z), e, s * e)]:
        average = T.sum(f * Tensor(weights / weights.sum()))
        assert_close(grad(average, [loc, scale], retain_graph=True), [by_loc, by_scale])


# KL


def kl(name: str, p: list[Tensor], q: list[Tensor]) -> Tensor:
    return kl_divergence(made(name, p), made(name, q))


@every_kl
@given(data=st.data())
def test_kl_is_not_negative_and_zero_for_equals(name: str, data: st.DataObject) -> None:
    p, q = data.draw(pairs(name))
    value = kl(name, p, q).numpy()
    assert value.shape == made(name, p).batch_shape and (value >= -1e-12).all()
    assert_close(kl(name, p, p), np.zeros_like(value), 1e-12)


@every_kl
@given(data=st.data(), by=st.sampled_from([-0.1, 0.1]))
def test_kl_is_zero_for_nothing_else(name: str, data: st.DataObject, by: float) -> None:
    """One parameter moved by a tenth is enough. (A single class has one distribution only.)"""
    p = data.draw(
        parameters(name, ()).filter(lambda xs: "Categorical" not in name or xs[0].numel() > 1)
    )
    k = data.draw(st.integers(0, len(p) - 1))
    moved = p[k].numpy().copy()
    moved.flat[0] += by
    assert kl(name, p, [*p[:k], Tensor(moved), *p[k + 1 :]]).item() > 1e-6


@every_kl
@given(data=st.data())
def test_kl_is_the_expectation_of_the_log_ratio(name: str, data: st.DataObject) -> None:
    """By counting, or by Gauss-Hermite quadrature: exact, for log p - log q is quadratic."""
    p, q = (made(name, xs) for xs in data.draw(pairs(name)))
    d = int(np.prod(p.event_shape))
    if isinstance(p, Categorical):
        points = np.arange(p.probs.shape[-1]).reshape(-1, *[1] * len(p.batch_shape)) + np.zeros(
            p.batch_shape, int
        )
        weights = np.exp(p.log_prob(points).numpy())
    elif "Bernoulli" in name:
        corners = np.array(list(product([0.0, 1.0], repeat=d))).reshape(
            2**d, *[1] * len(p.batch_shape), *p.event_shape
        )
        points = corners + np.zeros(p.batch_shape + p.event_shape)
        weights = np.exp(p.log_prob(Tensor(points)).numpy())
    else:
        nodes, chances = np.polynomial.hermite_e.hermegauss(3)
        e = np.array(list(product(nodes, repeat=d)))  # (3^d, d)
        weights = (
            np.array(list(product(chances / chances.sum(), repeat=d)))
            .prod(1)
            .reshape(-1, *[1] * len(p.batch_shape))
        )
        L = (
            p.scale_tril.numpy()
            if isinstance(p, MultivariateNormal)
            else np.sqrt(p.variance.numpy())
        )
        e = e.reshape(len(e), *[1] * len(p.batch_shape), *p.event_shape)
        points = p.mean.numpy() + (
            (L @ e[..., None])[..., 0] if isinstance(p, MultivariateNormal) else L * e
        )
    x = points if points.dtype.kind == "i" else Tensor(points)
    expected = (weights * (p.log_prob(x) - q.log_prob(x)).numpy()).sum(0)
    assert_close(kl_divergence(p, q), expected, 1e-9)


@pytest.mark.parametrize("name", ["Independent", "Independent Bernoulli"])
@given(data=st.data())
def test_kl_adds_up_over_independent_dimensions(name: str, data: st.DataObject) -> None:
    p, q = data.draw(pairs(name))
    parts = [
        kl(name, *([x[..., k : k + 1] for x in xs] for xs in (p, q))).numpy()
        for k in range(p[0].shape[-1])
    ]
    assert_close(kl(name, p, q), np.sum(parts, 0))
    whole, base = made(name, p), made(name, q)
    apart = kl_divergence(whole.base_dist, base.base_dist).numpy()
    assert_close(kl(name, p, q), apart.sum(-1))


@given(drawn=pairs("MultivariateNormal"), seed=seeds)
def test_kl_does_not_change_under_invertible_affine_maps(drawn: tuple, seed: int) -> None:
    """x -> A x + b takes N(m, S) to N(A m + b, A S A^T)."""
    p, q = (made("MultivariateNormal", xs) for xs in drawn)
    d = p.event_shape[0]
    U, s, V = np.linalg.svd(rng(seed).standard_normal((d, d)))
    A, b = U @ np.diag(s + 0.2) @ V, rng(seed + 1).standard_normal(d)

    def mapped(p: Distribution) -> MultivariateNormal:
        loc, S = p.mean.numpy(), p.covariance_matrix.numpy()
        return MultivariateNormal(Tensor(loc @ A.T + b), Tensor(A @ S @ A.T))

    assert_close(kl_divergence(mapped(p), mapped(q)), kl_divergence(p, q), 1e-6)
    x = values_for(p, seed)
    log_det = np.log(abs(np.linalg.det(A)))
    assert_close(mapped(p).log_prob(Tensor(x.numpy() @ A.T + b)), p.log_prob(x) - log_det, 1e-6)


@given(drawn=pairs("Independent"))
def test_a_diagonal_covariance_is_a_full_one_with_zeros(drawn: tuple) -> None:
    p, q = (made("Independent", xs) for xs in drawn)

    def full(p: Distribution) -> MultivariateNormal:
        return MultivariateNormal(
            p.mean, scale_tril=Tensor(p.stddev.numpy()[..., None] * np.eye(p.event_shape[0]))
        )

    expected = kl_divergence(p, q)
    for a, b in ((full(p), full(q)), (full(p), q), (p, full(q))):
        assert_close(kl_divergence(a, b), expected)
    x = q.sample((2,))
    assert_close(full(p).log_prob(x), p.log_prob(x))
    assert_close(full(p).entropy(), p.entropy())
    assert_close(full(p).sample((2,), generator=rng()), p.sample((2,), generator=rng()))


def test_as_many_gaussians_as_dimensions_are_a_batch_beside_one() -> None:
    """(d, d) matrices beside (d, d, d) could be taken for a batch of vectors."""
    d, loc = 2, Tensor(np.zeros(2))
    lower = np.tril(1 + rng().random((d, d, d)))
    one, *each = (MultivariateNormal(loc, scale_tril=Tensor(x)) for x in (lower[0], *lower))
    many = MultivariateNormal(loc, scale_tril=Tensor(lower))
    for k, (kl, precision) in enumerate(zip(kl_divergence(one, many), many.precision_matrix)):
        assert_close(kl, kl_divergence(one, each[k]))
        assert_close(precision, each[k].precision_matrix)


@given(mu=tensors(), data=st.data())
def test_kl_to_the_standard_normal_is_that_of_the_vae(mu: Tensor, data: st.DataObject) -> None:
    sigma = data.draw(tensors(mu.shape, min_value=0.1))
    m, v = mu.numpy(), sigma.numpy() ** 2
    standard = Normal(T.zeros(mu.shape, dtype=np.float64), T.ones(mu.shape, dtype=np.float64))
    assert_close(kl_divergence(Normal(mu, sigma), standard), 0.5 * (m**2 + v - 1 - np.log(v)))


@given(xs=pairs("Normal"))
def test_the_gradient_of_the_kl_of_normals(xs: tuple) -> None:
    """By loc_p, log scale_p, loc_q and log scale_q, worked out by hand."""
    (m, a), (n, b) = xs
    r, s = np.exp(2 * (a - b).numpy()), (m - n).numpy() / np.exp(2 * b.numpy())
    found = grad(kl("Normal", [m, a], [n, b]).sum(), [m, a, n, b])
    for g, expected in zip(found, (s, r - 1, -s, 1 - r - s * (m - n).numpy()), strict=True):
        assert_close(g, expected)


@every_name
@given(data=st.data())
def test_derivatives_of_kl_log_prob_and_entropy(name: str, data: st.DataObject) -> None:
    p, q = data.draw(pairs(name).filter(lambda drawn: sum(x.numel() for x in drawn[0]) <= 8))
    n, x = len(p), values_for(made(name, p), 0)
    for check in (gradcheck, gradgradcheck):
        if name in WITH_KL:
            check(lambda *xs: kl(name, xs[:n], xs[n:]), [*p, *q])
        check(lambda *xs: made(name, xs).entropy(), p)
        if name in CONTINUOUS:
            check(
                lambda x, *xs: made(name, xs).log_prob(x),
                [Tensor(x.numpy(), requires_grad=True), *p],
            )
        else:
            check(lambda *xs: made(name, xs).log_prob(x), p)


@pytest.mark.parametrize("diagonal_first", [True, False])
@given(diagonal=parameters("Independent", ()), data=st.data())
def test_derivatives_of_the_kl_of_mixed_orders(
    diagonal_first: bool, diagonal: list[Tensor], data: st.DataObject
) -> None:
    d = diagonal[0].numel()
    full = [data.draw(tensors(shape, max_value=1.0)) for shape in ((d,), (d, d))]

    def mixed(m, s, loc, matrix) -> Tensor:
        p, q = made("Independent", [m, s]), made("MultivariateNormal", [loc, matrix])
        return kl_divergence(p, q) if diagonal_first else kl_divergence(q, p)

    gradcheck(mixed, [*diagonal, *full])
    gradgradcheck(mixed, [*diagonal, *full])


def test_no_gradient_flows_above_the_diagonal() -> None:
    """An optimiser that moves a Cholesky factor leaves it one."""
    L = Tensor(np.tril(1 + rng().random((3, 3))), requires_grad=True)
    p, q = (
        MultivariateNormal(Tensor(np.ones(3)), scale_tril=L),
        MultivariateNormal(Tensor(np.zeros(3)), Tensor(np.eye(3))),
    )
    x = p.rsample((4,), generator=rng())
    for y in (
        x,
        p.log_prob(Tensor(rng().random((4, 3)))),
        kl_divergence(p, q),
        kl_divergence(q, p),
    ):
        (g,) = grad(y.sum(), L, retain_graph=True)
        assert g.numpy().any() and not np.triu(g.numpy(), 1).any()


# KL by Monte Carlo


@every_kl
@given(data=st.data(), seed=seeds)
def test_monte_carlo_finds_the_closed_form(name: str, data: st.DataObject, seed: int) -> None:
    p, q = (made(name, xs) for xs in data.draw(pairs(name)))
    estimate = kl_monte_carlo(p, q, N, rng(seed))
    assert_within(
        5, estimate.value.numpy(), kl_divergence(p, q).numpy(), estimate.standard_error.numpy()
    )


def test_the_standard_error_is_that_of_repetitions() -> None:
    """The spread of 2,000 estimates, itself known to 2 percent."""
    p, q = (
        Normal(Tensor(np.zeros(2000)), Tensor(np.ones(2000))),
        Normal(Tensor(np.full(2000, 0.5)), Tensor(np.full(2000, 2.0))),
    )
    value, stated = kl_monte_carlo(p, q, 100, rng())
    assert np.sqrt((stated.numpy() ** 2).mean()) == pytest.approx(value.numpy().std(), rel=0.1)
    z = (value.numpy() - kl_divergence(p, q).numpy()) / stated.numpy()
    assert (
        abs(z.mean()) < 0.15
        and z.std() == pytest.approx(1, rel=0.1)
        and (abs(z) < 1.96).mean() == pytest.approx(0.95, abs=0.02)
    )


def test_monte_carlo_broadcasts_as_the_closed_form_does() -> None:
    one = Normal(Tensor(np.array(0.5)), Tensor(np.array(1.0)))
    many = Normal(Tensor(np.arange(6.0).reshape(3, 2)), Tensor(np.array([1.0, 2.0])))
    for p, q in ((one, many), (many, one)):
        value, error = kl_monte_carlo(p, q, 3000, rng())
        assert value.shape == error.shape == (3, 2)
        assert_within(5, value.numpy(), kl_divergence(p, q).numpy(), error.numpy())


def test_where_there_is_no_closed_form_there_is_an_estimate() -> None:
    """KL(N(0, 1) || Laplace) = E|x| + log 2 - H(N(0, 1)), and E|x| = sqrt(2 / pi)."""
    p, q = Normal(Tensor(np.array(0.0)), 1.0), Laplace(0.0, 1.0)
    with pytest.raises(
        NotImplementedError,
        match=r"no closed form for Normal \|\| Laplace; kl_monte_carlo estimates it",
    ):
        kl_divergence(p, q)
    value, error = kl_monte_carlo(p, q, N, rng())
    assert_within(
        5, value.numpy(), math.sqrt(2 / math.pi) + math.log(2) - p.entropy().numpy(), error.numpy()
    )


@pytest.mark.parametrize("samples", [0, 1])
def test_a_standard_error_needs_two_draws(samples: int) -> None:
    p = Bernoulli(logits=T.zeros(2))
    with pytest.raises(ValueError, match=f"at least 2 samples, got {samples}"):
        kl_monte_carlo(p, p, samples)


# Identities of logits

rows = st.tuples(st.integers(1, 4), st.integers(2, 4))


@given(x=tensors(rows), shift=st.floats(-1e3, 1e3))
def test_logsumexp_moves_with_a_shift_and_softmax_does_not(x: Tensor, shift: float) -> None:
    assert_close(T.logsumexp(x + shift, 1) - shift, T.logsumexp(x, 1), 1e-9)
    assert_close(T.softmax(x + shift, 1), T.softmax(x, 1), 1e-9)
    assert_close(
        Categorical(logits=x + shift).log_prob(np.zeros(len(x), int)),
        T.log_softmax(x, 1)[:, 0],
        1e-9,
    )


@given(x=tensors(rows))
def test_softmax_is_the_gradient_of_logsumexp(x: Tensor) -> None:
    assert_close(grad(T.logsumexp(x, 1).sum(), x)[0], T.softmax(x, 1))
    assert_close(T.softmax(x, 1).numpy().sum(1), np.ones(len(x)))


@given(x=tensors(), seed=seeds)
def test_bernoulli_log_probabilities_are_minus_binary_cross_entropies(x: Tensor, seed: int) -> None:
    for target in (
        Bernoulli(logits=x).sample((), generator=rng(seed)),
        Tensor(rng(seed).random(x.shape)),
    ):
        assert_close(
            Bernoulli(logits=x).log_prob(target),
            -nn.binary_cross_entropy_with_logits(x, target, reduction="none"),
        )


@given(x=tensors(rows), seed=seeds)
def test_categorical_log_probabilities_are_minus_cross_entropies(x: Tensor, seed: int) -> None:
    labels = values_for(Categorical(logits=x), seed)
    log_probs = Categorical(logits=x).log_prob(labels)
    assert_close(log_probs, -nn.cross_entropy(x, labels, reduction="none"))


@given(x=tensors(st.tuples(few, st.just(2))), y=tensors((1, 2)))
def test_two_classes_are_a_coin(x: Tensor, y: Tensor) -> None:
    (p, coin), (q, other) = (
        (Categorical(logits=z), Bernoulli(logits=z[:, 1] - z[:, 0])) for z in (x, y)
    )
    for k in (0, 1):
        assert_close(p.log_prob(np.full(len(x), k)), coin.log_prob(np.full(len(x), float(k))))
    assert_close(p.entropy(), coin.entropy())
    assert_close(kl_divergence(p, q), kl_divergence(coin, other))


# Extreme logits


@given(dtype=dtypes(), size=st.sampled_from([1e2, 1e4, 1e30]), sign=st.sampled_from([-1, 1]))
def test_huge_logits_stay_finite(dtype: np.dtype, size: float, sign: int) -> None:
    x = Tensor([sign * size], dtype=dtype, requires_grad=True)
    for p, q in (
        (Bernoulli(logits=x), Bernoulli(logits=0 * x)),
        (Categorical(logits=T.cat([x, 0 * x])), Categorical(logits=T.cat([0 * x, 0 * x]))),
    ):
        sure = p.sample((), generator=rng())
        assert sure.item() == (sign > 0 if isinstance(p, Bernoulli) else sign < 0)
        found = [p.log_prob(sure), p.entropy(), kl_divergence(p, q), kl_divergence(q, p)]
        expected = [0, 0, math.log(2), size / 2 - math.log(2)]
        assert [y.item() for y in found] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert all(
            np.isfinite(grad(y.sum(), x, retain_graph=True, allow_unused=True)[0].numpy()).all()
            for y in found
        )


@given(x=st.floats(10, 80), shift=st.floats(0.5, 5))
def test_small_probabilities_do_not_cancel(x: float, shift: float) -> None:
    """In float32, 1 - sigmoid(20) is 0, but what is unlikely has a cost, an entropy, a KL."""
    a, b = np.float32(x), np.float32(x + shift)
    for sign in (-1, 1):
        p, q = (Bernoulli(logits=Tensor([float(sign * v)])) for v in (a, b))
        assert p.log_prob(Tensor([float(sign > 0)])).item() == pytest.approx(
            -np.exp(-float(a)), rel=1e-4, abs=0
        )
        u, w = np.exp(-float(a)), np.exp(-float(b))  # the unlikely outcome, with log(1 - u) = -u
        assert p.entropy().item() == pytest.approx(u * (float(a) + 1), rel=1e-4, abs=0)
        divergence = u * (float(b) - float(a)) - (u - w)
        assert kl_divergence(p, q).item() == pytest.approx(divergence, rel=1e-3, abs=0)


def test_infinite_logits_are_sure() -> None:
    p = Bernoulli(logits=Tensor([np.inf, -np.inf]))
    assert (
        p.log_prob([1.0, 0.0]).numpy().tolist() == [0, 0]
        and p.log_prob([0.0, 1.0]).numpy().tolist() == [-np.inf] * 2
    )
    assert p.sample().numpy().tolist() == [1, 0]
    q = Categorical(logits=Tensor([0.0, -np.inf]))
    assert q.log_prob(0).item() == 0 and q.log_prob(1).item() == -np.inf
    assert not q.sample((100,), generator=rng()).numpy().any()


@given(drawn=pairs("Categorical"))
def test_impossible_classes_change_no_entropy_and_no_divergence(drawn: tuple) -> None:
    """0 log 0 = 0: a class with a logit of -inf adds nothing, to values and to gradients."""
    leaves = [xs[0] for xs in drawn]
    never = np.full((*leaves[0].shape[:-1], 1), -np.inf)
    extended = [Tensor(np.concatenate([x.numpy(), never], -1), requires_grad=True) for x in leaves]
    for f in (lambda p, q: p.entropy() + q.entropy(), kl_divergence):
        expected, found = (f(*(Categorical(logits=x) for x in xs)) for xs in (leaves, extended))
        assert_close(found, expected)
        for g, of_the_rest in zip(
            grad(found.sum(), extended), grad(expected.sum(), leaves), strict=True
        ):
            assert_close(g[..., :-1], of_the_rest)
            assert not g[..., -1].numpy().any()


def test_sure_outcomes_have_no_entropy_and_finite_divergences() -> None:
    fair = Tensor([0.0, 0.0], requires_grad=True)
    for kind, sure in ((Bernoulli, [np.inf, -np.inf]), (Categorical, [0.0, -np.inf])):
        x = Tensor(sure, requires_grad=True)
        for f, expected in (
            (lambda p, q: p.entropy(), 0),
            (lambda p, q: kl_divergence(p, p), 0),
            (kl_divergence, math.log(2)),
        ):
            found = f(kind(logits=x), kind(logits=fair))
            assert_close(found, np.full(found.shape, expected), 1e-6)
            assert not grad(found.sum(), x)[0].numpy().any()
        assert (kl_divergence(kind(logits=fair), kind(logits=x)).numpy() == np.inf).all()


# Probabilities near and at 0 and 1


@given(
    p=st.integers(1, 60).map(lambda k: 2.0**-k) | st.integers(1, 24).map(lambda k: 1 - 2.0**-k),
    x=st.sampled_from([0.0, 1.0]),
    dtype=dtypes(),
)
def test_probabilities_near_the_ends_keep_their_digits(p: float, x: float, dtype) -> None:
    """Values, and first and second derivatives by p and x: 1 - p, rounded, would be 1."""
    probs = Tensor([p], dtype=dtype, requires_grad=True)
    value = Tensor([x], dtype=dtype, requires_grad=True)
    log_p, log_1_p = math.log(p), math.log1p(-p)
    y = Bernoulli(probs).log_prob(value)
    by_p, by_x = grad(y.sum(), [probs, value], create_graph=True)
    found = [y, by_p, by_x, grad(by_p.sum(), probs)[0]]
    expected = [
        log_p if x else log_1_p,
        1 / p if x else -1 / (1 - p),
        log_p - log_1_p,
        -1 / p**2 if x else -1 / (1 - p) ** 2,
    ]
    assert [t.item() for t in found] == pytest.approx(expected, rel=1e-6, abs=0)

    entropy = Bernoulli(probs).entropy()
    assert entropy.item() == pytest.approx(-p * log_p - (1 - p) * log_1_p, rel=1e-6, abs=0)
    (slope,) = grad(entropy.sum(), probs, create_graph=True)
    assert slope.item() == pytest.approx(log_1_p - log_p, rel=1e-6, abs=1e-15)
    assert grad(slope.sum(), probs)[0].item() == pytest.approx(-1 / p - 1 / (1 - p), rel=1e-6)

    divergence = kl_divergence(Bernoulli(probs), Bernoulli(Tensor(0.5, dtype=dtype)))
    assert divergence.item() == pytest.approx(
        math.log(2) - entropy.item(), rel=1e-5, abs=2e-7 if dtype == np.float32 else 1e-15
    )


def test_at_the_ends_the_impossible_costs_infinity_and_the_possible_nothing() -> None:
    """0 and 1 are not clamped. Gradients are those of what is possible: none is NaN."""
    probs = Tensor([0.0, 1.0], requires_grad=True)
    coin, fair = Bernoulli(probs), Bernoulli(0.5)
    with np.errstate(divide="raise", invalid="raise"):
        assert coin.log_prob([0.0, 1.0]).numpy().tolist() == [0, 0]
        assert coin.log_prob([1.0, 0.0]).numpy().tolist() == [-np.inf] * 2
        assert coin.logits.numpy().tolist() == [-np.inf, np.inf]
        assert coin.entropy().numpy().tolist() == [0, 0]
        assert_close(kl_divergence(coin, fair), np.log([2, 2]), 1e-6)
        assert kl_divergence(coin, coin).numpy().tolist() == [0, 0]
        assert kl_divergence(fair, coin).numpy().tolist() == [np.inf] * 2
        (g,) = grad(coin.log_prob([0.0, 1.0]).sum(), probs)
        assert g.numpy().tolist() == [-1, 1]  # of log(1 - p) at 0, of log p at 1
        for y in (coin.entropy(), kl_divergence(coin, fair), kl_divergence(coin, coin)):
            assert np.isfinite(grad(y.sum(), probs)[0].numpy()).all()

        weights = Tensor([3.0, 0.0, 1.0], requires_grad=True)
        die, even = Categorical(weights), Categorical(T.ones(3))
        assert die.log_prob(1).item() == die.logits[1].item() == -np.inf
        assert not (die.sample((200,), generator=rng()) == 1).numpy().any()
        assert kl_divergence(even, die).item() == np.inf
        assert_close(die.entropy(), Categorical(Tensor([0.75, 0.25])).entropy(), 1e-6)
        for y, expected in (
            (die.log_prob(0), [1 / 12, -1 / 4, -1 / 4]),  # of log w_0 - log(w_0 + w_1 + w_2)
            (die.log_prob([0, 2]).sum(), [-1 / 6, -1 / 2, 1 / 2]),
        ):
            assert_close(grad(y, weights, retain_graph=True)[0], expected, 1e-6)
        for y in (die.entropy(), kl_divergence(die, even)):
            assert np.isfinite(grad(y, weights, retain_graph=True)[0].numpy()).all()


# Devices


@every_name
def test_distributions_compute_the_same_on_every_device(name: str, device: str) -> None:
    arrays = [
        rng(k).standard_normal(size) for k, size in enumerate(parameter_shapes(name, (2,), 3))
    ]
    here, there = (
        made(name, [Tensor(x, device=where) for x in arrays]) for where in ("cpu", device)
    )
    x, y = (p.sample((4,), generator=rng()) for p in (here, there))
    assert_close(y.to("cpu"), x)
    results = [(there.log_prob(y), here.log_prob(x)), (there.entropy(), here.entropy())]
    moments = ["mean", "mode", "variance"] if name in NORMALS else []
    if isinstance(here, MultivariateNormal):
        moments += ["covariance_matrix", "precision_matrix"]
    results += [(getattr(there, moment), getattr(here, moment)) for moment in moments]
    if name in WITH_KL:
        q, r = (
            made(name, [Tensor(x / 2, device=where) for x in arrays]) for where in (device, "cpu")
        )
        results.append((kl_divergence(there, q), kl_divergence(here, r)))
        estimates = kl_monte_carlo(there, q, 5, rng()), kl_monte_carlo(here, r, 5, rng())
        results += zip(*estimates)
    for ours, theirs in results:
        assert ours.device.startswith(device)
        assert_close(ours.to("cpu"), theirs)


@every_name
def test_what_lies_on_cuda_stays_there(name: str, double: ModuleType) -> None:
    """Nothing but noise comes from the host."""
    sizes = enumerate(parameter_shapes(name, (2,), 3))
    p = made(name, [Tensor(rng(k).standard_normal(size), device="cuda") for k, size in sizes])
    x = p.sample((4,), generator=rng())
    double.events.clear()
    results = [p.log_prob(x), p.entropy(), *([kl_divergence(p, p)] if name in WITH_KL else [])]
    if isinstance(p, MultivariateNormal):
        for matrix in ("covariance_matrix", "precision_matrix", "scale_tril"):
            given = {matrix: getattr(p, matrix)}
            results.append(MultivariateNormal(p.loc, **given).variance)
    assert "to device" not in {kind for kind, _, _ in double.events}
    assert all(y.device == x.device for y in results)


def test_gradients_of_a_kl_are_the_same_on_every_device(device: str) -> None:
    arrays = np.float64([[0.5, -1.0], [1.5, 0.5], [-0.5, 2.0], [0.5, 1.0]])
    slopes = []
    for where in ("cpu", device):
        xs = [Tensor(x, requires_grad=True, device=where) for x in arrays]
        divergence = kl_divergence(Normal(*xs[:2]), Normal(*xs[2:]))
        slopes.append([g.numpy() for g in grad(divergence.sum(), xs)])
    np.testing.assert_allclose(*slopes, rtol=1e-12)


BESIDE: dict[str, Callable[[Tensor], Tensor]] = {
    "Categorical at a number": lambda x: Categorical(logits=x).log_prob(1),
    "Categorical at a list": lambda x: Categorical(logits=x).log_prob([0, 1]),
    "Categorical at an array": lambda x: Categorical(x.exp()).log_prob(np.array([[0], [1]])),
    "Bernoulli at a list": lambda x: Bernoulli(logits=x).log_prob([0.0, 1.0]),
    "Normal at an array": lambda x: Normal(x, 2.0).log_prob(np.float32([1, 2])),
    "Normal of an array": lambda x: Normal(x, np.float32([1, 2])).entropy(),
    "Uniform of a number": lambda x: Uniform(x - 1, 3.0).log_prob(0.5),
    "MultivariateNormal of an array": (
        lambda x: MultivariateNormal(x, np.float32([[2, 1], [1, 2]])).log_prob(np.float32([1, 2]))
    ),
    "KL to numbers": lambda x: kl_divergence(Normal(x, 2.0), Normal(0 * x, 1.0)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_numbers_and_arrays_come_to_the_device_of_the_tensor(name: str, device: str) -> None:
    here, there = (Tensor([0.5, 1.0], device=where) for where in ("cpu", device))
    y = BESIDE[name](there)
    assert y.device == there.device
    assert_close(y.to("cpu"), BESIDE[name](here), 1e-6)


APART: dict[str, tuple[str, Callable[[Tensor, Tensor], Any]]] = {
    "parameters": ("Normal", lambda x, y: Normal(x, y)),
    "a matrix": ("MultivariateNormal", lambda x, y: MultivariateNormal(x, T.stack([y, y]))),
    "a value of Normal": ("Normal.log_prob", lambda x, y: Normal(x, 1.0).log_prob(y)),
    "of Laplace": ("Laplace.log_prob", lambda x, y: Laplace(x, 1.0).log_prob(y)),
    "of Uniform": ("Uniform.log_prob", lambda x, y: Uniform(x, 2.0).log_prob(y)),
    "of MultivariateNormal": (
        "MultivariateNormal.log_prob",
        lambda x, y: MultivariateNormal(x, np.eye(2, dtype=np.float32)).log_prob(y),
    ),
    "of Bernoulli": ("Bernoulli.log_prob", lambda x, y: Bernoulli(x).log_prob(y)),
    "of Categorical": ("Categorical.log_prob", lambda x, y: Categorical(x).log_prob(y.long())),
}


@pytest.mark.parametrize("case", APART)
def test_tensors_on_two_devices_are_refused_by_name(case: str, cupy: ModuleType) -> None:
    name, act = APART[case]
    for x, y in ((T.ones(2), T.ones(2, device="cuda")), (T.ones(2, device="cuda"), T.ones(2))):
        with pytest.raises(RuntimeError, match=f"^{name}: .* cpu and cuda:0: move them with"):
            act(x, y)


def test_what_is_on_the_host_is_checked_there_beside_cuda(double: ModuleType) -> None:
    x = T.zeros(2, device="cuda")
    double.events.clear()
    for cls in (Normal, Laplace):
        assert cls(x, np.float32([1, 2])).log_prob(1.0).device == cls(x, 1.0).scale.device
        with pytest.raises(ValueError, match="scale must be positive"):
            cls(x, 0.0)
    Categorical(logits=x).log_prob([0, 1])
    Bernoulli(logits=x).log_prob([0.0, 1.0])
    assert "wait" not in {kind for kind, _, _ in double.events}
    double.events.clear()
    Bernoulli(probs=x)
    assert sum(n for (kind, _, _), n in double.events.items() if kind == "wait") == 1


@pytest.mark.parametrize("cls", [Normal, Laplace])
def test_values_are_not_looked_at_where_they_are_known_to_be_right(cls: type) -> None:
    p = cls(0.0, -1.0, validate_args=False)
    assert p.scale.item() == -1 and Uniform(1.0, 0.0, validate_args=False).low.item() == 1
    assert Bernoulli(2.0, validate_args=False).log_prob(3.0).shape == ()
    assert Categorical(-T.ones(2), validate_args=False).probs.numpy().tolist() == [0.5, 0.5]


# What a wrong call is told

I = Tensor(np.eye(2))
# At the edge of float32: by formulas in decimal numbers, of any exponent


def edges(low: float, high: float) -> st.SearchStrategy[float]:
    """Finite float32 numbers, the smallest and the largest among them."""
    return st.floats(low, high, width=32) | st.sampled_from([low, high])


LOG_VARS = edges(-1000, 80)
SCALES = edges(2.0**-149, float(np.finfo(np.float32).max))
PLACES = st.sampled_from([0.0, 1.0, -1.0, 1e-30, 3.5, 1e10]) | edges(-1e10, 1e10)
LOGITS = edges(-(2.0**127), 2.0**127)


def at(x: float) -> Tensor:
    return Tensor(np.array([x], np.float32), requires_grad=True)


def assert_exact(found: Tensor, xs: list[Tensor], value: Decimal, *slopes: Decimal) -> None:
    """Finite where the exact value is a float32 number, infinite where it is beyond, never NaN."""
    gradients = grad(found.sum(), xs, retain_graph=True)
    for got, exact in zip((found, *gradients), (value, *slopes), strict=True):
        number, expected = float(got.item()), float(exact)
        close = math.isclose(number, expected, rel_tol=3e-4, abs_tol=2e-5)
        beyond = abs(expected) > 3.3e38 and number == math.copysign(math.inf, expected)
        assert close or beyond, (number, exact)


def exactly(*numbers: float) -> list[Decimal]:
    return [Decimal(float(np.float32(x))) for x in numbers]


LOG_SQRT_2PI = Decimal(math.log(2 * math.pi) / 2)


@given(x=PLACES, loc=PLACES, log_var=LOG_VARS)
def test_a_normal_is_right_for_any_log_variance(x: float, loc: float, log_var: float) -> None:
    m, v = at(loc), at(log_var)
    p = Normal.from_log_var(m, v)
    X, M, V = exactly(x, loc, log_var)
    q, d = (X - M) ** 2 / V.exp(), (X - M) / V.exp()
    with np.errstate(all="ignore"):
        found = p.log_prob(np.float32([x]))
        assert_exact(found, [m, v], -q / 2 - V / 2 - LOG_SQRT_2PI, d, (q - 1) / 2)
        half = Decimal("0.5")
        assert_exact(p.entropy(), [v], V / 2 + LOG_SQRT_2PI + half, half)


@given(x=PLACES, loc=PLACES, scale=SCALES)
def test_a_normal_is_right_for_any_scale(x: float, loc: float, scale: float) -> None:
    m, s = at(loc), at(scale)
    p = Normal(m, s)
    X, M, S = exactly(x, loc, scale)
    z = (X - M) / S
    assume(abs(z * z - 1) > Decimal("0.01"))  # nearer to 0 the slope is what rounding leaves
    with np.errstate(all="ignore"):
        found = p.log_prob(np.float32([x]))
        assert_exact(found, [m, s], -z * z / 2 - S.ln() - LOG_SQRT_2PI, z / S, (z * z - 1) / S)
        assert_exact(p.entropy(), [s], S.ln() + LOG_SQRT_2PI + Decimal("0.5"), 1 / S)


@given(loc_p=PLACES, loc_q=PLACES, widths=st.tuples(LOG_VARS, LOG_VARS), by_scale=st.booleans())
def test_the_divergence_of_normals_is_right_for_any_width(
    loc_p: float, loc_q: float, widths: tuple[float, float], by_scale: bool
) -> None:
    if by_scale:
        widths = tuple(float(np.float32(math.exp(max(w, -206) / 2))) for w in widths)
        widths = tuple(max(w, 2.0**-149) for w in widths)
    xs = [at(x) for x in (loc_p, widths[0], loc_q, widths[1])]
    M, W, K, U = exactly(loc_p, widths[0], loc_q, widths[1])
    if by_scale:
        p, q = Normal(xs[0], xs[1]), Normal(xs[2], xs[3])
        V, Y, dV, dY = 2 * W.ln(), 2 * U.ln(), 2 / W, 2 / U
    else:
        p, q = Normal.from_log_var(xs[0], xs[1]), Normal.from_log_var(xs[2], xs[3])
        V, Y, dV, dY = W, U, Decimal(1), Decimal(1)
    r2, d2, slope = (V - Y).exp(), (M - K) ** 2 / Y.exp(), (M - K) / Y.exp()
    value = (r2 - 1 - (V - Y) + d2) / 2
    slopes = slope, (r2 - 1) / 2 * dV, -slope, (1 - r2 - d2) / 2 * dY
    if by_scale:  # a slope near 0 is what rounding leaves
        assume(all(abs(x) > Decimal("0.01") for x in (r2 - 1, 1 - r2 - d2)))
    with np.errstate(all="ignore"):
        assert_exact(kl_divergence(p, q), xs, value, *slopes)


@given(a=LOGITS, b=LOGITS, x=st.sampled_from([0.0, 1.0, 0.25]))
def test_a_bernoulli_is_right_for_any_logit(a: float, b: float, x: float) -> None:
    """The derivative of the entropy is -a p (1 - p), that of KL by a is (a - b) p (1 - p)."""
    with np.errstate(all="ignore"):
        s, t = at(a), at(b)
        (A, B, X), p, q = exactly(a, b, x), Bernoulli(logits=s), Bernoulli(logits=t)
        P, N, Q = chance(A), chance(-A), chance(B)
        H = P * cost(-A) + N * cost(A)
        assert_exact(p.entropy(), [s], H, -A * P * N)
        assert_exact(p.log_prob(np.float32([x])), [s], -X * cost(-A) - (1 - X) * cost(A), X - P)
        value = P * cost(-B) + N * cost(B) - H
        assert_exact(kl_divergence(p, q), [s, t], value, (A - B) * P * N, Q - P)


def chance(logit: Decimal) -> Decimal:
    """1 / (1 + e^-logit)"""
    small = (-abs(logit)).exp() if abs(logit) < 10**6 else Decimal(0)
    return (1 if logit > 0 else small) / (1 + small)


def cost(logit: Decimal) -> Decimal:
    """log(1 + e^logit)"""
    small = (-abs(logit)).exp() if abs(logit) < 10**6 else Decimal(0)
    return max(logit, Decimal(0)) + (1 + small).ln()


WRONG_CALLS: list[tuple[Callable, type[Exception], str]] = [
    (
        lambda: Normal(T.zeros(2), Tensor([1.0, 0.0])),
        ValueError,
        "Normal: scale must be positive everywhere",
    ),
    (
        lambda: Normal(T.zeros(2), Tensor([1.0, -1.0])),
        ValueError,
        "Normal: scale must be positive everywhere",
    ),
    (
        lambda: Normal(T.zeros(2), Tensor([1.0, np.nan])),
        ValueError,
        "Normal: scale must be positive everywhere",
    ),
    (
        lambda: Normal(T.zeros(2), T.ones(3)),
        ValueError,
        "Normal: the parameters' shapes (2,) and (3,) do not broadcast",
    ),
    (
        lambda: Normal([0.0], [1.0]),
        TypeError,
        "Normal: loc must be a tensor or an array of floats, got list",
    ),
    (
        lambda: Normal(Tensor([0]), T.ones(1)),
        TypeError,
        "Normal: loc must be a tensor or an array of floats, got int64",
    ),
    (
        lambda: Independent(Normal(T.zeros(2), 1.0), 1, validate_args=False),
        TypeError,
        "validate_args",
    ),
    (lambda: Laplace(0.0, -1.0), ValueError, "Laplace: scale must be positive everywhere"),
    (lambda: Uniform(1.0, 1.0), ValueError, "Uniform: high - low must be positive everywhere"),
    (lambda: Normal(T.zeros(2), T.ones(2)).log_prob(T.zeros(3)), ValueError, "(3,) (2,)"),
    (
        lambda: MultivariateNormal(T.zeros(()), scale_tril=T.ones(1, 1)),
        ValueError,
        "expected loc (..., d) and scale_tril (..., d, d), got ()",
    ),
    (
        lambda: MultivariateNormal(T.zeros(0), scale_tril=T.ones(0, 0)),
        ValueError,
        "got (0,) and (0, 0)",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=T.ones(3, 3)),
        ValueError,
        "got (2,) and (3, 3)",
    ),
    (lambda: MultivariateNormal(T.zeros(2), scale_tril=T.ones(2)), ValueError, "got (2,) and (2,)"),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=T.ones(2, 2)),
        ValueError,
        "scale_tril must be lower triangular",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=-I),
        ValueError,
        "the diagonal of scale_tril must be positive everywhere",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=I * np.nan),
        ValueError,
        "the diagonal of scale_tril must be positive everywhere",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), -I),
        ValueError,
        "MultivariateNormal: covariance_matrix must be positive definite",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), precision_matrix=-I),
        ValueError,
        "MultivariateNormal: precision_matrix must be positive definite",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), Tensor([[2.0, 1.0], [0.0, 2.0]])),
        ValueError,
        "MultivariateNormal: covariance_matrix must be symmetric",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2)),
        ValueError,
        "MultivariateNormal: expected exactly one of covariance_matrix, precision_matrix, "
        "scale_tril, got none",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), I, I),
        ValueError,
        "scale_tril, got covariance_matrix, precision_matrix",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=[[1.0]]),
        TypeError,
        "scale_tril must be a tensor or an array of floats, got list",
    ),
    (
        lambda: MultivariateNormal(T.zeros(3, 2), scale_tril=T.stack([I, I])),
        ValueError,
        "(3,) and (2,) do not broadcast",
    ),
    (
        lambda: MultivariateNormal(T.zeros(2), scale_tril=I).log_prob(T.zeros(3, 1)),
        ValueError,
        "MultivariateNormal.log_prob: expected a value of shape (..., 2), got (3, 1)",
    ),
    (
        lambda: Independent(Bernoulli(logits=T.zeros(4, 3)), 1).log_prob(T.zeros(4, 1)),
        ValueError,
        "Independent.log_prob: expected a value of shape (..., 3), got (4, 1)",
    ),
    (lambda: Independent(Bernoulli(logits=T.zeros(4)), 1).log_prob(1.0), ValueError, "got ()"),
    (
        lambda: Independent(Bernoulli(logits=T.zeros(4)), 2),
        ValueError,
        "reinterpreted_batch_ndims must be from 0 to 1, for the batch shape (4,), got 2",
    ),
    (lambda: Independent(Bernoulli(logits=T.zeros(4)), -1), ValueError, "got -1"),
    (
        lambda: Bernoulli(logits=[0.0]),
        TypeError,
        "Bernoulli: logits must be a tensor or an array of floats, got list",
    ),
    (lambda: Bernoulli(), ValueError, "Bernoulli: expected exactly one of probs, logits, got none"),
    (
        lambda: Categorical(T.ones(2), T.ones(2)),
        ValueError,
        "Categorical: expected exactly one of probs, logits, got probs, logits",
    ),
    (
        lambda: Bernoulli(1.5),
        ValueError,
        "Bernoulli: probs must lie in [0, 1], got values from 1.5 to 1.5",
    ),
    *[
        (
            lambda probs=probs: Categorical(Tensor(probs)),
            ValueError,
            "Categorical: probs must be finite, from 0 up, and not all 0",
        )
        for probs in ([-1.0, 2.0], [[1.0, 1.0], [0.0, 0.0]], [np.inf, 1.0], [np.nan, 1.0])
    ],
    (
        lambda: Bernoulli(logits=T.zeros(2)).log_prob(T.ones(2) * 2),
        ValueError,
        "value must lie in [0, 1], got values from 2.0 to 2.0",
    ),
    (
        lambda: Bernoulli(logits=T.zeros(1)).log_prob(-T.ones(1)),
        ValueError,
        "Bernoulli.log_prob: value must lie in [0, 1]",
    ),
    (
        lambda: Categorical(logits=0.5),
        TypeError,
        "Categorical: logits must be a tensor or an array of floats, got float",
    ),
    (
        lambda: Categorical(logits=T.zeros(())),
        ValueError,
        "Categorical: expected logits (..., K), got ()",
    ),
    (
        lambda: Categorical(logits=T.zeros(2, 0)),
        ValueError,
        "Categorical: expected logits (..., K), got (2, 0)",
    ),
    (
        lambda: Categorical(logits=T.zeros(3)).log_prob(3),
        IndexError,
        "Categorical.log_prob: class 3 is out of range for size 3",
    ),
    (
        lambda: Categorical(logits=T.zeros(3)).log_prob([0, -1]),
        IndexError,
        "Categorical.log_prob: class -1 is negative",
    ),
    (
        lambda: Categorical(logits=T.zeros(3)).log_prob(0.5),
        TypeError,
        "Categorical.log_prob: classes are integers, got float32",
    ),
    (lambda: Categorical(logits=T.zeros(3)).mean, NotImplementedError, "Categorical has no mean"),
    (
        lambda: Categorical(logits=T.zeros(3)).variance,
        NotImplementedError,
        "Categorical has no variance",
    ),
    (
        lambda: kl_divergence(Normal(T.zeros(2), T.ones(2)), Bernoulli(logits=T.zeros(2))),
        NotImplementedError,
        "knows no closed form for Normal || Bernoulli; kl_monte_carlo estimates it",
    ),
    (
        lambda: kl_divergence(
            Independent(Bernoulli(logits=T.zeros(2)), 1),
            MultivariateNormal(T.zeros(2), scale_tril=I),
        ),
        NotImplementedError,
        "a MultivariateNormal compares with its like and with Independent(Normal, 1)",
    ),
    (
        lambda: kl_divergence(*(Independent(Bernoulli(logits=T.zeros(n)), 1) for n in (1, 3))),
        ValueError,
        "events of shapes (1,) and (3,) differ",
    ),
    (
        lambda: kl_divergence(
            Independent(Independent(Bernoulli(logits=T.zeros(2, 3)), 1), 1),
            Independent(Bernoulli(logits=T.zeros(2, 3)), 2),
        ),
        ValueError,
        "events of 1 and 2 independent dimensions",
    ),
    (
        lambda: kl_divergence(Categorical(logits=T.zeros(1)), Categorical(logits=T.zeros(3))),
        ValueError,
        "1 classes and 3 classes",
    ),
    (
        lambda: kl_divergence(Bernoulli(logits=T.zeros(2)), Bernoulli(logits=T.zeros(3))),
        ValueError,
        "kl_divergence: the parameters' shapes (2,) and (3,) do not broadcast",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS)
def test_wrong_calls(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
