"""How a convolution is computed on the CPU, on images (N, H, W, C): there, back, to the kernel.

A convolution is one matrix product, columns (N h w, kh kw C) @ weight (kh kw C, O), made for a few
images at a time so that the columns never leave the cache. Kernels of 2 to 4 pixels a side that
step one by one take fewer multiplications in `tensor/winograd.py`; a kernel that steps over blocks
of pixels does so with the blocks as channels.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from tensor import winograd
from tensor.arrays import Array, Pair, Shape
from tensor.kernels import bias_operand, loops_for, operand
from tensor.parallel import map_blocks, one_blas_thread


class Geometry(NamedTuple):
    """How the kernel steps over the image: (height, width) pairs."""

    stride: Pair
    padding: Pair
    dilation: Pair

    def span(self, kernel: Pair) -> Pair:
        """How many pixels a dilated kernel covers."""
        h, w = (d * (k - 1) + 1 for d, k in zip(self.dilation, kernel))
        return h, w

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """Output pixels for an input of `size`."""
        steps = zip(size, self.padding, self.span(kernel), self.stride)
        h, w = ((n + 2 * p - span) // s + 1 for n, p, span, s in steps)
        return h, w


# There


def _framed(x: Array, padding: Pair, size: Pair) -> Array:
    """`size` pixels of x (n, H, W, C), from `padding` (may be < 0) before it on; zeros outside."""
    n, H, W, C = x.shape
    (top, left), (h, w) = padding, size
    framed = np.zeros((n, h, w, C), x.dtype)
    seen = x[:, max(0, -top) : max(0, h - top), max(0, -left) : max(0, w - left)]
    top, left = max(0, top), max(0, left)
    framed[:, top : top + seen.shape[1], left : left + seen.shape[2]] = seen
    return framed


def _columns(x: Array, kernel: Pair, size: Pair, geometry: Geometry) -> Array:
    """What each of `size` output pixels of x (n, H, W, C) sees, as a row of (n h w, kh kw C)."""
    (kh, kw), (h, w), (sh, sw), (dh, dw) = kernel, size, geometry.stride, geometry.dilation
    n, _, _, C = x.shape
    loops = loops_for(x)
    if kernel == (1, 1) and geometry == ((1, 1), (0, 0), (1, 1)) and size == x.shape[1:3]:
        columns = np.ascontiguousarray(x)
    elif loops:
        columns = np.empty((n, h, w, kh, kw, C), x.dtype)
        loops.columns(operand(x), *geometry, columns)
    else:
        span_h, span_w = geometry.span(kernel)
        seen = max(0, sh * (h - 1) + span_h), max(0, sw * (w - 1) + span_w)
        x = _framed(x, geometry.padding, seen)
        a, b, c, d = x.strides
        steps = (a, b * sh, c * sw, b * dh, c * dw, d)
        windows = np.lib.stride_tricks.as_strided(x, (n, h, w, kh, kw, C), steps)
        columns = np.ascontiguousarray(windows)
    return columns.reshape(n * h * w, kh * kw * C)


def _matrix(weight: Array) -> Array:
    """A weight (O, C, kh, kw) as (kh kw C, O), which is how that of a layer lies in memory."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


@one_blas_thread()
def correlate(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Array:
    """The convolution of x (N, H, W, C): (N, *size, O)."""
    O, _, *kernel = weight.shape
    if shape := _winograd_shape(x, weight.shape, size, geometry):
        if geometry.stride == (1, 1):
            return winograd.convolve(loops_for(x), x, weight, bias, size, geometry.padding)
        blocks, weight = _blocks(x, shape, size, geometry), _over_blocks(weight, shape)
        return winograd.convolve(loops_for(x), blocks, weight, bias, size, (0, 0))
    matrix = _matrix(weight)
    y = np.empty((len(x), *size, O), np.result_type(x, weight))

    def block(images: slice) -> None:
        out = y[images].reshape(-1, O)
        np.matmul(_columns(x[images], tuple(kernel), size, geometry), matrix, out=out)
        if bias is not None:
            out += bias

    map_blocks(block, len(x), len(x) * math.prod(size) * len(matrix))
    return y


# A kernel that steps over whole blocks, with their pixels as channels: it then steps one by one.
# A row of 4 weights that steps by 2 is one of 2 x 2: [a b c d] on x is [(a b) (c d)] on pairs of x.


def _winograd_shape(x: Array, weight_shape: Shape, size: Pair, geometry: Geometry) -> Shape | None:
    """A kernel's shape (O, C, kh, kw) over blocks, if its stride divides it and Winograd serves."""
    (O, C, kh, kw), (sh, sw) = weight_shape, geometry.stride
    if not loops_for(x) or geometry.dilation != (1, 1) or kh % sh or kw % sw:
        return None
    shape = (O, sh * sw * C, kh // sh, kw // sw)
    return shape if winograd.serves(shape, size, x.dtype) else None


def _over_blocks(weight: Array, shape: Shape) -> Array:
    (O, C, kh, kw), (th, tw) = weight.shape, shape[2:]
    split = weight.reshape(O, C, th, kh // th, tw, kw // tw)
    return split.transpose(0, 3, 5, 1, 2, 4).reshape(shape)


def _over_pixels(weight: Array, shape: Shape) -> Array:
    """The inverse of `_over_blocks`: to a kernel (O, C, kh, kw)."""
    (O, C, kh, kw), (th, tw) = shape, weight.shape[2:]
    split = weight.reshape(O, kh // th, kw // tw, C, th, tw)
    return split.transpose(0, 3, 4, 1, 5, 2).reshape(shape)


def _blocks(x: Array, weight_shape: Shape, size: Pair, geometry: Geometry) -> Array:
    """x (N, H, W, C) as the blocks (N, h, w, sh sw C) that a kernel sees from `size` places."""
    h, w = size[0] + weight_shape[2] - 1, size[1] + weight_shape[3] - 1
    y = np.empty((len(x), h, w, weight_shape[1]), x.dtype)

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

    def block(images: slice) -> None:
        loops_for(x).pixels(blocks[images], bias, *geometry[:2], x[images])

    map_blocks(block, N, 2 * x.size)
    return x


# Back to the images: the pixels that saw a pixel


class Phase(NamedTuple):
    """How every stride-th pixel is made: by which part of the turned kernel, which steps how."""

    taps: slice
    padding: int
    dilation: int


def _phases(n: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Phase]:
    """The phases of n pixels: those of phase k are k, k + stride, ...

    With kernel 4, stride 2, padding 1, even pixels are seen by taps 3 and 1, odd ones by 2 and 0.
    """
    step = stride // math.gcd(stride, dilation)
    phases = []
    for k in range(min(stride, n)):
        seen_by = [i for i in range(kernel) if (k + padding - dilation * i) % stride == 0]
        taps, behind = slice(0), 0
        if seen_by:
            taps = slice(seen_by[-1], seen_by[0] - 1 if seen_by[0] else None, -step)
            behind = (k + padding - dilation * seen_by[-1]) // stride
        phases.append(Phase(taps, -behind, dilation * step // stride))
    return phases


def _place(y: Array, bias: Array | None, x: Array, phase: Pair, stride: Pair) -> None:
    """Every `stride`-th pixel of x, from `phase` on, becomes that of y, plus bias (C,)."""
    if loops := loops_for(x):
        loops.place(y, bias_operand(bias, x), phase, stride, x)
    else:
        x[:, phase[0] :: stride[0], phase[1] :: stride[1]] = y if bias is None else y + bias


@one_blas_thread()
def gather(z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Array:
    """The adjoint of `correlate`: z (N, h, w, O) to x (N, *size, C), to which `bias` (C,) is added.

    Each pixel of x gathers from the pixels of z that saw it. With stride 1 that is a convolution
    with the turned kernel; with stride s there are s^2 phases of pixels, for each of which another
    part of the turned kernel is used; where the stride divides the kernel and Winograd's way
    serves, all phases are the channels of one convolution.
    """
    (kh, kw), (sh, sw) = weight.shape[2:], geometry.stride
    shape = _winograd_shape(z, weight.shape, z.shape[1:3], geometry)
    if shape and geometry.stride != (1, 1):
        rotated = _over_blocks(weight, shape).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        margin = shape[2] - 1, shape[3] - 1
        blocks_size = z.shape[1] + margin[0], z.shape[2] + margin[1]
        blocks = correlate(z, rotated, None, blocks_size, Geometry((1, 1), margin, (1, 1)))
        return _pixels(blocks, bias, size, geometry)
    rows = _phases(size[0], kh, sh, geometry.padding[0], geometry.dilation[0])
    columns = _phases(size[1], kw, sw, geometry.padding[1], geometry.dilation[1])
    from_z = weight.transpose(1, 0, 2, 3)  # (C, O, kh, kw)
    x = np.empty((len(z), *size, weight.shape[1]), np.result_type(z, weight))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            part = from_z[:, :, row.taps, column.taps]
            steps = Geometry((1, 1), *zip(row[1:], column[1:]))
            if geometry.stride == (1, 1):  # one phase, all of x
                return correlate(z, part, bias, size, steps)
            pixels = -(-(size[0] - i) // sh), -(-(size[1] - j) // sw)
            _place(correlate(z, part, None, pixels, steps), bias, x, (i, j), geometry.stride)
    return x


# To the kernel


@one_blas_thread()
def weight_gradient(x: Array, g: Array, kernel: Pair, geometry: Geometry) -> Array:
    """The gradient of weight (O, C, *kernel) from x (N, H, W, C) and the output's (N, h, w, O)."""
    C, O, size = x.shape[3], g.shape[3], g.shape[1:3]
    if shape := _winograd_shape(x, (O, C, *kernel), size, geometry):
        if geometry.stride == (1, 1):
            return winograd.weight_gradient(loops_for(x), x, g, kernel[0], geometry.padding)
        blocks = _blocks(x, shape, size, geometry)
        over_blocks = winograd.weight_gradient(loops_for(x), blocks, g, shape[2], (0, 0))
        return _over_pixels(over_blocks, (O, C, *kernel))

    def block(images: slice) -> Array:
        return _columns(x[images], kernel, size, geometry).T @ g[images].reshape(-1, O)

    parts = map_blocks(block, len(x), len(x) * math.prod(size) * math.prod(kernel) * C)
    return reduce(add, parts).reshape(*kernel, C, O).transpose(3, 2, 0, 1)
