"""Ops that move elements: reshape, permute, index, join, pad. Their gradients move them back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from tensor import gpu
from tensor.arrays import (
    Array,
    Shape,
    array_module,
    as_indices,
    axis,
    check_indices,
    device_of,
    integer,
    integers,
    inverse,
    to_device,
)
from tensor.autodiff import broadcast_to, op
from tensor.base import raw
from tensor.calls import only
from tensor.elementwise import where
from tensor.errors import composite

if TYPE_CHECKING:
    from tensor.tensor import Tensor


@op(x=lambda g, x_shape: reshape(g, x_shape))
def reshape(x: Array, shape: Shape) -> Tensor:
    """The same elements, in row-major order, in another shape; one length may be -1."""
    if shape is None:
        raise TypeError("expected an integer or several, got None")
    return x.reshape(shape)


@op(x=lambda g, dims: permute(g, inverse([d % len(dims) for d in dims])))
def permute(x: Array, dims: Shape) -> Tensor:
    """The dimensions in another order: output dimension k is dimension dims[k] of x."""
    if sorted(axis(d, x.ndim, "permute") for d in dims) != list(range(x.ndim)):
        wrong = f"{dims} is no order of the {x.ndim} dimensions of {x.shape}"
        raise ValueError(f"permute: dims {wrong}")
    return x.transpose(dims)


@composite
def transpose(x, dim0: int, dim1: int) -> Tensor:
    """Swap two dimensions."""
    dim0, dim1 = axis(dim0, x.ndim, "transpose"), axis(dim1, x.ndim, "transpose")
    dims = list(range(x.ndim))
    dims[dim0], dims[dim1] = dim1, dim0
    return permute(x, tuple(dims))


@composite
def t(x) -> Tensor:
    """The transpose of a matrix; a vector or a number itself."""
    if x.ndim > 2:
        instead = "mT swaps the last two, transpose and permute any"
        raise ValueError(f"expected at most 2 dimensions, got {x.shape}: {instead}")
    return transpose(x, 0, 1) if x.ndim == 2 else x


@composite
def expand(x, shape: Shape) -> Tensor:
    """Repeat length-1 and new leading dimensions to `shape`; -1 keeps a length. Copies nothing."""
    shape = integers(shape)
    lead = len(shape) - x.ndim
    if lead < 0:
        raise ValueError(f"shape {shape} has fewer dimensions than {x.shape}")
    sizes = tuple(x.shape[k - lead] if n == -1 and k >= lead else n for k, n in enumerate(shape))
    if any(m not in (1, n) for m, n in zip(x.shape, sizes[lead:])):
        raise ValueError(f"{x.shape} cannot be repeated to {shape}: lengths must be equal, or 1")
    return broadcast_to(x, sizes)


@composite
def flatten(x, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join the dimensions start_dim..end_dim into one."""
    if not x.ndim:
        return reshape(x, (1,))
    start, end = axis(start_dim, x.ndim, "flatten"), axis(end_dim, x.ndim, "flatten")
    if start > end:
        raise ValueError(f"start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@composite
def squeeze(x, dim: int | Shape | None = None) -> Tensor:
    """Drop the dimensions `dim`, or all, that have length 1; others stay as they are."""
    dims = range(x.ndim) if dim is None else [axis(d, x.ndim, "squeeze") for d in integers(dim)]
    return reshape(x, tuple(n for k, n in enumerate(x.shape) if n != 1 or k not in dims))


@composite
def unsqueeze(x, dim: int) -> Tensor:
    """A new dimension of length 1 at position `dim`."""
    dim = axis(dim, x.ndim + 1, "unsqueeze")
    return reshape(x, (*x.shape[:dim], 1, *x.shape[dim:]))


@composite
def repeat(x, repeats: Shape) -> Tensor:
    """x, repeats[k] times along dimension k, of which new ones come first: tiles side by side."""
    repeats, lead = integers(repeats), len(repeats) - x.ndim
    if lead < 0 or any(n < 0 for n in repeats):
        raise ValueError(f"expected {x.ndim} numbers >= 0 at least for {x.shape}, got {repeats}")
    shape = (1,) * lead + x.shape
    apart = reshape(x, tuple(n for size in shape for n in (1, size)))
    tiled = expand(apart, tuple(n for pair in zip(repeats, shape) for n in pair))
    return reshape(tiled, tuple(n * size for n, size in zip(repeats, shape)))


# Indexing. Reading x[index] and adding into zeros at [index] are each other's adjoint.


@op(x=lambda g, x_shape, index: _scatter(g, index, x_shape))
def _getitem(x: Array, index) -> Tensor:
    return x[index]


@op(x=lambda g, index: _getitem(g, index))
def _scatter(x: Array, index, shape: Shape) -> Tensor:
    """Zeros of `shape`, with x added at [index]; an element indexed twice receives both."""
    xp, is_view = array_module(x), not any(hasattr(part, "dtype") for part in index)
    if xp is not np and not is_view:
        return _sums_by_place(x, index, shape)
    out = xp.zeros(shape, x.dtype)
    if is_view:
        out[index] = x
    else:
        np.add.at(out, index, x)
    return out


def _sums_by_place(x: Array, index: tuple, shape: Shape) -> Array:
    """`_scatter` by arrays on a GPU: each element adds up what comes to it, in the order of x. By
    float atomics sums would vary."""
    xp, size = array_module(x), math.prod(shape)
    places = xp.arange(size).reshape(shape)[index].ravel()
    order = xp.argsort(places, kind="stable")
    starts = xp.searchsorted(places[order], xp.arange(size + 1))
    return gpu.sums_between(x.ravel(), order, starts).reshape(shape)


@composite
def getitem(x, index) -> Tensor:
    """x[index]: slices, integers, None, ..., integer arrays, masks, in any combination.

    As in PyTorch, integers are taken first, also beside arrays: x[0, :, [0, 1]] is x[0][:, [0, 1]].
    An index out of range raises IndexError on every device.
    """
    array = raw(x)
    index = index if isinstance(index, tuple) else (index,)
    parts = tuple(_index_part(part) for part in index)
    _check_parts(parts, array.shape)
    device = device_of(array)
    parts = tuple(to_device(part, device) if hasattr(part, "dtype") else part for part in parts)
    has_arrays = any(hasattr(part, "dtype") for part in parts)
    if has_arrays and any(isinstance(part, int) for part in parts):
        x = _getitem(x, tuple(entry for part in parts for entry in _without_arrays(part)))
        parts = tuple(_arrays_alone(part) for part in parts if not isinstance(part, int))
    return _getitem(x, parts)


def _index_part(part):
    """One entry of an index, with tensors and lists as arrays."""
    if isinstance(part, bool):
        part = np.asarray(part)
    if part is None or part is Ellipsis or isinstance(part, (slice, int)):
        return part
    part = as_indices(part) if isinstance(part, (list, range, np.ndarray)) else raw(part)
    if not hasattr(part, "dtype") or part.dtype.kind not in "iub":
        raise IndexError(f"an index is made of integers, slices, masks, None and ..., not {part!r}")
    if part.dtype.kind != "b" and not part.ndim:
        return int(part)
    return part


def _without_arrays(part) -> tuple:
    """This entry in the first of two steps, which takes integers and slices: all of what an array
    would index."""
    if hasattr(part, "dtype"):
        return (slice(None),) * (part.ndim if _is_mask(part) else 1)
    return (part,)


def _arrays_alone(part):
    """This entry in the second step, which takes arrays: all of any other dimension."""
    return part if hasattr(part, "dtype") or part is Ellipsis else slice(None)


@composite
@only(sparse_grad=False)
def gather(x, dim: int, index) -> Tensor:
    """The elements of x at `index` along `dim`, and else where they stand in the index: for dim=1
    y[i, j] = x[i, index[i, j]].

    The index holds integers from 0 on. It has the dimensions of x, and none but `dim` is longer.
    """
    at, index = axis(dim, x.ndim, "gather"), raw(index)
    longer = any(n > m for k, (n, m) in enumerate(zip(index.shape, x.shape)) if k != at)
    if index.ndim != x.ndim or longer or index.dtype.kind not in "iu":
        wanted = f"integers that fit {x.shape} in all dimensions but {dim}"
        raise ValueError(f"expected {wanted}, got {index.dtype} {index.shape}")
    check_indices(index, x.shape[at], "gather", from_the_end=False)
    return taken_along(x, at, to_device(index, device_of(raw(x))))


def taken_along(x, at: int, index: Array) -> Tensor:
    """`gather` along the dimension `at` by an index that is known to be right, where x lies."""
    xp = array_module(index)
    places = list(xp.ix_(*map(xp.arange, index.shape)))
    places[at] = index
    return _getitem(x, tuple(places))


def _is_mask(part) -> bool:
    return getattr(part, "dtype", None) == np.dtype(bool)


def _check_parts(parts: tuple, shape: Shape) -> None:
    """IndexError for integers out of range and for masks of the wrong shape."""
    taken = [0 if part is None else part.ndim if _is_mask(part) else 1 for part in parts]
    ellipses = [k for k, part in enumerate(parts) if part is Ellipsis]
    if ellipses:
        taken[ellipses[0]] = len(shape) - (sum(taken) - 1)
    if sum(taken) > len(shape):
        raise IndexError(f"{sum(taken)} indices for a tensor of shape {shape}")
    for part, end, n in zip(parts, accumulate(taken), taken):
        if isinstance(part, (slice, type(None), type(Ellipsis))):
            continue
        if not _is_mask(part):
            part = np.asarray(part) if isinstance(part, int) else part
            check_indices(part, shape[end - 1], "getitem")
        elif part.shape != shape[end - n : end]:
            seen = f"dimensions {shape[end - n : end]} of {shape}"
            raise IndexError(f"a mask of shape {part.shape} cannot index {seen}")


# Joining, padding, turning round


@op(
    a=lambda g, a_shape, dim: narrow(g, dim, 0, a_shape[dim]),
    b=lambda g, a_shape, b_shape, dim: narrow(g, dim, a_shape[dim], b_shape[dim]),
)
def _cat(a: Array, b: Array, dim: int) -> Tensor:
    return array_module(a).concatenate([a, b], dim)


@composite
def narrow(x, dim: int, start: int, length: int) -> Tensor:
    """The `length` entries of dimension `dim` that begin at `start`."""
    dim, end = axis(dim, x.ndim, "narrow"), integer(start) + integer(length)
    if start < 0 or length < 0 or end > x.shape[dim]:
        whole = f"0..{x.shape[dim]}, dimension {dim} of {x.shape}"
        raise IndexError(f"{start}..{end} does not lie in {whole}")
    return _getitem(x, (slice(None),) * dim + (slice(start, end),))


@composite
def cat(tensors: Sequence, dim: int = 0) -> Tensor:
    """Join tensors along an existing dimension; all other lengths must agree."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError("nothing to join")
    shapes = [x.shape for x in tensors]
    dim = integer(dim)
    if not -len(shapes[0]) <= dim < len(shapes[0]):
        raise IndexError(f"dim {dim} is out of range for shape {shapes[0]}")
    dim %= len(shapes[0])
    if any(s[:dim] + s[dim + 1 :] != shapes[0][:dim] + shapes[0][dim + 1 :] for s in shapes):
        raise ValueError(f"shapes {shapes} differ outside dim {dim}")
    while len(tensors) > 1:
        pairs = [_cat(a, b, dim) for a, b in zip(tensors[::2], tensors[1::2])]
        tensors = pairs + tensors[len(pairs) * 2 :]
    return tensors[0]


@composite
def stack(tensors: Sequence, dim: int = 0) -> Tensor:
    """Join tensors of equal shape along a new dimension."""
    tensors = list(tensors)
    if len({x.shape for x in tensors}) > 1:
        raise ValueError(f"shapes {[x.shape for x in tensors]} differ")
    return cat([unsqueeze(x, dim) for x in tensors], dim)


@composite
def split(x, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Split dimension `dim` into parts of one size, of which the last may be smaller, or of several
    sizes, which must add up to its length."""
    length, sizes = x.shape[axis(dim, x.ndim, "split")], integers(split_size_or_sections)
    if not hasattr(split_size_or_sections, "__iter__"):
        (size,) = sizes
        if size < 1:
            raise ValueError(f"expected a size of at least 1, got {size}")
        sizes = tuple(min(size, length - start) for start in range(0, length, size)) or (0,)
    if sum(sizes) != length:
        raise ValueError(f"sizes {sizes} do not add up to {length}, the length of dim {dim}")
    ends = accumulate(sizes)
    return tuple(narrow(x, dim, end - size, size) for size, end in zip(sizes, ends))


@composite
def chunk(x, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split dimension `dim` into `chunks` equal parts; where they cannot be, as in PyTorch all but
    the last have the same, larger size, and there may be fewer."""
    if integer(chunks) < 1:
        raise ValueError(f"expected at least one part, got chunks={chunks}")
    length = x.shape[axis(dim, x.ndim, "chunk")]
    return split(x, -(-length // chunks) if length else (0,) * chunks, dim)


@composite
def pad(x, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Frame x with a constant, 0 unless `value` is given; no other `mode` is there.

    `pad` is (left, right, top, bottom, ...), the last dimension first.
    """
    if mode != "constant":
        raise ValueError(f"mode must be 'constant', got {mode!r}")
    pad, value = integers(pad), 0.0 if value is None else value
    if len(pad) % 2 or len(pad) > 2 * x.ndim or any(n < 0 for n in pad):
        wanted = f"(before, after) pairs >= 0, from the last dimension on, for {x.shape}"
        raise ValueError(f"expected {wanted}; got {pad}")
    pairs = tuple(zip(pad[::2], pad[1::2]))
    return _pad(x, ((0, 0),) * (x.ndim - len(pairs)) + pairs[::-1], value)


def _pad_vjp(g, x_shape, widths):
    return _getitem(g, tuple(slice(w, w + n) for (w, _), n in zip(widths, x_shape)))


@op(x=_pad_vjp)
def _pad(x: Array, widths: tuple[tuple[int, int], ...], value: Any) -> Tensor:
    value = value.item() if hasattr(value, "dtype") else value  # which may be on a GPU
    return array_module(x).pad(x, widths, constant_values=value)


@op(x=lambda g, dims: flip(g, dims))
def flip(x: Array, dims: int | Shape) -> Tensor:
    """The order of the elements reversed along `dims`."""
    return array_module(x).flip(x, integers(dims))


@op(x=lambda g, shifts, dims: roll(g, tuple(-n for n in integers(shifts)), dims))
def roll(x: Array, shifts: int | Shape, dims: int | Shape | None = None) -> Tensor:
    """The elements moved on by `shifts` along `dims`, round the end; flattened, unless given."""
    shifts = integers(shifts)
    if len(shifts) != (1 if dims is None else len(integers(dims))):
        raise ValueError(f"roll: expected a shift for each dimension, got {shifts} for {dims}")
    return array_module(x).roll(x, shifts, dims)


# Triangles and diagonals of matrices


@composite
def tril(x, diagonal: int = 0) -> Tensor:
    """The matrices x (..., n, m), with zeros above the diagonal number `diagonal`, counted up."""
    return where(_triangle(x, diagonal), x, False)


@composite
def triu(x, diagonal: int = 0) -> Tensor:
    """The matrices x (..., n, m), with zeros below the diagonal number `diagonal`, counted up."""
    return where(_triangle(x, diagonal - 1), False, x)


def _triangle(x, diagonal: int) -> Array:
    """Where in a matrix of the size of x (..., n, m) the diagonals up to that number are."""
    if x.ndim < 2:
        raise ValueError(f"expected a matrix or several, got {x.shape}")
    return array_module(raw(x)).tri(*x.shape[-2:], integer(diagonal), dtype=bool)


@composite
def diag(x, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal and zeros elsewhere.

    Of the diagonals, 0 is the main one, and positive ones are above it.
    """
    if x.ndim not in (1, 2):
        raise ValueError(f"expected a vector or a matrix, got {x.shape}")
    down, right = max(0, -integer(diagonal)), max(0, diagonal)
    n, m = x.shape if x.ndim == 2 else (len(x) + down, len(x) + right)
    k = array_module(raw(x)).arange(max(0, min(n - down, m - right)))
    if x.ndim == 2:
        return _getitem(x, (k + down, k + right))
    size = len(x) + down + right
    return _scatter(x, (k + down, k + right), (size, size))
