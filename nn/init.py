"""Initial weights, in place: each function gives a parameter new values and returns it.

`generator` is a seeded `numpy.random.Generator`; without one, that of `tensor.manual_seed` serves.
"""

from __future__ import annotations

import math

import numpy as np

from tensor.creation import default_generator
from tensor.tensor import Tensor

Rng = np.random.Generator


def _fans(weight: Tensor) -> tuple[int, int]:
    """How many inputs an output of weight (out, in, ...) sees, how many outputs an input feeds."""
    if weight.ndim < 2:
        rule = "a weight has inputs and outputs, (out, in, ...)"
        raise ValueError(f"{rule}, but this one has shape {weight.shape}")
    receptive = math.prod(weight.shape[2:])
    return weight.shape[1] * receptive, weight.shape[0] * receptive


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """PyTorch's factor of the standard deviation before a nonlinearity; `param` is the negative
    slope of "leaky_relu", or 0.01."""
    slope = 0.01 if param is None else param
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    gains["leaky_relu"] = math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity must be one of {list(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _set(tensor: Tensor, values) -> Tensor:
    """The tensor with new values. TypeError for what is none: weight.data is an array."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"expected a tensor, such as layer.weight, got {type(tensor).__name__}")
    return tensor.copy_(values)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Rng | None = None
) -> Tensor:
    """N(mean, std^2); DCGAN (Radford et al. 2016) uses std=0.02."""
    numbers = (generator or default_generator()).standard_normal(tensor.shape)
    return _set(tensor, mean + std * numbers)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Rng | None = None
) -> Tensor:
    """U(a, b)."""
    return _set(tensor, (generator or default_generator()).uniform(a, b, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """All `val`."""
    return _set(tensor, np.full(tensor.shape, val))


def zeros_(tensor: Tensor) -> Tensor:
    """All zeros."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """All ones."""
    return constant_(tensor, 1)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Rng | None = None,
) -> Tensor:  # fmt: skip
    """He et al. 2015 eq. 15: variance 2 / ((1 + a^2) fan_in); a is a rectifier's negative slope.

    With mode="fan_out" it is divided by fan_out, as in eq. 14. Before another nonlinearity, gain^2
    of `calculate_gain` stands for 2 / (1 + a^2).
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Rng | None = None,
) -> Tensor:  # fmt: skip
    """The same variance as `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Rng | None = None) -> Tensor:
    """Glorot & Bengio 2010 eq. 16: variance 2 gain^2 / (fan_in + fan_out)."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Rng | None = None) -> Tensor:
    """Glorot & Bengio 2010 eq. 12: variance 2 gain^2 / (fan_in + fan_out)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)
