"""Kernels: NumPy's elementwise functions, on arrays of one device and scalars; matrix products."""

from typing import Any

import numpy as np

from cupy._events import happened
from cupy._memory import array_operand, operand


class ufunc:
    """An elementwise kernel of CuPy's, which takes no other keywords than these."""

    def __init__(self, name: str, compute):
        self.__name__, self.compute, self.nin = name, compute, getattr(np, name).nin

    def __call__(self, *args, out=None, dtype=None, casting="same_kind"):
        from cupy._array import written

        if not self.nin <= len(args) <= self.nin + 1:
            raise TypeError(f"Wrong number of arguments for {self.__name__!r}.")
        operands = [operand(x) for x in args[: self.nin]]
        happened("launch", self.__name__)
        with np.errstate(all="ignore"):  # a GPU raises no flags
            result = self.compute(*operands, dtype=dtype)
        return written(result, args[self.nin] if len(args) > self.nin else out)


def _power(a, b, dtype=None) -> Any:
    """Integers to negative powers are no error, but 1, -1 or 0."""
    if np.result_type(a, b).kind == "i" and np.any(np.less(b, 0)):
        unit = np.equal(np.abs(a), 1)
        return np.where(np.less(b, 0), unit * np.power(a, np.abs(b)), np.power(a, np.abs(b)))
    return np.power(a, b, dtype=dtype)


def _sign(x, dtype=None) -> Any:
    """That of bool is int8; NumPy has none."""
    is_bool = np.result_type(x).kind == "b"
    return np.sign(np.asarray(x, np.int8 if is_bool else None), dtype=dtype)


_NAMES = """
    add subtract multiply true_divide floor_divide remainder negative absolute sign square sqrt
    exp expm1 log log1p log2 log10 sin cos tanh floor ceil maximum minimum logaddexp
    isfinite isnan isinf
    less less_equal greater greater_equal equal not_equal
    bitwise_and bitwise_or bitwise_xor invert
"""
UFUNCS = {name: ufunc(name, getattr(np, name)) for name in _NAMES.split()}
UFUNCS["power"], UFUNCS["sign"] = ufunc("power", _power), ufunc("sign", _sign)


def matmul(a, b, out=None):
    """No ufunc, as it is NumPy's: it takes no dtype, and no scalars."""
    from cupy._array import written

    x, y = array_operand("matmul", a), array_operand("matmul", b)
    if not x.ndim or not y.ndim:
        raise ValueError("Scalar operands are not allowed, use '*' instead")
    happened("launch", "matmul")
    with np.errstate(all="ignore"):
        return written(np.matmul(x, y), out)
