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


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0, generator: Rng | None = None) -> Tensor:
    """N(mean, std^2); DCGAN (Radford et al. 2016) uses std=0.02."""
    return x.copy_(mean + std * (generator or default_generator()).standard_normal(x.shape))


def uniform_(x: Tensor, a: float = 0.0, b: float = 1.0, generator: Rng | None = None) -> Tensor:
    """U(a, b)."""
    return x.copy_((generator or default_generator()).uniform(a, b, x.shape))


def zeros_(x: Tensor) -> Tensor:
    """All zeros."""
    return x.copy_(np.zeros(x.shape))


def ones_(x: Tensor) -> Tensor:
    """All ones."""
    return x.copy_(np.ones(x.shape))


def kaiming_uniform_(x: Tensor, a: float = 0.0, generator: Rng | None = None) -> Tensor:
    """He et al. 2015 eq. 15: variance 2 / ((1 + a^2) fan_in); a is a rectifier's negative slope."""
    bound = math.sqrt(6 / ((1 + a * a) * _fans(x)[0]))
    return uniform_(x, -bound, bound, generator)


def kaiming_normal_(x: Tensor, a: float = 0.0, generator: Rng | None = None) -> Tensor:
    """He et al. 2015 eq. 15: variance 2 / ((1 + a^2) fan_in); a is a rectifier's negative slope."""
    return normal_(x, 0.0, math.sqrt(2 / ((1 + a * a) * _fans(x)[0])), generator)


def xavier_uniform_(x: Tensor, gain: float = 1.0, generator: Rng | None = None) -> Tensor:
    """Glorot & Bengio 2010 eq. 16: variance 2 gain^2 / (fan_in + fan_out)."""
    bound = gain * math.sqrt(6 / sum(_fans(x)))
    return uniform_(x, -bound, bound, generator)


def xavier_normal_(x: Tensor, gain: float = 1.0, generator: Rng | None = None) -> Tensor:
    """Glorot & Bengio 2010 eq. 12: variance 2 gain^2 / (fan_in + fan_out)."""
    return normal_(x, 0.0, gain * math.sqrt(2 / sum(_fans(x))), generator)
