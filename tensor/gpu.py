"""Kernels for arrays on a GPU: what `tensor/loops.py` is on the CPU.

A GPU takes a small kernel in less time than Python needs to launch it, so what matters is how few
they are, and how little Python does for each. A formula of elementwise functions is one by
`cupy.fuse`; sums, norms and convolutions are written in CUDA, in the `.cu` files of this folder.
What such a kernel must know of its arrays, its form, lies on the GPU too, and is made once for all
arrays that look alike. All are compiled when first called, and CuPy keeps them for the next process.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array, Pair, Shape, array_module, is_on_gpu, memory_order

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


_C_NAMES = {
    "?": "bool", "b": "signed char", "h": "short", "i": "int", "l": "long", "q": "long long",
    "B": "unsigned char", "H": "unsigned short", "I": "unsigned int", "L": "unsigned long",
    "Q": "unsigned long long", "f": "float", "d": "double",
}  # fmt: skip
"""Of the types by NumPy's characters."""


@functools.cache
def _in_cuda(file: str, name: str, dtype: np.dtype, index: str) -> Any:
    """A kernel of a `.cu` file, for numbers T of a dtype, which integers I count."""
    import cupy

    source = (Path(__file__).parent / f"{file}.cu").read_text()
    types = f"typedef {_C_NAMES[dtype.char]} T;\ntypedef {_C_NAMES[index]} I;\n"
    return cupy.RawKernel(types + source, f"minigen_{name}")


def _index(*extents: int) -> str:
    """The integers that count so many numbers, and a tile past the end: those of 32 bits are
    divided four times faster."""
    return "i" if max(extents) < 2**30 else "q"


def _extent(shape: Shape, strides: Shape) -> int:
    """How many numbers, or bytes, an array reaches over in memory."""
    return sum(abs(n * step) for n, step in zip(shape, strides))


def _form(index: str, *numbers: int) -> Array:
    import cupy

    return cupy.array(numbers, index)


_for_arrays_alike = functools.lru_cache(4096)


def _launch(kernel: Any, grid: Shape, args: tuple, threads: int = 256) -> None:
    """Nothing, where there are no blocks: CuPy would launch one."""
    if 0 not in grid:
        kernel(grid, (threads,), args)


# Sums in float64


def total(x: Array, axes: tuple[int, ...], keepdims: bool, mean: bool = False) -> Array:
    """x.sum(axes), or x.mean(axes), carried in float64."""
    shape, how = _sums(x.shape, x.strides, x.dtype, axes, keepdims, x.device.id)
    y, count = array_module(x).empty(shape, x.dtype), x.size / max(1, math.prod(shape))
    if how is None:
        return (x.mean if mean else x.sum)(axes, np.float64, y, keepdims)
    kernel, grid, form = how
    _launch(kernel, grid, (x, y, count if mean else 1.0, form))
    return y


@_for_arrays_alike
def _sums(
    shape: Shape, strides: Shape, dtype: np.dtype, axes: tuple[int, ...], keepdims: bool, device: int
) -> tuple[Shape, Any]:
    """The shape of the sums, and how they are made: by which kernel, grid and form; None if CuPy's
    way serves better, as where one block of threads would add up too many numbers."""
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape) if keepdims or k not in axes)
    steps = [step // dtype.itemsize for step in strides]
    dims = [(n, step, k in axes) for k, (n, step) in enumerate(zip(shape, steps)) if n != 1]
    inner = [_joined([d[:2] for d in dims if d[2] == summed]) for summed in (False, True)]
    results, terms = (math.prod(n for n, _ in dims) for dims in inner)
    if terms > 2**17 or 0 in (results, terms) or max(map(len, inner)) > 3:
        return kept, None
    nearest = min(dims, key=lambda d: abs(d[1]), default=(1, 1, True))
    lanes = min(terms, 256 if nearest[2] else max(8, min(256, terms // 64)))
    lanes = 1 << (lanes - 1).bit_length()
    padded = [[(1, 0)] * (3 - len(dims)) + dims for dims in inner]
    index = _index(_extent(shape, tuple(steps)), results)
    form = [results, terms, *(x for dims in padded for numbers in zip(*dims) for x in numbers)]
    grid = (-(-results * lanes // 256),)
    return kept, (_in_cuda("sums", "total", dtype, index), grid, _form(index, *form, 256 // lanes))


def _joined(dims: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Dimensions (length, stride), outermost first, without those that continue one another."""
    joined: list[tuple[int, int]] = []
    for n, step in dims:
        if joined and joined[-1][1] == n * step:
            n *= joined.pop()[0]
        joined.append((n, step))
    return joined


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


# Normalisation of x (N, C, ...), as in `tensor/normalization.py`


def normalize(
    x: Array, weight: Array, bias: Array, groups: int, eps: float, batch: bool, silu: bool
) -> tuple[Array, Array]:
    """y, and the mean and 1 / sqrt(variance + eps) of each set of numbers that is standardised."""
    xp = array_module(x)
    x, weight, bias = map(xp.ascontiguousarray, (x, weight, bias))
    (kernel, _, _), sets, form = _norms(x.shape, x.dtype, groups, batch, silu, x.device.id)
    y, moments = xp.empty(x.shape, x.dtype), xp.empty((2, sets))
    _launch(kernel, (sets,), (x, weight, bias, y, moments, float(eps), form))
    return y, moments


def normalize_vjp(
    g: Array, x: Array, weight: Array, bias: Array, moments: Array, groups: int, batch: bool,
    silu: bool,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """The gradients of x, weight and bias, from the moments that `normalize` found."""
    xp = array_module(x)
    g, x, weight, bias = map(xp.ascontiguousarray, (g, x, weight, bias))
    kernels, sets, form = _norms(x.shape, x.dtype, groups, batch, silu, x.device.id)
    gx, of_channels = xp.empty(x.shape, x.dtype), xp.empty((2, x.shape[1]), x.dtype)
    _launch(kernels[1], (sets,), (g, x, weight, bias, moments, gx, form))
    _launch(kernels[2], (x.shape[1],), (g, x, weight, bias, moments, of_channels, form))
    return gx, of_channels[0], of_channels[1]


@_for_arrays_alike
def _norms(
    shape: Shape, dtype: np.dtype, groups: int, batch: bool, silu: bool, device: int
) -> tuple[list, int, Array]:
    """The kernels, how many sets of numbers are standardised, and the form."""
    N, C, *size = shape
    M, index = math.prod(size), _index(math.prod(shape))
    names = "normalize", "normalize_vjp", "affine_vjp"
    kernels = [_in_cuda("normalization", name, dtype, index) for name in names]
    sets = groups if batch else N * groups
    return kernels, sets * bool(M), _form(index, N, groups, C // groups, M, batch, silu)


# Convolution of images (N, C, H, W), as in `tensor/convolution.py`


def convolve(
    x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Sequence[Pair]
) -> Array:
    """y[n, o, p] = bias[o] + sum_ck weight[o, c, k] x[n, c, stride p + dilation k - padding]"""
    return _convolved(x, weight, bias, size, geometry, False)


def convolve_back(
    z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Sequence[Pair]
) -> Array:
    """The adjoint: x[n, c, q] = bias[c] + sum_ok weight[o, c, k] z[n, o, p], of all p that see q:
    stride p + dilation k - padding = q."""
    return _convolved(z, weight.transpose(1, 0, 2, 3), bias, size, geometry, True)


def _convolved(x, weight, bias, size: Pair, geometry: Sequence[Pair], back: bool) -> Array:
    if bias is None:
        x, weight = _of_one_dtype(x, weight)
    else:
        x, weight, bias = _of_one_dtype(x, weight, bias)
    layout = x.shape, x.strides, weight.shape, weight.strides, bias is None or bias.strides
    kernel, grid, form = _convolution(*layout, x.dtype, size, geometry, back, x.device.id)
    y = array_module(x).empty((len(x), len(weight), *size), x.dtype)
    _launch(kernel, grid, (x, weight, 0 if bias is None else bias, y, form), 128)
    return y


@_for_arrays_alike
def _convolution(
    x_shape, x_strides, shape, strides, bias_strides, dtype, size, geometry, back: bool, device
) -> tuple[Any, Shape, Array]:
    """The kernel, its grid and its form."""
    N, O, (h, w) = x_shape[0], shape[0], size
    phases = geometry[0] if back else (1, 1)
    pixels = N * -(-h // phases[0]) * -(-w // phases[1])
    grid = -(-pixels // 64) * math.prod(phases), -(-O // 32)
    bias_step = 0 if bias_strides is True else bias_strides[0]
    layout = x_shape, x_strides, shape, strides, bias_step
    index, numbers = _numbers(dtype, (N, O, h, w), *layout, geometry, back)
    return _in_cuda("convolution", "convolve", dtype, index), grid, _form(index, *numbers, 0)


def _numbers(dtype, y_shape, x_shape, x_strides, shape, strides, bias_step, geometry, back: bool):
    """What the forms of convolutions have in common, and the integers that count it."""
    (N, C, H, W), (_, O, h, w), kernel = x_shape, y_shape, shape[2:]
    stride, padding, dilation = geometry
    if back:
        steps = [1, 1, *(-d for d in dilation), *padding, *stride]
    else:
        steps = [*stride, *dilation, *(-p for p in padding), 1, 1]
    extents = math.prod(y_shape), _extent(x_shape, x_strides), _extent(shape, strides)
    places = [step // dtype.itemsize for step in (*x_strides, *strides, bias_step)]
    return _index(*extents), [N, C, H, W, O, h, w, *kernel, *places, *steps]


def weight_gradient(x: Array, g: Array, kernel: Pair, geometry: Sequence[Pair]) -> Array:
    """The gradient of weight (O, C, *kernel) from that of y (N, O, h, w). In memory O comes last,
    as in the weight of a layer."""
    x, g = _of_one_dtype(x, g)
    layout = x.shape, x.strides, g.shape, g.strides
    how, grid, form = _weight_gradient(*layout, x.dtype, kernel, geometry, x.device.id)
    sums = array_module(x).empty((grid[2], *kernel, x.shape[1], g.shape[1]), x.dtype)
    _launch(how, grid, (x, g, sums, form), 128)
    return (total(sums, (0,), False) if len(sums) > 1 else sums[0]).transpose(3, 2, 0, 1)


@_for_arrays_alike
def _weight_gradient(
    x_shape, x_strides, g_shape, g_strides, dtype, kernel: Pair, geometry, device
) -> tuple[Any, Shape, Array]:
    """The kernel, its grid and its form: with so many shares of the pixels that there are some 300
    blocks, and no more than 4096 numbers in a sum of float32."""
    (N, C), (O, *size) = x_shape[:2], g_shape[1:]
    tiles, pixels = (-(-C * math.prod(kernel) // 64), -(-O // 32)), N * math.prod(size)
    shares = max(1, min(-(-300 // math.prod(tiles)), pixels // 128), -(-pixels // 4096))
    share = -(-pixels // min(shares, 2**15))
    grid = *tiles, max(1, -(-pixels // max(1, share)))
    layout = x_shape, x_strides, (O, C, *kernel)
    index, numbers = _numbers(dtype, g_shape, *layout, g_strides, 0, geometry, False)
    index = _index(_extent(g_shape, g_strides)) if index == "i" else index
    return _in_cuda("convolution", "weight_gradient", dtype, index), grid, _form(
        index, *numbers, share
    )


def _of_one_dtype(*arrays: Array) -> Sequence[Array]:
    if len({x.dtype for x in arrays}) == 1:
        return arrays
    dtype = array_module(arrays[0]).result_type(*arrays)
    return [x.astype(dtype, copy=False) for x in arrays]
