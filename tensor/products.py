"""Matrix products, their inverse, and the Cholesky factor: a root of a matrix."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from tensor.arrays import Array, array_module
from tensor.autodiff import op
from tensor.errors import composite
from tensor.reductions import sum
from tensor.shaping import reshape, transpose

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op(
    a=lambda g, b: _matmul(g, transpose(b, -1, -2)), b=lambda g, a: _matmul(transpose(a, -1, -2), g)
)
def _matmul(a: Array, b: Array) -> Tensor:
    return a @ b


@composite
def matmul(a, b) -> Tensor:
    """The matrix product of the last two dimensions; the others are batches and broadcast.

    As in PyTorch, a 1-d argument is a row on the left, a column on the right; the result lacks it.
    """
    if not hasattr(a, "shape") or not hasattr(b, "shape"):
        kinds = f"{type(a).__name__} and {type(b).__name__}"
        raise TypeError(f"expected tensors or arrays, got {kinds}")
    left, right = a.shape, b.shape
    if not left or not right or left[-1] != right[-2 if len(right) > 1 else 0]:
        raise ValueError(f"the last dimension of {left} must equal the last but one of {right}")
    a = a if len(left) > 1 else reshape(a, (1, -1))
    b = b if len(right) > 1 else reshape(b, (-1, 1))
    y = _matmul(a, b)
    if len(left) == 1 or len(right) == 1:
        y = reshape(y, y.shape[:-2] + left[-2:-1] + (right[-1:] if len(right) > 1 else ()))
    return y


@op(
    x=lambda g, weight: _matmul(g, weight),
    weight=lambda g, x: _matmul(transpose(g, 0, 1), x),
    bias=lambda g: sum(g, 0),
)
def _linear(x: Array, weight: Array, bias: Array | None) -> Tensor:
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


@composite
def linear(x, weight, bias=None) -> Tensor:
    """x W^T + b on the last dimension: x (..., in), weight (out, in), bias (out,); (..., out)."""
    shape, sizes = x.shape, weight.shape
    if len(sizes) != 2:
        raise ValueError(f"expected a weight (out, in), got {sizes}")
    if shape[-1:] != sizes[1:]:
        n = shape[-1] if shape else "no"
        raise ValueError(f"x {shape} has {n} features, weight {sizes} expects {sizes[1]}")
    if bias is not None and bias.shape != sizes[:1]:
        raise ValueError(f"bias has shape {bias.shape}, expected {sizes[:1]}")
    if len(shape) == 2:
        return _linear(x, weight, bias)
    rows = reshape(x, (math.prod(shape[:-1]), shape[-1]))
    return reshape(_linear(rows, weight, bias), shape[:-1] + sizes[:1])


@op(
    A=lambda g, y, A: -(solve(transpose(A, -1, -2), g) @ transpose(y, -1, -2)),
    B=lambda g, A: solve(transpose(A, -1, -2), g),
)
def solve(A: Array, B: Array) -> Tensor:
    """The X for which A X = B: A (..., n, n), B (..., n, k) broadcast. A singular A: ValueError."""
    if A.ndim < 2 or B.ndim < 2 or not A.shape[-2] == A.shape[-1] == B.shape[-2]:
        wanted = "A (..., n, n) and B (..., n, k)"
        raise ValueError(f"solve: expected {wanted}, got {A.shape} and {B.shape}")
    xp, batch = array_module(A), np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    A, B = (xp.broadcast_to(x, batch + x.shape[-2:]) for x in (A, B))  # CuPy would not by itself
    if xp is np:
        return xp.linalg.solve(A, B)
    with _raising():
        return xp.linalg.solve(A, B)


def _raising() -> AbstractContextManager:
    """Here CuPy raises errors as NumPy does: by itself it gives NaN for a singular matrix."""
    import cupyx

    return cupyx.errstate(linalg="raise")


@op(x=lambda g: _half_lower(g))
def _half_lower(x: Array) -> Tensor:
    """Phi of Murray 2016: the lower triangle, with half the diagonal."""
    n = x.shape[-1]
    mask = np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype)
    return x * array_module(x).asarray(mask)


def _cholesky_vjp(g, y):
    """L^-T Phi(L^T g) L^-1, made symmetric as its argument is (Murray 2016 sec. 3)."""
    upper = transpose(y, -1, -2)
    left = solve(upper, _half_lower(upper @ g))
    share = solve(upper, transpose(left, -1, -2))
    return 0.5 * (share + transpose(share, -1, -2))


@op(x=_cholesky_vjp)
def cholesky(x: Array) -> Tensor:
    """The lower triangular L with L L^T = x, for symmetric, positive definite x (..., n, n).

    As in PyTorch's `linalg.cholesky`, only the lower triangle of x is read, and the gradient is
    symmetric. Raises ValueError for a matrix that is not positive definite.
    """
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"cholesky: expected x (..., n, n), got {x.shape}")
    xp = array_module(x)
    if xp is np:
        return xp.linalg.cholesky(x)
    with _raising():
        return xp.linalg.cholesky(x)
