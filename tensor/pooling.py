"""Pooling, upsampling and look-up tables."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensor.arrays import Array, Pair, array_module, as_indices, check_indices, device_of, to_device
from tensor.autodiff import op
from tensor.base import FLOAT32, TensorBase, as_tensor, raw
from tensor.calls import only
from tensor.convolution import Geometry, as_geometry, as_pair, conv2d
from tensor.errors import composite
from tensor.kernels import loops_for, operand
from tensor.parallel import map_blocks
from tensor.shaping import _getitem, expand, permute, reshape

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op()
def _argmax_in_windows(x: Array, rows: Array, columns: Array) -> Tensor:
    """For x (P, H, W): where, in H W, the first largest pixel of each window is, (P, h, w).

    Windows (i, j) see the pixels of rows[i] and columns[j].
    """
    (P, _, W), (h, kh), (w, kw) = x.shape, rows.shape, columns.shape
    if loops := loops_for(x):
        best: Array = np.empty((P, h, w), np.int64)

        def block(part: slice) -> None:
            loops.argmax_in_windows(operand(x[part]), rows, columns, best[part])

        map_blocks(block, P, x.size)
        return best
    xp = array_module(x)
    windows = x[:, rows[:, None, :, None], columns[None, :, None, :]]
    best = windows.reshape(P, h, w, kh * kw).argmax(3)
    return rows[xp.arange(h)[:, None], best // kw] * W + columns[xp.arange(w), best % kw]


@functools.lru_cache
def _seen(
    xp: ModuleType, size: int, count: int, kernel: int, stride: int, padding: int, dilation: int
) -> Array:
    """Which of `size` pixels each of `count` windows sees, (count, kernel), as an array of `xp`.

    Outside the image it is the window's nearest pixel inside, which it sees anyway. ValueError for
    a window that sees none.
    """
    seen = np.arange(count)[:, None] * stride - padding + np.arange(kernel) * dilation
    seen = np.where(seen < 0, seen % dilation, seen)
    seen = np.where(seen < size, seen, size - 1 - (size - 1 - seen) % dilation)
    if seen.min(initial=0) < 0 or seen.max(initial=0) >= size:
        raise ValueError(f"with dilation {dilation}, a window sees none of {size} pixels")
    return xp.asarray(seen)


def _windows(x, kernel_size, stride, padding, dilation=1) -> tuple[Pair, Geometry]:
    """The size of the windows, and how they step over x; ValueError where none fits."""
    kernel = as_pair(kernel_size, "kernel_size", 1)
    geometry = as_geometry(kernel if stride is None else stride, padding, dilation)
    if len(x.shape) not in (3, 4):
        raise ValueError(f"expected x (N, C, H, W) or (C, H, W), got {x.shape}")
    if any(2 * p > k for p, k in zip(geometry.padding, kernel)):
        raise ValueError(f"padding {geometry.padding} is more than half of the kernel {kernel}")
    if min(geometry.output_size(x.shape[-2:], kernel)) < 1:
        raise ValueError(f"the kernel {kernel} is larger than the padded image {x.shape[-2:]}")
    return kernel, geometry


def _counts(size: Pair, kernel: Pair, geometry: Geometry, ceil_mode: bool) -> Pair:
    """How many windows there are; with `ceil_mode` also those that reach over the padding, but
    begin before it."""
    if not ceil_mode:
        return geometry.output_size(size, kernel)
    steps = zip(size, geometry.padding, geometry.span(kernel), geometry.stride)
    h, w = (min(-(-(n + 2 * p - span) // s), (n + p - 1) // s) + 1 for n, p, span, s in steps)
    return h, w


@composite
def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest pixel of each window of x (N, C, H, W) or (C, H, W), by default side by side.

    The gradient goes to the pixel that was taken, the first of equal ones. With `ceil_mode` a last
    window may reach over the padding. With `return_indices` (values, where in H W they stand).
    """
    kernel, geometry = _windows(x, kernel_size, stride, padding, dilation)
    *lead, H, W = x.shape
    planes, xp = math.prod(lead), array_module(raw(x))
    counts = _counts((H, W), kernel, geometry, ceil_mode)
    rows, columns = (_seen(xp, *of) for of in zip((H, W), counts, kernel, *geometry))
    best = raw(_argmax_in_windows(reshape(x, (planes, H, W)), rows, columns))
    flat = reshape(x, (planes, H * W))
    values = reshape(_getitem(flat, (xp.arange(planes)[:, None, None], best)), (*lead, *counts))
    return (values, reshape(as_tensor(best), values.shape)) if return_indices else values


@composite
@only(ceil_mode=False, count_include_pad=True, divisor_override=None)
def avg_pool2d(x, kernel_size, stride=None, padding=0) -> Tensor:
    """The mean of each window of x (N, C, H, W) or (C, H, W), the padding's zeros included.

    It is a convolution. Of integers it is a float32; PyTorch's is an integer, cut off.
    """
    kernel, geometry = _windows(x, kernel_size, stride, padding)
    *lead, H, W = x.shape
    dtype = x.dtype if x.dtype.kind == "f" else FLOAT32
    weight = array_module(raw(x)).full((1, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype)
    planes = reshape(x, (math.prod(lead), 1, H, W))
    y = conv2d(planes, weight, None, geometry.stride, geometry.padding)
    return reshape(y, (*lead, *y.shape[2:]))


@composite
def upsample_nearest(x, size=None, scale_factor=None) -> Tensor:
    """Each pixel of x (N, C, H, W) several times, until the image has `size`, a multiple of its
    own, or `scale_factor` times: an integer or (height, width)."""
    if len(x.shape) != 4:
        raise ValueError(f"expected x (N, C, H, W), got {x.shape}")
    if (size is None) == (scale_factor is None):
        raise ValueError("expected size or scale_factor, and not both")
    N, C, H, W = x.shape
    if size is not None:
        h, w = as_pair(size, "size", 1)
        if h % H or w % W:
            raise ValueError(f"size {(h, w)} is no multiple of the image's, {(H, W)}")
        scale_factor = h // H, w // W
    sh, sw = as_pair(scale_factor, "scale_factor", 1)
    pixels = reshape(permute(x, (0, 2, 3, 1)), (N, H, 1, W, 1, C))
    repeated = reshape(expand(pixels, (N, H, sh, W, sw, C)), (N, H * sh, W * sw, C))
    return permute(repeated, (0, 3, 1, 2))


@composite
@only(padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False)
def embedding(indices, weight) -> Tensor:
    """Rows indices[...] of weight (rows, features). IndexError, on any device, if there is none."""
    if indices is None or isinstance(indices, str):
        raise TypeError(f"expected integers as 'indices', got {indices!r}")
    indices = indices.data if isinstance(indices, TensorBase) else as_indices(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got {indices.dtype}")
    check_indices(indices, weight.shape[0], "embedding", from_the_end=False)
    return _getitem(weight, (to_device(indices, device_of(raw(weight))),))
