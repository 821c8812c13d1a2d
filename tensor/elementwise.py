"""Elementwise ops, a table of derivatives. Shapes broadcast; the engine undoes it in gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tensor.arrays import Array, array_module
from tensor.autodiff import op
from tensor.errors import composite
from tensor.fused import fused
from tensor.kernels import in_one_pass, loops_for
from tensor.promotion import floating

if TYPE_CHECKING:
    from tensor.tensor import Tensor

# Arithmetic


@op(a=lambda g: g, b=lambda g: g)
def add(a: Array, b: Array) -> Tensor:
    """a + b"""
    return a + b


@op(a=lambda g: g, b=lambda g: -g)
def sub(a: Array, b: Array) -> Tensor:
    """a - b"""
    return a - b


@op(a=lambda g, b: g * b, b=lambda g, a: g * a)
def mul(a: Array, b: Array) -> Tensor:
    """a * b"""
    return a * b


@op(a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)
def div(a: Array, b: Array) -> Tensor:
    """a / b"""
    return a / b


@op(x=lambda g: -g)
def neg(x: Array) -> Tensor:
    """-x"""
    return -x


def _pow_base(g, a, b):
    if isinstance(b, (int, float)):
        return g * (b * a ** (b - 1)) if b else g * 0.0
    return g * b * where((a == 0) * (b == 0), 1.0, a) ** (b - 1.0)


@op(a=_pow_base, b=lambda g, y, a: g * y * log(where(a > 0, a, 1.0)))
def pow(a: Array, b: Array) -> Tensor:
    """a ** b; the derivative by b is log(a) a ** b where a > 0, and taken as 0 elsewhere."""
    return a**b


# Powers, exponentials, circles


@op(x=lambda g, y: g * y)
@floating
def exp(x: Array) -> Tensor:
    """e ** x"""
    return array_module(x).exp(x)


@op(x=lambda g, x: g / x)
@floating
def log(x: Array) -> Tensor:
    """The natural logarithm."""
    return array_module(x).log(x)


@op(x=lambda g, x: g / (1.0 + x))
@floating
def log1p(x: Array) -> Tensor:
    """log(1 + x), which keeps its digits where x is small."""
    return array_module(x).log1p(x)


@op(x=lambda g, y: g / (2.0 * y))
@floating
def sqrt(x: Array) -> Tensor:
    """The square root."""
    return array_module(x).sqrt(x)


@op(x=lambda g, x: 2.0 * g * x)
def square(x: Array) -> Tensor:
    """x * x"""
    return x * x


@op(x=lambda g, x: g * cos(x))
@floating
def sin(x: Array) -> Tensor:
    """The sine."""
    return array_module(x).sin(x)


@op(x=lambda g, x: -g * sin(x))
@floating
def cos(x: Array) -> Tensor:
    """The cosine."""
    return array_module(x).cos(x)


@op(x=lambda g, y: g * (1.0 - y * y))
@floating
def tanh(x: Array) -> Tensor:
    """The hyperbolic tangent."""
    return array_module(x).tanh(x)


@op(x=lambda g, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x))
@floating
def erf(x: Array) -> Tensor:
    """The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    if loops := loops_for(x):
        return in_one_pass(loops.erf, np.empty_like(x), x)
    if array_module(x) is np:
        return np.vectorize(math.erf, otypes=[x.dtype])(x)
    from cupyx.scipy.special import erf as cupy_erf

    return cupy_erf(x)


# Activations


@op(x=lambda g, y: g * y * (1.0 - y))
@floating
def sigmoid(x: Array) -> Tensor:
    """1 / (1 + exp(-x))"""
    if loops := loops_for(x):
        return in_one_pass(loops.sigmoid, np.empty_like(x), x)
    with np.errstate(over="ignore"):  # exp(-x) may become inf, and 1 / inf is the right answer
        return 1 / (1 + array_module(x).exp(-x))


@op(x=lambda g, x: g * sigmoid(x))
@floating
def softplus(x: Array) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    if loops := loops_for(x):
        return in_one_pass(loops.softplus, np.empty_like(x), x)
    return array_module(x).logaddexp(x, x.dtype.type(0))


@op(x=lambda g, y: _gate(g, y, 0.0))
def relu(x: Array) -> Tensor:
    """max(x, 0); the derivative at 0 is taken as 0."""
    return array_module(x).maximum(x, 0)


@composite
def leaky_relu(x, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return _gate(x, x, negative_slope)


# x has a VJP, of nothing, for an argument without one is refused where it requires a gradient.
@op(a=lambda g, x, negative_slope: _gate(g, x, negative_slope), x=lambda g: None)
@floating
def _gate(a: Array, x: Array, negative_slope: float) -> Tensor:
    """slope(x) a: a slope of 1 where x > 0, else negative_slope, constant between its jumps."""
    if loops := loops_for(a):
        slope = float(negative_slope)
        return in_one_pass(lambda a, x, y: loops.gate(a, x, slope, y), np.empty_like(a), a, x)
    return a * array_module(x).where(x > 0, a.dtype.type(1), a.dtype.type(negative_slope))


@fused(
    "x",
    lambda x: (in_one_pass(loops_for(x).silu, x.copy("K")), None),
    lambda g, y, kept, x: (in_one_pass(loops_for(x).silu_vjp, x.copy("K"), g, y),),
)
def silu(x: Array) -> Tensor:
    """x * sigmoid(x), which is swish with beta = 1 (Ramachandran et al. 2017)."""
    return x * sigmoid(x)


@fused(
    "x",
    lambda x: (in_one_pass(loops_for(x).gelu, np.empty_like(x), x), None),
    lambda g, y, kept, x: (in_one_pass(loops_for(x).gelu_vjp, np.empty_like(x), g, x),),
)
def _gelu(x: Array) -> Tensor:
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))


@composite
def gelu(x, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the Gaussian distribution function Phi (Hendrycks & Gimpel 2016).

    `approximate="none"` uses erf; `"tanh"` is their approximation.
    """
    if approximate == "none":
        return _gelu(x)
    if approximate == "tanh":
        return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


# Kinks: where a derivative jumps, ties share the gradient equally


@op(x=lambda g, x: g * sign(x))
def abs(x: Array) -> Tensor:
    """|x|; the derivative at 0 is taken as 0."""
    return array_module(x).abs(x)


@op()
def sign(x: Array) -> Tensor:
    """-1, 0 or 1. Constant between its jumps, so it has no gradient."""
    return array_module(x).sign(x)


def _share(g, a, b):
    """The part of g that belongs to a in max(a, b): all, half at a tie, or nothing."""
    return 0.5 * (g * (a > b) + g * (a >= b))


@op(a=lambda g, a, b: _share(g, a, b), b=lambda g, a, b: _share(g, b, a))
def maximum(a: Array, b: Array) -> Tensor:
    """The larger of a and b; at a tie each gets half of the gradient."""
    return _module(a, b).maximum(a, b)


@op(a=lambda g, a, b: _share(g, b, a), b=lambda g, a, b: _share(g, a, b))
def minimum(a: Array, b: Array) -> Tensor:
    """The smaller of a and b; at a tie each gets half of the gradient."""
    return _module(a, b).minimum(a, b)


def _number(x: Any) -> Any:
    """A scalar of NumPy as Python's, which changes no dtype; TypeError for what is no number."""
    x = x.item() if hasattr(x, "item") else x
    if x is not None and type(x) not in (float, int, bool):
        raise TypeError(f"expected a number, got {x!r}")
    return x


def _clamp_vjp(g, x, min, max):
    g = g if min is None else g * (x >= min)
    return g if max is None else g * (x <= max)


@op(x=_clamp_vjp)
def clamp(x: Array, min: float | None = None, max: float | None = None) -> Tensor:
    """x limited to [min, max]; the gradient passes where x lies inside, bounds included."""
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    return array_module(x).clip(x, _number(min), _number(max))


@op(
    a=lambda g, condition: where(condition, g, 0.0), b=lambda g, condition: where(condition, 0.0, g)
)
def where(condition: Array, a: Array, b: Array) -> Tensor:
    """a where the condition holds, b elsewhere."""
    return _module(condition, a, b).where(condition, a, b)


def _module(*operands):
    return array_module(next((a for a in operands if hasattr(a, "dtype")), None))


# Comparisons: tensors of bool, without a gradient


@op()
def lt(a: Array, b: Array) -> Tensor:
    """a < b"""
    return a < b


@op()
def le(a: Array, b: Array) -> Tensor:
    """a <= b"""
    return a <= b


@op()
def gt(a: Array, b: Array) -> Tensor:
    """a > b"""
    return a > b


@op()
def ge(a: Array, b: Array) -> Tensor:
    """a >= b"""
    return a >= b


@op()
def eq(a: Array, b: Array) -> Tensor:
    """a == b"""
    return a == b


@op()
def ne(a: Array, b: Array) -> Tensor:
    """a != b"""
    return a != b


@op()
def isfinite(x: Array) -> Tensor:
    """True where x is neither infinite nor NaN."""
    return array_module(x).isfinite(x)
