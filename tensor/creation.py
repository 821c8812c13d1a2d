"""New tensors: constants, random numbers, and the arrays of other libraries.

Random numbers come from `numpy.random.Generator`s on the host and go from there to the device: a
seed gives the same numbers on a CPU and on a GPU, and a checkpoint can hold a generator's state,
which is plain integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator, default_rng

from tensor.arrays import import_cupy, sizes, to_device
from tensor.base import TensorBase, supported, wrap

if TYPE_CHECKING:
    from tensor.tensor import Tensor

_default = default_rng()
_DLPACK_CUDA = 2


def manual_seed(seed: int) -> Generator:
    """Seed the default generator and return it."""
    _default.bit_generator.state = default_rng(seed).bit_generator.state
    return _default


def default_generator() -> Generator:
    """The generator that is used where none is passed."""
    return _default


def _new(array: np.ndarray, dtype, device: str, requires_grad: bool) -> Tensor:
    array = array.astype(supported(dtype), copy=False)
    return wrap(to_device(array, device)).requires_grad_(requires_grad)


def zeros(*size, dtype=np.float32, device="cpu", requires_grad=False) -> Tensor:
    """A tensor of zeros; `size` is integers or one tuple."""
    return _new(np.zeros(sizes(size)), dtype, device, requires_grad)


def ones(*size, dtype=np.float32, device="cpu", requires_grad=False) -> Tensor:
    """A tensor of ones; `size` is integers or one tuple."""
    return _new(np.ones(sizes(size)), dtype, device, requires_grad)


def randn(
    *size, generator: Generator | None = None, dtype=np.float32, device="cpu", requires_grad=False
) -> Tensor:
    """Independent draws from N(0, 1); `size` is integers or one tuple."""
    numbers = (generator or _default).standard_normal(sizes(size), dtype)
    return _new(numbers, dtype, device, requires_grad)


def rand(
    *size, generator: Generator | None = None, dtype=np.float32, device="cpu", requires_grad=False
) -> Tensor:
    """Independent uniform draws from [0, 1); `size` is integers or one tuple."""
    numbers = (generator or _default).random(sizes(size), dtype)
    return _new(numbers, dtype, device, requires_grad)


def from_dlpack(x) -> Tensor:
    """A tensor with the values of another library's array, on its device: CPU or CUDA.

    They are copied, for the other library may go on to write into its memory. TypeError for what
    has no `__dlpack__`, and for dtypes that tensors or NumPy do not have, such as PyTorch's
    bfloat16: convert it there. An array that wants a gradient must be detached first.
    """
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: expected an array with __dlpack__, got {type(x).__name__}")
    xp = import_cupy() if x.__dlpack_device__()[0] == _DLPACK_CUDA else np
    try:
        array = xp.from_dlpack(x)
    except RuntimeError as error:
        raise TypeError(f"from_dlpack: this array cannot be read: {error}") from error
    return TensorBase.tensor_class(array)
