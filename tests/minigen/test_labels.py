"""Labels as features: a one at the class, beside points and on every pixel of an image."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tensor as T
from minigen.networks.labels import one_hot, with_labels
from tensor import Tensor

CLASSES = 5
some_labels = hnp.arrays(np.int64, st.integers(1, 4), elements=st.integers(0, CLASSES - 1))
sizes = st.sampled_from([(), (3,), (2, 3)])
dtypes = st.sampled_from([np.float32, np.float64])


def values(n: int, size: tuple[int, ...], dtype: Any = np.float64) -> Tensor:
    """(n, 2, *size)"""
    return Tensor(
        np.random.default_rng(0).normal(size=(n, 2, *size)).astype(dtype), requires_grad=True
    )


@given(labels=some_labels, dtype=dtypes)
def test_one_hot_rows_have_a_one_at_the_label(labels: np.ndarray, dtype: Any) -> None:
    rows = one_hot(labels, CLASSES, values(len(labels), (), dtype))
    assert np.array_equal(rows.numpy(), np.eye(CLASSES)[labels]) and rows.dtype == dtype


@given(labels=some_labels, size=sizes, dtype=dtypes)
def test_labels_are_features_after_those_of_x(
    labels: np.ndarray, size: tuple[int, ...], dtype: Any
) -> None:
    x = values(len(labels), size, dtype)
    y = with_labels(x, labels, CLASSES)
    assert y.shape == (len(labels), 2 + CLASSES, *size) and y.dtype == dtype
    assert np.array_equal(y.numpy()[:, :2], x.numpy())
    for item, label in zip(y.numpy()[:, 2:], labels, strict=True):
        assert np.array_equal(
            item, np.broadcast_to(np.eye(CLASSES)[label].reshape(-1, *[1] * len(size)), item.shape)
        )
    assert (T.grad(y.sum(), x)[0].numpy() == 1).all()


def test_without_classes_x_stays_as_it_is() -> None:
    x = values(2, (2, 3))
    assert with_labels(x, None, 0) is x
    with pytest.raises(
        ValueError,
        match="this model is not conditional, it takes no labels: make it with classes=K",
    ):
        with_labels(x, np.array([0, 1]), 0)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (None, ValueError, "this model is conditional: it needs labels"),
        ([0], ValueError, "expected 2 integer labels, got int64 (1,)"),
        ([[0], [1]], ValueError, "expected 2 integer labels, got int64 (2, 1)"),
        ([0.0, 1.0], ValueError, "expected 2 integer labels, got float64 (2,)"),
        ([True, False], ValueError, "expected 2 integer labels, got bool (2,)"),
        ([0, 5], IndexError, "label 5 is out of range for size 5"),
        ([0, -1], IndexError, "label -1 is negative"),
    ],
)
def test_labels_are_one_integer_for_each_item(
    labels: Any, error: type[Exception], message: str
) -> None:
    for size in ((), (2, 3)):
        x = values(2, size)
        for f in (
            lambda x=x: one_hot(labels, CLASSES, x),
            lambda x=x: with_labels(x, labels, CLASSES),
        ):
            with pytest.raises(error, match=re.escape(message)):
                f()


def test_labels_go_where_x_is(device: str) -> None:
    y = with_labels(values(2, (2, 3)).to(device), np.array([0, 4]), CLASSES)
    assert y.device.startswith(device) and np.array_equal(
        y.to("cpu").numpy()[1, 2:, 0, 0], np.eye(CLASSES)[4]
    )
