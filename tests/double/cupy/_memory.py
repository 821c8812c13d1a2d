"""Where arrays lie: on which device, and what CuPy accepts as a kernel's operand."""

import threading
from typing import Any

import numpy as np

DEVICES = 2
_current = threading.local()


def current_device() -> int:
    """The device on which this thread makes arrays and launches kernels."""
    return getattr(_current, "device", 0)


def use_device(device: int) -> None:
    """Make it the current one of this thread."""
    _current.device = device


def supported(dtype) -> np.dtype:
    """A dtype that GPUs know; ValueError for any other."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "?biuf" or dtype.itemsize > 8:
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def on_current_device(x) -> np.ndarray:
    """The values of an array, for a kernel: ValueError if they lie on another device."""
    if x.device.id != current_device():
        here = f"different from the current device ({current_device()})"
        raise ValueError(f"The device where the array resides ({x.device.id}) is {here}")
    return x._values


def operand(x) -> Any:
    """The values of an array, or a scalar itself; TypeError for all else, NumPy's arrays above
    all."""
    if hasattr(x, "_values"):
        return on_current_device(x)
    if isinstance(x, (bool, int, np.bool_, np.number)):
        return x
    if isinstance(x, float):
        return float(x)  # NumPy takes a subclass for a float64
    raise TypeError(f"Unsupported type {type(x)}")


def array_operand(caller: str, x) -> np.ndarray:
    """The values of an array; TypeError for a scalar, too."""
    if not hasattr(x, "_values"):
        raise TypeError(f"{caller}: only cupy.ndarray is allowed, not {type(x).__name__}")
    return on_current_device(x)
