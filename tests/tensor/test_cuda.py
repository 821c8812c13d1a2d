"""The kernels of a GPU are as right as the loops of the CPU."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensor as T
from tensor import Tensor, conv2d, conv_transpose2d, gpu, grad
from tensor.strategies import ConvGeometry, conv_geometries, conv_transpose_geometries
from tests.tensor import references as ref
from tests.tensor.test_normalization import every_norm

generators = st.integers(0, 2**16).map(np.random.default_rng)


def on_cuda(x: np.ndarray, channels_last: bool = False) -> Tensor:
    """A leaf on the GPU, whose memory is that of x or, for images, has the channels last."""
    if channels_last:
        there = Tensor(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), device="cuda")
        return there.permute(0, 3, 1, 2).requires_grad_()
    return Tensor(x, device="cuda", requires_grad=True)


@pytest.mark.parametrize(
    ("f", "loops", "geometries"),
    [
        (conv2d, ref.conv2d, conv_geometries()),
        (conv_transpose2d, ref.conv_transpose2d, conv_transpose_geometries()),
    ],
    ids=["conv2d", "conv_transpose2d"],
)
@given(data=st.data(), channels_last=st.booleans(), rng=generators)
def test_convolutions_and_their_gradients_equal_loops(
    f: Callable,
    loops: Callable,
    geometries: st.SearchStrategy[ConvGeometry],
    data: st.DataObject,
    channels_last: bool,
    rng: np.random.Generator,
) -> None:
    """The form is linear in each argument, so <gradient, change> is the change of <y, g>."""
    geometry = data.draw(geometries)
    shapes = geometry.x_shape, geometry.weight_shape, geometry.bias_shape
    x, weight, bias = (rng.standard_normal(shape) for shape in shapes)
    leaves = on_cuda(x, channels_last), on_cuda(weight), on_cuda(bias)
    y = f(*leaves, **geometry.options)
    expected = loops(x, weight, bias, **geometry.options)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(y.shape)
    gradients = [gx.numpy() for gx in grad(y, leaves, on_cuda(g, channels_last).detach())]
    for k, gradient in enumerate(gradients):
        changed = [x, weight, bias]
        change = rng.standard_normal(shapes[k])
        changed[k] = changed[k] + change
        difference = loops(*changed, **geometry.options) - expected
        assert (gradient * change).sum() == pytest.approx((difference * g).sum(), abs=1e-10)


@pytest.mark.parametrize(
    ("f", "weight_shape", "options"),
    [
        (conv2d, (40, 20, 3, 3), {"padding": 1}),
        (conv2d, (40, 20, 3, 2), {"stride": (2, 1), "dilation": (1, 2)}),
        (conv_transpose2d, (20, 40, 4, 4), {"stride": 2, "padding": 1}),
        (conv_transpose2d, (20, 40, 3, 2), {"stride": (3, 2), "dilation": 2}),
        (T.linear, (40, 11), {}),
    ],
)
def test_products_of_many_tiles_are_those_of_the_cpu(
    f: Callable, weight_shape: tuple[int, ...], options: dict
) -> None:
    """More pixels, channels and terms than a block of threads makes, none of them whole tiles."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 20, 11, 11), weight_shape, (40,))]
    results = []
    for leaf in (lambda x: Tensor(x, requires_grad=True), on_cuda):
        leaves = [leaf(x) for x in arrays]
        y = f(*leaves, **options)
        g = Tensor(np.cos(np.arange(y.numel())).reshape(y.shape), device=y.device)
        results.append([a.numpy() for a in (y, *grad(y, leaves, g))])
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-11, atol=1e-11)


def test_kernels_count_in_64_bits_where_a_tile_past_the_end_needs_them() -> None:
    assert gpu._index(5, 2**30 - 1) == "i"
    assert gpu._index(5, 2**30) == "q"


def test_kernels_count_in_64_bits_as_in_32(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = (np.random.default_rng(0).standard_normal(s) for s in ((2, 3, 5, 4), (4, 3, 3, 2)))
    results = []
    for index in ("i", "q"):
        monkeypatch.setattr(gpu, "_index", lambda *extents, index=index: index)
        for form in (gpu._sums, gpu._norms, gpu._convolution, gpu._weight_gradient):
            form.cache_clear()
        leaves = on_cuda(x), on_cuda(weight)
        y = T.group_norm(conv2d(*leaves, stride=2, padding=1), 2, silu=True).sum((0, 2))
        results.append([a.numpy() for a in (y, *grad((y * y).sum(), leaves))])
    for of_32, of_64 in zip(*results, strict=True):
        np.testing.assert_array_equal(of_32, of_64)


def in_float64(norm: Callable, sets: Callable, x: np.ndarray) -> np.ndarray:
    """What the norm makes of x, standardised by NumPy, as the sets that it standardises."""
    exact = sets(x.astype(np.float64))
    return (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)


@every_norm
@pytest.mark.parametrize(("mean", "scale"), [(1e4, 1.0), (0.0, 1e30), (1e38, 1e37), (0.0, 1e-30)])
def test_norms_are_right_for_any_finite_input(
    norm: Callable, sets: Callable, mean: float, scale: float
) -> None:
    x = np.random.default_rng(2).normal(mean, scale, (4, 4, 16, 16)).astype(np.float32)
    y = norm(on_cuda(x), eps=0.0)
    np.testing.assert_allclose(sets(y.numpy()), in_float64(norm, sets, x), rtol=1e-5, atol=1e-6)


@every_norm
def test_gradients_of_norms_near_a_large_mean_are_right(norm: Callable, sets: Callable) -> None:
    """They are those in float64 on the CPU, which other tests check."""
    x = np.random.default_rng(2).normal(1e4, 1, (4, 4, 16, 16)).astype(np.float32)
    g = np.cos(np.arange(x.size)).reshape(x.shape)
    here, there = Tensor(x, dtype=np.float64, requires_grad=True), on_cuda(x)
    (expected,) = grad(norm(here), here, Tensor(g))
    (found,) = grad(norm(there), there, Tensor(g, dtype=np.float32, device="cuda"))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=140), rng=generators)
def test_vectors_are_joined_in_their_order(sizes: list[int], rng: np.random.Generator) -> None:
    vectors = [rng.standard_normal(2 * n)[::2] for n in sizes]
    joined = gpu.join([on_cuda(np.repeat(x, 2)).data[::2] for x in vectors])
    np.testing.assert_array_equal(joined.get(), np.concatenate(vectors))


@given(data=st.data(), rng=generators)
def test_sums_over_any_dimensions_in_any_order_of_memory(
    data: st.DataObject, rng: np.random.Generator
) -> None:
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 5, 40]), min_size=1, max_size=4))
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    order = data.draw(st.permutations(range(len(shape))))
    x = rng.standard_normal(shape)
    there = on_cuda(x.transpose(order)).permute(*np.argsort(order).tolist())
    if data.draw(st.booleans()):
        x, there = x[..., ::-2], T.flip(there, -1)[..., ::2]
    for function, reference in ((T.sum, np.sum), (T.mean, np.mean)):
        found = function(there, axes).numpy()
        np.testing.assert_allclose(found, reference(x, axes), rtol=1e-12, atol=1e-12)


def test_batch_norm_remembers_on_a_gpu_what_it_does_on_the_cpu() -> None:
    """And leaves the old arrays as they were: a graph may need them."""
    x, old = np.random.default_rng(0).standard_normal((3, 4, 5, 1)), np.arange(1.0, 5.0)
    results = []
    for device in ("cpu", "cuda"):
        running = Tensor(old, device=device), Tensor(2 * old, device=device)
        arrays = [v.data for v in running]
        T.batch_norm(Tensor(x, device=device), *running, training=True, momentum=0.3)
        results.append([v.numpy() for v in (*running, *map(Tensor, arrays))])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)
    np.testing.assert_array_equal(results[1][2:], [old, 2 * old])


@pytest.mark.parametrize("count", [50_000, 300_000])
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_of_many_numbers_are_right(axis: int, count: int) -> None:
    """Added one by one in float32, ten million times 0.1 is 8.6 % too much."""
    x = np.full((2, count), 0.1, np.float32)
    x[1] *= np.resize([1.0, -0.999], x.shape[1]).astype(np.float32)
    x = x if axis else np.ascontiguousarray(x.T)
    expected = [math.fsum(row) for row in (x if axis else x.T).tolist()]
    there = Tensor(x, device="cuda")
    np.testing.assert_allclose(T.sum(there, axis).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(T.mean(there, axis).numpy() * count, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["silu", "gelu", "sigmoid", "softplus", "tanh"])
def test_activations_far_from_0_and_of_nan(name: str) -> None:
    x = np.array([-1e4, -100.0, 0.0, 100.0, 1e4, math.nan], np.float32)
    results: list[Any] = []
    for device in ("cpu", "cuda"):
        leaf = Tensor(x, device=device, requires_grad=True)
        y = getattr(T, name)(leaf)
        results.append((y.numpy(), grad(y.sum(), leaf)[0].numpy()))
    for here, there in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-30)
        assert np.isnan(there[-1])


def test_indices_come_to_the_device_of_what_they_index(device: str) -> None:
    """From either side: an index is no operand, so it may lie elsewhere."""
    rows, places = Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]])
    for x in (rows, rows.to(device)):
        for index in (places, Tensor(places), Tensor(places).to(device)):
            taken, looked_up = T.gather(x, 1, index), T.embedding(index, x)
            assert taken.tolist() == [[2], [3]] and taken.device == x.device
            assert looked_up.tolist() == [[[3, 4]], [[1, 2]]] and looked_up.device == x.device


def test_closeness_is_numpys(device: str) -> None:
    values = np.array([0.0, 1.0, 1 + 1e-6, 1 + 1e-4, -1.0, np.inf, -np.inf, np.nan])
    for a in values:
        for b in values:
            x, y = Tensor([a], device=device), Tensor([b], device=device)
            for equal_nan in (False, True):
                expected = np.allclose(x.tolist(), y.tolist(), equal_nan=equal_nan)
                assert T.allclose(x, y, equal_nan=equal_nan) == expected, (a, b, equal_nan)
            assert T.equal(x, y) == np.array_equal(x.tolist(), y.tolist())
    small = Tensor(np.array([2, 3], np.uint8), device=device)
    assert not T.allclose(small, Tensor(np.array([3, 3], np.uint8), device=device))
    assert T.allclose(small, np.array([2, 3])) and not T.allclose(small, 2)
