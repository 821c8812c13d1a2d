"""cupy's functions that are no elementwise kernels, with the parameters that CuPy's have."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from cupy._array import fresh, ndarray, on_device, view, written
from cupy._events import happened
from cupy._kernels import UFUNCS
from cupy._memory import array_operand, current_device, operand, supported

abs = UFUNCS["absolute"]


# New arrays


def array(obj, dtype=None, copy=True, order="K", *, blocking=False):
    """Of an array on the host, only Fortran order is kept; all other orders become C."""
    if isinstance(obj, ndarray):
        return _from_device(obj, obj.dtype if dtype is None else supported(dtype), copy, order)
    values = np.array(obj, dtype)  # of arrays in a list it raises TypeError, as CuPy
    supported(values.dtype)
    happened("to device", "array")
    if order in (None, "K", "A"):
        order = "F" if isinstance(obj, np.ndarray) and obj.flags.fnc else "C"
    return fresh(values, order)


def _from_device(x: ndarray, dtype: np.dtype, copy: bool, order: str | None) -> ndarray:
    here = x if x.device.id == current_device() else x.copy(order or "K")
    if copy or order not in (None, "K"):
        return here.astype(dtype, order or "K")
    return here.astype(dtype, copy=False)


def asarray(a, dtype=None, order=None, *, blocking=False):
    return array(a, dtype, False, order, blocking=blocking)


def ascontiguousarray(a, dtype=None):
    """Of a 0-d array, an array of one element."""
    is_whole = array_operand("ascontiguousarray", a).flags.c_contiguous
    whole = asarray(a, dtype) if is_whole else array(a, dtype, order="C")
    return whole if a.ndim else whole.reshape(1)


def _filled(values: np.ndarray, value) -> ndarray:
    values.fill(value)
    happened("launch", "fill")
    return fresh(values, "K")


def _unwritten(values: np.ndarray) -> ndarray:
    values.fill(np.nan if values.dtype.kind == "f" else 77)
    return fresh(values, "K")


def empty(shape, dtype=float, order="C"):
    return _unwritten(np.empty(shape, supported(dtype), order))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    values = array_operand("empty_like", prototype)
    return _unwritten(np.empty_like(values, dtype, order, shape=shape))


def zeros(shape, dtype=float, order="C"):
    return _filled(np.empty(shape, supported(dtype), order), 0)


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return _filled(np.empty_like(array_operand("zeros_like", a), dtype, order, shape=shape), 0)


def ones(shape, dtype=float, order="C"):
    return _filled(np.empty(shape, supported(dtype), order), 1)


def ones_like(a, dtype=None, order="K", subok=None, shape=None):
    return _filled(np.empty_like(array_operand("ones_like", a), dtype, order, shape=shape), 1)


def full(shape, fill_value, dtype=None, order="C"):
    dtype = np.asarray(operand(fill_value)).dtype if dtype is None else dtype
    return _filled(np.empty(shape, supported(dtype), order), operand(fill_value))


def arange(start, stop=None, step=1, dtype=None):
    happened("launch", "arange")
    first, end = (0, start) if stop is None else (start, stop)
    return fresh(np.arange(first, end, step, dtype))


def tri(N, M=None, k=0, dtype=float):
    happened("launch", "tri")
    return fresh(np.tri(N, M, k, dtype))


def eye(N, M=None, k=0, dtype=float, order="C"):
    happened("launch", "eye")
    return fresh(np.eye(N, M, k, dtype, order))


def from_dlpack(array):
    if array.__dlpack_device__()[0] != 2:
        raise TypeError("CuPy reads CUDA arrays alone from DLPack")
    host = SimpleNamespace(
        __dlpack__=lambda **options: array.__dlpack__(), __dlpack_device__=lambda: (1, 0)
    )
    return on_device(np.from_dlpack(host), array.__dlpack_device__()[1])


# Kernels


def where(condition, x, y):
    mask = operand(condition.astype(bool, copy=False))  # of a bool, an AttributeError
    happened("launch", "where")
    return fresh(np.where(mask, operand(x), operand(y)))


def clip(a, a_min=None, a_max=None, out=None):
    return a.clip(a_min, a_max, out)


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    arrays = [array_operand("concatenate", x) for x in tup]
    happened("launch", "concatenate")
    return written(np.concatenate(arrays, axis, dtype=dtype, casting=casting), out)


def pad(array, pad_width, mode="constant", **kwargs):
    happened("launch", "pad")
    return fresh(np.pad(array_operand("pad", array), pad_width, mode, **kwargs), "K")


def roll(a, shift, axis=None):
    happened("launch", "roll")
    return fresh(np.roll(array_operand("roll", a), shift, axis), "K")


def round(a, decimals=0, out=None):
    happened("launch", "round")
    return written(np.round(array_operand("round", a), decimals), out)


def argsort(a, axis=-1, kind=None):
    return a.argsort(axis, kind)


def searchsorted(a, v, side="left", sorter=None):
    happened("launch", "searchsorted")
    values, sought = (array_operand("searchsorted", x) for x in (a, v))
    return fresh(np.searchsorted(values, sought, side))


# Views


def ix_(*args):
    ndims = len(args)
    return tuple(x.reshape([-1 if i == k else 1 for i in range(ndims)]) for k, x in enumerate(args))


def broadcast_to(array, shape):
    """Unlike NumPy's, the view can be written to."""
    values = np.broadcast_to(array_operand("broadcast_to", array), shape)
    return view(np.lib.stride_tricks.as_strided(values, values.shape, values.strides), array)


def flip(m, axis=None):
    return view(np.flip(array_operand("flip", m), axis), m)


def result_type(*arrays_and_dtypes):
    return np.result_type(*(x.dtype if isinstance(x, ndarray) else x for x in arrays_and_dtypes))
