"""Convolution and its two derivatives: one closed family.

The three ops below are one trilinear form,  T(x, w, g) = sum over n, o, p of g[n, o, p] * sum over c, k of
w[o, c, k] * x[n, c, stride * p + dilation * k - padding],  taken apart in three ways:

    T(x, w, g)  =  <conv(x, w), g>  =  <x, conv_input(g, w)>  =  <conv_weight(x, g), w>

So each op's derivatives are the other two, to any order, and `conv_transpose2d` is `conv_input` by its PyTorch name.

Images read (N, C, H, W) but lie channels-last in memory: the ops compute on (N, H, W, C) and return transposed views. A
convolution is then one matrix product, columns (N h w, kh kw C) @ weight (kh kw C, O), made for a few images at a time so that
the columns never leave the cache. Kernels of 2 to 4 pixels a side that step one by one take fewer multiplications in
`tensor/winograd.py`; a kernel that steps over blocks of pixels does so with the blocks as channels.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tensor import winograd
from tensor.arrays import Array, array_module, integers
from tensor.autodiff import op
from tensor.errors import composite
from tensor.kernels import bias_operand, loops_for, operand, spread
from tensor.parallel import map_blocks, one_blas_thread
from tensor.reductions import sum
from tensor.shaping import cat, chunk

if TYPE_CHECKING:
    from tensor.tensor import Tensor

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """How the kernel steps over the image: (height, width) pairs."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def span(self, kernel: Pair) -> Pair:
        """How many pixels a dilated kernel covers."""
        return tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, kernel))  # type: ignore[return-value]

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """Output pixels for an input of `size`."""
        steps = zip(size, self.padding, self.span(kernel), self.stride)
        return tuple((n + 2 * p - span) // s + 1 for n, p, span, s in steps)  # type: ignore[return-value]


# On images (n, H, W, C)


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def _framed(x: Array, padding: Pair, size: Pair) -> Array:
    """`size` pixels of x (n, H, W, C), beginning `padding` before its first (after it, if negative); zeros outside."""
    n, H, W, C = x.shape
    (top, left), (h, w) = padding, size
    framed = array_module(x).zeros((n, h, w, C), x.dtype)
    seen = x[:, max(0, -top) : max(0, h - top), max(0, -left) : max(0, w - left)]
    top, left = max(0, top), max(0, left)
    framed[:, top : top + seen.shape[1], left : left + seen.shape[2]] = seen
    return framed


def _columns(x: Array, kernel: Pair, size: Pair, geometry: Geometry) -> Array:
    """What each of (h, w) = `size` output pixels of x (n, H, W, C) sees, as rows of a matrix (n h w, kh kw C)."""
    (kh, kw), (h, w), (sh, sw), (dh, dw) = kernel, size, geometry.stride, geometry.dilation
    n, _, _, C = x.shape
    xp, loops = array_module(x), loops_for(x)
    if kernel == (1, 1) and geometry == ((1, 1), (0, 0), (1, 1)) and size == x.shape[1:3]:
        columns = xp.ascontiguousarray(x)
    elif loops:
        columns = xp.empty((n, h, w, kh, kw, C), x.dtype)
        loops.columns(operand(x), *geometry, columns)
    else:
        span = geometry.span(kernel)
        x = _framed(x, geometry.padding, (max(0, sh * (h - 1) + span[0]), max(0, sw * (w - 1) + span[1])))
        a, b, c, d = x.strides
        windows = xp.lib.stride_tricks.as_strided(x, (n, h, w, kh, kw, C), (a, b * sh, c * sw, b * dh, c * dw, d))
        columns = xp.ascontiguousarray(windows)
    return columns.reshape(n * h * w, kh * kw * C)


def _matrix(weight: Array) -> Array:
    """weight (O, C, kh, kw) as the matrix (kh kw C, O) that multiplies columns."""
    O, C, kh, kw = weight.shape
    return weight.transpose(2, 3, 1, 0).reshape(kh * kw * C, O)


def _place(y: Array, bias: Array | None, x: Array, phase: Pair = (0, 0), stride: Pair = (1, 1)) -> None:
    """Every `stride`-th pixel of x, from `phase` on, becomes that of y, plus bias (C,)."""
    if loops := loops_for(x):
        loops.place(y, bias_operand(bias, x), phase, stride, x)
    else:
        x[:, phase[0] :: stride[0], phase[1] :: stride[1]] = y if bias is None else y + bias


def _correlate(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Array:
    """The convolution of x (N, H, W, C): (N, *size, O)."""
    O, _, *kernel = weight.shape
    stride, padding, dilation = geometry
    if loops := loops_for(x):
        if winograd.serves(weight.shape, stride, dilation, size):
            return winograd.convolve(loops, x, weight, bias, size, padding)
        if shape := _shape_over_blocks(weight.shape, geometry, size):
            return winograd.convolve(loops, _blocks(x, shape, size, geometry), _over_blocks(weight, shape), bias, size, (0, 0))
    matrix = _matrix(weight)
    xp = array_module(x)
    y = xp.empty((len(x), *size, O), xp.result_type(x, weight))

    def block(images: slice) -> None:
        product = _columns(x[images], tuple(kernel), size, geometry) @ matrix
        _place(product.reshape(-1, *size, O), bias, y[images])

    map_blocks(block, len(x), spread(x, len(x) * math.prod(size) * len(matrix)))
    return y


# A kernel that steps over whole blocks of pixels, with their pixels as channels: it then steps one by one


def _shape_over_blocks(kernel: tuple[int, ...], geometry: Geometry, size: Pair) -> tuple[int, ...] | None:
    """What becomes of a kernel (O, C, kh, kw), if its stride divides it and Winograd's way then serves."""
    (O, C, kh, kw), (sh, sw) = kernel, geometry.stride
    shape = (O, sh * sw * C, kh // sh, kw // sw)
    divides = geometry.stride != (1, 1) and not kh % sh and not kw % sw
    return shape if divides and winograd.serves(shape, (1, 1), geometry.dilation, size) else None


def _over_blocks(weight: Array, shape: tuple[int, ...]) -> Array:
    O, C, kh, kw = weight.shape
    th, tw = shape[2:]
    return weight.reshape(O, C, th, kh // th, tw, kw // tw).transpose(0, 3, 5, 1, 2, 4).reshape(shape)


def _over_pixels(weight: Array, shape: tuple[int, ...]) -> Array:
    """The inverse of `_over_blocks`: to a kernel (O, C, kh, kw)."""
    (O, C, kh, kw), (th, tw) = shape, weight.shape[2:]
    return weight.reshape(O, kh // th, kw // tw, C, th, tw).transpose(0, 3, 4, 1, 5, 2).reshape(shape)


def _blocks(x: Array, kernel: tuple[int, ...], size: Pair, geometry: Geometry) -> Array:
    """x (N, H, W, C) as the blocks that a kernel of this shape sees from `size` places: (N, h, w, sh sw C)."""
    h, w = size[0] + kernel[2] - 1, size[1] + kernel[3] - 1
    y = np.empty((len(x), h, w, kernel[1]), x.dtype)

    def block(images: slice) -> None:
        y[images] = _columns(x[images], geometry.stride, (h, w), geometry).reshape(-1, *y.shape[1:])

    map_blocks(block, len(x), 2 * y.size)
    return y


def _pixels(blocks: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Array:
    """The inverse of `_blocks`, plus bias: (N, *size, C)."""
    N, h, w, channels = blocks.shape
    sh, sw = geometry.stride
    C = channels // (sh * sw)
    x, blocks = np.empty((N, *size, C), blocks.dtype), operand(blocks).reshape(N, h, w, sh, sw, C)
    bias = bias_operand(bias, x)
    map_blocks(lambda images: loops_for(x).pixels(blocks[images], bias, *geometry[:2], x[images]), N, 2 * x.size)
    return x


# The pixels that saw a pixel


def _phases(n: int, kernel: int, stride: int, padding: int, dilation: int) -> list[tuple[slice, int, int]]:
    """How pixels phase, phase + stride, ... of n are made, for each phase: by which part of the kernel, its last first, and
    with which padding and dilation that steps over the pixels that saw them.

    With a kernel of 4, stride 2 and padding 1, even pixels are seen by the taps 3 and 1, and odd ones by 2 and 0.
    """
    step = stride // math.gcd(stride, dilation)
    phases = []
    for phase in range(min(stride, n)):
        taps = [i for i in range(kernel) if (phase + padding - dilation * i) % stride == 0]
        reach = dilation * step // stride
        behind = (phase + padding - dilation * taps[-1]) // stride if taps else 0
        phases.append((slice(taps[-1], taps[0] - 1 if taps[0] else None, -step) if taps else slice(0), -behind, reach))
    return phases


@op(
    x=lambda g, x_shape, weight, geometry: conv_input(g, weight, None, x_shape[2:], geometry),
    weight=lambda g, x, weight_shape, geometry: conv_weight(x, g, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
@one_blas_thread()
def conv(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """y[n, o, p] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, stride p + dilation k - padding], for p in `size`.

    Outside the image x is 0.
    """
    return _channels_first(_correlate(_channels_last(x), weight, bias, size, geometry))


@op(
    z=lambda g, z_shape, weight, geometry: conv(g, weight, None, z_shape[2:], geometry),
    weight=lambda g, z, weight_shape, geometry: conv_weight(g, z, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
@one_blas_thread()
def conv_input(z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """The x of `size` pixels for which <conv(v, weight), z> = <v, x> for all v; then `bias` is added.

    Each pixel of x gathers from the pixels of z that saw it. With stride 1 that is a convolution with the turned kernel;
    with stride s there are s^2 phases of pixels, for each of which another part of the turned kernel is used; where the stride
    divides the kernel and Winograd's way serves, all phases are the channels of one convolution.
    """
    (kh, kw), (sh, sw), source = weight.shape[2:], geometry.stride, _channels_last(z)
    if loops_for(z) and (shape := _shape_over_blocks(weight.shape, geometry, z.shape[2:])):
        turned = _over_blocks(weight, shape).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        behind = shape[2] - 1, shape[3] - 1
        places = z.shape[2] + behind[0], z.shape[3] + behind[1]
        blocks = _correlate(source, turned, None, places, Geometry((1, 1), behind, (1, 1)))
        return _channels_first(_pixels(blocks, bias, size, geometry))
    rows = _phases(size[0], kh, sh, geometry.padding[0], geometry.dilation[0])
    columns = _phases(size[1], kw, sw, geometry.padding[1], geometry.dilation[1])
    turned = weight.transpose(1, 0, 2, 3)
    if geometry.stride == (1, 1):
        (i, top, dh), (j, left, dw) = rows[0], columns[0]
        return _channels_first(_correlate(source, turned[:, :, i, j], bias, size, Geometry((1, 1), (top, left), (dh, dw))))
    xp = array_module(z)
    x = xp.empty((len(z), *size, weight.shape[1]), xp.result_type(z, weight))
    for phase_h, (i, top, dh) in enumerate(rows):
        for phase_w, (j, left, dw) in enumerate(columns):
            pixels = -(-(size[0] - phase_h) // sh), -(-(size[1] - phase_w) // sw)
            y = _correlate(source, turned[:, :, i, j], None, pixels, Geometry((1, 1), (top, left), (dh, dw)))
            _place(y, bias, x, (phase_h, phase_w), geometry.stride)
    return _channels_first(x)


@op(
    x=lambda g, x_shape, z, geometry: conv_input(z, g, None, x_shape[2:], geometry),
    z=lambda g, x, z_shape, geometry: conv(x, g, None, z_shape[2:], geometry),
)
@one_blas_thread()
def conv_weight(x: Array, z: Array, kernel: Pair, geometry: Geometry) -> Tensor:
    """The w of `kernel` size for which <conv(x, v), z> = <v, w> for all v."""
    source, target = _channels_last(x), _channels_last(z)
    C, O, size = x.shape[1], z.shape[1], z.shape[2:]
    if loops := loops_for(x):
        if winograd.serves((O, C, *kernel), geometry.stride, geometry.dilation, size):
            return winograd.weight_gradient(loops, source, target, kernel[0], geometry.padding)
        if shape := _shape_over_blocks((O, C, *kernel), geometry, size):
            blocks = _blocks(source, shape, size, geometry)
            return _over_pixels(winograd.weight_gradient(loops, blocks, target, shape[2], (0, 0)), (O, C, *kernel))

    def block(images: slice) -> Array:
        return _columns(source[images], kernel, size, geometry).T @ target[images].reshape(-1, O)

    parts = map_blocks(block, len(x), spread(x, len(x) * math.prod(size) * math.prod(kernel) * C))
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
