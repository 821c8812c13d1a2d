"""Tensors as objects: how they are made, Python and NumPy, what they say when called wrongly."""

import copy
import itertools
import operator
import pickle
import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given

import tensor
from tensor import Tensor, exp, grad
from tensor.errors import composite
from tensor.strategies import Shape, dtypes, shapes


def t(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


# Made of what, and of which dtype


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([[1.5, 2], [3, 4]], np.float32),
        (3, np.int64),
        ([1, 2], np.int64),
        ([True, False], np.bool_),
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
        (np.float64(1.5), np.float64),
        (np.float32(1.5), np.float32),
        (np.array(1.5), np.float64),
        (np.ones(2, np.uint8), np.uint8),
        (Tensor(np.ones(2)), np.float64),
    ],
)
def test_python_floats_become_float32_and_arrays_keep_their_dtype(data, dtype: type) -> None:
    x = Tensor(data)
    assert x.dtype == dtype and isinstance(x.data, np.ndarray) and isinstance(x.numpy(), np.ndarray)
    assert np.array_equal(x.numpy(), data.numpy() if isinstance(data, Tensor) else np.array(data))


@pytest.mark.parametrize("dtype", [np.float16, "float16", np.complex64, "U3", object])
def test_other_dtypes_are_refused(dtype) -> None:
    for make in (
        lambda: Tensor(np.zeros(2), dtype=dtype),
        lambda: tensor.zeros(2, dtype=dtype),
        lambda: t(2).to(dtype),
        lambda: tensor.cast(t(2), dtype),
    ):
        with pytest.raises(
            TypeError, match="is not supported: use float32, float64, an integer type or bool"
        ):
            make()


def test_only_floats_have_gradients() -> None:
    with pytest.raises(
        TypeError, match="only floating-point tensors have gradients, this one is int64"
    ):
        Tensor([1, 2], requires_grad=True)


@given(shape=shapes(), dtype=dtypes())
def test_constants(shape: Shape, dtype: np.dtype) -> None:
    for make, value in ((tensor.zeros, 0), (tensor.ones, 1)):
        for x in (
            make(shape, dtype=dtype, requires_grad=True),
            make(*shape, dtype=dtype, requires_grad=True),
        ):
            assert (
                x.shape == shape
                and x.dtype == dtype
                and (x.numpy() == value).all()
                and x.requires_grad
            )


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tensor.arange(3), np.arange(3)),
        (tensor.arange(1, 6, 2), np.array([1, 3, 5])),
        (tensor.arange(0, 1, 0.25), np.array([0, 0.25, 0.5, 0.75], np.float32)),
        (tensor.arange(2, dtype=np.float64), np.array([0.0, 1.0])),
        (tensor.linspace(0, 1, 3), np.array([0, 0.5, 1], np.float32)),
        (tensor.eye(2, 3), np.array([[1, 0, 0], [0, 1, 0]], np.float32)),
        (tensor.full((2,), 7), np.array([7, 7])),
        (tensor.full(2, True), np.array([True, True])),
        (tensor.full(2, 0.5), np.array([0.5, 0.5], np.float32)),
        (tensor.zeros_like(t(2)), np.zeros(2)),
        (tensor.ones_like(Tensor([1, 2])), np.ones(2, np.int64)),
        (tensor.full_like(t(2), 3), np.array([3.0, 3.0])),
    ],
)
def test_series_and_constants(made: Tensor, expected: np.ndarray) -> None:
    assert made.dtype == expected.dtype and np.array_equal(made.numpy(), expected)


def test_random_numbers_like_others() -> None:
    x = t(2, 3)
    for like, make in ((tensor.rand_like, tensor.rand), (tensor.randn_like, tensor.randn)):
        y, z = (
            f(shape, generator=np.random.default_rng(0), dtype=np.float64)
            for f, shape in ((like, x), (make, x.shape))
        )
        assert y.dtype == x.dtype and np.array_equal(y.numpy(), z.numpy())
        assert like(x).dtype == x.dtype and like(x, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("make", [tensor.rand, tensor.randn])
def test_random_numbers_follow_the_seed(make: Callable, device: str) -> None:
    tensor.manual_seed(3)
    first, second = make(4, device=device), make(4, device=device)
    tensor.manual_seed(3)
    assert np.array_equal(make(4).numpy(), first.numpy()) and not np.array_equal(
        first.numpy(), second.numpy()
    )
    own = make((4,), generator=np.random.default_rng(3), device=device)
    assert np.array_equal(own.numpy(), first.numpy()) and own.dtype == np.float32


def test_random_numbers_have_the_right_moments() -> None:
    rng = np.random.default_rng(0)
    normal, uniform = (
        tensor.randn(10**5, generator=rng).numpy(),
        tensor.rand(10**5, generator=rng).numpy(),
    )
    assert abs(normal.mean()) < 0.02 and abs(normal.std() - 1) < 0.02
    assert abs(uniform.mean() - 0.5) < 0.01 and uniform.min() >= 0 and uniform.max() < 1


# Beside Python and NumPy

OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.matmul,
]


@pytest.mark.parametrize("operate", OPERATORS)
@pytest.mark.parametrize("other", [np.array([0.5, 2.0]), np.array([[0.5, 2.0], [1.5, 1.0]])])
def test_operators_take_arrays_on_either_side(operate: Callable, other: np.ndarray) -> None:
    x = Tensor(np.array([[1.5, 0.25], [2.0, 3.0]]), requires_grad=True)
    for args in ((x, other), (other, x)):
        y = operate(*args)
        assert isinstance(y, Tensor) and y.requires_grad
        np.testing.assert_allclose(
            y.numpy(), operate(*[a.numpy() if a is x else a for a in args]), rtol=1e-12
        )


@pytest.mark.parametrize("operate", OPERATORS[:-1])
@pytest.mark.parametrize(
    "other", [3, 0.5, np.float64(0.5), np.float32(0.5), np.int64(3), [0.5, 2.0], True]
)
def test_operators_take_numbers_on_either_side(operate: Callable, other) -> None:
    x = Tensor(np.array([1.5, 0.25]), requires_grad=True)
    for args in ((x, other), (other, x)):
        y = operate(*args)
        assert isinstance(y, Tensor) and y.requires_grad
        np.testing.assert_allclose(
            y.numpy(), operate(*[a.numpy() if a is x else np.array(a) for a in args]), rtol=1e-12
        )


@pytest.mark.parametrize(
    "compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
)
@pytest.mark.parametrize("other", [2, 2.0, np.array([1.0, 2.0, 2.5]), np.float64(2)])
def test_comparisons_are_elementwise(compare: Callable, other) -> None:
    x = Tensor(np.array([1.0, 2.0, 3.0]))
    for args in ((x, other), (other, x)):
        y = compare(*args)
        assert y.dtype == np.bool_ and np.array_equal(
            y.numpy(), compare(*[a.numpy() if a is x else a for a in args])
        )


def test_tensors_are_hashed_by_identity() -> None:
    x, same = t(2), t(2)
    assert {x: 1, same: 2}[x] == 1


def test_methods_are_the_functions() -> None:
    # a property; some that take sizes without brackets; one whose first argument is its second
    others = {"grad", "reshape", "permute", "expand", "flip", "where"}
    shared = {
        name for name in tensor.__all__ if callable(getattr(tensor, name)) and hasattr(Tensor, name)
    } - others
    assert {"add", "eq", "exp", "sum", "max", "softmax", "transpose", "matmul", "std"} < shared
    assert all(getattr(Tensor, name) is getattr(tensor, name) for name in shared)


def test_methods_that_are_no_functions() -> None:
    x = t(2, 3)
    assert x.size() == (2, 3) and x.size(-1) == 3 and x.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert x.view(3, -1).shape == x.view((3, -1)).shape == (3, 2)
    assert x.float().dtype == np.float32 and x.double() is x and x.cpu() is x
    assert x.where(x > 1, 0.0).tolist() == tensor.where(x > 1, x, 0.0).tolist()


def test_a_clone_passes_its_gradient_on_and_has_one_of_its_own() -> None:
    x = t(2)
    y = x.clone()
    assert y is not x and y.tolist() == x.tolist()
    assert [g.tolist() for g in grad((x * y * y).sum(), [x, y])] == [[3, 3], [2, 2]]


def test_a_star_brings_no_modules() -> None:
    """`from tensor import *` must leave a `tensor` imported before it alone."""
    assert not [name for name in tensor.__all__ if isinstance(getattr(tensor, name), ModuleType)]


def test_integers_are_counted_with_and_promoted() -> None:
    x = Tensor([1, 2, 3])
    assert (x + 1).dtype == (x * x).dtype == np.int64
    assert (x * 0.5).dtype == (x / 2).dtype == exp(x).dtype == np.float32
    assert (x * Tensor(np.ones(3))).dtype == np.float64


def test_a_tensor_is_a_sequence_of_its_rows() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2 and [row.numpy().tolist() for row in x] == [[1, 2], [3, 4]]
    for unsized in (len, iter):
        with pytest.raises(TypeError, match="0-d"):
            unsized(Tensor(1.0))


def test_a_tensor_of_one_element_is_a_number() -> None:
    x = Tensor([[2.5]])
    assert x.item() == float(x) == 2.5 and int(x) == 2 and bool(x) and x.numel() == 1
    with pytest.raises(ValueError):
        bool(t(2))


def test_numbers_are_formatted_and_count_as_indices() -> None:
    loss, names = Tensor(0.12345, requires_grad=True), ["zero", "one", "two"]
    assert f"{loss:.3f}" == f"{loss * Tensor([1.0]):.3f}" == "0.123" and f"{Tensor(2)}" == "2"
    assert f"{t(2)}" == str(t(2))
    place = tensor.argmax(Tensor([0.5, 0.1, 0.7]))
    assert names[place] == "two" and list(range(place)) == [0, 1] and names[Tensor([1])] == "one"
    with pytest.raises(TypeError, match=r"format '.2f' is for one number, .* shape \(2,\)"):
        f"{t(2):.2f}"
    for wrong in (Tensor(1.0), Tensor(True), Tensor([1, 2])):
        with pytest.raises(TypeError, match="an index is a tensor with one element of an integer"):
            names[wrong]


def test_what_is_no_number_differs_from_every_tensor() -> None:
    x = t(2)
    for other in (None, "a", [1.0, 1.0], object()):
        assert (x == other) is False and (x != other) is True
    assert (x == 1).all() and (x == np.ones(2)).all() and not (x != x).any()


def test_transposes() -> None:
    x = Tensor(np.arange(6).reshape(1, 2, 3))
    assert np.array_equal(x.mT.numpy(), x.numpy().swapaxes(1, 2)) and x.dim() == 3
    assert np.array_equal(x[0].T.numpy(), x[0].numpy().T) and x[0].t().shape == (3, 2)
    with pytest.raises(ValueError, match=r"^t: expected at most 2 dimensions, got \(1, 2, 3\)"):
        x.T  # noqa: B018


# Leaves, copies and print-outs


def test_leaves() -> None:
    x = Tensor([1.0])
    assert (
        x.is_leaf
        and not x.requires_grad
        and x.requires_grad_() is x
        and x.requires_grad
        and x.is_leaf
    )
    y = exp(x)
    assert not y.is_leaf and y.detach().is_leaf and not y.detach().requires_grad
    assert np.shares_memory(y.detach().numpy(), y.numpy())


def test_a_deep_copy_is_a_leaf_of_its_own() -> None:
    x = t(2)
    (x * x).sum().backward()
    twin, same = copy.deepcopy([x, x])
    assert twin is same and twin is not x
    assert np.array_equal(twin.numpy(), x.numpy()) and twin.requires_grad and twin.grad is None
    twin.copy_([5, 5])
    assert x.numpy().tolist() == [1, 1]
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(RuntimeError, match="only leaves can be copied or pickled: detach"):
            copied(exp(x))


def test_a_leaf_that_was_pickled_is_a_leaf_of_the_process_that_loads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pickled = pickle.dumps([t(2), Tensor([3])])
    monkeypatch.setattr("tensor.base._now", itertools.count().__next__)  # as in a new process
    x, y = pickle.loads(pickled)
    assert (x.tolist(), x.requires_grad) == ([1, 1], True) and (y.tolist(), y.requires_grad) == (
        [3],
        False,
    )
    assert not x.data.flags.writeable and grad((x * x * x).sum(), x)[0].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (Tensor([1.0, 2.5]), "Tensor([1. , 2.5])"),
        (Tensor(1.5, requires_grad=True), "Tensor(1.5, requires_grad=True)"),
        (Tensor([1, 2]), "Tensor([1, 2], dtype=int64)"),
        (exp(t(1)), "Tensor([2.71828183], dtype=float64, op='exp')"),
        (t(1)[0], "Tensor(1., dtype=float64, op='getitem')"),
        (Tensor([[1.0], [2.0]]), "Tensor([[1.],\n        [2.]])"),
    ],
)
def test_repr(x: Tensor, text: str) -> None:
    assert repr(x) == text


def test_to_returns_the_tensor_itself_where_nothing_changes(device: str) -> None:
    x = t(2).to(device)
    assert x.to(device) is x and x.to(np.float64) is x and x.to("float64") is x


def test_gradients_travel_back_from_a_device(device: str) -> None:
    x = t(2)
    (g,) = grad((x.to(device) * 3).sum(), x)
    assert g.device == x.device == "cpu" and g.numpy().tolist() == [3, 3]


# What is said when something is wrong: the op, the shapes, and what was expected

WRONG_CALLS: list[tuple[Callable, type | tuple[type, ...], str]] = [
    (lambda: t(2, 3) + t(4), ValueError, r"^add: .*\(2, ?3\).*\(4,\)"),
    (lambda: tensor.where(t(2) > 0, t(3), t(3)), ValueError, r"^where: .*\(2,\).*\(3,\)"),
    (
        lambda: t(2) + "a",
        TypeError,
        "^add: expected a tensor, an array or a number as 'b', got 'a'$",
    ),
    (
        lambda: t(2) * None,
        TypeError,
        "^mul: expected a tensor, an array or a number as 'b', got None$",
    ),
    (
        lambda: tensor.maximum(t(2), None),
        TypeError,
        "^maximum: expected a tensor, an array or a number as 'b', got None$",
    ),
    (
        lambda: tensor.where(t(2) > 0, t(2), None),
        TypeError,
        "^where: expected a tensor, an array .* as 'b', got None$",
    ),
    (
        lambda: t(2) * [1j, 2j],
        TypeError,
        "^mul: expected real numbers, got an array of complex128$",
    ),
    (
        lambda: t(2) + np.ones(2, "M8[s]"),
        TypeError,
        r"^add: expected real numbers, got an array of datetime64\[s\]$",
    ),
    (lambda: t(2) + ["1", "2"], TypeError, "^add: expected real numbers, got an array of <U1$"),
    (
        lambda: Tensor(np.uint8(2)) + 300,
        OverflowError,
        "^add: Python integer 300 out of bounds for uint8",
    ),
    (
        lambda: tensor.add([1.0], [2.0]),
        TypeError,
        "^add: expected a tensor, an array or a number as 'a', got list$",
    ),
    (
        lambda: tensor.sum([1.0]),
        TypeError,
        "^sum: expected a tensor, an array or a number as 'x', got list$",
    ),
    (lambda: tensor.leaky_relu(2.0), TypeError, "^leaky_relu: expected a tensor, got float$"),
    (
        lambda: tensor.exp("a"),
        TypeError,
        "^exp: expected a tensor, an array or a number as 'x', got 'a'$",
    ),
    (lambda: tensor.clamp(t(2), [0, 1, 2]), ValueError, r"^clamp: .*\(2,\).*\(3,\)"),
    (lambda: t(2) + np.ones(3), ValueError, r"^add: .*\(2,\).*\(3,\)"),
    (lambda: tensor.tanh(*[]), TypeError, r"^tanh\(\) takes \['x'\]; missing \['x'\]"),
    (lambda: tensor.tanh(*[t(2)] * 2), TypeError, r"^tanh\(\) takes \['x'\]; too many given"),
    (
        lambda: tensor.softmax(t(2), **{"axis": 0}),
        TypeError,
        r"^softmax\(\) does not take 'axis'.*\['x', 'dim'\]",
    ),
    (
        lambda: tensor.softmax(t(2), 0, **{"dim": 0}),
        TypeError,
        r"^softmax\(\) does not take 'dim' here",
    ),
    (lambda: t(2, 3) @ t(2, 3), ValueError, r"^matmul: .*\(2, 3\).*\(2, 3\)"),
    (lambda: t(2, 3, 4) @ t(3, 4, 5), ValueError, r"^matmul: .*\(2, ?3, ?4\).*\(3, ?4, ?5\)"),
    (lambda: t(2, 3) @ 2.0, (TypeError, ValueError), "^matmul: "),
    (
        lambda: tensor.solve(t(3, 2, 4), t(4, 1)),
        ValueError,
        r"^solve: expected A \(\.\.\., n, n\).*\(3, 2, 4\).*\(4, 1\)",
    ),
    (
        lambda: tensor.solve(t(2, 2), t(3)),
        ValueError,
        r"^solve: expected .* B \(\.\.\., n, k\), got \(2, 2\) and \(3, 1\)",
    ),
    (lambda: tensor.solve(t(2, 1, 1), t(3, 1, 1)), ValueError, r"^solve: shape mismatch"),
    (
        lambda: tensor.cholesky(t(3, 2)),
        ValueError,
        r"^cholesky: expected x \(\.\.\., n, n\), got \(3, 2\)",
    ),
    (
        lambda: tensor.cholesky(tensor.ones(2, 2)),
        ValueError,
        "^cholesky: Matrix is not positive definite",
    ),
    (lambda: tensor.solve(tensor.ones(2, 2), t(2, 1)), ValueError, "^solve: Singular matrix"),
    (lambda: tensor.clamp(t(2)), ValueError, "^clamp: give min, max or both"),
    (
        lambda: tensor.gelu(t(2), approximate="fast"),
        ValueError,
        "^gelu: approximate must be 'none' or 'tanh', got 'fast'",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 2, 2), "a"),
        TypeError,
        "^conv2d: expected a tensor as 'weight', got 'a'$",
    ),
    (lambda: t(2) < None, TypeError, "^lt: cannot compute with None as 'b'$"),
    (lambda: t(2) < "a", TypeError, "^lt: cannot compute with float64, 'a'$"),
    (lambda: t(2).eq(None), TypeError, "^eq: expected a tensor, an array or a number, got None"),
    (lambda: tensor.isnan(None), TypeError, "^isnan: cannot compute with None$"),
    (lambda: tensor.where(None, t(2), 0.0), TypeError, "^where: expected .*, got None"),
    (lambda: tensor.broadcast_to(t(2), None), TypeError, "^broadcast_to: .* None as 'shape'$"),
    (lambda: tensor.reshape(t(2), None), TypeError, "^reshape: expected an integer .* got None"),
    (lambda: tensor.zeros(None), TypeError, r"^zeros: expected an integer .* got \(None,\)$"),
    (lambda: tensor.stack(None), TypeError, "^stack: cannot compute with None as 'tensors'$"),
    (lambda: tensor.embedding(None, t(2, 2)), TypeError, "^embedding: .* 'indices', got None"),
    (lambda: Tensor(None), TypeError, "^expected numbers or an array, got None$"),
    (lambda: grad(None, t(2)), TypeError, "^grad: outputs must be a tensor or several, got None"),
    (lambda: grad(t().exp(), ["a"]), TypeError, "^grad: inputs must be .* got 'a'"),
    # what PyTorch has, and what is not here
    (lambda: grad(t().exp(), t(), only_inputs=False), ValueError, "^grad: only_inputs must be"),
    (lambda: tensor.pad(t(2), (1, 1), "reflect"), ValueError, "^pad: mode must be 'constant'"),
    (lambda: tensor.norm(t(2, 2), "nuc"), ValueError, "^norm: p must be 'fro', .* got 'nuc'"),
    (
        lambda: tensor.instance_norm(t(2, 6, 2), tensor.zeros(6), tensor.ones(6)),
        ValueError,
        "^instance_norm: running_mean and running_var must be None",
    ),
    (
        lambda: tensor.upsample_nearest(t(1, 1, 2, 2), (3, 3)),
        ValueError,
        r"^upsample_nearest: size \(3, 3\) is no multiple of the image's, \(2, 2\)",
    ),
    (
        lambda: tensor.upsample_nearest(t(1, 1, 2, 2), 2, 2),
        ValueError,
        "^upsample_nearest: expected size or scale_factor, and not both",
    ),
    (lambda: tensor.arange(0.5, dtype=np.int64), ValueError, "^arange: expected integers for"),
    (lambda: tensor.arange("a"), TypeError, "^arange: expected numbers, got 'a'"),
    (lambda: tensor.einsum("i..->i", t(2)), ValueError, "^einsum: expected letters"),
    (lambda: tensor.einsum("ij...", t(2)), ValueError, "^einsum: .* does not name the dimensions"),
    (lambda: tensor.einsum("i"), ValueError, "^einsum: .* does not name the dimensions"),
    (
        lambda: tensor.where(t(2).detach(), t(2), 0),
        TypeError,
        "^where: expected a condition of bool, such as x > 0, got float64",
    ),
    (lambda: tensor.where(1, t(2), 0), TypeError, "^where: expected a condition of bool.*int"),
    (lambda: tensor.gather(t(2, 2), 1, Tensor([0, 1])), ValueError, "^gather: expected integers"),
    (lambda: tensor.gather(t(2), 0, Tensor([2])), IndexError, "^gather: index 2 is out of range"),
    (lambda: tensor.gather(t(2), 0, Tensor([-1])), IndexError, "^gather: index -1 is negative"),
    (lambda: t(4).view(5), ValueError, r"^view: cannot reshape .* \(5,\)"),
    (lambda: t(2).to(), TypeError, "^to: expected a device or a dtype, got None"),
    (lambda: tensor.einsum("ij->i", t(2)), ValueError, "^einsum: .* does not name the dimensions"),
    (lambda: tensor.einsum("i->j", t(2)), ValueError, "^einsum: output 'j' repeats a label, or"),
    (lambda: tensor.einsum("i,i", t(2), t(3)), ValueError, "^einsum: labels 'i' have lengths"),
    (lambda: tensor.einsum(t(2), "i"), TypeError, "^einsum: expected an equation such as"),
    (lambda: t(2).sum(()), ValueError, r"^sum: dim=\(\) is ambiguous"),
    (lambda: tensor.max(t(2), None, True), TypeError, "^max: expected an integer, got None"),
    (lambda: tensor.prod(t(2), None, True), TypeError, "^prod: expected an integer, got None"),
    (lambda: tensor.roll(t(2, 2), 1, (0, 1)), ValueError, "^roll: expected a shift for each"),
    (lambda: tensor.dot(t(2, 2), t(2)), ValueError, r"^dot: expected .* got \(2, 2\) and \(2,\)"),
    (lambda: tensor.mm(t(2, 2), t(2)), ValueError, r"^mm: expected .* got \(2, 2\) and \(2,\)"),
    (lambda: tensor.bmm(t(2, 1, 1), t(1, 1, 1)), ValueError, "^bmm: expected as many matrices"),
    (lambda: tensor.outer(t(2, 2), t(2)), ValueError, "^outer: expected two vectors"),
    # shapes
    (lambda: t(2, 3).reshape(4), ValueError, r"^reshape: .*\(4,\).*\(2, 3\)"),
    (lambda: t(2, 3).permute(0, 0), ValueError, r"^permute: dims \(0, 0\) .* \(2, 3\)"),
    (lambda: t(2, 3).permute(0, 5), IndexError, "^permute: dim 5 is out of range"),
    (
        lambda: t().permute(0),
        IndexError,
        "^permute: dim 0 is out of range for a tensor with 0 dimensions",
    ),
    (lambda: t(2, 3).expand(2, 4), ValueError, r"^expand: \(2, 3\) cannot be repeated to \(2, 4\)"),
    (lambda: t(2, 3).expand(-1, 2, 3), ValueError, "^expand: "),
    (lambda: t(2, 3)[[0, 1], [0, 1, 2]], IndexError, r"^getitem: .*\(2,\).*\(3,\)"),
    (lambda: t().sum(5), IndexError, "^sum: dim 5 is out of range for a tensor with 0 dimensions"),
    (lambda: t(2).sum(0.5), TypeError, "^sum: expected an integer or several, got 0.5"),
    (lambda: t(2, 1).squeeze(1.0), TypeError, "^squeeze: expected an integer or several, got 1.0"),
    (lambda: t(2, 1).squeeze(3), IndexError, "^squeeze: dim 3 is out of range"),
    (lambda: t(2, 3).unsqueeze(7), IndexError, "^unsqueeze: dim 7 is out of range"),
    (lambda: t(2, 3).transpose(0, 5), IndexError, "^transpose: dim 5 is out of range"),
    (lambda: t(2, 3).flatten(7), IndexError, "^flatten: dim 7 is out of range"),
    (lambda: t(2, 3).flatten(0, -4), IndexError, "^flatten: dim -4 is out of range"),
    (lambda: t(2, 3).flip(2), IndexError, "^flip: "),
    (lambda: t(2, 3).argmax(2), IndexError, "^argmax: "),
    (lambda: t(2, 3).narrow(2, 0, 1), IndexError, "^narrow: dim 2 is out of range"),
    (lambda: t(2, 3).narrow(1, 1, 3), (IndexError, ValueError), "^narrow: "),
    (lambda: t(2, 3).narrow(1, -1, 1), (IndexError, ValueError), "^narrow: "),
    (lambda: t(2, 3).split(0), ValueError, "^split: expected a size of at least 1, got 0"),
    (lambda: t(2, 3).split([1, 1], 1), ValueError, r"^split: sizes \(1, 1\) do not add up to 3"),
    (lambda: t(2, 3).chunk(2, 2), IndexError, "^chunk: dim 2 is out of range"),
    (lambda: t(2, 3).chunk(0), ValueError, "^chunk: expected at least one part, got chunks=0"),
    (lambda: tensor.cat([[1.0], [2.0]]), TypeError, "^cat: expected a tensor, got list$"),
    (lambda: tensor.cat([t(2)], None), TypeError, "^cat: expected an integer, got None"),
    (lambda: tensor.cat([]), ValueError, "^cat: nothing to join"),
    (
        lambda: tensor.cat([t(2, 3), t(2, 4)]),
        ValueError,
        r"^cat: shapes .*\(2, 3\).*\(2, 4\).* differ outside dim 0",
    ),
    (
        lambda: tensor.cat([t(2, 3)], 2),
        IndexError,
        r"^cat: dim 2 is out of range for shape \(2, 3\)",
    ),
    (lambda: tensor.stack([]), ValueError, "^stack: nothing to join"),
    (lambda: tensor.stack([t(2), t(3)]), ValueError, r"^stack: shapes \[\(2,\), \(3,\)\] differ"),
    (
        lambda: tensor.pad(t(2), 1),
        ValueError,
        r"^pad: expected \(before, after\) pairs .* got \(1,\)",
    ),
    (lambda: tensor.pad(t(2), (1,)), ValueError, r"^pad: expected \(before, after\) pairs"),
    (lambda: tensor.pad(t(2), (1, -1)), ValueError, "^pad: expected .* >= 0"),
    # convolution and pooling
    (
        lambda: tensor.conv2d([1.0], t(5, 4, 3, 3)),
        TypeError,
        "^conv2d: expected a tensor as 'x', got list$",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 2, 2), None),
        TypeError,
        "^conv2d: expected a tensor as 'weight', got None$",
    ),
    (
        lambda: tensor.conv2d(*[t(1, 1, 2, 2)]),
        TypeError,
        "^conv2d: missing 1 required positional argument: 'weight'",
    ),
    (
        lambda: tensor.conv2d(t(2, 3, 8, 8), t(5, 4, 3, 3)),
        ValueError,
        r"^conv2d: x \(2, 3, 8, 8\) has 3 channels.*expects 4",
    ),
    (
        lambda: tensor.conv2d(t(3, 8, 8), t(5, 3, 3, 3)),
        ValueError,
        r"^conv2d: expected x \(N, C, H, W\).*\(3, 8, 8\)",
    ),
    (
        lambda: tensor.conv2d(t(2, 4, 8, 8), t(5, 2, 3, 3), groups=2),
        ValueError,
        "^conv2d: groups=2 must divide",
    ),
    (
        lambda: tensor.conv2d(t(2, 3, 2, 8), t(5, 3, 3, 3)),
        ValueError,
        r"^conv2d: the kernel covers \(3, 3\) pixels",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 8, 8), t(5, 1, 3, 3), t(4)),
        ValueError,
        r"^conv2d: bias has shape \(4,\), expected \(5,\)",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 8, 8), t(5, 1, 3, 3), stride=0),
        ValueError,
        "^conv2d: stride must be an integer >= 1",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 8, 8), t(5, 1, 3, 3), stride=1.5),
        ValueError,
        "^conv2d: stride must be .* got 1.5",
    ),
    (
        lambda: tensor.conv2d(t(1, 1, 8, 8), t(5, 1, 3, 3), padding=(1, 2, 3)),
        ValueError,
        "^conv2d: padding must be .* pair",
    ),
    (
        lambda: tensor.conv_transpose2d(t(1, 3, 4, 4), t(4, 5, 3, 3)),
        ValueError,
        r"^conv_transpose2d: x \(1, 3, 4, 4\) has 3 channels, weight \(4, 5, 3, 3\) expects 4",
    ),
    (
        lambda: tensor.conv_transpose2d(t(1, 1, 4, 4), t(1, 1, 3, 3), output_padding=1),
        ValueError,
        r"^conv_transpose2d: output_padding \(1, 1\) must be smaller than stride \(1, 1\)",
    ),
    (
        lambda: tensor.conv_transpose2d(t(1, 1, 1, 1), t(1, 1, 1, 1), padding=1),
        ValueError,
        "^conv_transpose2d: padding",
    ),
    (
        lambda: tensor.max_pool2d(t(1, 1, 4, 4), 2, padding=2),
        ValueError,
        "^max_pool2d: padding .* more than half",
    ),
    (
        lambda: tensor.max_pool2d(t(1, 1, 4, 4), 5),
        ValueError,
        r"^max_pool2d: the kernel \(5, 5\) is larger",
    ),
    (
        lambda: tensor.max_pool2d(t(1, 1, 4, 4), 2, stride=0),
        ValueError,
        "^max_pool2d: stride must be an integer >= 1",
    ),
    (
        lambda: tensor.avg_pool2d(t(4, 4), 2),
        ValueError,
        r"^avg_pool2d: expected x \(N, C, H, W\) or \(C, H, W\), got \(4, 4\)",
    ),
    (
        lambda: tensor.upsample_nearest(t(2, 3, 4), 2),
        ValueError,
        r"^upsample_nearest: .* got \(2, 3, 4\)",
    ),
    # normalisation
    (
        lambda: tensor.group_norm(t(2, 6), 4),
        ValueError,
        "^group_norm: 6 channels cannot be split into 4 groups",
    ),
    (
        lambda: tensor.group_norm(t(2, 6), 3, t(5)),
        ValueError,
        r"^group_norm: weight has shape \(5,\), expected \(6,\)",
    ),
    (
        lambda: tensor.instance_norm(t(2, 6, 1)),
        ValueError,
        r"^instance_norm: \(2, 6, 1\) has one pixel per channel",
    ),
    (lambda: tensor.layer_norm(t(2, 6), 5), ValueError, r"^layer_norm: .*\(2, 6\) are not \(5,\)"),
    (
        lambda: tensor.batch_norm(t(2, 6)),
        ValueError,
        "^batch_norm: .* needs running_mean and running_var",
    ),
    (
        lambda: tensor.batch_norm(t(1, 6), training=True),
        ValueError,
        r"^batch_norm: training needs more than one .*\(1, 6\)",
    ),
    (
        lambda: tensor.group_norm(t(6), 2),
        ValueError,
        r"^group_norm: expected x \(N, C, ...\), got \(6,\)",
    ),
    (
        lambda: tensor.group_norm(t(2, 6), 0),
        ValueError,
        "^group_norm: 6 channels cannot be split into 0 groups",
    ),
    (
        lambda: tensor.batch_norm(t(6), training=True),
        ValueError,
        r"^batch_norm: expected x \(N, C, ...\), got \(6,\)",
    ),
    (
        lambda: tensor.batch_norm(t(2, 6), tensor.zeros(6), training=True),
        ValueError,
        "^batch_norm: running_mean and running_var belong together",
    ),
    (
        lambda: tensor.batch_norm(t(2, 6), tensor.zeros(6), tensor.ones(5)),
        ValueError,
        r"^batch_norm: running_var has shape \(5,\), expected \(6,\)",
    ),
    (
        lambda: tensor.batch_norm(t(2, 6), np.zeros(6), np.ones(6), training=True),
        TypeError,
        "^batch_norm: training updates running_mean and running_var, which must be tensors",
    ),
    (
        lambda: tensor.layer_norm(t(2, 3, 4), (3, 4), t(4, 3)),
        ValueError,
        r"^layer_norm: weight has shape \(4, 3\), expected \(3, 4\)",
    ),
    # nothing
    (lambda: t(0, 3).max(0), ValueError, r"^max: \(0, 3\) holds no values along \(0,\)"),
    (lambda: t(0, 3).min(), ValueError, r"^min: \(0, 3\) holds no values along \(0, 1\)"),
    (lambda: t(0, 3).argmax(), ValueError, r"^argmax: \(0, 3\) holds no values"),
    (lambda: t(0, 3).softmax(0), ValueError, r"^softmax: \(0, 3\) holds no values"),
    (lambda: t(0, 3).log_softmax(0), ValueError, r"^log_softmax: \(0, 3\) holds no values"),
    (lambda: t(0, 3).logsumexp(0), ValueError, r"^logsumexp: \(0, 3\) holds no values"),
    (
        lambda: tensor.layer_norm(t(3, 0), 0),
        ValueError,
        r"^layer_norm: the last dimensions of \(3, 0\) .* of length 0",
    ),
    (
        lambda: tensor.conv2d(t(1, 0, 8, 8), t(5, 0, 3, 3)),
        ValueError,
        "^conv2d: .* has a dimension of length 0",
    ),
    (
        lambda: tensor.conv2d(t(1, 2, 8, 8), t(0, 2, 3, 3)),
        ValueError,
        "^conv2d: .* has a dimension of length 0",
    ),
    (
        lambda: tensor.conv2d(t(1, 2, 8, 8), t(5, 2, 0, 3)),
        ValueError,
        "^conv2d: .* has a dimension of length 0",
    ),
    (
        lambda: tensor.conv2d(t(1, 2, 8, 8), t(5, 2, 3, 3), groups=0),
        ValueError,
        "^conv2d: groups=0 must divide",
    ),
    # gradients
    (
        lambda: t(2).backward(),
        RuntimeError,
        r"starts from a scalar, but this tensor has shape \(2,\): sum it",
    ),
    (
        lambda: t(2).sum().backward(t(3)),
        ValueError,
        r"the gradient has shape \(3,\), its tensor \(\)",
    ),
    (
        lambda: Tensor(1.0).backward(),
        RuntimeError,
        "does not depend on any tensor with requires_grad=True",
    ),
    (
        lambda: grad(t(2).sum(), Tensor(1.0)),
        RuntimeError,
        "^grad: input 0 does not require a gradient",
    ),
    (lambda: grad([t(2), t(2)], t(2), [t(2)]), ValueError, "^grad: 2 outputs, but 1 grad_outputs"),
    # new values
    (
        lambda: setattr(t(2), "data", [1.0, 2.0]),
        ValueError,
        r"^data: expected an array of shape \(2,\), got list",
    ),
    (
        lambda: setattr(t(2), "data", t(2)),
        ValueError,
        r"^data: expected an array of shape \(2,\), got Tensor",
    ),
    (
        lambda: setattr(t(2), "data", np.ones(3)),
        ValueError,
        r"^data: .* shape \(2,\), got one of shape \(3,\)",
    ),
    (
        lambda: setattr(t(2), "data", np.ones(2, np.float32)),
        TypeError,
        "^data: expected float64 on cpu, .* got float32",
    ),
    (
        lambda: setattr(t(2).detach(), "data", np.ones(2, complex)),
        TypeError,
        "^dtype complex128 is not supported",
    ),
    (
        lambda: setattr(exp(t(2)), "data", np.ones(2)),
        RuntimeError,
        "^data: only leaves can be given new values",
    ),
    (
        lambda: setattr(t(2), "grad", np.ones(2)),
        TypeError,
        "^grad: expected a tensor or None, got ndarray",
    ),
    (
        lambda: setattr(t(2), "grad", t(3)),
        ValueError,
        r"^grad: expected float64 \(2,\) on cpu, got float64 \(3,\) on cpu",
    ),
    (
        lambda: setattr(t(2), "grad", tensor.ones(2)),
        ValueError,
        "^grad: expected float64 .* got float32",
    ),
    (
        lambda: tensor.cast(t(2), np.int64),
        TypeError,
        r"^cast: int64 has no gradients; x.to\(int64\)",
    ),
    # devices
    (lambda: t(2).to(None), TypeError, "^to: expected a device or a dtype, got None"),
    (lambda: t(2).to("gpu"), ValueError, "^to: 'gpu' is neither a device .* nor a dtype"),
    (lambda: t(2).to("cpu:1"), ValueError, "unknown device 'cpu:1'"),
    (lambda: t(2).to("cuda:²"), ValueError, "unknown device 'cuda:²'"),
    (lambda: t(2).to("cuda:٣"), ValueError, "unknown device 'cuda:٣'"),
]


@pytest.mark.parametrize(
    ("call", "error", "message"), WRONG_CALLS, ids=[message for *_, message in WRONG_CALLS]
)
def test_errors_teach(call: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_mistake_in_an_op_is_not_taken_for_one_in_the_call() -> None:
    @tensor.autodiff.op()
    def misspelt(x):
        return x.trnspose()

    with pytest.raises(AttributeError, match="trnspose"):
        misspelt(t(2))


@pytest.mark.parametrize("move", [lambda x: x.to("cuda"), lambda x: x.cuda()])
def test_without_cupy_the_error_names_the_extra(
    move: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        RuntimeError, match=r"device 'cuda' needs CuPy: pip install -e '\.\[cuda12\]'"
    ):
        move(t(2))


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv"])
def test_a_leaf_is_not_left_behind_by_an_assignment(name: str) -> None:
    """`p -= lr * p.grad` moves p in PyTorch; here it would move nothing."""
    assign, p = getattr(operator, name), Tensor([4.0], requires_grad=True)
    for context in (tensor.enable_grad(), tensor.no_grad()):
        with context, pytest.raises(RuntimeError, match=r"this leaf stays as it is.*copy_\(\)"):
            assign(p, 2.0)
    x = Tensor([4.0])
    y = assign(x, 2.0)
    assert y.tolist() == [getattr(operator, name.removeprefix("i"))(4.0, 2.0)] and x.tolist() == [4]
    assert assign(p * 1, 2.0).requires_grad


@pytest.mark.parametrize("module", [np, np.lib.stride_tricks])
def test_what_a_module_lacks_is_not_blamed_on_the_caller(module: ModuleType) -> None:
    @composite
    def misspelt(x):
        return module.expp(x)

    with pytest.raises(AttributeError, match=f"'{module.__name__}' has no attribute 'expp'"):
        misspelt(t(2))
