"""Normalisation: one op behind group, instance, layer and batch norm.

All four take images (N, C, ...) with the C channels in G groups. They standardise each group of
each item over its pixels and its C / G channels, and then scale and shift each channel:

    group norm       N items                 G groups
    instance norm    N items                 G = C
    layer norm       N items of one pixel    G = 1
    batch norm       one item, the batch     G = C
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tensor import elementwise, gpu
from tensor.arrays import Array, Shape, array_module, device_of, integers, is_on_gpu, to_device
from tensor.autodiff import op
from tensor.base import TensorBase, raw
from tensor.elementwise import sqrt, square
from tensor.errors import composite
from tensor.fused import Way, fused
from tensor.kernels import loops, operand
from tensor.modes import no_grad
from tensor.parallel import map_blocks
from tensor.reductions import mean, var
from tensor.shaping import reshape

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op()
def _unit(x: Array, dims: Shape) -> Tensor:
    """The largest magnitude over `dims`, at least 1."""
    if not x.size:
        return x.sum(dims, keepdims=True)
    xp = array_module(x)
    return xp.maximum(xp.abs(x).max(dims, keepdims=True), 1)


def _normalize(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    groups: int,
    eps: float,
    batch=False,
    silu=False,
) -> Tensor:
    """y = h weight + bias with h = (x - mean) / sqrt(variance + eps) in each group; SiLU if `silu`.

    x is (N, C, ...), weight and bias (C,), or None for ones and zeros. A group is of pixels and
    channels, with `batch` of all N items. In large units, which cancel, the squares of large
    numbers do not overflow.
    """
    N, C, *size = x.shape
    split = reshape(x, (N, groups, C // groups, math.prod(size)))
    over = (0, 2, 3) if batch else (2, 3)
    centred = split - mean(split, over, True)
    unit = _unit(centred, over)
    centred = centred / unit
    h = centred / sqrt(mean(square(centred), over, True) + eps / square(unit))
    channels, y = (C,) + (1,) * len(size), reshape(h, x.shape)
    y = y if weight is None else y * reshape(weight, channels)
    y = y if bias is None else y + reshape(bias, channels)
    return elementwise.silu(y) if silu else y


# The same by loops, on items of pixels


def _rows(x: Array, batch: bool) -> Array:
    """x (N, C, ...) as items of pixels, (N, M, C), or as one item (1, N M, C)."""
    N, C, *size = x.shape
    items, M = (1, N * math.prod(size)) if batch else (N, math.prod(size))
    return operand(x.transpose(0, *range(2, x.ndim), 1)).reshape(items, M, C)


def _images(rows: Array, shape: Shape) -> Array:
    """The inverse of `_rows`."""
    N, C, *size = shape
    return rows.reshape(N, *size, C).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))


def _affine(x: Array, weight: Array | None, bias: Array | None) -> tuple[Array, Array]:
    """weight and bias as loops take them, ones and zeros for None."""
    weight = np.ones(x.shape[1], x.dtype) if weight is None else weight
    return operand(weight), operand(np.zeros(x.shape[1], x.dtype) if bias is None else bias)


def _normalize_forward(x, weight, bias, groups: int, eps: float, batch: bool, silu: bool):
    rows, (weight, bias), eps = _rows(x, batch), _affine(x, weight, bias), float(eps)
    y, moments = np.empty(rows.shape, x.dtype), np.empty((2, len(rows), x.shape[1]))
    mean, rstd = moments

    def block(items: slice) -> None:
        loops().moments(rows[items], groups, eps, mean[items], rstd[items])
        loops().standardise(rows[items], mean[items], rstd[items], weight, bias, y[items])
        if silu:
            loops().silu(y[items].reshape(-1))

    map_blocks(block, len(rows), 2 * x.size)
    return _images(y, x.shape), moments


# With h = (x - mean) rstd and gh = g weight:
#     gx = rstd (gh - mean(gh) - h mean(gh h)), g_weight = sum g h, g_bias = sum g


def _normalize_vjp(g, y, moments, x, weight, bias, groups: int, eps, batch: bool, silu: bool):
    g, y, rows = _rows(g, batch), _rows(y, batch), _rows(x, batch)
    weight, bias = _affine(x, weight, bias)
    gx, (mean, rstd) = np.empty(rows.shape, x.dtype), moments

    def block(items: slice) -> Array:
        sums = np.zeros((2, x.shape[1]))
        if silu:
            loops().standardise(rows[items], mean[items], rstd[items], weight, bias, gx[items])
            loops().silu_vjp(g[items].reshape(-1), y[items].reshape(-1), gx[items].reshape(-1))
        else:
            gx[items] = g[items]
        of_x = rows[items], mean[items], rstd[items]
        loops().standardise_vjp(*of_x, weight, groups, gx[items], *sums)
        return sums

    g_weight, g_bias = np.sum(map_blocks(block, len(rows), 4 * x.size), 0).astype(x.dtype)
    return _images(gx, x.shape), g_weight, g_bias


# The same by kernels of a GPU


def _forward_on_gpu(x, weight, bias, groups: int, eps: float, batch: bool, silu: bool):
    return gpu.normalize(x, weight, bias, groups, eps, batch, silu)


def _vjp_on_gpu(g, y, moments, x, weight, bias, groups: int, eps, batch: bool, silu: bool):
    return gpu.normalize_vjp(g, x, weight, bias, moments, groups, batch, silu)


normalize = fused(
    "x weight bias", Way(_normalize_forward, _normalize_vjp), Way(_forward_on_gpu, _vjp_on_gpu)
)(_normalize)


# PyTorch's names


def _check_images(x) -> None:
    if len(x.shape) < 2:
        raise ValueError(f"expected x (N, C, ...), got {x.shape}")


def _check_shapes(shape: Shape, **vectors) -> None:
    """ValueError if any of what belongs to the channels has another shape."""
    for name, vector in vectors.items():
        if vector is not None and vector.shape != shape:
            raise ValueError(f"{name} has shape {vector.shape}, expected {shape}")


@composite
def group_norm(x, num_groups: int, weight=None, bias=None, eps=1e-5, *, silu=False) -> Tensor:
    """Normalise each image x (N, C, ...) over its pixels and each group of channels (Wu & He 2018).

    `silu=True` applies SiLU to the result in the same pass over memory.
    """
    _check_images(x)
    C = x.shape[1]
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"{C} channels cannot be split into {num_groups} groups")
    _check_shapes((C,), weight=weight, bias=bias)
    return normalize(x, weight, bias, num_groups, eps, False, silu)


@composite
def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
) -> Tensor:
    """Normalise each channel of each image x (N, C, ...) over its pixels (Ulyanov et al. 2016).

    Always by the image's own statistics: running ones are refused, and `momentum`, which would
    be theirs, has no effect.
    """
    if running_mean is not None or running_var is not None or use_input_stats is not True:
        raise ValueError("running_mean and running_var must be None, and use_input_stats True")
    if math.prod(x.shape[2:]) < 2:
        raise ValueError(f"{x.shape} has one pixel per channel, whose variance is always 0")
    return group_norm(x, x.shape[1], weight, bias, eps)


@composite
def layer_norm(x, normalized_shape: int | Shape, weight=None, bias=None, eps=1e-5) -> Tensor:
    """Normalise over the last dimensions, which must be `normalized_shape` (Ba et al. 2016)."""
    shape = integers(normalized_shape)
    if 0 in shape or x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(f"the last dimensions of {x.shape} are not {shape}, or of length 0")
    _check_shapes(shape, weight=weight, bias=bias)
    features = math.prod(shape)
    weight, bias = (v if v is None else reshape(v, (features,)) for v in (weight, bias))
    return reshape(normalize(reshape(x, (-1, features)), weight, bias, 1, eps), x.shape)


@composite
def batch_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
) -> Tensor:
    """Normalise each channel of x (N, C, ...) over batch and pixels (Ioffe & Szegedy 2015).

    When training, the batch's own statistics are used, gradients flow through them, and
    running_mean and running_var (unbiased) move towards them by `momentum`. Otherwise the running
    statistics are used as constants.
    """
    _check_images(x)
    C = x.shape[1]
    running = {"running_mean": running_mean, "running_var": running_var}
    _check_shapes((C,), weight=weight, bias=bias, **running)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var belong together: give both or neither")
    if not training:
        if running_mean is None:
            raise ValueError("without training=True it needs running_mean and running_var")
        device = device_of(raw(x))
        running_mean, running_var = (
            v if isinstance(v, TensorBase) else to_device(v, device) for v in running.values()
        )
        scale = (running_var + eps) ** -0.5
        scale = scale if weight is None else weight * scale
        shift = -running_mean * scale
        shift = shift if bias is None else bias + shift
        across = (1, C) + (1,) * (x.ndim - 2)
        return x * reshape(scale, across) + reshape(shift, across)
    rows = x.shape[0] * math.prod(x.shape[2:])
    if rows < 2:
        raise ValueError(f"training needs more than one value per channel, got {x.shape}")
    if running_mean is not None:
        if not all(isinstance(statistic, TensorBase) for statistic in running.values()):
            raise TypeError("training updates running_mean and running_var, which must be tensors")
        _update_running(running_mean, running_var, x, momentum)
    return normalize(x, weight, bias, C, eps, True, False)


@no_grad()
def _update_running(running_mean: Tensor, running_var: Tensor, x, momentum: float) -> None:
    statistics = running_mean, running_var
    if is_on_gpu(raw(x)) and all(v.is_leaf and v.dtype == x.dtype for v in statistics):
        old_mean, old_var = (v.data for v in statistics)
        found = gpu.running(raw(x), old_mean, old_var, momentum)
        running_mean._data, running_var._data = found
        return
    over = (0, *range(2, x.ndim))
    running_mean.copy_((1 - momentum) * running_mean + momentum * mean(x, over))
    running_var.copy_((1 - momentum) * running_var + momentum * var(x, over))
