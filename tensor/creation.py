"""New tensors: constants, random numbers, and the arrays of other libraries.

Random numbers come from `numpy.random.Generator`s on the host and go from there to the device: a
seed gives the same numbers on a CPU and on a GPU, and a checkpoint can hold a generator's state,
which is plain integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator, default_rng

from tensor.arrays import device_of, import_cupy, integer, integers, sizes, to_device
from tensor.base import FLOAT32, TensorBase, raw, supported, wrap
from tensor.errors import composite

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


@composite
def tensor(data, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor with a copy of a number, a nested list or an array: `Tensor` by PyTorch's name."""
    return TensorBase.tensor_class(data, requires_grad, dtype=dtype, device=device)


def _new(array: np.ndarray, dtype, device: str | None, requires_grad: bool) -> Tensor:
    array = array.astype(supported(np.float32 if dtype is None else dtype), copy=False)
    return wrap(to_device(array, device or "cpu")).requires_grad_(requires_grad)


@composite
def zeros(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of zeros; `size` is integers or one tuple.

    Here and below, dtype=None is float32, and device=None the CPU.
    """
    return _new(np.zeros(integers(sizes(size))), dtype, device, requires_grad)


@composite
def ones(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of ones; `size` is integers or one tuple."""
    return _new(np.ones(integers(sizes(size))), dtype, device, requires_grad)


@composite
def full(size, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of one number, in whose dtype it is: float32, int64 or bool."""
    (fill_value,), dtype = _numbers(dtype, fill_value)
    return _new(np.full(integers(size), fill_value), dtype, device, requires_grad)


@composite
def eye(n: int, m: int | None = None, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """The matrix (n, m) with ones on the diagonal; m=None is n."""
    m = n if m is None else m
    return _new(np.eye(integer(n), integer(m)), dtype, device, requires_grad)


@composite
def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """start, start + step, ... before end: int64 for integers, or else float32.

    `arange(end)` starts from 0.
    """
    start, end = (0, start) if end is None else (start, end)
    (start, end, step), dtype = _numbers(dtype, start, end, step)
    return _new(np.arange(start, end, step), dtype, device, requires_grad)


@composite
def linspace(start, end, steps: int, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """`steps` numbers at equal distances, from start to end, both included: floats, unless a dtype
    of integers is given, and they are integers."""
    (start, end), dtype = _numbers(FLOAT32 if dtype is None else dtype, start, end)
    return _new(np.linspace(start, end, integer(steps)), dtype, device, requires_grad)


def _numbers(dtype, *given) -> tuple[list, np.dtype]:
    """What was given as numbers of Python, and `dtype` or theirs: float32, int64 or bool.

    ValueError where a dtype of integers is asked for and they are none: PyTorch cuts them off.
    """
    numbers = [x.item() if hasattr(x, "item") else x for x in given]
    if wrong := [x for x in numbers if not isinstance(x, (float, int))]:
        raise TypeError(f"expected numbers, got {wrong[0]!r}")
    own = np.result_type(*map(type, numbers))
    dtype = (own if own.kind in "bi" else FLOAT32) if dtype is None else supported(dtype)
    if dtype.kind in "iu" and own.kind == "f":
        raise ValueError(f"expected integers for dtype {dtype}, got {numbers}")
    return numbers, dtype


@composite
def randn(
    *size, generator: Generator | None = None, dtype=None, device=None, requires_grad=False
) -> Tensor:
    """Independent draws from N(0, 1); `size` is integers or one tuple."""
    dtype = np.float32 if dtype is None else dtype
    numbers = (generator or _default).standard_normal(integers(sizes(size)), dtype)
    return _new(numbers, dtype, device, requires_grad)


@composite
def rand(
    *size, generator: Generator | None = None, dtype=None, device=None, requires_grad=False
) -> Tensor:
    """Independent uniform draws from [0, 1); `size` is integers or one tuple."""
    dtype = np.float32 if dtype is None else dtype
    numbers = (generator or _default).random(integers(sizes(size)), dtype)
    return _new(numbers, dtype, device, requires_grad)


@composite
def randint(
    low=0, high=None, size=None, *, generator: Generator | None = None, dtype=None, device=None,
    requires_grad=False,
) -> Tensor:  # fmt: skip
    """Independent integers from low up to, and without, high: int64 unless a dtype is given.

    `randint(high, size)` starts from 0.
    """
    low, high, size = (0, low, high) if size is None else (low, high, size)
    numbers = (generator or _default).integers(integer(low), integer(high), integers(size))
    return _new(numbers, np.int64 if dtype is None else dtype, device, requires_grad)


# Of the shape, and unless others are given of the dtype and on the device, of another tensor


def _like(x, dtype, device, requires_grad) -> dict:
    array = raw(x)
    dtype = array.dtype if dtype is None else dtype
    return {"dtype": dtype, "device": device or device_of(array), "requires_grad": requires_grad}


@composite
def zeros_like(x, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Zeros of the shape, the dtype and the device of x."""
    return zeros(x.shape, **_like(x, dtype, device, requires_grad))


@composite
def ones_like(x, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Ones of the shape, the dtype and the device of x."""
    return ones(x.shape, **_like(x, dtype, device, requires_grad))


@composite
def full_like(x, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """One number in the shape, the dtype and on the device of x."""
    return full(x.shape, fill_value, **_like(x, dtype, device, requires_grad))


@composite
def randn_like(
    x, *, generator: Generator | None = None, dtype=None, device=None, requires_grad=False
) -> Tensor:
    """Draws from N(0, 1) in the shape, the dtype and on the device of x."""
    return randn(x.shape, generator=generator, **_like(x, dtype, device, requires_grad))


@composite
def rand_like(
    x, *, generator: Generator | None = None, dtype=None, device=None, requires_grad=False
) -> Tensor:
    """Uniform draws from [0, 1) in the shape, the dtype and on the device of x."""
    return rand(x.shape, generator=generator, **_like(x, dtype, device, requires_grad))


# From other libraries


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
