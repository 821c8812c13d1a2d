"""Convolution and its two derivatives: one closed family.

The three ops below are one trilinear form,  T(x, w, g) = sum over n, o, p of g[n, o, p] * sum over c, k of
w[o, c, k] * x[n, c, stride * p + dilation * k - padding],  taken apart in three ways:

    T(x, w, g)  =  <conv(x, w), g>  =  <x, conv_input(g, w)>  =  <conv_weight(x, g), w>

So each op's derivatives are the other two, to any order, and `conv_transpose2d` is `conv_input` by its PyTorch name.

Images read (N, C, H, W) but lie channels-last in memory: what is computed on (N, H, W, C), in `tensor/correlation.py`,
returns as a transposed view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensor.arrays import Array, integers
from tensor.autodiff import op
from tensor.correlation import Geometry, Pair, correlate, gather, weight_gradient
from tensor.errors import composite
from tensor.reductions import sum
from tensor.shaping import cat, chunk

if TYPE_CHECKING:
    from tensor.tensor import Tensor


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


@op(
    x=lambda g, x_shape, weight, geometry: conv_input(g, weight, None, x_shape[2:], geometry),
    weight=lambda g, x, weight_shape, geometry: conv_weight(x, g, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
def conv(x: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry) -> Tensor:
    """y[n, o, p] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, stride p + dilation k - padding], for p in `size`.

    Outside the image x is 0.
    """
    return _channels_first(correlate(_channels_last(x), weight, bias, size, geometry))


@op(
    z=lambda g, z_shape, weight, geometry: conv(g, weight, None, z_shape[2:], geometry),
    weight=lambda g, z, weight_shape, geometry: conv_weight(g, z, weight_shape[2:], geometry),
    bias=lambda g: sum(g, (0, 2, 3)),
)
def conv_input(
    z: Array, weight: Array, bias: Array | None, size: Pair, geometry: Geometry
) -> Tensor:
    """The x of `size` pixels for which <conv(v, weight), z> = <v, x> for all v; then `bias` is added."""
    return _channels_first(gather(_channels_last(z), weight, bias, size, geometry))


@op(
    x=lambda g, x_shape, z, geometry: conv_input(z, g, None, x_shape[2:], geometry),
    z=lambda g, x, z_shape, geometry: conv(x, g, None, z_shape[2:], geometry),
)
def conv_weight(x: Array, z: Array, kernel: Pair, geometry: Geometry) -> Tensor:
    """The w of `kernel` size for which <conv(x, v), z> = <v, w> for all v."""
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


def _check(name: str, x, weight, bias, groups: int, transposed: bool) -> None:
    if len(x.shape) != 4 or len(weight.shape) != 4:
        raise ValueError(
            f"{name}: expected x (N, C, H, W) and a 4-d weight, got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if 0 in (*x.shape[1:], *weight.shape):
        raise ValueError(
            f"{name}: x {tuple(x.shape)} or weight {tuple(weight.shape)} has a dimension of length 0"
        )
    if groups < 1 or x.shape[1] % groups or weight.shape[0] % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide {x.shape[1]} input channels and weight {tuple(weight.shape)}"
        )
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
    return cat(
        [conv_one(*part) for part in zip(chunk(x, groups, 1), chunk(weight, groups), biases)], 1
    )


@composite
def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups: int = 1) -> Tensor:
    """Cross-correlate images x (N, C, H, W) with weight (O, C / groups, kh, kw): (N, O, H', W').

    H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. stride, padding and dilation are integers or (height, width).
    """
    geometry = Geometry(
        as_pair(stride, "stride", 1),
        as_pair(padding, "padding", 0),
        as_pair(dilation, "dilation", 1),
    )
    _check("conv2d", x, weight, bias, groups, transposed=False)
    size = geometry.output_size(x.shape[2:], weight.shape[2:])
    if min(size) < 1:
        raise ValueError(
            f"conv2d: the kernel covers {geometry.span(weight.shape[2:])} pixels, "
            f"more than the image {tuple(x.shape[2:])} with padding {geometry.padding}"
        )
    return _grouped(lambda x, w, b: conv(x, w, b, size, geometry), x, weight, bias, groups)


@composite
def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups: int = 1, dilation=1
) -> Tensor:
    """The adjoint of conv2d: x (N, C, H, W), weight (C, O / groups, kh, kw) to (N, O, H', W').

    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + 1 + output_padding, where output_padding < max(stride, dilation).
    """
    geometry = Geometry(
        as_pair(stride, "stride", 1),
        as_pair(padding, "padding", 0),
        as_pair(dilation, "dilation", 1),
    )
    extra = as_pair(output_padding, "output_padding", 0)
    _check("conv_transpose2d", x, weight, bias, groups, transposed=True)
    if any(e >= max(s, d) for e, s, d in zip(extra, geometry.stride, geometry.dilation)):
        raise ValueError(
            f"conv_transpose2d: output_padding {extra} must be smaller than stride {geometry.stride} "
            f"or dilation {geometry.dilation}"
        )
    steps = zip(
        x.shape[2:], geometry.stride, geometry.padding, geometry.span(weight.shape[2:]), extra
    )
    size = tuple((n - 1) * s - 2 * p + span + e for n, s, p, span, e in steps)
    if min(size) < 1:
        raise ValueError(
            f"conv_transpose2d: padding {geometry.padding} leaves an output of {size} pixels"
        )
    return _grouped(lambda x, w, b: conv_input(x, w, b, size, geometry), x, weight, bias, groups)
