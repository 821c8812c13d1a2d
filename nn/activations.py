"""The activation functions as modules, for use in Sequential."""

from __future__ import annotations

import tensor as T
from nn.checks import accepts
from nn.module import Module
from tensor import Tensor


class ReLU(Module):
    """max(x, 0)"""

    @accepts(inplace=False)
    def __init__(self):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return T.relu(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x."""

    @accepts(inplace=False)
    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        return T.leaky_relu(x, self.negative_slope)


class SiLU(Module):
    """x * sigmoid(x)"""

    @accepts(inplace=False)
    def __init__(self):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return T.silu(x)


class GELU(Module):
    """x * Phi(x); approximate="tanh" is much faster on the CPU."""

    def __init__(self, approximate: str = "none"):
        T.gelu(T.zeros(1), approximate=approximate)  # refuses what it does not know
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return T.gelu(x, approximate=self.approximate)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x: Tensor) -> Tensor:
        return T.sigmoid(x)


class Tanh(Module):
    """tanh x"""

    def forward(self, x: Tensor) -> Tensor:
        return T.tanh(x)


class Softplus(Module):
    """log(1 + exp(x)), also above 20, where PyTorch returns x."""

    @accepts(beta=1, threshold=20)
    def __init__(self):
        pass

    def forward(self, x: Tensor) -> Tensor:
        return T.softplus(x)


class Softmax(Module):
    """exp(x) / sum exp(x) over dimension `dim`."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return T.softmax(x, self.dim)


class LogSoftmax(Module):
    """log of softmax(x) over dimension `dim`."""

    def __init__(self, dim: int):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return T.log_softmax(x, self.dim)
