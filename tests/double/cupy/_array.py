"""cupy.ndarray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cupy._events import fusing, happened
from cupy._indexing import check_distinct, is_mask, prepared, without_leading_ones
from cupy._kernels import UFUNCS, matmul
from cupy._memory import current_device, on_current_device, operand, supported
from cupy.cuda import Device


class Flags(NamedTuple):
    """How an array lies in memory. There is no `writeable`: CuPy's arrays always are."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


def fresh(values, order: str = "C") -> ndarray:
    """A new array on the current device, in C order as kernels write unless `order` is "K"."""
    return on_device(np.array(values, order=order), current_device())  # type: ignore[call-overload]


def view(values: np.ndarray, of: ndarray) -> ndarray:
    """An array on the memory of another."""
    return on_device(values, of.device.id)


def on_device(values: np.ndarray, device: int) -> Any:
    """An array on this memory, which lies on the device of that number."""
    array = object.__new__(Variable if fusing() else ndarray)
    array._values, array._device = values, device
    return array


def written(result, out: ndarray | None) -> ndarray:
    """What a kernel made: a fresh array, or the one that was given as `out`."""
    if out is None:
        return fresh(result)
    if not isinstance(out, Variable):
        raise TypeError("Output arguments type must be cupy.ndarray")
    values = on_current_device(out)
    if values.shape != np.shape(result):
        raise ValueError("Out shape is mismatched")
    np.copyto(values, result, casting="same_kind")
    return out


def _operator(kernel: Callable, reflected: bool = False):
    """An infix operator; what has `__array_ufunc__ = None`, such as a tensor, is asked first."""

    def method(self, other):
        if not isinstance(other, Variable) and getattr(other, "__array_ufunc__", 0) is None:
            return NotImplemented
        return kernel(other, self) if reflected else kernel(self, other)

    return method


def _reduction(name: str, *parameters: str):
    """A method that is one kernel, takes `parameters` and always returns an array, if 0-d."""

    def method(self, *args, **kwargs):
        given = dict(zip(parameters, args)) | kwargs
        if len(args) > len(parameters) or not given.keys() <= set(parameters):
            raise TypeError(f"{name}() takes {parameters}, got {args} and {kwargs}")
        happened("launch", name)
        out = given.pop("out", None)
        with np.errstate(all="ignore"):
            return written(getattr(on_current_device(self), name)(**given), out)

    return method


def _are_one(a: ndarray, b: ndarray) -> bool:
    """Whether two arrays are the same elements of the same memory."""
    return a.__cuda_array_interface__ == b.__cuda_array_interface__ and a.strides == b.strides


class Variable:
    """What a fused function has in the place of an array: operators, and no more than this.

    The values lie on the host, in `_values`, for the double alone.
    """

    __slots__ = ("__weakref__", "_device", "_values")
    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # NumPy's elementwise functions refuse it
    _values: np.ndarray
    _device: int

    dtype = property(lambda self: self._values.dtype)
    ndim = property(lambda self: self._values.ndim)
    device = property(lambda self: Device(self._device))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        if not copy and supported(dtype) == self.dtype:
            return self
        happened("launch", "astype")
        with np.errstate(all="ignore"):
            return fresh(on_current_device(self).astype(supported(dtype), order), "K")


class ndarray(Variable):
    """An array on a device."""

    __slots__ = ()

    shape = property(lambda self: self._values.shape)
    strides = property(lambda self: self._values.strides)
    size = property(lambda self: self._values.size)
    itemsize = property(lambda self: self._values.itemsize)
    nbytes = property(lambda self: self._values.nbytes)
    T = property(lambda self: view(self._values.T, self))

    @property
    def flags(self) -> Flags:
        flags = self._values.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, flags.owndata)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        place = self._values.ctypes.data, False
        return {"shape": self.shape, "typestr": self.dtype.str, "data": place, "version": 3}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use `.get()`")

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.shape, np.ndim):
            return getattr(args[0], function.__name__)
        raise TypeError(f"double of CuPy: numpy.{function.__name__} of an array on a device")

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self._values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._device  # DLPack's number for CUDA

    # To the host: each of these waits for the device

    def get(self, stream=None, order="C", out=None, blocking=True) -> np.ndarray:
        happened("to host", "get")
        happened("wait", "get")
        if order not in ("C", "F", "A"):
            raise ValueError(f"unsupported order: {order}")
        if order == "A":
            order = "F" if self.flags.f_contiguous and not self.flags.c_contiguous else "C"
        return np.array(self._values, order=order)

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("The truth value of an array with several elements is ambiguous")
        return bool(self.get())

    def __int__(self) -> int:
        return int(self._number())

    def __float__(self) -> float:
        return float(self._number())

    def _number(self):
        """There is no `__index__`: a number on a device is no index of a list."""
        if self.ndim:
            raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
        return self.item()

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self):
        from cupy import array

        return array, (self.get(order="A"),)

    # Elements

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[ndarray]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index) -> ndarray:
        parts = prepared(index, self.shape)
        if not any(isinstance(part, np.ndarray) for part in parts):
            return view(self._values[(*parts, ...) if Ellipsis not in parts else parts], self)
        happened("launch", "take")
        if any(map(is_mask, parts)):
            happened("wait", "mask")  # for how many are True
        return fresh(on_current_device(self)[parts])

    def __setitem__(self, index, value) -> None:
        parts, values = prepared(index, self.shape), on_current_device(self)
        if any(isinstance(part, np.ndarray) for part in parts):
            check_distinct(parts, self.shape)
        elif isinstance(value, ndarray):
            if _are_one(value, self[index]):  # as at the end of x[index] += 1
                return
        elif np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        happened("launch", "setitem")
        values[parts] = without_leading_ones(operand(value))

    def fill(self, value) -> None:
        if np.ndim(value):
            raise ValueError("non-scalar array cannot be used for fill")
        happened("launch", "fill")
        on_current_device(self).fill(operand(value))

    def take(self, indices, axis=None, out=None) -> ndarray:
        happened("launch", "take")
        values = on_current_device(self).take(operand(indices), axis, mode="wrap")
        return written(values, out)

    # Shape

    def reshape(self, *shape, order="C") -> ndarray:
        shape = shape[0] if len(shape) == 1 else shape
        return self._view_or_copy(self._values.reshape(shape, order=order))

    def ravel(self, order="C") -> ndarray:
        return self._view_or_copy(self._values.ravel(order))

    def _view_or_copy(self, values: np.ndarray) -> ndarray:
        if not values.size or np.may_share_memory(values, self._values):
            return view(values, self)
        on_current_device(self)
        happened("launch", "copy")
        return fresh(values)

    def transpose(self, *axes) -> ndarray:
        return view(self._values.transpose(*axes), self)

    def swapaxes(self, axis1, axis2) -> ndarray:
        return view(self._values.swapaxes(axis1, axis2), self)

    def squeeze(self, axis=None) -> ndarray:
        return view(self._values.squeeze(axis), self)

    # Copies

    def copy(self, order="C") -> ndarray:
        """A copy on the current device, which is the only way from one device to another."""
        whole = self.flags.c_contiguous or self.flags.f_contiguous
        if self._device != current_device() and not whole:
            raise NotImplementedError("CuPy cannot copy non-contiguous array between devices.")
        happened("launch", "copy")
        return fresh(self._values.copy(order), "K")

    # Reductions, each one kernel

    sum = _reduction("sum", "axis", "dtype", "out", "keepdims")
    prod = _reduction("prod", "axis", "dtype", "out", "keepdims")
    mean = _reduction("mean", "axis", "dtype", "out", "keepdims")
    max = _reduction("max", "axis", "out", "keepdims")
    min = _reduction("min", "axis", "out", "keepdims")
    all = _reduction("all", "axis", "out", "keepdims")
    any = _reduction("any", "axis", "out", "keepdims")
    argmax = _reduction("argmax", "axis", "out", "dtype", "keepdims")
    argmin = _reduction("argmin", "axis", "out", "dtype", "keepdims")

    def cumsum(self, axis=None, dtype=None, out=None) -> ndarray:
        happened("launch", "cumsum")
        return written(on_current_device(self).cumsum(axis, dtype), out)

    def argsort(self, axis=-1, kind=None) -> ndarray:
        if kind not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        happened("launch", "argsort")
        return fresh(on_current_device(self).argsort(axis, kind="stable"))

    def clip(self, min=None, max=None, out=None) -> ndarray:
        """Unlike NumPy's, NaN is no limit, and a limit that the dtype lacks an OverflowError."""
        happened("launch", "clip")
        result = on_current_device(self)
        for limit, beyond in ((min, np.less), (max, np.greater)):
            if limit is not None:
                limit = np.asarray(operand(limit), np.result_type(result, operand(limit)))
                result = np.where(beyond(result, limit), limit, result)
        return written(result, out)


ARITHMETIC = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
}
COMPARISONS = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
for _method, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(Variable, f"__{_method}__", lambda self, f=UFUNCS[_name]: f(self))
for _method, _name in ARITHMETIC.items():
    _kernel = UFUNCS[_name]
    setattr(Variable, f"__{_method}__", _operator(_kernel))
    setattr(Variable, f"__r{_method}__", _operator(_kernel, reflected=True))
    setattr(Variable, f"__i{_method}__", lambda self, other, f=_kernel: f(self, other, self))
for _method, _name in COMPARISONS.items():
    setattr(Variable, f"__{_method}__", _operator(UFUNCS[_name]))
ndarray.__matmul__, ndarray.__rmatmul__ = _operator(matmul), _operator(matmul, reflected=True)
