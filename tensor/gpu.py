"""Kernels for arrays on a GPU: what `tensor/loops.py` is on the CPU.

A GPU takes a small kernel in less time than Python needs to launch it, so what matters is how few
they are. A formula of elementwise functions is one by `cupy.fuse`, a sum of such a formula one by
`ReductionKernel`; the columns of a convolution, which are neither, are written in CUDA. Sums are
carried in float64. All are compiled when first called, and CuPy keeps them for the next process.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array, Pair, array_module, is_on_gpu

F = TypeVar("F", bound=Callable)


def one_kernel(formula: F) -> F:
    """Make a formula one kernel where its first argument is an array on a GPU. Elsewhere it is
    called as it is: NumPy computes it, and tensors record it.

    It may consist of operators, `astype` and elementwise functions. Numbers may meet arrays, but
    not each other: `cupy.fuse` computes with two numbers in float16.
    """

    @functools.cache
    def compiled() -> Callable:
        import cupy

        name = formula.__name__.strip("_").replace("<lambda>", "formula")
        return cupy.fuse(kernel_name=f"minigen_{name}")(formula)

    @functools.wraps(formula)
    def call(*args):
        return (compiled() if is_on_gpu(args[0]) else formula)(*args)

    return call  # type: ignore[return-value]


@functools.cache
def _sum_of(inputs: str, term: str, result: str = "a") -> Any:
    """The kernel of sums in float64 of a term in `inputs`; of sum a `result` is returned."""
    import cupy

    return cupy.ReductionKernel(inputs, "float64 y", term, "a + b", f"y = {result}", "0")


# Activations


@one_kernel
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)"""
    return 1 / (1 + array_module(x).exp(-x))


@one_kernel
def silu(x: Array) -> Array:
    """x sigmoid(x)"""
    return x * sigmoid(x)


@one_kernel
def silu_vjp(g: Array, x: Array) -> Array:
    """g (s + x s (1 - s)), s = sigmoid(x)"""
    s = sigmoid(x)
    return g * (s + x * s * (1 - s))


@one_kernel
def gelu(x: Array) -> Array:
    """x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2"""
    return 0.5 * x * (1 + _erf(x * math.sqrt(0.5)))


@one_kernel
def gelu_vjp(g: Array, x: Array) -> Array:
    """g (Phi(x) + x phi(x)), with the density phi(x) = e^(-x^2 / 2) / sqrt(2 pi)"""
    density = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return g * (0.5 * (1 + _erf(x * math.sqrt(0.5))) + x * density)


def _erf(x: Array) -> Array:
    from cupyx.scipy.special import erf

    return erf(x)


@one_kernel
def gate(a: Array, x: Array, slope: float) -> Array:
    """a where x > 0, and slope a elsewhere."""
    return array_module(a).where(x > 0, a, a * slope)


# Normalisation of x (N, G, D, M): D channels in each of G groups, M pixels. A group's mean and
# 1 / sqrt(variance + eps) are in float64 and broadcast to x; weight and bias are (G, D, 1).


def moments(x: Array, over: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """The mean over some dimensions, and 1 / sqrt(variance + eps)."""
    count, how = float(math.prod(x.shape[k] for k in over)), {"axis": over, "keepdims": True}
    mean = _sum_of("T x, float64 n", "x", "a / n")(x, count, **how)
    inputs, square = "T x, float64 mean, float64 n, float64 eps", "(x - mean) * (x - mean)"
    return mean, _sum_of(inputs, square, "rsqrt(a / n + eps)")(x, mean, count, eps, **how)


@one_kernel
def standardise(x: Array, mean: Array, rstd: Array, weight: Array, bias: Array) -> Array:
    """(x - mean) rstd weight + bias"""
    return ((x - mean) * (rstd * weight) + bias).astype(x.dtype)


@one_kernel
def standardise_silu(x: Array, mean: Array, rstd: Array, weight: Array, bias: Array) -> Array:
    """SiLU of `standardise`"""
    return silu(standardise(x, mean, rstd, weight, bias))


@one_kernel
def through_silu(g: Array, x: Array, mean: Array, rstd: Array, weight: Array, bias: Array) -> Array:
    """The gradient of what SiLU is applied to in `standardise_silu`."""
    return silu_vjp(g, standardise(x, mean, rstd, weight, bias))


def standardise_vjp(
    g: Array, x: Array, mean: Array, rstd: Array, weight: Array, batch: bool
) -> tuple[Array, Array, Array]:
    """gx = rstd (gh - mean(gh) - h mean(gh h)), g_weight = sum g h and g_bias = sum g.

    h = (x - mean) rstd and gh = g weight. The means are over a group, with `batch` of all items.
    """
    N, G, D, M = x.shape
    over, items = ((0, 3), 1) if batch else ((3,), N)
    xp = array_module(x)
    sums = xp.empty((2, items, G, D, 1))  # of g and of g h, for each channel
    g.sum(over, np.float64, sums[0], keepdims=True)
    times_h = _sum_of("T g, T x, float64 mean, float64 rstd", "g * ((x - mean) * rstd)")
    times_h(g, x, mean, rstd, axis=over, keepdims=True, out=sums[1])
    weighted = _sum_of("float64 of_g, T weight, float64 n", "of_g * weight", "a / n")
    count = float(x.size // max(1, items * G))
    mean_gh, mean_ghh = weighted(sums, weight, count, axis=3, keepdims=True)
    gx = _standardise_vjp(g, x, mean, rstd, weight, mean_gh, mean_ghh)
    g_bias, g_weight = sums.sum((1, 4), np.float64, xp.empty((2, G, D), x.dtype))
    return gx, g_weight, g_bias


@one_kernel
def _standardise_vjp(g, x, mean, rstd, weight, mean_gh, mean_ghh):
    gh, h = g * weight, (x - mean) * rstd
    return ((gh - mean_gh - h * mean_ghh) * rstd).astype(x.dtype)


# Convolution of images (N, H, W, C), which may lie in memory in any order


_SIZES = "H W C h w kh kw sh sw ph pw dh dw"


def _sizes(index: str, *pairs: Sequence[int]) -> list[np.generic]:
    """The numbers of all pairs."""
    return [np.dtype(index).type(n) for pair in pairs for n in pair]


def _index_type(*arrays: Array) -> str:
    """The integers that count elements: those of 32 bits are divided four times faster."""
    return "int32" if max(x.size for x in arrays) < 2**31 else "int64"


def _elementwise(index: str, inputs: str, output: str, operation: str, name: str) -> Any:
    """A kernel in CUDA, which takes `_SIZES` after its inputs, in the type I."""
    import cupy

    sizes = "".join(f", {index} {size}" for size in _SIZES.split())
    operation = f"using I = decltype(C + 0); {operation}"
    return cupy.ElementwiseKernel(inputs + sizes, output, operation, name)


@functools.cache
def _columns_kernel(index: str) -> Any:
    return _elementwise(
        index,
        "raw T x",
        "T y",
        """
        I rest = i;
        I c = rest % C;   rest /= C;
        I l = rest % kw;  rest /= kw;
        I k = rest % kh;  rest /= kh;
        I b = rest % w;   rest /= w;
        I a = rest % h;   rest /= h;
        I u = sh * a + dh * k - ph, v = sw * b + dw * l - pw;
        ptrdiff_t place[] = {rest, u, v, c};
        y = 0 <= u && u < H && 0 <= v && v < W ? x[place] : T(0);
        """,
        "minigen_columns",
    )


def columns(x: Array, kernel: Pair, size: Pair, geometry: Sequence[Pair]) -> Array:
    """y[n, a, b, k, l, c] = x[n, stride (a, b) + dilation (k, l) - padding, c], 0 outside of x."""
    N, H, W, C = x.shape
    y = array_module(x).empty((N, *size, *kernel, C), x.dtype)
    index = _index_type(x, y)
    return _columns_kernel(index)(x, *_sizes(index, (H, W, C), size, kernel, *geometry), y)


@functools.cache
def _pixels_kernel(index: str) -> Any:
    return _elementwise(
        index,
        "raw T y, T bias",
        "T x",
        """
        I rest = i;
        I c = rest % C;   rest /= C;
        I v = rest % W;   rest /= W;
        I u = rest % H;   rest /= H;
        T sum = bias;
        for (I k = 0; k < kh; ++k) {
            I a = u + ph - dh * k;
            if (a < 0 || a % sh || a / sh >= h) continue;
            for (I l = 0; l < kw; ++l) {
                I b = v + pw - dw * l;
                if (b < 0 || b % sw || b / sw >= w) continue;
                ptrdiff_t place[] = {rest, a / sh, b / sw, k, l, c};
                sum += y[place];
            }
        }
        x = sum;
        """,
        "minigen_pixels",
    )


def pixels(y: Array, bias: Array | None, size: Pair, geometry: Sequence[Pair]) -> Array:
    """The adjoint of `columns`: x[n, u, v, c] is the sum of all that saw it in y, plus bias[c]."""
    N, h, w, kh, kw, C = y.shape
    x = array_module(y).empty((N, *size, C), y.dtype)
    bias, index = y.dtype.type(0) if bias is None else bias, _index_type(x, y)
    sizes = _sizes(index, (*size, C), (h, w), (kh, kw), *geometry)
    return _pixels_kernel(index)(y, bias, *sizes, x)
