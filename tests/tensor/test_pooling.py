"""Pooling, upsampling and look-up tables: borders, ties, infinities, wrong indices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensor import Tensor, avg_pool2d, embedding, grad, max_pool2d, upsample_nearest
from tensor.strategies import PoolGeometry, pool_geometries, tensors
from tests.tensor import references as ref


@given(geometry=pool_geometries(), data=st.data())
def test_the_border_never_wins(geometry: PoolGeometry, data: st.DataObject) -> None:
    x = data.draw(tensors(geometry.x_shape, min_value=-9, max_value=-5))
    y = max_pool2d(x, **geometry.options).numpy()
    assert np.array_equal(y, ref.max_pool2d(x.numpy(), **geometry.options))
    assert np.isin(y, x.numpy()).all()


@given(geometry=pool_geometries(), data=st.data())
def test_minus_infinity_is_a_value_like_others(geometry: PoolGeometry, data: st.DataObject) -> None:
    """A window that holds nothing else has this maximum, and no pixel beyond it is looked at."""
    x = data.draw(tensors(geometry.x_shape)).numpy()
    hidden = np.where(x > 0, x, -np.inf)
    y = max_pool2d(Tensor(hidden), **geometry.options).numpy()
    assert np.array_equal(y, ref.max_pool2d(hidden, **geometry.options))


def test_the_first_of_equal_pixels_takes_the_gradient() -> None:
    x = Tensor(np.ones((1, 1, 2, 4)), requires_grad=True)
    (g,) = grad(max_pool2d(x, 2), x, np.array([[[[3.0, 5.0]]]]))
    assert g.numpy().tolist() == [[[[3, 0, 5, 0], [0, 0, 0, 0]]]]


@given(geometry=pool_geometries(), data=st.data())
def test_max_pooling_sends_every_gradient_to_one_pixel_of_its_window(
    geometry: PoolGeometry, data
) -> None:
    """With stride = kernel windows do not overlap: the gradient holds the incoming values."""
    x = data.draw(tensors(geometry.x_shape))
    y = max_pool2d(x, geometry.kernel_size, padding=geometry.padding)
    g = np.arange(1.0, y.numel() + 1).reshape(y.shape)
    gx = grad(y, x, g)[0].numpy()
    assert sorted(gx[gx != 0]) == g.ravel().tolist()
    assert sorted(x.numpy()[gx != 0]) == sorted(y.numpy().ravel())


@given(geometry=pool_geometries())
def test_average_pooling_counts_the_border(geometry: PoolGeometry) -> None:
    ones = np.ones(geometry.x_shape)
    y = avg_pool2d(Tensor(ones), **geometry.options).numpy()
    np.testing.assert_allclose(y, ref.avg_pool2d(ones, **geometry.options), rtol=1e-12)


@given(x=tensors((2, 1, 2, 3)), height=st.integers(1, 3), width=st.integers(1, 3))
def test_average_pooling_undoes_upsampling(x: Tensor, height: int, width: int) -> None:
    y = upsample_nearest(x, scale_factor=(height, width))
    np.testing.assert_allclose(avg_pool2d(y, (height, width)).numpy(), x.numpy(), atol=1e-12)
    (g,) = grad(y.sum(), x)
    assert (g.numpy() == height * width).all()


# Tables


def test_rows_looked_up_twice_receive_both_gradients(device: str) -> None:
    weight = Tensor(np.arange(8.0).reshape(4, 2), requires_grad=True, device=device)
    indices = Tensor(np.array([[3, 0], [3, 3]]), device=device)
    y = embedding(indices, weight)
    assert y.numpy().tolist() == [[[6, 7], [0, 1]], [[6, 7], [6, 7]]]
    (g,) = grad(y, weight, Tensor(np.arange(8.0).reshape(2, 2, 2), device=device))
    assert g.numpy().tolist() == [[2, 3], [0, 0], [0, 0], [10, 13]]


@pytest.mark.parametrize("indices", [[0, 4], [-1], [[0], [99]], np.array([4]), np.array(-5)])
def test_indices_outside_of_the_table_raise_on_every_device(device: str, indices) -> None:
    weight = Tensor(np.zeros((4, 2)), device=device)
    with pytest.raises(IndexError, match=r"embedding: .*(4|-1|99|-5) is"):
        embedding(indices, weight)
    with pytest.raises(IndexError, match=r"embedding: .*(4|-1|99|-5) is"):
        embedding(Tensor(np.asarray(indices), device=device), weight)


def test_no_indices_are_looked_up() -> None:
    assert embedding([], Tensor(np.zeros((4, 2)))).shape == (0, 2)


def test_indices_must_be_integers() -> None:
    with pytest.raises(TypeError, match="embedding: indices must be integers, got float64"):
        embedding(np.zeros(3), Tensor(np.zeros((4, 2))))
