"""Ops that reduce dimensions: sums, means, extrema, and the softmax family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tensor.arrays import Array, Shape, array_module, axis, integers
from tensor.autodiff import op
from tensor.elementwise import eq, exp, square
from tensor.errors import composite
from tensor.kernels import loops_for, operand, total
from tensor.parallel import map_blocks
from tensor.promotion import floating
from tensor.shaping import reshape

if TYPE_CHECKING:
    from tensor.tensor import Tensor

Dim = int | Shape | None
"""Dimensions to reduce: one, several, or None for all. () reduces nothing, as in NumPy."""


def _axes(dim: Dim, ndim: int) -> Shape:
    """`dim` as a tuple of distinct axes in 0..ndim-1; as in PyTorch, a 0-d tensor has 0 and -1.

    What is wrong with a "reduction" is raised in the name of the op: see `tensor/errors.py`.
    """
    dims = range(ndim) if dim is None else integers(dim)
    axes = tuple(axis(d, ndim, "reduction") for d in dims if ndim or d not in (0, -1))
    if len(set(axes)) < len(axes):
        raise ValueError(f"reduction: dim {dim} names a dimension twice")
    return axes


def _filled_axes(x: Array, dim: Dim) -> Shape:
    """`_axes` of which none is empty: nothing has no largest and no smallest value."""
    axes = _axes(dim, x.ndim)
    if any(x.shape[k] == 0 for k in axes):
        raise ValueError(f"reduction: {x.shape} holds no values along {axes}")
    return axes


def _unreduced(g, x_shape: Shape, dim: Dim):
    """Give back to `g`, with length 1, the dimensions that a reduction took away."""
    axes = _axes(dim, len(x_shape))
    return reshape(g, tuple(1 if k in axes else n for k, n in enumerate(x_shape)))


def _count(x_shape: Shape, dim: Dim) -> int:
    return math.prod(x_shape[k] for k in _axes(dim, len(x_shape)))


@op(x=lambda g, x_shape, dim: _unreduced(g, x_shape, dim))
def sum(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim`."""
    return total(x, _axes(dim, x.ndim), keepdim)


@op(x=lambda g, x_shape, dim: _unreduced(g, x_shape, dim) / _count(x_shape, dim))
@floating
def mean(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim`."""
    axes = _axes(dim, x.ndim)
    return total(x, axes, keepdim) / math.prod(x.shape[k] for k in axes)


@composite
def var(x, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance over `dim`: sum((x - mean)^2) / (n - correction). The default is unbiased."""
    n = _count(x.shape, dim)
    if n <= correction:
        raise ValueError(f"{n} values with correction {correction} leave nothing to divide by")
    return sum(square(x - mean(x, dim, True)), dim, keepdim) / (n - correction)


def _extremum_vjp(g, x, y, dim):
    is_extreme = eq(x, _unreduced(y, x.shape, dim)) * 1.0
    return _unreduced(g, x.shape, dim) * is_extreme / sum(is_extreme, dim, True)


@op(x=_extremum_vjp)
def max(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest values over `dim`, like PyTorch's `amax`; ties share the gradient equally."""
    return x.max(_filled_axes(x, dim), keepdims=keepdim)


@op(x=_extremum_vjp)
def min(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest values over `dim`, like PyTorch's `amin`; ties share the gradient equally."""
    return x.min(_filled_axes(x, dim), keepdims=keepdim)


@op()
def argmax(x: Array, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the largest value over `dim` (None: flattened), an integer without gradient."""
    _filled_axes(x, dim)
    return x.argmax(dim, keepdims=keepdim)


@op(x=lambda g, x, dim: _unreduced(g, x.shape, dim) * softmax(x, dim))
@floating
def logsumexp(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over `dim`, computed from the largest value so that nothing overflows."""
    axes = _filled_axes(x, dim)
    xp = array_module(x)
    top = x.max(axes, keepdims=True)
    top = xp.where(xp.isfinite(top), top, top.dtype.type(0))
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, as it should be
        y = xp.log(xp.exp(x - top).sum(axes, keepdims=True)) + top
    return y if keepdim else y.squeeze(axes)


def _by_rows(loop: Callable, x: Array, axis: int) -> Array:
    """What the loop makes of x (rows, n), for rows along one axis."""
    moved = operand(x.swapaxes(axis, -1))
    rows, y = moved.reshape(-1, x.shape[axis]), np.empty(moved.shape, x.dtype)
    out = y.reshape(rows.shape)
    map_blocks(lambda part: loop(rows[part], out[part]), len(rows), 2 * x.size)
    return y.swapaxes(axis, -1)


@op(x=lambda g, y, dim: y * (g - sum(g * y, dim, True)))
@floating
def softmax(x: Array, dim: Dim = None) -> Tensor:
    """exp(x) / sum(exp(x)) over `dim`."""
    axes = _filled_axes(x, dim)
    if len(axes) == 1 and (loops := loops_for(x)):
        return _by_rows(loops.softmax, x, axes[0])
    y = x - x.max(axes, keepdims=True)
    y = array_module(x).exp(y, out=y) if x.ndim else y * 0 + 1
    y /= y.sum(axes, keepdims=True)
    return y


@op(x=lambda g, y, dim: g - exp(y) * sum(g, dim, True))
@floating
def log_softmax(x: Array, dim: Dim = None) -> Tensor:
    """log(softmax(x)) over `dim`."""
    axes = _filled_axes(x, dim)
    if len(axes) == 1 and (loops := loops_for(x)):
        return _by_rows(loops.log_softmax, x, axes[0])
    y = x - x.max(axes, keepdims=True)
    return y - array_module(x).log(array_module(x).exp(y).sum(axes, keepdims=True))
