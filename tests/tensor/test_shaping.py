"""Ops that move elements: indexing as NumPy does it, joins and frames, and what undoes what."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensor
from tensor import Tensor, cat, chunk, flip, grad, narrow, pad, stack
from tensor.strategies import Shape, indices, shapes, tensors
from tests.tensor.references import getitem
from tests.tensor.table import TABLE, Call

many = settings(max_examples=10 * settings().max_examples)


def labels(shape: Shape, device: str = "cpu") -> Tensor:
    """Distinct numbers, so that an element in a wrong place shows."""
    return Tensor(
        np.arange(1.0, 1 + np.prod(shape)).reshape(shape), requires_grad=True, device=device
    )


# Indexing


@many
@given(data=st.data())
def test_indexing_is_torchs(device: str, data: st.DataObject) -> None:
    """x[index] takes integers first and then what NumPy takes; its gradient adds up at places."""
    x = labels(data.draw(shapes()), device)
    index = data.draw(indices(x.shape))
    y = x[index]
    expected = getitem(x.numpy(), index)
    assert y.shape == expected.shape and np.array_equal(y.numpy(), expected)
    g = np.cos(np.arange(expected.size)).reshape(expected.shape)
    into = np.zeros(x.shape)
    np.add.at(into.reshape(-1), expected.astype(int) - 1, g)
    np.testing.assert_allclose(grad(y, x, Tensor(g, device=device))[0].numpy(), into, rtol=1e-12)


def as_tensors(index: Any, device: str) -> Any:
    """The index with its arrays as Tensors."""
    if isinstance(index, tuple):
        return tuple(as_tensors(part, device) for part in index)
    return Tensor(index, device=device) if isinstance(index, np.ndarray) else index


@given(data=st.data())
def test_tensors_are_indices_like_arrays(device: str, data: st.DataObject) -> None:
    x = labels(data.draw(shapes(1)), device)
    index = data.draw(indices(x.shape))
    assert np.array_equal(x[as_tensors(index, device)].numpy(), getitem(x.numpy(), index))


@pytest.mark.parametrize(
    "index", [[2, 0], range(2), ([0, 1], [1, 0]), np.int64(1), (np.uint8(1), ..., None)]
)
def test_lists_ranges_and_numpy_integers_are_indices(device: str, index: Any) -> None:
    x = labels((3, 2), device)
    assert np.array_equal(
        x[index].numpy(), x.numpy()[tuple(index) if isinstance(index, tuple) else index]
    )


def test_integers_beside_arrays_are_taken_first() -> None:
    x = labels((2, 3, 4))
    assert x[0, :, [0, 1]].shape == (3, 2) and x[[0, 1], :, 0].shape == (2, 3)
    assert np.array_equal(x[1, :, [3, 0]].numpy(), x.numpy()[1][:, [3, 0]])
    assert np.array_equal(x[Tensor(1), :, [3, 0]].numpy(), x.numpy()[1][:, [3, 0]])


@pytest.mark.parametrize("index", [True, np.True_, False])
def test_a_single_truth_value_is_a_mask(index: Any) -> None:
    x = labels((1,))
    assert np.array_equal(x[index].numpy(), x.numpy()[index])


OUT_OF_RANGE = [
    (3, "getitem: index 3 is out of range for size 3"),
    (-4, "getitem: index -4 is out of range for size 3"),
    ((0, 2), "getitem: index 2 is out of range for size 2"),
    ((..., 2), "getitem: index 2 is out of range for size 2"),
    ((None, slice(None), -3), "getitem: index -3 is out of range for size 2"),
    ([0, 3], "getitem: index 3 is out of range for size 3"),
    (np.array([[0], [-4]]), "getitem: index -4 is out of range for size 3"),
    (([0, 1], [0, 2]), "getitem: index 2 is out of range for size 2"),
    ((np.array([True, False, True]), 5), "getitem: index 5 is out of range for size 2"),
    (
        np.array([True, False]),
        r"getitem: a mask of shape \(2,\) cannot index dimensions \(3,\) of \(3, 2\)",
    ),
    ((0, 0, 0), r"getitem: 3 indices for a tensor of shape \(3, 2\)"),
    (0.5, "getitem: an index is made of integers, .* not 0.5"),
    ("a", "getitem: an index is made of integers, .* not 'a'"),
]


@pytest.mark.parametrize(("index", "message"), OUT_OF_RANGE)
def test_indices_out_of_range_raise_on_every_device(device: str, index: Any, message: str) -> None:
    with pytest.raises(IndexError, match=message):
        labels((3, 2), device)[index]


@pytest.mark.parametrize("index", [np.zeros(0, np.int64), [], range(0)])
def test_an_empty_index_takes_nothing_and_gives_no_gradient(index: Any) -> None:
    x = labels((3, 2))
    y = x[index]
    assert y.shape == (0, 2) and not grad(y.sum(), x)[0].numpy().any()


# What undoes what


@given(call=TABLE["cat"].calls)
def test_narrow_takes_cat_apart(call: Call) -> None:
    xs, dim = call.inputs, call.options["dim"]
    joined, start = cat(xs, dim), 0
    for x in xs:
        assert np.array_equal(narrow(joined, dim, start, x.shape[dim]).numpy(), x.numpy())
        start += x.shape[dim]


@given(call=TABLE["chunk"].calls)
def test_cat_undoes_chunk(call: Call) -> None:
    (x,), options = call
    assert np.array_equal(cat(chunk(x, **options), options["dim"]).numpy(), x.numpy())


@given(call=TABLE["stack"].calls)
def test_indexing_undoes_stack(call: Call) -> None:
    xs, dim = call.inputs, call.options["dim"]
    stacked = stack(xs, dim)
    for k, x in enumerate(xs):
        assert np.array_equal(narrow(stacked, dim, k, 1).squeeze(dim).numpy(), x.numpy())


@given(call=TABLE["pad"].calls)
def test_narrow_undoes_pad(call: Call) -> None:
    (x,), options = call
    y = pad(x, **options)
    for k, before in enumerate(options["pad"][::2]):
        y = narrow(y, x.ndim - 1 - k, before, x.shape[x.ndim - 1 - k])
    assert np.array_equal(y.numpy(), x.numpy())


@given(call=TABLE["flip"].calls)
def test_flip_undoes_itself(call: Call) -> None:
    (x,), options = call
    assert np.array_equal(flip(flip(x, **options), **options).numpy(), x.numpy())


@given(x=tensors(shapes(min_dims=1)), data=st.data())
def test_expand_keeps_a_length_where_it_reads_minus_one(x: Tensor, data: st.DataObject) -> None:
    shape = (2, *data.draw(st.tuples(*(st.sampled_from([-1, n]) for n in x.shape))))
    assert x.expand(shape).shape == x.expand(*shape).shape == (2, *x.shape)


@pytest.mark.parametrize(
    ("method", "arguments"), [("reshape", (3, 2)), ("permute", (1, 0)), ("expand", (4, 2, 3))]
)
def test_methods_take_sizes_with_or_without_brackets(method: str, arguments: Shape) -> None:
    x = labels((2, 3))
    spread, bracketed = getattr(x, method)(*arguments), getattr(x, method)(arguments)
    assert np.array_equal(spread.numpy(), bracketed.numpy())
    assert np.array_equal(spread.numpy(), getattr(tensor, method)(x, arguments).numpy())


def test_nothing_is_copied_where_a_view_will_do() -> None:
    x = labels((4, 6))
    views = [
        x.reshape(2, 12),
        x.transpose(0, 1),
        x[1:, ::2],
        x.expand(3, 4, 6),
        flip(x, 0),
        narrow(x, 1, 2, 3),
    ]
    assert all(np.shares_memory(view.numpy(), x.numpy()) for view in views)
