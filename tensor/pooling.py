"""Pooling, upsampling and look-up tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensor.arrays import Array, Pair, array_module, as_indices, check_indices
from tensor.autodiff import op
from tensor.base import FLOAT32, TensorBase, raw
from tensor.convolution import Geometry, as_geometry, as_pair, conv2d
from tensor.errors import composite
from tensor.kernels import loops_for, operand
from tensor.parallel import map_blocks
from tensor.shaping import _getitem, expand, permute, reshape

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op()
def _argmax_in_windows(x: Array, kernel: Pair, geometry: Geometry) -> Tensor:
    """For x (P, H, W): where, in H W, the first largest pixel of each window is, (P, H', W')."""
    xp = array_module(x)
    (kh, kw), ((sh, sw), (ph, pw), _) = kernel, geometry
    P, H, W = x.shape
    h, w = geometry.output_size((H, W), kernel)
    if loops := loops_for(x):
        best: Array = np.empty((P, h, w), np.int64)

        def block(part: slice) -> None:
            loops.argmax_in_windows(operand(x[part]), *geometry[:2], kernel, best[part])

        map_blocks(block, P, x.size)
        return best
    # The edge is copied: each window that sees a copy sees the pixel, too, to which `clip` returns
    framed = xp.pad(x, ((0, 0), (ph, ph), (pw, pw)), mode="edge")
    a, b, c = framed.strides
    steps = (a, b * sh, c * sw, b, c)
    windows = xp.lib.stride_tricks.as_strided(framed, (P, h, w, kh, kw), steps)
    best = windows.reshape(P, h, w, kh * kw).argmax(3)
    row = (best // kw + (xp.arange(h) * sh - ph)[:, None]).clip(0, H - 1)
    return row * W + (best % kw + xp.arange(w) * sw - pw).clip(0, W - 1)


def _windows(x, kernel_size, stride, padding) -> tuple[Pair, Geometry]:
    """The size of the windows, and how they step over x; ValueError where none fits."""
    kernel = as_pair(kernel_size, "kernel_size", 1)
    geometry = as_geometry(kernel if stride is None else stride, padding)
    if len(x.shape) != 4:
        raise ValueError(f"expected x (N, C, H, W), got {x.shape}")
    if any(2 * p > k for p, k in zip(geometry.padding, kernel)):
        raise ValueError(f"padding {geometry.padding} is more than half of the kernel {kernel}")
    if min(geometry.output_size(x.shape[2:], kernel)) < 1:
        raise ValueError(f"the kernel {kernel} is larger than the padded image {x.shape[2:]}")
    return kernel, geometry


@composite
def max_pool2d(x, kernel_size, stride=None, padding=0) -> Tensor:
    """The largest pixel of each window of x (N, C, H, W). The stride defaults to the kernel size.

    The gradient goes to the pixel that was taken, the first of equal ones.
    """
    kernel, geometry = _windows(x, kernel_size, stride, padding)
    N, C, H, W = x.shape
    flat = reshape(x, (N * C, H, W))
    best = raw(_argmax_in_windows(flat, kernel, geometry))
    planes = array_module(best).arange(N * C)[:, None, None]
    y = _getitem(reshape(flat, (N * C, H * W)), (planes, best))
    return reshape(y, (N, C, *best.shape[1:]))


@composite
def avg_pool2d(x, kernel_size, stride=None, padding=0) -> Tensor:
    """The mean of each window of x (N, C, H, W), the padding's zeros included: a convolution.

    Of integers it is a float32; PyTorch's is an integer, cut off.
    """
    kernel, geometry = _windows(x, kernel_size, stride, padding)
    N, C, H, W = x.shape
    dtype = x.dtype if x.dtype.kind == "f" else FLOAT32
    weight = array_module(raw(x)).full((1, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype)
    y = conv2d(reshape(x, (N * C, 1, H, W)), weight, None, geometry.stride, geometry.padding)
    return reshape(y, (N, C, *y.shape[2:]))


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
def embedding(indices, weight) -> Tensor:
    """Rows indices[...] of weight (rows, features). IndexError, on any device, if there is none."""
    xp = array_module(raw(weight))
    if indices is None or isinstance(indices, str):
        raise TypeError(f"expected integers as 'indices', got {indices!r}")
    indices = indices.data if isinstance(indices, TensorBase) else xp.asarray(as_indices(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got {indices.dtype}")
    check_indices(indices, weight.shape[0], "embedding", from_the_end=False)
    return _getitem(weight, (indices,))
