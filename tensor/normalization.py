"""Normalisation: one op behind group, instance, layer and batch norm.

All four see their input as (B, M, C) with the C channels in G groups. They standardise each group of each of the B items
over its M rows and C / G channels, and then scale and shift each channel:

    group norm       B images     M pixels            G groups
    instance norm    B images     M pixels            G = C
    layer norm       B vectors    M = 1               G = 1
    batch norm       B = 1        M images x pixels   G = C
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensor import elementwise
from tensor.arrays import Array, array_module, integers
from tensor.autodiff import composite, fused
from tensor.elementwise import sqrt, square
from tensor.kernels import loops, operand
from tensor.modes import no_grad
from tensor.parallel import map_blocks
from tensor.reductions import mean, sum
from tensor.shaping import permute, reshape
from tensor.tensor import Tensor


def _normalize_forward(x: Array, weight: Array, bias: Array, groups: int, eps: float, silu: bool) -> tuple[Array, Any]:
    B, _, C = x.shape
    y, (mean, rstd) = np.empty(x.shape, x.dtype), np.empty((2, B, C))
    x, weight, bias, eps = operand(x), operand(weight), operand(bias), float(eps)

    def block(items: slice) -> None:
        loops().normalize(x[items], weight, bias, groups, eps, silu, y[items], mean[items], rstd[items])

    map_blocks(block, B, 2 * x.size)
    return y, (mean, rstd)


def _normalize_vjp(g: Array, y: Array, moments, x: Array, weight: Array, bias: Array, groups: int, eps: float, silu: bool):
    gx, (mean, rstd) = np.empty(x.shape, x.dtype), moments
    g, y, x, weight, bias = operand(g), operand(y), operand(x), operand(weight), operand(bias)

    def block(items: slice) -> Array:
        sums = np.zeros((2, x.shape[2]))
        loops().normalize_vjp(
            g[items], y[items], x[items], weight, bias, groups, silu, mean[items], rstd[items], gx[items], *sums
        )
        return sums

    g_weight, g_bias = np.sum(map_blocks(block, len(x), 4 * x.size), 0).astype(x.dtype)
    return gx, g_weight, g_bias


@fused("x weight bias", _normalize_forward, _normalize_vjp)
def normalize(x: Array, weight: Array, bias: Array, groups: int, eps: float, silu: bool = False) -> Tensor:
    """x (B, M, C) standardised over M and the channels of each group, times weight (C,), plus bias (C,); then SiLU."""
    B, M, C = x.shape
    split = reshape(x, (B, M, groups, C // groups))
    centred = split - mean(split, (1, 3), True)
    h = centred / sqrt(mean(square(centred), (1, 3), True) + eps)
    y = reshape(h, x.shape) * weight + bias
    return elementwise.silu(y) if silu else y


# PyTorch's names


def _check_images(x) -> None:
    if len(x.shape) < 2:
        raise ValueError(f"expected x (N, C, ...), got {tuple(x.shape)}")


def _check_shapes(shape: tuple[int, ...], **vectors) -> None:
    """ValueError if any of what belongs to the channels has another shape."""
    for name, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(vector.shape)}, expected {shape}")


def _affine(x, weight, bias, channels: int):
    """weight and bias, or ones and zeros in their place."""
    xp = array_module(x.data if isinstance(x, Tensor) else x)
    return (
        xp.ones(channels, x.dtype) if weight is None else weight,
        xp.zeros(channels, x.dtype) if bias is None else bias,
    )


@composite
def group_norm(x, num_groups: int, weight=None, bias=None, eps: float = 1e-5, silu: bool = False) -> Tensor:
    """Normalise each image over its pixels and each group of channels (Wu & He 2018). x is (N, C, ...).

    `silu=True` applies SiLU to the result in the same pass over memory.
    """
    _check_images(x)
    N, C, *size = x.shape
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"group_norm: {C} channels cannot be split into {num_groups} groups")
    _check_shapes((C,), weight=weight, bias=bias)
    weight, bias = _affine(x, weight, bias, C)
    last = permute(x, (0, *range(2, x.ndim), 1))
    y = normalize(reshape(last, (N, math.prod(size), C)), weight, bias, num_groups, eps, silu)
    return permute(reshape(y, last.shape), (0, x.ndim - 1, *range(1, x.ndim - 1)))


@composite
def instance_norm(x, weight=None, bias=None, eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each image over its pixels (Ulyanov et al. 2016). x is (N, C, ...)."""
    if math.prod(x.shape[2:]) < 2:
        raise ValueError(f"instance_norm: {tuple(x.shape)} has one pixel per channel, whose variance is always 0")
    return group_norm(x, x.shape[1], weight, bias, eps)


@composite
def layer_norm(x, normalized_shape: int | tuple[int, ...], weight=None, bias=None, eps: float = 1e-5) -> Tensor:
    """Normalise over the last dimensions, which must be `normalized_shape` (Ba et al. 2016)."""
    shape = integers(normalized_shape)
    if 0 in shape or tuple(x.shape[x.ndim - len(shape) :]) != shape:
        raise ValueError(f"layer_norm: the last dimensions of {tuple(x.shape)} are not {shape}, or of length 0")
    _check_shapes(shape, weight=weight, bias=bias)
    features = math.prod(shape)
    weight, bias = (v if v is None else reshape(v, (features,)) for v in (weight, bias))
    weight, bias = _affine(x, weight, bias, features)
    return reshape(normalize(reshape(x, (-1, 1, features)), weight, bias, 1, eps), x.shape)


@composite
def batch_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Tensor:
    """Normalise each channel over the batch and its pixels (Ioffe & Szegedy 2015). x is (N, C, ...).

    When training, the batch's own statistics are used, gradients flow through them, and running_mean and running_var
    (unbiased) move towards them by `momentum`. Otherwise the running statistics are used as constants.
    """
    _check_images(x)
    C = x.shape[1]
    _check_shapes((C,), weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var belong together: give both or neither")
    weight, bias = _affine(x, weight, bias, C)
    if not training:
        if running_mean is None:
            raise ValueError("batch_norm: without training=True it needs running_mean and running_var")
        scale = weight * (running_var + eps) ** -0.5
        across = (1, C) + (1,) * (x.ndim - 2)
        return x * reshape(scale, across) + reshape(bias - running_mean * scale, across)
    rows = x.shape[0] * math.prod(x.shape[2:])
    if rows < 2:
        raise ValueError(f"batch_norm: training needs more than one value per channel, got {tuple(x.shape)}")
    last = permute(x, (0, *range(2, x.ndim), 1))
    flat = reshape(last, (1, rows, C))
    if running_mean is not None:
        if not (isinstance(running_mean, Tensor) and isinstance(running_var, Tensor)):
            raise TypeError("batch_norm: training updates running_mean and running_var, which must be tensors")
        _update_running(running_mean, running_var, flat, momentum)
    y = normalize(flat, weight, bias, C, eps)
    return permute(reshape(y, last.shape), (0, x.ndim - 1, *range(1, x.ndim - 1)))


@no_grad()
def _update_running(running_mean: Tensor, running_var: Tensor, x, momentum: float) -> None:
    centre = mean(x, (0, 1))
    variance = sum(square(x - centre), (0, 1)) / (x.shape[1] - 1)
    running_mean.copy_((1 - momentum) * running_mean + momentum * centre)
    running_var.copy_((1 - momentum) * running_var + momentum * variance)
