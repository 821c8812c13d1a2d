"""Convolution and its two derivatives: one closed family.

The three ops below are one trilinear form,  T(x, w, g) = sum over n, o, p of g[n, o, p] * sum over c, k of
w[o, c, k] * x[n, c, stride * p + dilation * k - padding],  taken apart in three ways:

    T(x, w, g)  =  <conv(x, w), g>  =  <x, conv_input(g, w)>  =  <conv_weight(x, g), w>

So each op's derivatives are the other two, to any order, and `conv_transpose2d` is `conv_input` by its PyTorch name.

Images read (N, C, H, W) but lie channels-last in memory: the ops compute on (N, H, W, C) and return transposed views, which
NumPy's ufuncs preserve. A convolution is then one matrix product, columns (N H W, kh kw C) @ weight (kh kw C, O), made for
a few images at a time so that the columns never leave the cache.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import NamedTuple

from tensor.arrays import Array, array_module, in_long_rows, integers
from tensor.autodiff import composite, op
from tensor.parallel import map_blocks
from tensor.reductions import sum
from tensor.shaping import cat, chunk
from tensor.tensor import Tensor

Pair = tuple[int, int]
COLUMN_BYTES = 4 * 2**20


class Geometry(NamedTuple):
    """How the kernel steps over the image: (height, width) pairs."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def span(self, kernel: Pair) -> Pair:
        """How many pixels a dilated kernel covers."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, kernel))  # type: ignore[return-value]

    def is_turnable(self, size: Pair, out_size: Pair, kernel: Pair) -> bool:
        """Whether the turned kernel leads back from all of the output to just the input."""
        return self.stride == (1, 1) and self.output_size(size, kernel) == out_size

    def turned(self, kernel: Pair) -> Geometry:
        """At stride 1, the steps of the turned kernel over the output that lead back to the input."""
        (a, b), (ph, pw) = self.span(kernel), self.padding
        return Geometry((1, 1), (a - 1 - ph, b - 1 - pw), self.dilation)

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """Output pixels for an input of `size`."""
        steps = zip(size, self.padding, self.span(kernel), self.stride)
        return tuple((n + 2 * p - span) // s + 1 for n, p, span, s in steps)  # type: ignore[return-value]


# What the family shares


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def _framed(x: Array, padding: Pair) -> Array:
    """x (n, H, W, C) in a frame of zeros; a negative padding crops."""
    (n, H, W, C), (ph, pw) = x.shape, padding
    x = x[:, max(0, -ph) : H + min(0, ph), max(0, -pw) : W + min(0, pw)]
    ph, pw = max(0, ph), max(0, pw)
    if not ph and not pw:
        return x
    framed = array_module(x).zeros((n, x.shape[1] + 2 * ph, x.shape[2] + 2 * pw, C), x.dtype)
    framed[:, ph : ph + x.shape[1], pw : pw + x.shape[2]] = x
    return framed


def _columns(x: Array, kernel: Pair, size: Pair, geometry: Geometry) -> Array:
    """What each of (h, w) = `size` output pixels of x (n, H, W, C) sees, as rows of a matrix (n h w, kh kw C)."""
    (kh, kw), (h, w), (sh, sw), (dh, dw) = kernel, size, geometry.stride, geometry.dilation
    x = _framed(x, geometry.padding)
    n, _, _, C = x.shape
    a, b, c, d = x.strides
    xp = array_module(x)
    windows = xp.lib.stride_tricks.as_strided(x, (n, h, w, kh, kw, C), (a, b * sh, c * sw, b * dh, c * dw, d))
    return xp.ascontiguousarray(windows).reshape(n * h * w, kh * kw * C)


def _matrix(weight: Array) -> Array:
    """weight (O, C, kh, kw) as the matrix (kh kw C, O) that multiplies columns."""
    O, C, kh, kw = weight.shape
    return weight.transpose(2, 3, 1, 0).reshape(kh * kw * C, O)


def _turned(weight: Array) -> Array:
    """The kernel upside down, with input and output channels exchanged."""
    return weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)


def _load(image: Array, columns: int) -> float:
    """`columns` columns as a multiple of the image: what `map_blocks` wants to know."""
    return columns / math.prod(image.shape[1:])


def _add_bias(y: Array, bias: Array | None) -> None:
    """y (n, H, W, O) += bias (O,)"""
    if bias is not None:
        pixels, rows = in_long_rows(y.reshape(len(y), y.shape[1] * y.shape[2], len(bias)), bias[None])
        pixels += rows


def _conv_vjp(g, wanted, x, weight, bias, geometry):
    size, kernel = x.shape[2:], weight.shape[2:]
    if not isinstance(g, Tensor) and all(wanted[:2]) and geometry.is_turnable(size, g.shape[2:], kernel):
        g_x, g_weight = _both_gradients(g, x, weight, geometry)
    else:
        g_x = conv_input(g, weight, None, size, geometry) if wanted[0] else None
        g_weight = conv_weight(x, g, kernel, geometry) if wanted[1] else None
    return g_x, g_weight, sum(g, (0, 2, 3)) if wanted[2] else None


def _both_gradients(g: Array, x: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """conv_input and conv_weight at stride 1, from one set of columns: what each pixel of x sees of g."""
    xp = array_module(x)
    N, C, H, W = x.shape
    O, _, kh, kw = weight.shape
    turned, matrix = geometry.turned((kh, kw)), _matrix(_turned(weight))
    seen, source, g_x = _channels_last(g), _channels_last(x), xp.empty((N, H, W, C), x.dtype)

    def kernel(rows) -> Array:
        columns = _columns(seen[rows], (kh, kw), (H, W), turned)
        xp.matmul(columns, matrix, out=g_x[rows].reshape(-1, C))
        return source[rows].reshape(-1, C).T @ columns

    parts = map_blocks(kernel, x, _load(x, H * W * len(matrix)), COLUMN_BYTES)
    g_weight = reduce(add, parts).reshape(C, kh, kw, O)[:, ::-1, ::-1]
    return _channels_first(g_x), g_weight.transpose(3, 0, 1, 2)


@op(joint=("x weight bias", _conv_vjp))
def conv(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """y[n, o, p] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, stride p + dilation k - padding], for p in `size`."""
    xp = array_module(x)
    O, C, kh, kw = weight.shape
    matrix = _matrix(weight)
    source, y = _channels_last(x), xp.empty((len(x), *size, O), x.dtype)

    def kernel(rows) -> None:
        out = y[rows]
        xp.matmul(_columns(source[rows], (kh, kw), size, geometry), matrix, out=out.reshape(-1, O))
        _add_bias(out, bias)

    map_blocks(kernel, x, _load(x, math.prod(size) * len(matrix)), COLUMN_BYTES)
    return _channels_first(y)


@op(
    z=lambda g, z_shape, weight, geometry: conv(g, weight, None, z_shape[2:], geometry),
    weight=lambda g, z, weight_shape, geometry: conv_weight(g, z, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
def conv_input(z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """The x of `size` pixels for which <conv(v, weight), z> = <v, x> for all v; then `bias` is added.

    With stride 1 this gathers: it is a convolution with the turned kernel. Otherwise each pixel of z is scattered over the
    pixels that it saw, one kernel position after the other, so no two additions compete and results repeat.
    """
    xp = array_module(z)
    O, C, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = geometry
    span = geometry.span((kh, kw))
    h, w = z.shape[2:]
    if geometry.is_turnable(size, (h, w), (kh, kw)):
        return conv(z, _turned(weight), bias, size, geometry.turned((kh, kw)))
    matrix = weight.transpose(0, 2, 3, 1).reshape(O, kh * kw * C)
    H, W = max(size[0] + 2 * ph, sh * (h - 1) + span[0]), max(size[1] + 2 * pw, sw * (w - 1) + span[1])
    source, x = _channels_last(z), xp.zeros((len(z), H, W, C), z.dtype)

    def kernel(rows) -> None:
        columns = (source[rows].reshape(-1, O) @ matrix).reshape(-1, h, w, kh, kw, C)
        for i in range(kh):
            for j in range(kw):
                seen = x[rows, i * dh : i * dh + sh * h : sh, j * dw : j * dw + sw * w : sw]
                seen += columns[:, :, :, i, j]
        _add_bias(x[rows], bias)

    map_blocks(kernel, z, _load(z, h * w * matrix.shape[1]), COLUMN_BYTES)
    return _channels_first(x[:, ph : ph + size[0], pw : pw + size[1]])


@op(
    x=lambda g, x_shape, z, geometry: conv_input(z, g, None, x_shape[2:], geometry),
    z=lambda g, x, z_shape, geometry: conv(x, g, None, z_shape[2:], geometry),
)
def conv_weight(x: Array, z: Array, kernel: Pair, geometry: Geometry) -> Tensor:
    """The w of `kernel` size for which <conv(x, v), z> = <v, w> for all v."""
    source, target = _channels_last(x), _channels_last(z)
    C, O = x.shape[1], z.shape[1]

    def product(rows) -> Array:
        return _columns(source[rows], kernel, z.shape[2:], geometry).T @ target[rows].reshape(-1, O)

    parts = map_blocks(product, x, _load(x, math.prod(z.shape[2:]) * math.prod(kernel) * C), COLUMN_BYTES)
    return reduce(add, parts).reshape(*kernel, C, O).transpose(3, 2, 0, 1)


# PyTorch's names


def as_pair(value, name: str, minimum: int) -> Pair:
    """An integer twice, or a pair as it is; ValueError for anything else."""
    try:
        numbers = integers(value)
    except TypeError:
        numbers = ()
    pair = numbers * 2 if len(numbers) == 1 else numbers
    if len(pair) != 2 or min(pair) < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum} or a pair of them, got {value!r}")
    return pair  # type: ignore[return-value]


def _check(name: str, x, weight, bias, groups: int, transposed: bool) -> None:
    if len(x.shape) != 4 or len(weight.shape) != 4:
        raise ValueError(f"{name}: expected x (N, C, H, W) and a 4-d weight, got {tuple(x.shape)} and {tuple(weight.shape)}")
    if 0 in (*x.shape[1:], *weight.shape):
        raise ValueError(f"{name}: x {tuple(x.shape)} or weight {tuple(weight.shape)} has a dimension of length 0")
    if groups < 1 or x.shape[1] % groups or weight.shape[0] % groups:
        raise ValueError(f"{name}: groups={groups} must divide {x.shape[1]} input channels and weight {tuple(weight.shape)}")
    expected = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != expected:
        raise ValueError(
            f"{name}: x {tuple(x.shape)} has {x.shape[1]} channels, weight {tuple(weight.shape)} expects {expected}"
        )
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise ValueError(f"{name}: bias has shape {tuple(bias.shape)}, expected ({outputs},)")


def _grouped(conv_one, x, weight, bias, groups: int) -> Tensor:
    """Each group of channels by itself, side by side."""
    if groups == 1:
        return conv_one(x, weight, bias)
    biases = [None] * groups if bias is None else chunk(bias, groups)
    return cat([conv_one(*part) for part in zip(chunk(x, groups, 1), chunk(weight, groups), biases)], 1)


@composite
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1) -> Tensor:
    """Cross-correlate images x (N, C, H, W) with weight (O, C / groups, kh, kw): (N, O, H', W').

    H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. stride, padding and dilation are integers or (height, width).
    """
    geometry = Geometry(as_pair(stride, "stride", 1), as_pair(padding, "padding", 0), as_pair(dilation, "dilation", 1))
    _check("conv2d", x, weight, bias, groups, transposed=False)
    size = geometry.output_size(x.shape[2:], weight.shape[2:])
    if min(size) < 1:
        raise ValueError(
            f"conv2d: the kernel covers {geometry.span(weight.shape[2:])} pixels, "
            f"more than the image {tuple(x.shape[2:])} with padding {geometry.padding}"
        )
    return _grouped(lambda x, w, b: conv(x, w, b, size, geometry), x, weight, bias, groups)


@composite
def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1) -> Tensor:
    """The adjoint of conv2d: x (N, C, H, W), weight (C, O / groups, kh, kw) to (N, O, H', W').

    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 + output_padding, where output_padding < max(stride, dilation).
    """
    geometry = Geometry(as_pair(stride, "stride", 1), as_pair(padding, "padding", 0), as_pair(dilation, "dilation", 1))
    extra = as_pair(output_padding, "output_padding", 0)
    _check("conv_transpose2d", x, weight, bias, groups, transposed=True)
    if any(e >= max(s, d) for e, s, d in zip(extra, geometry.stride, geometry.dilation)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {geometry.stride} "
            f"or dilation {geometry.dilation}"
        )
    steps = zip(x.shape[2:], geometry.stride, geometry.padding, geometry.span(weight.shape[2:]), extra)
    size = tuple((n - 1) * s - 2 * p + span + e for n, s, p, span, e in steps)
    if min(size) < 1:
        raise ValueError(f"conv_transpose2d: padding {geometry.padding} leaves an output of {size} pixels")
    return _grouped(lambda x, w, b: conv_input(x, w, b, size, geometry), x, weight, bias, groups)
