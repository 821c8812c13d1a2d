"""Winograd's convolution: the identity behind it, its loops, direct sums for images of any size."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tensor import Tensor, conv2d, conv_transpose2d, grad, parallel, winograd
from tensor.winograd import SCALES, A, Bt

Pair = tuple[int, int]
kernels = st.integers(2, 4)
generators = st.integers(0, 2**16).map(np.random.default_rng)
every_kernel = pytest.mark.parametrize("r", [2, 3, 4])
every_dtype = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)]
)


# The identity


def correlation(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y[i, j] = sum over k, l of w[k, l] d[i + k, j + l]"""
    return np.einsum("ijkl,kl", np.lib.stride_tricks.sliding_window_view(d, w.shape), w)


@every_kernel
@given(rng=generators)
def test_the_matrices_satisfy_their_identity(r: int, rng: np.random.Generator) -> None:
    """y = A^T [(G w G^T) * (B^T d B)] A"""
    d, w, G = rng.standard_normal((6, 6)), rng.standard_normal((r, r)), SCALES[:, None] * A(r)
    y = A(7 - r).T @ ((G @ w @ G.T) * (Bt @ d @ Bt.T)) @ A(7 - r)
    np.testing.assert_allclose(y, correlation(d, w), rtol=0, atol=1e-12)


@every_kernel
@given(rng=generators)
def test_the_gradient_of_the_kernel_is_another_part_of_the_same_form(
    r: int, rng: np.random.Generator
) -> None:
    """dw = G^T [(A dy A^T) * (B^T d B)] G"""
    d, dy, G = (
        rng.standard_normal((6, 6)),
        rng.standard_normal((7 - r, 7 - r)),
        SCALES[:, None] * A(r),
    )
    dw = G.T @ ((A(7 - r) @ dy @ A(7 - r).T) * (Bt @ d @ Bt.T)) @ G
    np.testing.assert_allclose(dw, correlation(d, dy), rtol=0, atol=1e-12)


@every_dtype
@pytest.mark.parametrize("m", [3, 4, 5])
def test_the_loops_multiply_by_the_matrices(
    loops: ModuleType, m: int, dtype: type, tolerance: float
) -> None:
    rng = np.random.default_rng(m)
    seen, pixels = (rng.standard_normal((rows, 11)).astype(dtype) for rows in (6, m))
    for loop, matrix, x in (
        (loops._times_Bt, Bt, seen),
        (loops._times_A, A(m), pixels),
        (loops._times_At, A(m).T, seen),
    ):
        y = np.full((len(matrix), 11), np.nan, dtype)
        loop(x, y)
        np.testing.assert_allclose(y, matrix @ x.astype(float), rtol=0, atol=10 * tolerance)


# Against direct sums, on images (N, H, W, C)


class Problem(NamedTuple):
    """Images x (N, H, W, C), a kernel (O, C, r, r) that begins `padding` pixels before them, the
    size of the output."""

    x: np.ndarray
    weight: np.ndarray
    g: np.ndarray
    padding: Pair
    size: Pair


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Of all sizes, even none; the output may lie next to the image, before and behind it."""
    rng, r, C, O = draw(generators), draw(kernels), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    N, H, W, h, w = draw(st.integers(0, 3)), *(draw(st.integers(1, 13)) for _ in range(4))
    padding = draw(st.integers(-6, 6)), draw(st.integers(-6, 6))
    x = rng.standard_normal((N, H, W, C))
    match draw(
        st.sampled_from(
            ["as made", "read-only", "channels first", "every other pixel", "backwards"]
        )
    ):
        case "read-only":
            x.flags.writeable = False
        case "channels first":
            x = x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)
        case "every other pixel":
            x = x.repeat(2, 1).repeat(2, 2)[:, ::2, ::2]
        case "backwards":
            x = x[::-1, ::-1, ::-1, ::-1]
    return Problem(
        x, rng.standard_normal((O, C, r, r)), rng.standard_normal((N, h, w, O)), padding, (h, w)
    )


def seen_by_each_tap(problem: Problem) -> np.ndarray:
    """(N, h, w, r, r, C): the pixels that meet each element of the kernel, outside zeros."""
    x, (h, w), r = problem.x, problem.size, problem.weight.shape[2]
    seen = np.zeros((len(x), h, w, r, r, x.shape[3]))
    for i, j, k, l in np.ndindex(h, w, r, r):
        u, v = i + k - problem.padding[0], j + l - problem.padding[1]
        if 0 <= u < x.shape[1] and 0 <= v < x.shape[2]:
            seen[:, i, j, k, l] = x[:, u, v]
    return seen


many = settings(max_examples=4 * settings().max_examples)


@pytest.mark.parametrize("block", [1, parallel.BLOCK])
@every_dtype
@many
@given(problem=problems(), biased=st.booleans())
def test_convolutions_equal_direct_sums(
    loops: ModuleType, block: int, dtype: type, tolerance: float, problem: Problem, biased: bool
) -> None:
    bias = np.linspace(-1, 1, len(problem.weight)) if biased else np.zeros(len(problem.weight))
    expected = np.einsum("nijklc,ockl->nijo", seen_by_each_tap(problem), problem.weight) + bias
    x, weight, bias = (a.astype(dtype) for a in (problem.x, problem.weight, bias))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "BLOCK", block)
        y = winograd.convolve(
            loops, x, weight, bias if biased else None, problem.size, problem.padding
        )
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize("block", [1, parallel.BLOCK])
@every_dtype
@many
@given(problem=problems())
def test_gradients_of_the_kernel_equal_direct_sums(
    loops: ModuleType, block: int, dtype: type, tolerance: float, problem: Problem
) -> None:
    expected = np.einsum("nijklc,nijo->ockl", seen_by_each_tap(problem), problem.g)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "BLOCK", block)
        x, g, r = problem.x.astype(dtype), problem.g.astype(dtype), problem.weight.shape[2]
        found = winograd.weight_gradient(loops, x, g, r, problem.padding)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1000 * tolerance)


# As the ops use it


@contextmanager
def spying() -> Iterator[list[str]]:
    """The names of what is used of `tensor.winograd` inside, in order. It serves in float64, too,
    where errors show."""
    names: list[str] = []

    def spied(name: str, f: Callable) -> Callable:
        return lambda *args: names.append(name) or f(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "PRECISIONS", {np.dtype(np.float32), np.dtype(np.float64)})
        for name in ("convolve", "weight_gradient"):
            patch.setattr(winograd, name, spied(name, getattr(winograd, name)))
        yield names


@pytest.fixture
def used(loops: ModuleType) -> Iterator[list[str]]:
    """What the test uses."""
    with spying() as names:
        yield names


def direct(
    x: np.ndarray, weight: np.ndarray, g: np.ndarray, stride: Pair, padding: Pair
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """conv2d(x, weight), and the derivatives of <conv2d(x, weight), g> by x and by weight: sums
    over the kernel's elements."""
    (sh, sw), (top, left), (_, _, h, w) = stride, padding, g.shape
    framed = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    y, gx, gw = np.zeros(g.shape), np.zeros(framed.shape), np.zeros(weight.shape)
    for k, l in np.ndindex(weight.shape[2:]):
        taps = np.s_[:, :, k : k + sh * (h - 1) + 1 : sh, l : l + sw * (w - 1) + 1 : sw]
        y += np.einsum("nchw,oc->nohw", framed[taps], weight[:, :, k, l])
        gx[taps] += np.einsum("nohw,oc->nchw", g, weight[:, :, k, l])
        gw[:, :, k, l] = np.einsum("nchw,nohw->oc", framed[taps], g)
    return y, gx[:, :, top : top + x.shape[2], left : left + x.shape[3]], gw


STEPS: list[tuple[Pair, Pair]] = [
    *[((r, r), (1, 1)) for r in (2, 3, 4)],
    *[
        ((4, 4), (2, 2)),
        ((6, 6), (2, 2)),
        ((8, 8), (2, 2)),
        ((6, 6), (3, 3)),
        ((4, 2), (2, 1)),
        ((3, 6), (1, 2)),
    ],
]
"""Kernels and strides, those of 1, and those that step over whole blocks of pixels."""


@pytest.mark.parametrize(("kernel", "stride"), STEPS)
@pytest.mark.parametrize("channels", [(8, 8), (9, 13)])
@given(data=st.data(), rng=generators)
def test_the_ops_convolve_by_it_and_equal_direct_sums(
    loops: ModuleType,
    kernel: Pair,
    stride: Pair,
    channels: Pair,
    data: st.DataObject,
    rng: np.random.Generator,
) -> None:
    """y = conv(x, w), both its gradients, and <conv(x, w), g> = <x, conv_transpose(g, w)>."""
    C, O = channels
    padding = tuple(data.draw(st.integers(0, k)) for k in kernel)
    h, w = (data.draw(st.integers(9, 16)) for _ in range(2))
    rest = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    H, W = (
        (n - 1) * s + k - 2 * p + e
        for n, s, k, p, e in zip((h, w), stride, kernel, padding, rest, strict=True)
    )
    assume(min(H, W) > 0)
    N = data.draw(st.integers(0, 2))
    x, weight, g = (rng.standard_normal(s) for s in ((N, C, H, W), (O, C, *kernel), (N, O, h, w)))
    blocks = tuple(k // s for k, s in zip(kernel, stride, strict=True))
    assume(winograd.serves((O, C, *blocks), (h, w), np.dtype(np.float32)))
    leaves = [Tensor(a, requires_grad=True) for a in (x, weight)]
    with spying() as names:
        y = conv2d(*leaves, stride=stride, padding=padding)
        assert names == ["convolve"]
        gx, gw = grad(y, leaves, g)
        assert "weight_gradient" in names
    back = conv_transpose2d(g, weight, stride=stride, padding=padding, output_padding=rest)
    for found, expected in zip((y, gx, gw), direct(x, weight, g, stride, padding), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(back, gx.numpy(), rtol=0, atol=1e-10)
    assert np.vdot(y.numpy(), g) == pytest.approx(np.vdot(x, back), abs=1e-8)


def test_double_precision_sums_directly(loops: ModuleType) -> None:
    x, weight = (np.ones(s, np.float64) for s in ((1, 8, 20, 20), (8, 8, 3, 3)))
    with spying() as names:
        conv2d(x.astype(np.float32), weight.astype(np.float32))
        assert names == ["convolve"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "convolve", None)
        conv2d(x, weight)


def test_a_gradient_of_the_input_is_a_convolution_by_it_too(used: list[str]) -> None:
    x, weight = (Tensor(np.ones(s), requires_grad=True) for s in ((1, 8, 20, 20), (8, 8, 3, 3)))
    grad(conv2d(x, weight, padding=1).sum(), x)
    assert used == ["convolve"] * 2


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((8, 8, 5, 5), {}),
        ((7, 8, 3, 3), {}),
        ((8, 7, 3, 3), {}),
        ((8, 8, 3, 3), {"dilation": 2}),
        ((8, 8, 3, 3), {"stride": 2}),
    ],
)
def test_elsewhere_sums_are_taken_directly(
    used: list[str], kernel: tuple[int, ...], options: dict[str, int]
) -> None:
    x, weight = Tensor(np.ones((1, kernel[1], 20, 20))), Tensor(np.ones(kernel), requires_grad=True)
    grad(conv2d(x, weight, **options).sum(), weight)
    assert used == []


@every_kernel
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_all_outputs_that_see_it(
    used: list[str], r: int, value: float
) -> None:
    """And with it perhaps its tile, but no other image."""
    rng = np.random.default_rng(r)
    weight = rng.standard_normal((8, 8, r, r))
    for dtype in (np.float32, np.float64):
        for row, column in rng.integers(17, size=(10, 2)):
            x = rng.standard_normal((2, 8, 17, 17))
            x[0, 3, row, column] = value
            y = conv2d(x.astype(dtype), weight.astype(dtype), padding=1)
            seen = y[0, :, max(0, row + 2 - r) : row + 2, max(0, column + 2 - r) : column + 2]
            assert seen.size and not np.isfinite(seen).any() and np.isfinite(y[1]).all()
    assert used == ["convolve"] * 20


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_gradients(used: list[str], value: float) -> None:
    """A pixel or a gradient, of which all elements of the kernel have a share."""
    rng = np.random.default_rng(0)
    for place in (0, 1):
        x, weight, g = (
            rng.standard_normal(s) for s in ((2, 8, 20, 20), (8, 8, 3, 3), (2, 8, 20, 20))
        )
        (x, g)[place][1, 5, 10, 10] = value
        leaf = Tensor(weight, requires_grad=True)
        with np.errstate(invalid="ignore"):
            gw = grad(conv2d(x, leaf, padding=1), leaf, g)[0].numpy()
        assert not np.isfinite(gw[:, 5] if place == 0 else gw[5]).any()
    assert "weight_gradient" in used


def test_a_weight_that_is_not_a_number_makes_an_output_that_is_none(used: list[str]) -> None:
    weight = np.ones((8, 8, 3, 3))
    weight[2, 4, 1, 1] = np.nan
    y = conv2d(np.ones((1, 8, 20, 20)), weight, padding=1)
    assert (
        np.isnan(y[:, 2]).all() and np.isfinite(np.delete(y, 2, 1)).all() and used == ["convolve"]
    )
