"""Strategies and identities for testing generative models: those of this repository, or a course.

A check takes the function under test, draws examples for it with Hypothesis, and raises
AssertionError with the identity that does not hold. A student's whole test is

    def test_kl():
        check_kl_to_standard_normal(my_kl)

Expectations under a Gaussian are taken by Gauss-Hermite quadrature. For a polynomial of degree up
to 2 NODES - 1 that is exact: KL divergences and entropies, whose integrands are quadratic, are
checked without their formulas being used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import tensor as T
from tensor import Tensor
from tensor.strategies import Shape, tensors
from tensor.testing import gradcheck

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("minigen.testing needs Hypothesis: pip install -e '.[test]'") from error

NODES = 40
Gaussian = tuple[Tensor, Tensor]
"""mean and log_var, both (N, d): N Gaussians over d independent dimensions."""


# Strategies


def diagonal_gaussians(shape: Shape | None = None) -> st.SearchStrategy[Gaussian]:
    """Means and log-variances (N, d), float64, as leaves that require gradients."""
    shapes = st.tuples(st.integers(1, 3), st.integers(1, 3)) if shape is None else st.just(shape)
    return shapes.flatmap(lambda s: st.tuples(tensors(s), tensors(s)))


def spd_matrices(d: int) -> st.SearchStrategy[np.ndarray]:
    """Symmetric positive definite matrices (d, d): A A^T + I/4."""
    return tensors((d, d)).map(lambda a: a.numpy() @ a.numpy().T + np.eye(d) / 4)


def schedules(max_steps: int = 20) -> st.SearchStrategy[np.ndarray]:
    """beta_1..beta_T of a diffusion, in any order, float64 (T,)."""
    return st.lists(st.floats(1e-4, 0.999), min_size=1, max_size=max_steps).map(np.array)


# Identities


def check_gaussian_kl(kl: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """kl(mean_p, log_var_p, mean_q, log_var_q) must be KL(p || q) of diagonal Gaussians, in nats:
    (N, d) to (N,)."""

    @_examples
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        p = data.draw(diagonal_gaussians(), "p")
        q = data.draw(diagonal_gaussians(p[0].shape), "q")
        value = _checked_shape("KL(p || q)", kl(*p, *q), p)
        _assert_close("KL(p || p) = 0", kl(*p, *p), np.zeros(len(p[0])))
        _assert_close("KL(p || q) = E over p of log p - log q", value, _expected_log_ratio(p, q))
        d = p[0].shape[1]
        of_dimensions = [kl(*(v[:, k : k + 1] for v in (*p, *q))).numpy() for k in range(d)]
        _assert_close("KL adds up over independent dimensions", value, np.sum(of_dimensions, 0))
        a, b = data.draw(st.sampled_from([-3.0, 0.5, 2.0]), "a"), data.draw(st.floats(-2, 2), "b")
        shift = 2 * np.log(abs(a))
        moved = kl(a * p[0] + b, p[1] + shift, a * q[0] + b, q[1] + shift)
        same = "KL does not change when p and q are scaled and shifted together"
        _assert_close(same, moved, value.numpy())
        gradcheck(lambda *args: kl(*args).sum(), [*p, *q])

    holds()


def check_kl_to_standard_normal(kl: Callable[[Tensor, Tensor], Tensor]) -> None:
    """kl(mean, log_var) must be KL(N(mean, exp(log_var)) || N(0, I)) in nats: (N, d) to (N,)."""

    def to_any(mean_p: Tensor, log_var_p: Tensor, mean_q: Tensor, log_var_q: Tensor) -> Tensor:
        """KL does not change under affine maps: one of them makes any q standard."""
        return kl((mean_p - mean_q) * T.exp(-0.5 * log_var_q), log_var_p - log_var_q)

    @_examples
    @given(diagonal_gaussians())
    def holds(p: Gaussian) -> None:
        value = _checked_shape("KL", kl(*p), p)
        zeros = T.zeros(p[0].shape, dtype=np.float64)
        expected = _expected_log_ratio(p, (zeros, zeros))
        _assert_close("KL = E over p of log p - log N(0, I)", value, expected)
        by_mean, by_log_var = _gradients("KL", value, mean=p[0], log_var=p[1])
        _assert_close("dKL/dmean = mean", by_mean, p[0].numpy())
        expected = (np.exp(p[1].numpy()) - 1) / 2
        _assert_close("dKL/dlog_var = (exp(log_var) - 1) / 2", by_log_var, expected)

    holds()
    check_gaussian_kl(to_any)


def check_gaussian_entropy(entropy: Callable[[Tensor], Tensor]) -> None:
    """entropy(log_var) must be that of a diagonal Gaussian, in nats: (N, d) to (N,)."""

    @_examples
    @given(diagonal_gaussians())
    def holds(p: Gaussian) -> None:
        value = _checked_shape("entropy", entropy(p[1]), p)
        _assert_close("H = E of -log p", value, -_expected_log_density(p, p))
        (by_log_var,) = _gradients("H", value, log_var=p[1])
        _assert_close("dH/dlog_var = 1/2", by_log_var, np.full(p[1].shape, 0.5))

    holds()


def check_reparameterisation(rsample: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """rsample(mean, log_var, noise) must turn standard normal noise, all (N, d), into draws.

    With the quadrature's nodes as noise, the means of z, z^2 and exp(z) and their gradients must be
    those of N(mean, exp(log_var)).
    """

    @_examples
    @given(tensors((1, 1)), tensors((1, 1), max_value=1.0))
    def holds(mean: Tensor, log_var: Tensor) -> None:
        nodes, weights = _quadrature()
        rows = (NODES, 1)
        noise = Tensor(nodes[:, None], dtype=np.float64)
        z = rsample(T.expand(mean, rows), T.expand(log_var, rows), noise)
        expected = f"expected draws of the shape of mean, {rows}"
        _require(z.shape == rows, f"rsample: {expected}, got shape {tuple(z.shape)}")
        m, v = mean.item(), np.exp(log_var.item())
        e = np.exp(m + v / 2)
        for name, values, moment, dmean, dlog_var in [
            ("z", z, m, 1, 0),
            ("z^2", T.square(z), m * m + v, 2 * m, v),
            ("exp(z)", T.exp(z), e, e, e * v / 2),
        ]:
            average = T.sum(values * weights[:, None])
            _assert_close(f"E[{name}]", average, moment)
            by_mean, by_log_var = _gradients("z", average, mean=mean, log_var=log_var)
            _assert_close(f"dE[{name}]/dmean", by_mean, np.full((1, 1), dmean), 1e-6)
            _assert_close(f"dE[{name}]/dlog_var", by_log_var, np.full((1, 1), dlog_var), 1e-6)

    holds()


# What the checks are made of


def _examples(test: Callable) -> Callable:
    return settings(deadline=None, max_examples=50, report_multiple_bugs=False)(test)


def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights with which sum_k w_k f(x_k) = E f(x) for x ~ N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return nodes, weights / weights.sum()


def _expected_log_density(p: Gaussian, q: Gaussian) -> np.ndarray:
    """E over p of log q, (N,)"""
    mean_p, log_var_p, mean, log_var = (v.numpy()[..., None] for v in (*p, *q))
    nodes, weights = _quadrature()
    x = mean_p + np.exp(log_var_p / 2) * nodes
    log_q = -0.5 * (np.log(2 * np.pi) + log_var + (x - mean) ** 2 / np.exp(log_var))
    return (log_q @ weights).sum(-1)


def _expected_log_ratio(p: Gaussian, q: Gaussian) -> np.ndarray:
    """E over p of log p - log q, (N,)"""
    return _expected_log_density(p, p) - _expected_log_density(p, q)


def _checked_shape(name: str, value: Tensor, p: Gaussian) -> Tensor:
    N, shape = len(p[0]), tuple(value.shape)
    expected = f"expected one number per Gaussian, ({N},)"
    _require(shape == (N,), f"{name}: {expected}, got shape {shape}")
    return value


def _gradients(name: str, value: Tensor, **parameters: Tensor) -> tuple[Any, ...]:
    """Those of the sum of `value`, each of which must be there."""
    xs = list(parameters.values())
    found: tuple[Any, ...] = (None,) * len(xs)
    if value.requires_grad:
        found = T.grad(value.sum(), xs, retain_graph=True, allow_unused=True)
    for parameter, gradient in zip(parameters, found):
        _require(gradient is not None, f"no gradient flows from {name} to {parameter}")
    return found


def _assert_close(identity: str, found: Tensor, expected, tolerance: float = 1e-9) -> None:
    """Relative to the larger of the expected values and 1."""
    error, scale = np.abs(found.numpy() - expected).max(), max(1.0, np.abs(expected).max())
    values = f"found {found.numpy()}, expected {expected}"
    _require(error <= tolerance * scale, f"{identity} does not hold: {values}")


def _require(holds: bool, message: str) -> None:
    """AssertionError unless it holds, also under `python -O`, which drops every `assert`."""
    if not holds:
        raise AssertionError(message)
