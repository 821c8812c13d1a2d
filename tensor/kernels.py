"""Whether loops serve, those of `tensor.loops`, and how arrays are handed to them.

An op that has a loop takes it for arrays of floats on the CPU: it goes over memory once or twice,
where NumPy's functions go over it once each. Numba compiles a loop when it is first called and
keeps the machine code for the next process. Without Numba, or with MINIGEN_KERNELS=0 in the
environment, ops do without: all works as before, several times slower. On a GPU they take kernels
of `tensor/gpu.py` instead.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from tensor import gpu
from tensor.arrays import Array, inverse, is_on_gpu, memory_order
from tensor.parallel import map_blocks


@functools.cache
def loops() -> Any:
    """The module of the loops, imported with Numba when first needed; None if it cannot be had."""
    if os.environ.get("MINIGEN_KERNELS", "1") == "0":
        return None
    try:
        from tensor import loops
    except ImportError as error:
        if not isinstance(error, ModuleNotFoundError):
            warnings.warn(f"Numba cannot be used, and each op takes longer: {error}", stacklevel=2)
        return None
    return loops


_FLOATS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))


def loops_for(x: Array) -> Any:
    """`loops()` for arrays of floats on the CPU, and None for numbers and all else."""
    return loops() if type(x) is np.ndarray and x.dtype in _FLOATS and x.shape else None


def shared_work(x: Array, numbers: int) -> int:
    """The numbers `map_blocks` is to share among threads: none on a GPU, which has its own."""
    return numbers if type(x) is np.ndarray else 0


def operand(x: Array) -> Array:
    """x as loops read it: contiguous, and read-only, so that one compilation serves all."""
    x = np.ascontiguousarray(x)
    if x.flags.writeable:
        x = x.view()
        x.setflags(write=False)
    return x


def bias_operand(bias: Array | None, like: Array) -> Array:
    """A bias as loops take it, for images `like` (..., channels): zeros, if there is none."""
    return operand(np.zeros(like.shape[-1], like.dtype) if bias is None else bias)


def in_one_pass(loop: Callable, y: Array, *inputs: Array) -> Array:
    """y after `loop(*inputs, y)` over all elements, in the order in which y lies in memory."""
    order = memory_order(y)
    out = y.transpose(order).reshape(-1)
    flat = [operand(x.transpose(order)).reshape(-1) for x in inputs]
    numbers = y.size * (1 + len(flat)) // 4  # with each of which little is done
    map_blocks(lambda part: loop(*[x[part] for x in flat], out[part]), y.size, numbers)
    return y


SMALL = 2**13
"""Below this many numbers NumPy's own sum is faster."""


def total(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """x.sum(axes), carried in float64: right for any number of terms and any order in memory."""
    if x.dtype.kind != "f":
        return x.sum(axes, np.int64, keepdims=keepdims)
    if is_on_gpu(x):
        return gpu.total(x, axes, keepdims)
    if x.size < SMALL or not (axes and loops_for(x)):
        return x.sum(axes, np.float64, keepdims=keepdims).astype(x.dtype)
    order = memory_order(x)
    sums, after = operand(x.transpose(order)), 1
    for summed, run in itertools.groupby(reversed(order), axes.__contains__):
        length = math.prod(x.shape[k] for k in run)
        if summed:
            sums = operand(_sums_between(sums.reshape(-1, length, after)))
        else:
            after *= length
    sums = sums.reshape([1 if k in axes else x.shape[k] for k in order])
    sums = sums.transpose(inverse(order)).astype(x.dtype)
    return sums if keepdims else sums.squeeze(axes)


def average(x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """x.mean(axes), carried in float64."""
    if is_on_gpu(x):
        return gpu.total(x, axes, keepdims, mean=True)
    return total(x, axes, keepdims) / math.prod(x.shape[k] for k in axes)


def _sums_between(x: Array) -> Array:
    """x (before, between, after) summed over `between`, in float64."""
    before, between, after = x.shape

    def block(part: slice) -> Array:
        rows = x[:, part] if before == 1 else x[part]
        sums = np.zeros((len(rows), after))
        loops().add_between(rows, sums)
        return sums

    first, *others = map_blocks(block, between if before == 1 else before, x.size // 4)
    return sum(others, first) if before == 1 else np.concatenate([first, *others])
