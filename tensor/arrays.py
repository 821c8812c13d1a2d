"""Where arrays live: NumPy's on the CPU, CuPy's on a GPU, and the same code for both.

An op never names NumPy: it asks its input for the array module, `xp = array_module(x)`. CuPy is
imported when the first tensor goes to a GPU, and not before.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A raw array of NumPy or CuPy; in an op's signature: a Tensor for the caller, its array inside."""

Shape = tuple[int, ...]
Pair = tuple[int, int]


def array_module(x: Array) -> ModuleType:
    """The module that computes with `x`: cupy for arrays on a GPU, numpy for all else."""
    if isinstance(x, (np.ndarray, np.generic)) or not type(x).__module__.startswith("cupy"):
        return np
    return sys.modules["cupy"]  # also for what `cupy.fuse` has in the place of arrays


def is_on_gpu(x) -> bool:
    """Whether x is an array on a GPU."""
    return hasattr(type(x), "__cuda_array_interface__")


def import_cupy() -> ModuleType:
    """CuPy with a GPU that answers, or a RuntimeError that says what is missing."""
    try:
        import cupy
    except ImportError as error:
        extra = "-e '.[cuda12]' or '.[cuda13]', after your CUDA version"
        raise RuntimeError(f"device 'cuda' needs CuPy: pip install {extra}") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        wrong = f"CuPy is installed but finds no usable GPU ({error})"
        raise RuntimeError(f"device 'cuda': {wrong}") from error
    if count == 0:
        raise RuntimeError("device 'cuda': CuPy is installed but finds no GPU")
    return cupy


def is_of_cuda(error: Exception) -> bool:
    """Whether it is CUDA that failed: the error is one of CuPy's, or an op's in CUDA's words."""
    words = "cudaError|CUDA_ERROR|NVRTC_ERROR|CU[A-Z]+_STATUS"
    return type(error).__module__.startswith("cupy") or bool(re.search(words, str(error)))


def gpu_name() -> str:
    """What the GPU is called. RuntimeError if there is none, as from `import_cupy`."""
    return import_cupy().cuda.runtime.getDeviceProperties(0)["name"].decode()


def parse_device(device: str) -> str:
    """`"cpu"`, or `"cuda"`, which "cuda:0" means too. ValueError for anything else.

    One process computes on one GPU, the first that CUDA shows it.
    """
    kind, _, index = str(device).partition(":")
    numbered = kind == "cuda" and index.isascii() and index.isdecimal()
    if kind not in ("cpu", "cuda") or (index and not numbered):
        raise ValueError(f"unknown device {device!r}: expected 'cpu' or 'cuda'")
    if int(index or 0):
        instead = f"start Python with CUDA_VISIBLE_DEVICES={index} and take 'cuda'"
        raise ValueError(f"device {device!r}: only the first GPU is computed on: {instead}")
    return kind


def as_array(x) -> Array:
    """x as a plain array: a GPU's if it is there, else a `numpy.ndarray` and no subclass of it.

    ValueError for one on another GPU than the first.
    """
    if not is_on_gpu(x):
        return np.asarray(x)
    parse_device(device_of(x))
    return x


def as_numbers(arrays: Sequence[Array]) -> list:
    """The numbers in arrays of one element each, in one transfer: each waits for a GPU."""
    flat = [x.reshape(1) for x in arrays]
    return array_module(flat[0]).concatenate(flat).tolist() if flat else []


def device_of(x: Array) -> str:
    """The name of the device that holds `x`: `"cpu"` or `"cuda:N"`."""
    return f"cuda:{x.device.id}" if is_on_gpu(x) else "cpu"


def to_device(x: Array, device: str) -> Array:
    """`x` on `device`; the array itself if it is there already. Memory order is kept."""
    if (parse_device(device) == "cuda") == is_on_gpu(x):
        return x
    if is_on_gpu(x):
        order = memory_order(x)
        return x.transpose(order).get().transpose(inverse(order))
    order, cupy = memory_order(x), import_cupy()
    return cupy.asarray(x.transpose(order)).transpose(inverse(order))


def freeze(x: Array) -> Array:
    """x as a tensor holds it: read-only (CuPy's by agreement); 0-d, a number, ten times faster."""
    if type(x) is not np.ndarray:
        return x
    x.setflags(False)  # type: ignore[call-arg]
    return x if x.shape else x[()]


def memory_order(x: Array) -> list[int]:
    """The dimensions of x from the one with the longest stride to the one with the shortest."""
    if x.flags.c_contiguous:
        return list(range(x.ndim))
    return sorted(range(x.ndim), key=lambda k: -abs(x.strides[k]))


def inverse(order: Sequence[int]) -> list[int]:
    """The order of dimensions that undoes `order`."""
    return sorted(range(len(order)), key=order.__getitem__)


def integer(value) -> int:
    """An integer, of Python or of NumPy, as Python's; TypeError for anything else, and for bool."""
    if type(value) is int:
        return value
    if not isinstance(value, bool):
        with suppress(TypeError):
            return operator.index(value)
    raise TypeError(f"expected an integer, got {value!r}")


def integers(value) -> Shape:
    """An integer or several, as a tuple; TypeError for anything else."""
    try:
        return tuple(map(integer, value if hasattr(value, "__iter__") else (value,)))
    except TypeError:
        raise TypeError(f"expected an integer or several, got {value!r}") from None


def sizes(given: tuple) -> Shape:
    """What was given as (2, 3) or as 2, 3."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def axis(dim: int, ndim: int, op: str) -> int:
    """`dim` counted from the front; IndexError if there is no such dimension."""
    dim = integer(dim)
    if not -ndim <= dim < ndim:
        raise IndexError(f"{op}: dim {dim} is out of range for a tensor with {ndim} dimensions")
    return dim % ndim


def as_indices(x) -> Array:
    """A list or an array as a new array of indices: a list with nothing in it holds integers."""
    array = x.copy() if hasattr(x, "dtype") else np.array(x)
    return array if array.size or hasattr(x, "dtype") else array.astype(np.int64)


def check_indices(index: Array, size: int, op: str, what="index", from_the_end=True) -> None:
    """IndexError if integers leave [-size, size), or [0, size): CuPy would wrap them round."""
    if not index.size:
        return
    least, most = as_numbers([index.min(), index.max()])
    if least < 0 and not from_the_end:
        raise IndexError(f"{op}: {what} {least} is negative")
    if least < -size or most >= size:
        wrong = most if most >= size else least
        raise IndexError(f"{op}: {what} {wrong} is out of range for size {size}")
