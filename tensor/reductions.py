"""Ops that reduce dimensions: sums, products, norms, extrema, and the softmax family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tensor.arrays import Array, Shape, array_module, axis, integer, integers
from tensor.autodiff import cast, op
from tensor.base import TensorBase, raw
from tensor.calls import only
from tensor.elementwise import abs, eq, exp, maximum, minimum, mul, pow, square, where
from tensor.errors import composite
from tensor.kernels import average, loops_for, operand, total
from tensor.parallel import map_blocks
from tensor.promotion import floating
from tensor.shaping import cat, flip, reshape, split, squeeze, taken_along

if TYPE_CHECKING:
    from tensor.tensor import Tensor

Dim = int | Shape | None
"""Dimensions to reduce: one, several, or None for all.

() is refused where there are dimensions: to NumPy it is none of them, to PyTorch all.
"""


def _axes(dim: Dim, ndim: int) -> Shape:
    """`dim` as a tuple of distinct axes in 0..ndim-1; as in PyTorch, a 0-d tensor has 0 and -1.

    What is wrong with a "reduction" is raised in the name of the op: see `tensor/errors.py`.
    """
    dims = range(ndim) if dim is None else integers(dim)
    if ndim and not dims:
        raise ValueError("reduction: dim=() is ambiguous: None reduces all dimensions")
    axes = tuple(axis(d, ndim, "reduction") for d in dims if ndim or d not in (0, -1))
    if len(set(axes)) < len(axes):
        raise ValueError(f"reduction: dim {dim} names a dimension twice")
    return axes


def _filled_axes(x: Array, dim: Dim) -> Shape:
    """`_axes` of which none is empty: nothing has no largest and no smallest value."""
    axes = _axes(dim, x.ndim)
    if 0 in [x.shape[k] for k in axes]:
        raise ValueError(f"reduction: {x.shape} holds no values along {axes}")
    return axes


def _unreduced(g, x_shape: Shape, dim: Dim):
    """Give back to `g`, with length 1, the dimensions that a reduction took away."""
    axes = _axes(dim, len(x_shape))
    return reshape(g, tuple(1 if k in axes else n for k, n in enumerate(x_shape)))


def _count(x_shape: Shape, dim: Dim) -> int:
    return math.prod(x_shape[k] for k in _axes(dim, len(x_shape)))


@op(x=lambda g, x_shape, dim: _unreduced(g, x_shape, dim))
@only(dtype=None)
def sum(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim`."""
    return total(x, _axes(dim, x.ndim), keepdim)


@op(x=lambda g, x_shape, dim: _unreduced(g, x_shape, dim) / _count(x_shape, dim))
@only(dtype=None)
@floating
def mean(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim`."""
    return average(x, _axes(dim, x.ndim), keepdim)


@composite
@only(unbiased=True)
def var(x, dim: Dim = None, *, correction: int | None = 1, keepdim: bool = False) -> Tensor:
    """The variance over `dim`: sum((x - mean)^2) / (n - correction). The default, None or 1,
    is unbiased."""
    n, correction = _count(x.shape, dim), 1 if correction is None else correction
    if n <= correction:
        raise ValueError(f"{n} values with correction {correction} leave nothing to divide by")
    return sum(square(x - mean(x, dim, True)), dim, keepdim) / (n - correction)


@composite
@only(unbiased=True)
def std(x, dim: Dim = None, *, correction: int | None = 1, keepdim: bool = False) -> Tensor:
    """The square root of `var`; where all values are equal, its derivative is taken as 0."""
    return _root(var(x, dim, correction=correction, keepdim=keepdim), 2)


def _root(x, p: float):
    """x^(1/p), with a derivative of 0 at 0."""
    return where(x == 0, 0.0, pow(where(x == 0, 1.0, x), 1 / p))


@op()
def _largest_or_1(x: Array, dim: Dim) -> Tensor:
    """The largest of magnitudes x over `dim`, or 1 where that is 0 or not finite."""
    xp, axes = array_module(x), _axes(dim, x.ndim)
    largest = x.max(axes, keepdims=True) if x.size else x.sum(axes, keepdims=True)
    return xp.where((largest > 0) & xp.isfinite(largest), largest, largest.dtype.type(1))


@composite
@only(out=None, dtype=None)
def norm(x, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False) -> Tensor:
    """(sum |x|^p)^(1/p) over `dim`: "fro" is p = 2, and infinity the largest |x|.

    This is `torch.norm`, of values in a list; a matrix is no map here. Where all values are 0, the
    derivative is taken as 0. In large units, which cancel, no power overflows.
    """
    size, p = abs(x), 2 if p in ("fro", None) else p
    size = size if size.dtype.kind == "f" else size * 1.0
    if p in (math.inf, -math.inf):
        return (amax if p == math.inf else amin)(size, dim, keepdim)
    if isinstance(p, (str, bool)) or not p >= 1:
        raise ValueError(f"p must be 'fro', a number >= 1, or infinite, got {p!r}")
    unit = _largest_or_1(size, dim)
    y = unit * _root(sum(pow(size / unit, p), dim, True), p)
    return y if keepdim else squeeze(y, _axes(dim, x.ndim))


@composite
@only(dtype=None)
def prod(x, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The product of all values, or over one dimension; of integers int64.

    Its derivative holds where values are 0.
    """
    if dim is None and not keepdim:
        return prod(reshape(x, (-1,)), 0)
    dim = axis(dim, x.ndim, "prod")  # type: ignore[arg-type]
    if not x.shape[dim]:
        x = sum(x, dim, True) + 1
    x = x if x.dtype.kind == "f" else cast(x, np.int64)
    while (n := x.shape[dim]) > 1:
        first, second, *rest = split(x, n // 2, dim)
        x = cat([mul(first, second), *rest], dim)
    return x if keepdim else squeeze(x, dim)


@op(x=lambda g, dim: flip(cumsum(flip(g, dim), dim), dim))
@only(dtype=None)
def cumsum(x: Array, dim: int) -> Tensor:
    """The sums along `dim` of each value and all before it."""
    axis(dim, x.ndim, "cumsum")
    if x.dtype.kind != "f":
        return x.cumsum(dim, np.int64)
    return x.cumsum(dim, np.float64).astype(x.dtype)


# Extrema


def _extremum_vjp(g, x, y, dim):
    is_extreme = eq(x, _unreduced(y, x.shape, dim)) * 1.0
    return _unreduced(g, x.shape, dim) * is_extreme / sum(is_extreme, dim, True)


@op(x=_extremum_vjp)
def amax(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest values over `dim`; ties share the gradient equally."""
    return x.max(_filled_axes(x, dim), keepdims=keepdim)


@op(x=_extremum_vjp)
def amin(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest values over `dim`; ties share the gradient equally."""
    return x.min(_filled_axes(x, dim), keepdims=keepdim)


@op()
def argmax(x: Array, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the largest value over `dim` (None: flattened), an integer without gradient."""
    _filled_axes(x, dim)
    return x.argmax(dim, keepdims=keepdim)


@op()
def argmin(x: Array, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the smallest value over `dim` (None: flattened), an integer without gradient."""
    _filled_axes(x, dim)
    return x.argmin(dim, keepdims=keepdim)


class Extremum(NamedTuple):
    """The largest or smallest values along a dimension, and where along it they stand."""

    values: Any
    indices: Any


@composite
def max(x, dim=None, keepdim: bool = False) -> Any:
    """The largest of all values; ties share the gradient equally.

    `max(x, dim)` is (values, indices) along one dimension, of equal values the first, which has
    all of the gradient. `max(x, other)` of two tensors is `maximum`.
    """
    return _extremum(x, dim, keepdim, amax, argmax, maximum)


@composite
def min(x, dim=None, keepdim: bool = False) -> Any:
    """The smallest of all values, (values, indices) along `dim`, or `minimum`: see `max`."""
    return _extremum(x, dim, keepdim, amin, argmin, minimum)


def _extremum(x, dim, keepdim: bool, of_all: Callable, place: Callable, of_two: Callable) -> Any:
    if dim is None and not keepdim:
        return of_all(x)
    if isinstance(dim, (TensorBase, np.ndarray)):
        return of_two(x, dim)
    indices = place(x, integer(dim), True)
    at = axis(dim, x.ndim, "max")
    values = taken_along(x, at, raw(indices))
    shape = x.shape[:at] + (1,) * keepdim + x.shape[at + 1 :]
    return Extremum(reshape(values, shape), reshape(indices, shape))


@op()
def any(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether one value over `dim` at least is not 0."""
    return x.any(_axes(dim, x.ndim), keepdims=keepdim)


@op()
def all(x: Array, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether no value over `dim` is 0."""
    return x.all(_axes(dim, x.ndim), keepdims=keepdim)


# The softmax family


@op(x=lambda g, x, dim: _unreduced(g, x.shape, dim) * softmax(x, dim))
@floating
def logsumexp(x: Array, dim: int | Shape, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over `dim`, computed from the largest value so that nothing overflows."""
    axes = _filled_axes(x, integers(dim))
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
@only(dtype=None)
@floating
def softmax(x: Array, dim: int | Shape) -> Tensor:
    """exp(x) / sum(exp(x)) over `dim`."""
    axes = _filled_axes(x, integers(dim))
    if len(axes) == 1 and (loops := loops_for(x)):
        return _by_rows(loops.softmax, x, axes[0])
    y = x - x.max(axes, keepdims=True)
    y = array_module(x).exp(y, out=y) if x.ndim else y * 0 + 1
    y /= y.sum(axes, keepdims=True)
    return y


@op(x=lambda g, y, dim: g - exp(y) * sum(g, dim, True))
@only(dtype=None)
@floating
def log_softmax(x: Array, dim: int | Shape) -> Tensor:
    """log(softmax(x)) over `dim`."""
    axes = _filled_axes(x, integers(dim))
    if len(axes) == 1 and (loops := loops_for(x)):
        return _by_rows(loops.log_softmax, x, axes[0])
    y = x - x.max(axes, keepdims=True)
    return y - array_module(x).log(array_module(x).exp(y).sum(axes, keepdims=True))
