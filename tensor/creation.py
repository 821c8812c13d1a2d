"""New tensors: constants and random numbers.

Random numbers come from `numpy.random.Generator`s on the host, and from there go to the device: the same seed gives the same
numbers on a CPU and on a GPU, and a generator's state is plain integers that a checkpoint can hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensor.arrays import to_device
from tensor.base import supported, wrap

if TYPE_CHECKING:
    from tensor.tensor import Tensor

_default = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the default generator and return it."""
    _default.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return _default


def default_generator() -> np.random.Generator:
    """The generator that is used where none is passed."""
    return _default


def _shape(size: tuple) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else size


def _new(array: np.ndarray, dtype, device: str, requires_grad: bool) -> Tensor:
    return wrap(to_device(array.astype(supported(dtype), copy=False), device)).requires_grad_(
        requires_grad
    )


def zeros(*size, dtype=np.float32, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of zeros; `size` is integers or one tuple."""
    return _new(np.zeros(_shape(size)), dtype, device, requires_grad)


def ones(*size, dtype=np.float32, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of ones; `size` is integers or one tuple."""
    return _new(np.ones(_shape(size)), dtype, device, requires_grad)


def randn(
    *size,
    generator: np.random.Generator | None = None,
    dtype=np.float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Independent draws from N(0, 1); `size` is integers or one tuple."""
    return _new(
        (generator or _default).standard_normal(_shape(size), dtype), dtype, device, requires_grad
    )


def rand(
    *size,
    generator: np.random.Generator | None = None,
    dtype=np.float32,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Independent draws from the uniform distribution on [0, 1); `size` is integers or one tuple."""
    return _new((generator or _default).random(_shape(size), dtype), dtype, device, requires_grad)
