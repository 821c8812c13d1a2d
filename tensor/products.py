"""Matrix products, their inverse, and the Cholesky factor: a root of a matrix."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np

from tensor import gpu
from tensor.arrays import Array, array_module, is_on_gpu
from tensor.autodiff import op
from tensor.calls import only
from tensor.elementwise import mul
from tensor.errors import composite, described
from tensor.reductions import sum
from tensor.shaping import reshape, transpose

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op(
    a=lambda g, b: _matmul(g, transpose(b, -1, -2)), b=lambda g, a: _matmul(transpose(a, -1, -2), g)
)
def _matmul(a: Array, b: Array) -> Tensor:
    return gpu.product(a, b) if is_on_gpu(a) else a @ b


@composite
def matmul(a, b) -> Tensor:
    """The matrix product of the last two dimensions; the others are batches and broadcast.

    As in PyTorch, a 1-d argument is a row on the left, a column on the right; the result lacks it.
    """
    if not hasattr(a, "shape") or not hasattr(b, "shape"):
        raise TypeError(f"expected tensors or arrays, got {described(a)} and {described(b)}")
    left, right = a.shape, b.shape
    if not left or not right or left[-1] != right[-2 if len(right) > 1 else 0]:
        raise ValueError(f"the last dimension of {left} must equal the last but one of {right}")
    a = a if len(left) > 1 else reshape(a, (1, -1))
    b = b if len(right) > 1 else reshape(b, (-1, 1))
    y = _matmul(a, b)
    if len(left) == 1 or len(right) == 1:
        y = reshape(y, y.shape[:-2] + left[-2:-1] + (right[-1:] if len(right) > 1 else ()))
    return y


def _product(a, b, dims_a: int, dims_b: int) -> Tensor:
    """`matmul` of tensors of so many dimensions; ValueError for others."""
    if (len(a.shape), len(b.shape)) != (dims_a, dims_b):
        wanted = f"tensors of {dims_a} and {dims_b} dimensions"
        raise ValueError(f"expected {wanted}, got {a.shape} and {b.shape}")
    return matmul(a, b)


@composite
def dot(a, b) -> Tensor:
    """The inner product of two vectors."""
    return _product(a, b, 1, 1)


@composite
def mm(a, b) -> Tensor:
    """The product of two matrices."""
    return _product(a, b, 2, 2)


@composite
def bmm(a, b) -> Tensor:
    """The products of matrices a (N, n, k) and b (N, k, m), one by one."""
    if a.shape[:1] != b.shape[:1]:
        raise ValueError(f"expected as many matrices on both sides, got {a.shape} and {b.shape}")
    return _product(a, b, 3, 3)


@composite
def outer(a, b) -> Tensor:
    """The matrix of all products a[i] b[j] of the elements of two vectors."""
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise ValueError(f"expected two vectors, got {a.shape} and {b.shape}")
    return mul(reshape(a, (-1, 1)), b)


def _of_weight_and_bias(g, x, bias_shape):
    """Their gradients, of which a GPU makes both at once."""
    if is_on_gpu(g):
        return gpu.linear_gradient(x, g)
    return _matmul(transpose(g, 0, 1), x), sum(g, 0) if bias_shape else None


@op(x=lambda g, weight: _matmul(g, weight), **{"weight bias": _of_weight_and_bias})
def _linear(x: Array, weight: Array, bias: Array | None) -> Tensor:
    if is_on_gpu(x):
        return gpu.product(x, weight.T, bias)
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


@composite
@only(left=True)
def solve(A, B) -> Tensor:
    """The X for which A X = B: A (..., n, n), B (..., n, k) broadcast. A singular A: ValueError.

    As in PyTorch, B holds vectors (..., n) where its shape is that of A without the last dimension,
    and where it is 1-d: X has its shape then. Expand B where matrices (n, k) could be taken so.
    """
    if len(B.shape) != 1 and B.shape != A.shape[:-1]:
        return _solve(A, B)
    X = _solve(A, reshape(B, (*B.shape, 1)))
    return reshape(X, X.shape[:-1])


@op(
    A=lambda g, y, A: -(_solve(transpose(A, -1, -2), g) @ transpose(y, -1, -2)),
    B=lambda g, A: _solve(transpose(A, -1, -2), g),
)
def _solve(A: Array, B: Array) -> Tensor:
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
    n, tri = x.shape[-1], array_module(x).tri
    return x * (0.5 * (tri(n, dtype=x.dtype) + tri(n, k=-1, dtype=x.dtype)))


def _cholesky_vjp(g, y):
    """L^-T Phi(L^T g) L^-1, made symmetric as its argument is (Murray 2016 sec. 3)."""
    upper = transpose(y, -1, -2)
    left = solve(upper, _half_lower(upper @ g))
    share = solve(upper, transpose(left, -1, -2))
    return 0.5 * (share + transpose(share, -1, -2))


@op(x=_cholesky_vjp)
@only(upper=False)
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
