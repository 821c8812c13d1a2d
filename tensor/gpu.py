"""Kernels for arrays on a GPU: what `tensor/loops.py` is on the CPU.

A GPU takes a small kernel in less time than Python needs to launch it, so what matters is how few
they are, and how little Python does for each. A formula of elementwise functions is one by
`cupy.fuse`; sums, norms and convolutions are written in CUDA, in the `.cu` files of this folder.
What such a kernel must know of its arrays, its form, lies on the GPU too, and is made once for all
arrays that look alike. All are compiled when first called, and CuPy keeps them for the next
process.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tensor.arrays import Array, Pair, Shape, array_module, is_on_gpu

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
    return cupy.RawKernel(_types(dtype, index) + source, f"minigen_{name}")


def _types(dtype: np.dtype, index: str) -> str:
    """The types of numbers, of sums of many, and of the integers that count them."""
    number, count = _C_NAMES[dtype.char], _C_NAMES[index]
    sum = "double" if dtype.kind == "f" else number
    return f"typedef {number} T;\ntypedef {sum} Sum;\ntypedef {count} I;\n"


def _index(*extents: int) -> str:
    """The integers that count so many numbers, and a tile past the end: those of 32 bits are
    divided four times faster."""
    return "i" if max(extents) < 2**30 else "q"


def _extent(shape: Shape, strides: Shape) -> int:
    """How many numbers, or bytes, an array reaches over in memory."""
    return sum(abs(n * step) for n, step in zip(shape, strides))


def _form(index: str, *numbers: int) -> Array:
    """What a kernel must know, in the order of its `Form`."""
    import cupy

    return cupy.array(numbers, index)


_for_arrays_alike = functools.lru_cache(4096)


def _launch(kernel: Any, grid: Shape, args: tuple, threads: int) -> None:
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
    kernel, grid, threads, form = how
    _launch(kernel, grid, (x, y, count if mean else 1.0, form), threads)
    return y


@_for_arrays_alike
def _sums(
    shape: Shape,
    strides: Shape,
    dtype: np.dtype,
    axes: tuple[int, ...],
    keepdims: bool,
    device: int,
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
    lanes = min(terms, 1024 if nearest[2] else max(8, min(1024, terms // 64)))
    lanes = 1 << (lanes - 1).bit_length()
    threads = max(256, lanes)
    padded = [[(1, 0)] * (3 - len(dims)) + dims for dims in inner]
    index = _index(_extent(shape, tuple(steps)), results)
    form = [results, terms, *(x for dims in padded for numbers in zip(*dims) for x in numbers)]
    form = _form(index, *form, threads // lanes)
    grid = (-(-results * lanes // threads),)
    return kept, (_in_cuda("sums", "total", dtype, index), grid, threads, form)


def _joined(dims: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Dimensions (length, stride), outermost first, without those that continue one another."""
    joined: list[tuple[int, int]] = []
    for n, step in dims:
        if joined and joined[-1][1] == n * step:
            n *= joined.pop()[0]
        joined.append((n, step))
    return joined


@functools.cache
def _sums_between() -> Any:
    import cupy

    return cupy.ElementwiseKernel(
        "raw T x, raw int64 order, raw int64 starts",
        "T y",
        """
        T sum = 0;
        for (ptrdiff_t k = starts[i]; k < starts[i + 1]; ++k) sum += x[order[k]];
        y = sum;
        """,
        "minigen_sums_between",
    )


def sums_between(x: Array, order: Array, starts: Array) -> Array:
    """y[i] is the sum of x[order[starts[i]]], ..., x[order[starts[i + 1] - 1]], in that order."""
    y = array_module(x).empty(len(starts) - 1, x.dtype)
    return _sums_between()(x, order, starts, y)


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
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


@one_kernel
def gelu_vjp(g: Array, x: Array) -> Array:
    """g (Phi(x) + x phi(x)), with the density phi(x) = e^(-x^2 / 2) / sqrt(2 pi)"""
    density = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return g * (0.5 * (1 + erf(x * math.sqrt(0.5))) + x * density)


def erf(x: Array) -> Array:
    """The error function, of arrays on a GPU."""
    from cupyx.scipy.special import erf

    return erf(x)


@one_kernel
def gate(a: Array, x: Array, slope: float) -> Array:
    """a where x > 0, and slope a elsewhere."""
    return array_module(a).where(x > 0, a, a * slope)


# Normalisation of x (N, C, ...), as in `tensor/normalization.py`


def normalize(
    x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float, batch: bool,
    silu: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """y, and the mean and 1 / sqrt(variance + eps) of each set of numbers that is standardised."""
    x, weight, bias = _contiguous(x.dtype, x, weight, bias)
    norm = _norms(x.shape, x.dtype, groups, batch, silu, x.device.id)
    xp = array_module(x)
    y, moments = xp.empty(x.shape, x.dtype), xp.empty((2, *norm.sets))
    args = x, weight, bias, y, moments, float(eps), norm.form
    _launch(norm.normalize, norm.sets, args, norm.threads)
    return y, moments


def normalize_vjp(
    g: Array, x: Array, weight: Array | None, bias: Array | None, moments: Array, groups: int,
    batch: bool, silu: bool,
) -> tuple[Array, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, from the moments that `normalize` found."""
    g, x, *affine = _contiguous(x.dtype, g, x, weight, bias)
    norm, xp = _norms(x.shape, x.dtype, groups, batch, silu, x.device.id), array_module(x)
    gx, channels = xp.empty(x.shape, x.dtype), x.shape[1:2]
    args = g, x, *affine, moments
    _launch(norm.normalize_vjp, norm.sets, (*args, gx, norm.form), norm.threads)
    if weight is None and bias is None:
        return gx, None, None
    of_channels = xp.empty((2, *channels), x.dtype)
    _launch(norm.affine_vjp, channels, (*args, of_channels, norm.form), norm.threads_of_channel)
    return gx, of_channels[0], of_channels[1]


def running(x: Array, mean: Array, var: Array, momentum: float) -> tuple[Array, Array]:
    """The next running mean and variance of the channels of x, as `batch_norm` has them."""
    x, mean, var = _contiguous(x.dtype, x, mean, var)
    norm, new = _norms(x.shape, x.dtype, 1, True, False, x.device.id), array_module(x).empty_like
    found = new(mean), new(var)
    args = x, mean, var, *found, float(momentum), norm.form
    _launch(norm.running, mean.shape, args, norm.threads_of_channel)
    return found


def _contiguous(dtype: np.dtype, *arrays: Array | None) -> list:
    """The arrays in C order and of one dtype, and a null pointer for None."""
    import cupy

    return [0 if x is None else cupy.ascontiguousarray(x, dtype) for x in arrays]


class _Norm(NamedTuple):
    """The kernels, the sets of numbers that are standardised and the threads for one, and those for
    a channel; the form."""

    normalize: Any
    normalize_vjp: Any
    affine_vjp: Any
    running: Any
    sets: Shape
    threads: int
    threads_of_channel: int
    form: Array


@_for_arrays_alike
def _norms(
    shape: Shape, dtype: np.dtype, groups: int, batch: bool, silu: bool, device: int
) -> _Norm:
    N, C, *size = shape
    M, index = math.prod(size), _index(math.prod(shape))
    kernels = [_in_cuda("normalization", name, dtype, index) for name in _Norm._fields[:4]]
    sets = (groups if batch else N * groups) * bool(M)
    form = _form(index, N, groups, C // groups, M, batch, silu)
    threads = _threads(math.prod(shape) // max(1, sets))
    return _Norm(*kernels, (sets,), threads, _threads(N * M), form)  # type: ignore[call-arg]


def _threads(numbers: int) -> int:
    """How many threads go over so many numbers: a power of 2, as sums need it."""
    return 256 if numbers <= 2048 else 1024


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
    numbers = _numbers(dtype, (N, O, h, w), *layout, geometry, back)
    index = _index(N * O * h * w, _extent(x_shape, x_strides), _extent(shape, strides))
    return _in_cuda("convolution", "convolve", dtype, index), grid, _form(index, *numbers, 0, 0, 0)


def _numbers(dtype, y_shape, x_shape, x_strides, shape, strides, bias_step, geometry, back: bool):
    """What the forms of convolutions have in common."""
    (N, C, H, W), (_, O, h, w), kernel = x_shape, y_shape, shape[2:]
    stride, padding, dilation = geometry
    if back:
        steps = [1, 1, *(-d for d in dilation), *padding, *stride]
    else:
        steps = [*stride, *dilation, *(-p for p in padding), 1, 1]
    places = [step // dtype.itemsize for step in (*x_strides, *strides, bias_step)]
    return [N, C, H, W, O, h, w, *kernel, *places, *steps]


def weight_gradient(
    x: Array, g: Array, kernel: Pair, geometry: Sequence[Pair]
) -> tuple[Array, Array]:
    """The gradients of weight (O, C, *kernel) and bias (O,) from x and the gradient g of y.

    In memory O comes last, as in the weight of a layer.
    """
    x, g = _of_one_dtype(x, g)
    layout, (C, O) = (x.shape, x.strides, g.shape, g.strides), (x.shape[1], g.shape[1])
    sums = _weight_sums(x, g, *layout, kernel, geometry, False)
    return sums[:-O].reshape(*kernel, C, O).transpose(3, 2, 0, 1), sums[-O:]


def _weight_sums(x: Array, g: Array, *layout) -> Array:
    """The gradient of weight, as (kh, kw, C, O) or (O, C), and then that of bias, as a vector."""
    xp = array_module(x)
    stream = xp.cuda.get_current_stream().ptr  # kernels on two at once would count together
    kernel, grid, numbers, finished, form = _weight_gradient(*layout, x.dtype, x.device.id, stream)
    gradient = xp.empty(numbers, x.dtype)
    sums = gradient if grid[2] == 1 else xp.empty((grid[2], numbers), x.dtype)
    _launch(kernel, grid, (x, g, sums, gradient, finished, form), 128)
    return gradient


@_for_arrays_alike
def _weight_gradient(
    x_shape, x_strides, g_shape, g_strides, kernel: Pair, geometry, outputs_first: bool, dtype,
    device, stream,
) -> tuple[Any, Shape, int, Array, Array]:  # fmt: skip
    """The kernel, its grid, how many numbers each share of the pixels gives, what counts the blocks
    that have finished, and the form. There are some 500 blocks, and no more than 4096 numbers in a
    sum of float32 unless the shares took more than 2^25 numbers."""
    import cupy

    (N, C), (O, *size) = x_shape[:2], g_shape[1:]
    rows, pixels = C * math.prod(kernel), N * math.prod(size)
    tiles = -(-(rows + 1) // 64), -(-O // 32)
    shares = max(1, min(500 // math.prod(tiles), pixels // 128), -(-pixels // 4096))
    shares = min(shares, 2**15, max(1, 2**25 // ((rows + 1) * O)))
    share = max(1, -(-pixels // shares))
    layout = x_shape, x_strides, (O, C, *kernel), g_strides
    numbers = _numbers(dtype, g_shape, *layout, 0, geometry, False)
    places = (1, rows) if outputs_first else (O, 1)
    extents = pixels, (rows + 1) * O * -(-pixels // share)
    index = _index(_extent(x_shape, x_strides), _extent(g_shape, g_strides), *extents)
    how = _in_cuda("convolution", "weight_gradient", dtype, index)
    grid, finished = (*tiles, max(1, -(-pixels // share))), cupy.zeros(math.prod(tiles), index)
    return how, grid, (rows + 1) * O, finished, _form(index, *numbers, share, *places)


# Products of small matrices, as convolutions of images of one pixel: CuPy's way, by cuBLAS, takes
# longer to begin, and is faster once it has


def product(a: Array, b: Array, bias: Array | None = None) -> Array:
    """a @ b, plus bias."""
    how: Any = None
    if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] and a.dtype == b.dtype:
        layout = a.shape, a.strides, b.shape, b.strides, bias is None or bias.strides
        how = _product(*layout, a.dtype, a.device.id)
    if how is None:
        return a @ b if bias is None else a @ b + bias
    y = array_module(a).empty((len(a), b.shape[1]), a.dtype)
    kernel, grid, form = how
    _launch(kernel, grid, (a, b, 0 if bias is None else bias, y, form), 128)
    return y


_ONE_PIXEL = ((1, 1), (0, 0), (1, 1))
"""The geometry of a kernel of one pixel."""


@_for_arrays_alike
def _product(a_shape, a_strides, b_shape, b_strides, bias_strides, dtype, device) -> tuple | None:
    """The kernel, its grid and its form; None if CuPy's way serves better."""
    (N, C), O = a_shape, b_shape[1]
    if C > 512 or N * C * O > 2**26:
        return None
    x, weight = (N, C, 1, 1), (O, C, 1, 1)
    strides = (*a_strides, 0, 0), (*b_strides[::-1], 0, 0)
    layout = x, strides[0], weight, strides[1], bias_strides
    return _convolution(*layout, dtype, (1, 1), _ONE_PIXEL, False, device)


def linear_gradient(x: Array, g: Array) -> tuple[Array, Array]:
    """The gradients of weight (O, C) and bias (O,) from x (N, C) and the gradient g of y (N, O)."""
    (N, C), O = x.shape, g.shape[1]
    if x.dtype != g.dtype or N * C * O > 2**26:
        return g.T @ x, total(g, (0,), False)
    layout = (N, C, 1, 1), (*x.strides, 0, 0), (N, O, 1, 1), (*g.strides, 0, 0)
    sums = _weight_sums(x, g, *layout, (1, 1), _ONE_PIXEL, True)
    return sums[: O * C].reshape(O, C), sums[O * C :]


def _of_one_dtype(*arrays: Array) -> Sequence[Array]:
    dtype = arrays[0].dtype
    if all(x.dtype is dtype for x in arrays):
        return arrays
    dtype = array_module(arrays[0]).result_type(*arrays)
    return [x.astype(dtype, copy=False) for x in arrays]


# Many vectors as one


_JOINED = 64
"""How many vectors a kernel joins, a power of 2."""

_JOIN = f"""
extern "C" __global__ void minigen_join(
    T* y, const I* ends, {", ".join(f"const T* x{k}" for k in range(_JOINED))}
) {{
    const T* const parts[] = {{{", ".join(f"x{k}" for k in range(_JOINED))}}};
    const I first = ends[{_JOINED}], steps = I(gridDim.x) * blockDim.x;
    for (I i = I(blockIdx.x) * blockDim.x + threadIdx.x; i < ends[{_JOINED - 1}]; i += steps) {{
        int part = 0;  // how many end before i
        for (int half = {_JOINED // 2}; half; half /= 2)
            if (ends[part + half - 1] <= i) part += half;
        y[first + i] = parts[part][part ? i - ends[part - 1] : i];
    }}
}}
"""


def join(vectors: Sequence[Array]) -> Array:
    """The vectors one after the other, in the dtype of the first. CuPy's `concatenate` first copies
    their addresses to the GPU."""
    dtype, xp = vectors[0].dtype, array_module(vectors[0])
    vectors = [xp.ascontiguousarray(x, dtype) for x in vectors]
    numbers, launches = _joins(tuple(x.size for x in vectors), dtype, vectors[0].device.id)
    y = xp.empty(numbers, dtype)
    for k, (kernel, blocks, ends) in enumerate(launches):
        parts = vectors[k * _JOINED : (k + 1) * _JOINED]
        _launch(kernel, blocks, (y, ends, *parts, *[0] * (_JOINED - len(parts))), 256)
    return y


@_for_arrays_alike
def _joins(sizes: tuple[int, ...], dtype: np.dtype, device: int) -> tuple[int, list]:
    """How many numbers there are, and for each kernel its grid, the ends of its vectors, padded,
    and where the first begins."""
    import cupy

    numbers, launches, first = sum(sizes), [], 0
    index = _index(numbers)
    kernel = cupy.RawKernel(_types(dtype, index) + _JOIN, "minigen_join")
    for k in range(0, len(sizes), _JOINED):
        ends = list(accumulate(sizes[k : k + _JOINED]))
        padded = [*ends, *ends[-1:] * (_JOINED - len(ends))]
        blocks = min(1024, -(-ends[-1] // 256))
        launches.append((kernel, (blocks,), _form(index, *padded, first)))
        first += ends[-1]
    return numbers, launches
