"""conv2d, conv_transpose2d, the weight gradient: one trilinear form taken apart, equal to loops."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensor import Tensor, conv2d, conv_transpose2d, grad, parallel, winograd
from tensor.strategies import ConvGeometry, conv_geometries, conv_transpose_geometries
from tensor.testing import gradcheck, gradgradcheck
from tests.tensor import references as ref

many = settings(max_examples=5 * settings().max_examples)
generators = st.integers(0, 2**16).map(np.random.default_rng)


@pytest.fixture(autouse=True, scope="module", params=["whole batch", "blocks"])
def blocks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kernels run over the whole batch at once, or over blocks of it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "blocks":
            patch.setattr(parallel, "WORTH_A_THREAD", 0)
        yield


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype=np.float64) -> Tensor:
    return Tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)


def images(rng: np.random.Generator, shape: tuple[int, ...], dtype=np.float64) -> Tensor:
    """As `normal`, but half of the time channels-last in memory, as convolutions return them."""
    if rng.random() < 0.5:
        return normal(rng, shape, dtype)
    N, C, H, W = shape
    return normal(rng, (N, H, W, C), dtype).detach().permute(0, 3, 1, 2).requires_grad_()


def arguments(
    geometry: ConvGeometry, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, weight and, half of the time, a bias."""
    bias = normal(rng, geometry.bias_shape) if rng.random() < 0.5 else None
    return images(rng, geometry.x_shape), normal(rng, geometry.weight_shape), bias


def arrays(*tensors: Tensor | None) -> list[np.ndarray | None]:
    return [x if x is None else x.numpy() for x in tensors]


# Against loops


@pytest.mark.parametrize(
    ("f", "loops", "geometries"),
    [
        (conv2d, ref.conv2d, conv_geometries()),
        (conv_transpose2d, ref.conv_transpose2d, conv_transpose_geometries()),
    ],
    ids=["conv2d", "conv_transpose2d"],
)
@many
@given(data=st.data(), rng=generators)
def test_convolutions_equal_loops(
    f: Callable,
    loops: Callable,
    geometries: st.SearchStrategy,
    data: st.DataObject,
    rng: np.random.Generator,
) -> None:
    geometry = data.draw(geometries)
    x, weight, bias = arguments(geometry, rng)
    expected = loops(*arrays(x, weight, bias), **geometry.options)
    y = f(x, weight, bias, **geometry.options)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12, atol=1e-12)


@many
@given(geometry=conv_geometries(), rng=generators)
def test_the_weight_gradient_equals_loops(geometry: ConvGeometry, rng: np.random.Generator) -> None:
    x, weight, _ = arguments(geometry, rng)
    y = conv2d(x, weight, **geometry.options)
    g = images(rng, y.shape)
    expected = ref.conv_weight(x.numpy(), g.numpy(), weight.shape, **geometry.options)
    np.testing.assert_allclose(grad(y, weight, g)[0].numpy(), expected, rtol=1e-12, atol=1e-12)


# The form and its parts


def inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


def trilinear(x: Tensor, weight: Tensor, y: Tensor, geometry: ConvGeometry) -> float:
    """T(x, w, y): the sum of x w y over all elements that meet in a convolution of x with w."""
    steps = {name: getattr(geometry, name) for name in ("stride", "padding", "dilation", "groups")}
    a, b, c = x.numpy(), weight.numpy(), y.numpy()
    return sum(a[i] * b[j] * c[k] for i, j, k in ref.taps(a.shape, b.shape, c.shape, **steps))


def unreached(geometry: ConvGeometry) -> tuple[int, ...]:
    """How many rows and columns are left over after the last step of the kernel."""
    steps = (ref.pair(n) for n in (geometry.stride, geometry.padding, geometry.dilation))
    axes = zip(geometry.x_shape[2:], geometry.weight_shape[2:], *steps, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) % s for n, k, s, p, d in axes)


@many
@given(geometry=conv_geometries(), rng=generators)
def test_convolution_and_its_transpose_are_adjoint(
    geometry: ConvGeometry, rng: np.random.Generator
) -> None:
    """<conv(x, w), y> = <x, conv_transpose(y, w)> = <w, conv_weight(x, y)>"""
    x, weight, _ = arguments(geometry, rng)
    z = conv2d(x, weight, **geometry.options)
    y = images(rng, z.shape)
    back = conv_transpose2d(y, weight, output_padding=unreached(geometry), **geometry.options)
    assert back.shape == x.shape
    form = pytest.approx(trilinear(x, weight, y, geometry), rel=1e-10, abs=1e-10)
    assert (
        inner(z, y).item(),
        inner(x, back).item(),
        inner(weight, grad(z, weight, y)[0]).item(),
    ) == (form,) * 3


@pytest.mark.parametrize(
    ("op", "geometries", "form"),
    [
        (conv2d, conv_geometries(), trilinear),
        (
            conv_transpose2d,
            conv_transpose_geometries(),
            lambda x, weight, y, geometry: trilinear(y, weight, x, geometry),
        ),
    ],
)
@many
@given(data=st.data(), rng=generators)
def test_all_derivatives_to_second_order_are_the_same_form(
    op: Callable,
    geometries: st.SearchStrategy,
    form: Callable,
    data: st.DataObject,
    rng: np.random.Generator,
) -> None:
    geometry = data.draw(geometries)
    x, w, _ = arguments(geometry, rng)
    y = op(x, w, **geometry.options)
    g = images(rng, y.shape)
    dx, dw, dg = normal(rng, x.shape), normal(rng, w.shape), normal(rng, y.shape)

    def assert_form(derivative: Tensor, direction: Tensor, *at: Tensor) -> None:
        assert inner(derivative, direction).item() == pytest.approx(
            form(*at, geometry), rel=1e-10, abs=1e-10
        )

    assert_form(y, g, x, w, g)
    x_grad, w_grad = grad(y, [x, w], g, create_graph=True)
    assert_form(x_grad, dx, dx, w, g)
    assert_form(w_grad, dw, x, dw, g)
    by_x, by_w, by_g = grad(x_grad, [x, w, g], dx, retain_graph=True, allow_unused=True)
    assert by_x is None
    assert_form(by_w, dw, dx, dw, g)
    assert_form(by_g, dg, dx, w, dg)
    by_x, by_w, by_g = grad(w_grad, [x, w, g], dw, allow_unused=True)
    assert by_w is None
    assert_form(by_x, dx, dx, dw, g)
    assert_form(by_g, dg, x, dw, dg)


def test_a_tensor_may_be_its_own_kernel() -> None:
    def f(x: Tensor) -> Tensor:
        return conv2d(x, x, x[0, :, 0, 0], padding=1)

    x = normal(np.random.default_rng(0), (2, 2, 2, 2))
    assert gradcheck(f, x) and gradgradcheck(f, x)


# float32


def assert_accurate(
    op: Callable, shapes: list[tuple[int, ...]], tolerance: float, **options: int
) -> None:
    """The output and both gradients in float32, relative to their largest value in float64."""

    def everything(dtype) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        x, w = images(rng, shapes[0], dtype), normal(rng, shapes[1], dtype)
        y = op(x, w, **options)
        return [t.numpy() for t in (y, *grad(y, [x, w], images(rng, y.shape, dtype)))]

    for single, double in zip(everything(np.float32), everything(np.float64), strict=True):
        assert single.dtype == np.float32
        assert abs(single - double).max() < tolerance * abs(double).max()


@pytest.mark.parametrize(
    ("op", "weight_shape"), [(conv2d, (40, 7, 3, 3)), (conv_transpose2d, (7, 40, 3, 3))]
)
def test_float32_is_as_accurate_as_it_can_be(
    op: Callable, weight_shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums of some hundred products, with errors of a few units in the last place of the largest.

    There are too few channels for Winograd's convolution.
    """
    monkeypatch.setattr(winograd, "convolve", None)
    monkeypatch.setattr(winograd, "weight_gradient", None)
    assert_accurate(op, [(8, 7, 10, 10), weight_shape], 1e-6, stride=2, padding=1)


@pytest.mark.parametrize("op", [conv2d, conv_transpose2d])
@pytest.mark.parametrize(
    ("kernel", "stride", "tolerance"),
    [(2, 1, 2e-6), (3, 1, 2e-6), (4, 1, 2e-6), (4, 2, 4e-6), (6, 2, 4e-6)],
)
def test_float32_is_nearly_as_accurate_by_winograds_convolution(
    op: Callable, kernel: int, stride: int, tolerance: float
) -> None:
    """A stride of 2 makes sums of four times as many products."""
    assert_accurate(
        op, [(4, 32, 20, 20), (32, 32, kernel, kernel)], tolerance, stride=stride, padding=1
    )
