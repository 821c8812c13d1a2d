"""Group, instance, layer and batch norm: the moments and invariances that define them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensor import Tensor, batch_norm, grad, group_norm, instance_norm, layer_norm, ones, zeros
from tensor.normalization import normalize
from tensor.strategies import NormGeometry, norm_geometries, tensors
from tensor.testing import gradcheck, gradgradcheck
from tests.tensor import references as ref

generators = st.integers(0, 2**16).map(np.random.default_rng)


def whitened(x: Tensor, **options) -> Tensor:
    return layer_norm(x, x.shape[1:], **options)


NORMS: dict[str, tuple[Callable, Callable]] = {
    "group_norm": (partial(group_norm, num_groups=2), lambda x: x.reshape(len(x), 2, -1)),
    "instance_norm": (instance_norm, lambda x: x.reshape(*x.shape[:2], -1)),
    "layer_norm": (whitened, lambda x: x.reshape(len(x), -1)),
    "batch_norm": (
        partial(batch_norm, training=True),
        lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1),
    ),
}
"""Each norm, and what it normalises as the last axis of an array."""

every_norm = pytest.mark.parametrize(("norm", "sets"), NORMS.values(), ids=NORMS.keys())


@pytest.fixture
def x() -> np.ndarray:
    """Images (N, C, H, W), every channel with a mean and a scale of its own."""
    rng = np.random.default_rng(0)
    return rng.normal(
        rng.normal(0, 3, (1, 6, 1, 1)), rng.uniform(0.5, 4, (1, 6, 1, 1)), (5, 6, 4, 3)
    )


@every_norm
def test_the_output_has_mean_0_and_variance_1(
    norm: Callable, sets: Callable, x: np.ndarray
) -> None:
    y = sets(norm(Tensor(x), eps=0.0).numpy())
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(-1), 1, rtol=1e-12)


@every_norm
def test_eps_is_added_to_the_variance(norm: Callable, sets: Callable, x: np.ndarray) -> None:
    variance = sets(x).var(-1)
    np.testing.assert_allclose(
        sets(norm(Tensor(x), eps=0.5).numpy()).var(-1), variance / (variance + 0.5), rtol=1e-12
    )


@every_norm
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_affine_maps_of_the_input_change_nothing(
    norm: Callable, sets: Callable, scale: float, shift: float
) -> None:
    x = np.random.default_rng(1).standard_normal((3, 4, 5))
    moved = norm(Tensor(scale * x + shift), eps=0.0).numpy()
    np.testing.assert_allclose(moved, norm(Tensor(x), eps=0.0).numpy(), atol=1e-9)


@every_norm
def test_gradients_are_orthogonal_to_affine_maps_of_the_input(
    norm: Callable, sets: Callable, x: np.ndarray
) -> None:
    """By that invariance sum(gx) = 0 and sum(gx x) = 0 over what is normalised together."""
    leaf = Tensor(x, requires_grad=True)
    (gx,) = grad(norm(leaf, eps=0.0), leaf, Tensor(np.cos(np.arange(x.size)).reshape(x.shape)))
    np.testing.assert_allclose(sets(gx.numpy()).sum(-1), 0, atol=1e-12)
    np.testing.assert_allclose(sets(gx.numpy() * x).sum(-1), 0, atol=1e-12)


@every_norm
def test_a_large_mean_does_not_cancel(norm: Callable, sets: Callable) -> None:
    """In float32, E[x^2] - E[x]^2 of numbers near 10,000 has no digit of a variance of 1."""
    x = np.random.default_rng(2).normal(1e4, 1, (4, 4, 16, 16)).astype(np.float32)
    leaf, exact = Tensor(x, requires_grad=True), Tensor(x.astype(np.float64), requires_grad=True)
    y, y_exact = norm(leaf), norm(exact)
    g = np.cos(np.arange(x.size)).reshape(x.shape)
    gx, gx_exact = grad(y, leaf, Tensor(g, dtype=np.float32))[0], grad(y_exact, exact, Tensor(g))[0]
    np.testing.assert_allclose(y.numpy(), y_exact.numpy(), atol=2e-3)
    np.testing.assert_allclose(gx.numpy(), gx_exact.numpy(), atol=5e-3)


@every_norm
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_images_become_zeros(norm: Callable, sets: Callable, dtype: type) -> None:
    x = Tensor(np.full((2, 4, 3, 3), 7.3), requires_grad=True, dtype=dtype)
    y = norm(x)
    np.testing.assert_allclose(y.numpy(), 0, atol=1e-3 if dtype == np.float32 else 1e-10)
    assert np.isfinite(grad(y.sum(), x)[0].numpy()).all()


# The relations between them


@given(geometry=norm_geometries(), rng=generators)
def test_each_is_a_group_norm_of_something(
    geometry: NormGeometry, rng: np.random.Generator
) -> None:
    N, C, *size = geometry.x_shape
    x = Tensor(rng.standard_normal(geometry.x_shape))
    one_image = x.transpose(0, 1).reshape(1, C, -1)
    for y, same in (
        (instance_norm(x), group_norm(x, C)),
        (whitened(x), group_norm(x, 1)),
        (
            batch_norm(x, training=True),
            group_norm(one_image, C).reshape(C, N, *size).transpose(0, 1),
        ),
    ):
        np.testing.assert_allclose(y.numpy(), same.numpy(), rtol=1e-10, atol=1e-12)


@given(geometry=norm_geometries(), rng=generators)
def test_groups_and_channels_do_not_mix(geometry: NormGeometry, rng: np.random.Generator) -> None:
    """At many sizes, with weight, bias and the default eps; the table of ops has a large one."""
    N, C, *size = geometry.x_shape
    x, w, b = rng.standard_normal((N, C, *size)), rng.standard_normal(C), rng.standard_normal(C)
    y = group_norm(Tensor(x), geometry.num_groups, Tensor(w), Tensor(b)).numpy()
    np.testing.assert_allclose(
        y, ref.group_norm(x, w, b, geometry.num_groups), rtol=1e-9, atol=1e-9
    )


def test_weight_and_bias_may_depend_on_the_input() -> None:
    x = Tensor(np.random.default_rng(0).standard_normal((2, 2, 2)), requires_grad=True)

    def f(x: Tensor) -> Tensor:
        return normalize(x, x[0, 0], x.sum((0, 1)), 1, 0.5)

    assert gradcheck(f, x) and gradgradcheck(f, x)


@pytest.mark.parametrize("shape", [3, np.int64(3), (3,), [np.int64(3)]])
def test_a_normalized_shape_is_an_integer_or_several(shape) -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(layer_norm(x, shape).numpy(), whitened(x).numpy())


# Batch norm


def test_running_statistics_move_by_momentum_and_are_unbiased(x: np.ndarray) -> None:
    mean, var = zeros(6, dtype=np.float64), ones(6, dtype=np.float64)
    expected_mean, expected_var = np.zeros(6), np.ones(6)
    for batch in (x, 2 * x + 1):
        batch_norm(Tensor(batch, requires_grad=True), mean, var, training=True, momentum=0.25)
        expected_mean += 0.25 * (batch.mean((0, 2, 3)) - expected_mean)
        expected_var += 0.25 * (batch.var((0, 2, 3), ddof=1) - expected_var)
    np.testing.assert_allclose(mean.numpy(), expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var.numpy(), expected_var, rtol=1e-12)
    assert not mean.requires_grad and not var.requires_grad


def test_evaluation_uses_running_statistics_as_constants(x: np.ndarray) -> None:
    mean, var = Tensor(np.arange(6.0)), Tensor(np.arange(1.0, 7.0))
    leaf = Tensor(x, requires_grad=True)
    y = batch_norm(leaf, mean, var, eps=0.0)
    across = (1, 6, 1, 1)
    scale = 1 / np.sqrt(var.numpy().reshape(across))
    np.testing.assert_allclose(y.numpy(), (x - mean.numpy().reshape(across)) * scale, rtol=1e-12)
    np.testing.assert_allclose(
        grad(y.sum(), leaf)[0].numpy(), np.broadcast_to(scale, x.shape), rtol=1e-12
    )
    assert np.array_equal(mean.numpy(), np.arange(6.0)) and np.array_equal(
        var.numpy(), np.arange(1.0, 7.0)
    )


def test_training_does_not_look_at_running_statistics(x: np.ndarray) -> None:
    odd = Tensor(np.full(6, 50.0)), Tensor(np.full(6, 0.01))
    y = batch_norm(Tensor(x), *odd, training=True)
    assert np.array_equal(y.numpy(), batch_norm(Tensor(x), training=True).numpy())


@given(x=tensors((3, 2)), weight=tensors((2,)))
def test_second_derivatives_flow_through_the_statistics_of_the_batch(
    x: Tensor, weight: Tensor
) -> None:
    """Also where batch norm is in the middle, and its input is no leaf."""
    assert gradgradcheck(
        lambda x, w: batch_norm(x * x * x, weight=w, training=True, eps=0.5), [x, weight]
    )
