"""Reductions where they are hard: huge and infinite logits, equal ones, numbers far from 0."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensor
from tensor import Tensor, argmax, grad, log_softmax, logsumexp, mean, softmax, sum, var
from tensor.strategies import shapes, tensors

INF = np.inf


# The softmax family


@given(x=tensors((2, 3)), shift=st.sampled_from([1e3, -1e3, 1e6, -1e6]))
def test_huge_logits_neither_overflow_nor_lose_what_matters(x: Tensor, shift: float) -> None:
    """Adding a constant to all logits adds it to logsumexp and leaves softmax as it is."""
    moved = Tensor(x.numpy() + shift, requires_grad=True)
    np.testing.assert_allclose(
        (logsumexp(moved, 1) - shift).numpy(), logsumexp(x, 1).numpy(), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(softmax(moved, 1).numpy(), softmax(x, 1).numpy(), rtol=1e-9)
    np.testing.assert_allclose(
        log_softmax(moved, 1).numpy(), log_softmax(x, 1).numpy(), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        grad(logsumexp(moved, 1).sum(), moved)[0].numpy(), softmax(x, 1).numpy(), rtol=1e-9
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_far_apart(dtype: type) -> None:
    x = Tensor(np.array([0.0, 1e4, -1e4]), dtype=dtype)
    assert softmax(x, 0).numpy().tolist() == [0, 1, 0]
    assert log_softmax(x, 0).numpy().tolist() == [-1e4, 0, -2e4]
    assert logsumexp(x, 0).item() == 1e4


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_logit_of_minus_infinity_has_probability_0_and_no_gradient(create_graph: bool) -> None:
    x = Tensor(np.array([[0.5, -INF, 0.5]]), requires_grad=True)
    weights = Tensor(np.array([[1.0, 2.0, 3.0]]))
    assert softmax(x, 1).numpy().tolist() == [[0.5, 0, 0.5]]
    assert logsumexp(x, 1).item() == pytest.approx(0.5 + np.log(2))
    assert log_softmax(x, 1).numpy().tolist() == [
        [pytest.approx(-np.log(2)), -INF, pytest.approx(-np.log(2))]
    ]
    for y, expected in (
        (logsumexp(x, 1).sum(), [[0.5, 0, 0.5]]),
        ((softmax(x, 1) * weights).sum(), [[-0.5, 0, 0.5]]),
        (log_softmax(x, 1)[0, 2], [[-0.5, 0, 0.5]]),
    ):
        assert grad(y, x, create_graph=create_graph)[0].numpy().tolist() == expected


def test_logsumexp_of_nothing_likely_and_of_infinity() -> None:
    x = Tensor(np.array([[-INF, -INF], [INF, 0.0], [0.0, -INF]]))
    with np.errstate(divide="raise", invalid="raise"):
        assert logsumexp(x, 1).numpy().tolist() == [-INF, INF, 0]


@given(x=tensors(shapes(1)))
def test_probabilities_add_up_to_1(x: Tensor) -> None:
    for dim in (tuple(range(x.ndim)), -1):
        np.testing.assert_allclose(softmax(x, dim).sum(dim).numpy(), 1, rtol=1e-12)
        np.testing.assert_allclose(logsumexp(log_softmax(x, dim), dim).numpy(), 0, atol=1e-12)


# Extrema


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", ["amax", "amin"])
@given(x=tensors((2, 4), min_value=-0.004, max_value=0.004))
def test_ties_share_the_gradient(name: str, create_graph: bool, x: Tensor) -> None:
    f = getattr(tensor, name)
    for dim in (None, 1, (0, 1)):
        is_extreme = x.numpy() == f(x, dim, keepdim=True).numpy()
        expected = is_extreme / is_extreme.sum(None if dim is None else dim, keepdims=True)
        (g,) = grad(f(x, dim).sum(), x, create_graph=create_graph)
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_of_two_tensors_share_the_gradient(name: str) -> None:
    a, b = (Tensor(np.zeros(3), requires_grad=True) for _ in range(2))
    for g in grad(getattr(tensor, name)(a, b).sum(), [a, b]):
        assert g.numpy().tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(("name", "place"), [("max", "argmax"), ("min", "argmin")])
@given(x=tensors((2, 4), min_value=-0.004, max_value=0.004))
def test_extrema_along_a_dimension_are_taken_from_their_places(
    name: str, place: str, x: Tensor
) -> None:
    """Of equal values the first is taken, and has all of the gradient."""
    for dim in (0, -1):
        found = getattr(tensor, name)(x, dim)
        values, indices = found
        expected = getattr(np, place)(x.numpy(), dim, keepdims=True)
        assert values is found.values and np.array_equal(indices.numpy(), expected.squeeze(dim))
        assert np.array_equal(values.numpy(), getattr(np, name)(x.numpy(), dim))
        (g,) = grad(values.sum(), x)
        one_hot = np.zeros(x.shape)
        np.put_along_axis(one_hot, expected, 1.0, dim)
        assert np.array_equal(g.numpy(), one_hot)


@pytest.mark.parametrize("name", ["max", "min"])
def test_extrema_of_all_values_and_of_two_tensors(name: str) -> None:
    x = Tensor(np.zeros((2, 2)), requires_grad=True)
    assert grad(getattr(x, name)(), x)[0].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    other = Tensor(np.array([[1.0, -1.0], [0.0, 2.0]]))
    expected = getattr(np, f"{name}imum")(x.numpy(), other.numpy())
    assert np.array_equal(getattr(x, name)(other).numpy(), expected)


@given(x=tensors(shapes(1)), data=st.data())
def test_argmax_is_numpys(x: Tensor, data: st.DataObject) -> None:
    dim, keepdim = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1)), data.draw(st.booleans())
    y = argmax(x, dim, keepdim)
    assert y.dtype.kind == "i" and np.array_equal(
        y.numpy(), np.argmax(x.numpy(), dim, keepdims=keepdim)
    )


# Moments


def test_the_variance_of_numbers_far_from_0_does_not_cancel() -> None:
    x = np.random.default_rng(0).normal(1e4, 1, 4096).astype(np.float32)
    assert var(Tensor(x)).item() == pytest.approx(x.astype(np.float64).var(ddof=1), rel=1e-4)


@given(x=tensors(shapes(2, 2)))
def test_the_total_variance_is_that_within_plus_that_between(x: Tensor) -> None:
    within = mean(var(x, 1, correction=0))
    between = var(mean(x, 1), correction=0)
    assert (within + between).item() == pytest.approx(var(x, correction=0).item(), abs=1e-12)


def test_a_deviation_and_a_norm_of_0_have_gradients_of_0() -> None:
    x = Tensor(np.zeros(3), requires_grad=True)
    for y in (tensor.std(x), tensor.norm(x), tensor.norm(x, 3)):
        assert y.item() == 0 and grad(y, x)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_norms_of_numbers_whose_squares_overflow_or_vanish(size: float) -> None:
    x = Tensor([3 * size, 4 * size], requires_grad=True)
    y = tensor.norm(x)
    assert y.item() == pytest.approx(5 * size) and y.dtype == np.float32
    np.testing.assert_allclose(grad(y, x)[0].numpy(), [0.6, 0.8], rtol=1e-6)


def test_a_product_with_zeros_has_the_products_of_the_others_as_gradient() -> None:
    x = Tensor([2.0, 0.0, 3.0], requires_grad=True)
    assert grad(x.prod(), x)[0].tolist() == [0, 6, 0]
    assert Tensor([]).prod().item() == 1 and Tensor([True, True]).prod().dtype == np.int64


def test_running_sums_of_many_numbers_are_right() -> None:
    assert Tensor(np.full(10**6, 0.1, np.float32)).cumsum(0)[-1].item() == pytest.approx(1e5, 1e-6)


@pytest.mark.parametrize(
    "f",
    [
        *[sum, mean, var, tensor.std, logsumexp, softmax, log_softmax, argmax, tensor.argmin],
        *[tensor.max, tensor.min, tensor.amax, tensor.amin, tensor.norm, tensor.prod, tensor.any],
        *[tensor.all, tensor.cumsum, tensor.squeeze, tensor.unsqueeze, tensor.flip, tensor.flatten],
    ],
)
def test_a_truth_value_is_no_dimension(f) -> None:
    args = (2,) if f is tensor.norm else ()
    for dim in (True, False):
        with pytest.raises(TypeError, match=f"^{f.__name__}: expected an integer.*, got {dim}"):
            f(Tensor([[1.0]]), *args, dim)


def test_a_variance_with_nothing_to_divide_by_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="var: 1 values with correction 1 leave nothing to divide by"
    ):
        var(Tensor([1.0]))


@pytest.mark.parametrize("f", [sum, mean, logsumexp, softmax, tensor.amax, tensor.amin, var])
@pytest.mark.parametrize(
    ("dim", "error"),
    [(2, IndexError), (-3, IndexError), ((0, 2), IndexError), ((0, -2), ValueError)],
)
def test_wrong_dimensions_raise_and_name_the_op(f, dim, error: type) -> None:
    with pytest.raises(error, match=rf"^{f.__name__}: dim"):
        f(Tensor(np.zeros((2, 3))), dim)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 0)])
def test_sums_do_not_depend_on_the_order_in_memory(
    order: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    array = np.random.default_rng(0).standard_normal(shape)
    x = Tensor(array.transpose(order).copy()).permute(tuple(np.argsort(order).tolist()))
    for dims in itertools.chain.from_iterable(
        itertools.combinations(range(4), n) for n in range(1, 5)
    ):
        for keepdim in (False, True):
            expected = array.sum(dims, keepdims=keepdim)
            np.testing.assert_allclose(
                sum(x, dims, keepdim).numpy(), expected, rtol=1e-10, atol=1e-12
            )


def test_integers_and_truth_values_are_counted() -> None:
    assert sum(Tensor([1, 2, 3])).item() == 6
    assert sum(Tensor([True, True, False])).item() == 2
    assert mean(Tensor([True, False])).dtype == np.float32
