"""Convolution and its two derivatives: one closed family.

The three ops below are one trilinear form,  F(x, w, g) = sum over n, o, p of g[n, o, p] * sum over
c, k of w[o, c, k] * x[n, c, stride * p + dilation * k - padding],  taken apart in three ways:

    F(x, w, g)  =  <conv(x, w), g>  =  <x, conv_input(g, w)>  =  <conv_weight(x, g), w>

So each op's derivatives are the other two, to any order, and `conv_transpose2d` is `conv_input` by
its PyTorch name.

On the CPU images read (N, C, H, W) but lie channels-last in memory: what is computed on
(N, H, W, C), in `tensor/correlation.py`, returns as a transposed view, and elementwise ops keep
that order. On a GPU, where CuPy's write images channels-first, so do the kernels of
`tensor/gpu.py`, which read them as they lie.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from tensor import gpu
from tensor.arrays import Array, Pair, integers, is_on_gpu
from tensor.autodiff import op
from tensor.correlation import Geometry, correlate, gather, weight_gradient
from tensor.errors import composite
from tensor.reductions import sum
from tensor.shaping import cat, chunk

if TYPE_CHECKING:
    from tensor.tensor import Tensor


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def _of_weight_and_bias(g, x, weight_shape, bias_shape, geometry):
    """Their gradients, of which a GPU makes both at once."""
    if is_on_gpu(g):
        return gpu.weight_gradient(x, g, weight_shape[2:], geometry)
    of_bias = sum(g, (0, 2, 3)) if bias_shape else None
    return conv_weight(x, g, weight_shape[2:], geometry), of_bias


@op(
    x=lambda g, x_shape, weight, geometry: conv_input(g, weight, None, x_shape[2:], geometry),
    **{"weight bias": _of_weight_and_bias},
)
def conv(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """y[n, o, p] = bias[o] + sum_ck weight[o, c, k] x[n, c, stride p + dilation k - padding].

    There are `size` pixels p. Outside the image x is 0.
    """
    if is_on_gpu(x):
        return gpu.convolve(x, weight, bias, size, geometry)
    return _channels_first(correlate(_channels_last(x), weight, bias, size, geometry))


@op(
    z=lambda g, z_shape, weight, geometry: conv(g, weight, None, z_shape[2:], geometry),
    weight=lambda g, z, weight_shape, geometry: conv_weight(g, z, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
def conv_input(
    z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry
) -> Tensor:
    """The x of `size` pixels for which <conv(v, weight), z> = <v, x> for all v; plus `bias`."""
    if is_on_gpu(z):
        return gpu.convolve_back(z, weight, bias, size, geometry)
    return _channels_first(gather(_channels_last(z), weight, bias, size, geometry))


@op(
    x=lambda g, x_shape, z, geometry: conv_input(z, g, None, x_shape[2:], geometry),
    z=lambda g, x, z_shape, geometry: conv(x, g, None, z_shape[2:], geometry),
)
def conv_weight(x: Array, z: Array, kernel: Pair, geometry: Geometry) -> Tensor:
    """The w of `kernel` size for which <conv(x, v), z> = <v, w> for all v."""
    if is_on_gpu(x):
        return gpu.weight_gradient(x, z, kernel, geometry)[0]
    return weight_gradient(_channels_last(x), _channels_last(z), kernel, geometry)


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


def as_geometry(stride, padding, dilation=1) -> Geometry:
    """How a window steps, from integers or pairs; ValueError for anything else."""
    if type(stride) is type(padding) is type(dilation) is int:
        return _geometry_of_integers(stride, padding, dilation)
    return _geometry(stride, padding, dilation)


def _geometry(stride, padding, dilation) -> Geometry:
    pairs = as_pair(stride, "stride", 1), as_pair(padding, "padding", 0)
    return Geometry(*pairs, as_pair(dilation, "dilation", 1))


_geometry_of_integers = functools.lru_cache(_geometry)


def _check(x, weight, bias, groups: int, transposed: bool) -> None:
    images, kernel = x.shape, weight.shape
    if len(images) != 4 or len(kernel) != 4:
        raise ValueError(f"expected x (N, C, H, W) and a 4-d weight, got {images} and {kernel}")
    if 0 in (*images[1:], *kernel):
        raise ValueError(f"x {images} or weight {kernel} has a dimension of length 0")
    C, inputs, outputs = images[1], kernel[1] * groups, kernel[0]
    if transposed:
        inputs, outputs = outputs, inputs
    if groups < 1 or C % groups or kernel[0] % groups:
        raise ValueError(f"groups={groups} must divide {C} input channels and weight {kernel}")
    if C != inputs:
        raise ValueError(f"x {images} has {C} channels, weight {kernel} expects {inputs}")
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"bias has shape {bias.shape}, expected ({outputs},)")


def _grouped(conv_one, x, weight, bias, groups: int) -> Tensor:
    """Each group of channels by itself, side by side."""
    if groups == 1:
        return conv_one(x, weight, bias)
    biases = [None] * groups if bias is None else chunk(bias, groups)
    parts = zip(chunk(x, groups, 1), chunk(weight, groups), biases)
    return cat([conv_one(*part) for part in parts], 1)


@composite
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1) -> Tensor:
    """Cross-correlate images x (N, C, H, W) with weight (O, C / groups, kh, kw): (N, O, H', W').

    H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. stride, padding and dilation are
    integers or (height, width).
    """
    geometry = as_geometry(stride, padding, dilation)
    _check(x, weight, bias, groups, transposed=False)
    size = geometry.output_size(x.shape[2:], weight.shape[2:])
    if min(size) < 1:
        image = f"the image {x.shape[2:]} with padding {geometry.padding}"
        span = geometry.span(weight.shape[2:])
        raise ValueError(f"the kernel covers {span} pixels, more than {image}")
    return _grouped(lambda x, w, b: conv(x, w, b, size, geometry), x, weight, bias, groups)


@composite
def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1
) -> Tensor:
    """The adjoint of conv2d: x (N, C, H, W), weight (C, O / groups, kh, kw) to (N, O, H', W').

    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 + output_padding, where output_padding <
    max(stride, dilation).
    """
    geometry = as_geometry(stride, padding, dilation)
    extra = as_pair(output_padding, "output_padding", 0)
    _check(x, weight, bias, groups, transposed=True)
    strides, paddings, dilations = geometry
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations)):
        limits = f"stride {strides} or dilation {dilations}"
        raise ValueError(f"output_padding {extra} must be smaller than {limits}")
    steps = zip(x.shape[2:], strides, paddings, geometry.span(weight.shape[2:]), extra)
    size = tuple((n - 1) * s - 2 * p + span + e for n, s, p, span, e in steps)
    if min(size) < 1:
        raise ValueError(f"padding {paddings} leaves an output of {size} pixels")
    return _grouped(lambda x, w, b: conv_input(x, w, b, size, geometry), x, weight, bias, groups)
