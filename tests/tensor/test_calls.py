"""Calls in PyTorch's words: names of operands, sizes by name, options that have one value here."""

from collections.abc import Callable

import numpy as np
import pytest

import tensor
from tensor import Tensor

x, y = Tensor([[1.0, -2.0], [3.0, 5.0]]), Tensor([[2.0, 4.0], [-1.0, 0.5]])
images, kernel = Tensor(np.arange(16.0).reshape(1, 1, 4, 4)), Tensor(np.ones((1, 1, 2, 2)))

SAME: list[tuple[Callable, Callable]] = [
    (lambda: tensor.sum(input=x, dim=0), lambda: tensor.sum(x, 0)),
    (lambda: tensor.relu(input=x), lambda: tensor.relu(x)),
    (lambda: tensor.silu(input=x), lambda: tensor.silu(x)),
    (lambda: tensor.add(input=x, other=y), lambda: x + y),
    (lambda: tensor.sub(x, other=y), lambda: x - y),
    (lambda: x.mul(other=y), lambda: x * y),
    (lambda: tensor.max(x, other=y), lambda: tensor.maximum(x, y)),
    (lambda: x.pow(exponent=2), lambda: x * x),
    (lambda: tensor.mm(input=x, mat2=y), lambda: x @ y),
    (lambda: tensor.outer(x[0], vec2=y[0]), lambda: tensor.outer(x[0], y[0])),
    (lambda: tensor.where(condition=x > 0, input=x, other=y), lambda: tensor.where(x > 0, x, y)),
    (lambda: x.where(condition=x > 0, other=y), lambda: tensor.where(x > 0, x, y)),
    (lambda: tensor.conv2d(input=images, weight=kernel), lambda: tensor.conv2d(images, kernel)),
    (lambda: tensor.embedding(input=[1, 0], weight=x), lambda: x.flip(0)),
    (lambda: x.flip(dims=[0]), lambda: x.flip(0)),
    (lambda: x.permute(dims=(1, 0)), lambda: x.T),
    (lambda: x.reshape(shape=(4,)), lambda: x.flatten()),
    (lambda: x.view(size=(4,)), lambda: x.flatten()),
    (lambda: x.expand(size=(3, 2, 2)), lambda: x.expand(3, 2, 2)),
    (lambda: tensor.zeros(size=(2, 3)), lambda: tensor.zeros(2, 3)),
    (lambda: x.to(device="cpu"), lambda: x),
    (lambda: x.to(dtype=np.float64), lambda: x.double()),
    (lambda: x.to("cpu", np.float64), lambda: x.double()),
    (lambda: tensor.einsum("ij,jk", [x, y]), lambda: x @ y),
    (lambda: tensor.add(x, y, alpha=1), lambda: x + y),
    (lambda: tensor.relu(x, False), lambda: tensor.relu(x)),
    (lambda: tensor.softplus(x, 1, 20), lambda: tensor.softplus(x)),
    (lambda: tensor.sum(x, 0, dtype=None), lambda: tensor.sum(x, 0)),
    (lambda: tensor.var(x, 0, True), lambda: tensor.var(x, 0)),
    (lambda: tensor.avg_pool2d(images, 2, 2, 0, False), lambda: tensor.avg_pool2d(images, 2)),
]


@pytest.mark.parametrize("case", range(len(SAME)))
def test_a_call_in_torchs_words_is_the_call_in_ours(case: int) -> None:
    theirs, ours = (call() for call in SAME[case])
    assert theirs.dtype == ours.dtype and tensor.equal(theirs, ours)


REFUSED: list[tuple[Callable, type, str]] = [
    (lambda: tensor.add(x, y, alpha=2), ValueError, "^add: alpha=2 is not supported, only 1"),
    (lambda: tensor.relu(x, True), ValueError, "^relu: inplace=True is not supported, only False"),
    (lambda: tensor.sum(x, dtype=np.float64), ValueError, "^sum: dtype=.*, only None"),
    (lambda: tensor.avg_pool2d(images, 2, 2, 0, True), ValueError, "^avg_pool2d: ceil_mode=True"),
    (lambda: tensor.sum(x, input=y), TypeError, r"^sum\(\) does not take 'x' here"),
    (lambda: tensor.std(x, input=y), TypeError, "^std: .*multiple values for argument 'x'"),
    (lambda: tensor.std(x, other=y, dim=0), TypeError, "^std: .*unexpected keyword .*'other'"),
    (lambda: tensor.relu(x, False, 1), TypeError, r"^relu\(\) takes \['x'\]; too many given"),
    (lambda: x.flip(axes=[0]), TypeError, "^flip: .*unexpected keyword argument 'axes'"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_other_values_and_names_are_refused(call: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_habits() -> None:
    ones = tensor.tensor([1, 0, 2])
    assert isinstance(ones, Tensor) and ones.dtype == tensor.int64
    assert tensor.tensor([1.0], requires_grad=True).requires_grad
    assert x.long().dtype == tensor.int64 and x.int().dtype == tensor.int32
    assert x.bool().dtype == tensor.bool and x.double().dtype == tensor.float64
    assert ones.bool().tolist() == [True, False, True]
    assert (7 // tensor.tensor([2.0, -2.0])).tolist() == [3, -4]
    assert (~(x > 0) & (y > 1) | (x > 4) ^ (y > 9)).tolist() == [[False, True], [False, True]]


def test_random_integers() -> None:
    drawn = tensor.randint(2, 5, (1000,), generator=np.random.default_rng(0))
    assert drawn.dtype == tensor.int64 and set(drawn.tolist()) == {2, 3, 4}
    assert set(tensor.randint(high=2, size=(100,)).tolist()) == {0, 1}
    assert set(tensor.randint(2, (100,)).tolist()) == {0, 1}
    assert tensor.randint(3, (2, 2), dtype=tensor.float32).dtype == tensor.float32


def test_comparing_whole_tensors() -> None:
    near = x + 1e-6
    assert tensor.equal(x, x) is True and x.equal(near) is False and x.equal(x * 1)
    assert not tensor.ones(2, 2).equal(tensor.ones(2))
    assert tensor.allclose(x, near) is True and not x.allclose(near, atol=1e-9, rtol=1e-9)
    nan = tensor.tensor([float("nan")])
    assert not tensor.allclose(nan, nan) and tensor.allclose(nan, nan, equal_nan=True)


@pytest.mark.parametrize(
    "equation", ["...i,...i->...", "...i,...i", "...i,i...", "...i,...j->ji..."]
)
def test_hidden_dimensions_of_einsum_are_aligned_at_the_last(equation: str) -> None:
    a, b = np.arange(24.0).reshape(2, 3, 4), np.arange(12.0).reshape(3, 4)
    b = b.T if equation == "...i,i..." else b
    assert np.array_equal(
        tensor.einsum(equation, Tensor(a), Tensor(b)).numpy(), np.einsum(equation, a, b)
    )


def test_a_last_window_with_gaps_sees_no_pixel_between_them() -> None:
    """It begins at pixel 2 of 4 and would see pixels 2 and 4, of which only the former is there."""
    row = Tensor([[[[0.0, 1.0, 2.0, 9.0]]]])
    y, indices = tensor.max_pool2d(row, (1, 2), (1, 2), 0, (1, 2), True, True)
    assert y.tolist() == [[[[2.0, 2.0]]]] and indices.tolist() == [[[[2, 2]]]]
    with pytest.raises(ValueError, match="^max_pool2d: with dilation 4, a window sees none of 3"):
        tensor.max_pool2d(row.narrow(3, 0, 3), (1, 2), 1, (0, 1), (1, 4))
