"""Elementwise ops, a table of derivatives. Shapes broadcast; the engine undoes it in gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tensor import gpu
from tensor.arrays import Array, array_module
from tensor.autodiff import op
from tensor.base import FLOAT32, raw
from tensor.calls import only
from tensor.errors import composite, described
from tensor.fused import Way, fused
from tensor.gpu import one_kernel
from tensor.kernels import in_one_pass, loops_for
from tensor.promotion import floating

if TYPE_CHECKING:
    from tensor.tensor import Tensor

# Arithmetic


@op(a=lambda g: g, b=lambda g: g)
@only(alpha=1)
def add(a: Array, b: Array) -> Tensor:
    """a + b"""
    return a + b


@op(a=lambda g: g, b=lambda g: -g)
@only(alpha=1)
def sub(a: Array, b: Array) -> Tensor:
    """a - b"""
    return a - b


@op(a=lambda g, b: g * b, b=lambda g, a: g * a)
def mul(a: Array, b: Array) -> Tensor:
    """a * b"""
    return a * b


@op(a=lambda g, b: g / b, b=one_kernel(lambda g, y, b: -g * y / b))
@only(rounding_mode=None)
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


def _pow_exponent(g, y, a):
    if isinstance(a, (int, float)):
        return g * (y * (math.log(a) if a > 0 else 0.0)) if a else g * 0.0
    return g * where(a == 0, 0.0, y) * log(where(a > 0, a, 1.0))


@op(a=_pow_base, b=_pow_exponent)
def pow(a: Array, b: Array) -> Tensor:
    """a ** b; the derivative by b is log(a) a ** b where a > 0, and taken as 0 elsewhere, but NaN
    where a ** b is.

    ValueError for integers to negative integer powers.
    """
    if _whole(a) and _whole(b) and (b < 0 if isinstance(b, int) else (b < 0).any()):
        raise ValueError("integers to negative integer powers are not allowed")
    return a**b


def _whole(x: Array) -> bool:
    """Whether x is an integer, or an array of integers."""
    return x.dtype.kind in "iu" if hasattr(x, "dtype") else isinstance(x, int)


@op(a=lambda g: 0.0 * g, b=lambda g: 0.0 * g)
def floor_divide(a: Array, b: Array) -> Tensor:
    """The largest whole number that is not above a / b; constant between its jumps."""
    return a // b


@op(a=lambda g: g, b=lambda g, y, a, b: g * round((y - a) / b))
def remainder(a: Array, b: Array) -> Tensor:
    """a % b: what is left of a after whole steps of b, with the sign of b."""
    return a % b


@op(x=one_kernel(lambda g, y: -g * y * y))
@floating
def reciprocal(x: Array) -> Tensor:
    """1 / x"""
    return 1 / x


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


@op(x=lambda g, x: g / (x * math.log(2)))
@floating
def log2(x: Array) -> Tensor:
    """The logarithm to the base 2."""
    return array_module(x).log2(x)


@op(x=lambda g, x: g / (x * math.log(10)))
@floating
def log10(x: Array) -> Tensor:
    """The logarithm to the base 10."""
    return array_module(x).log10(x)


@op(x=one_kernel(lambda g, y: g * (y + 1.0)))
@floating
def expm1(x: Array) -> Tensor:
    """e ** x - 1, to all digits where x is near 0."""
    return array_module(x).expm1(x)


@op(x=one_kernel(lambda g, x: g / (x + 1.0)))
@floating
def log1p(x: Array) -> Tensor:
    """log(1 + x), to all digits where x is near 0."""
    return array_module(x).log1p(x)


@op(x=one_kernel(lambda g, y: g / (2.0 * y)))
@floating
def sqrt(x: Array) -> Tensor:
    """The square root."""
    return array_module(x).sqrt(x)


@op(x=one_kernel(lambda g, x, y: -0.5 * g * y / x))
@floating
def rsqrt(x: Array) -> Tensor:
    """1 / sqrt(x)"""
    return 1 / array_module(x).sqrt(x)


@op(x=one_kernel(lambda g, x: 2.0 * g * x))
def square(x: Array) -> Tensor:
    """x * x"""
    return x * x if getattr(x, "dtype", x) != "bool" else x.astype(np.int64)


@op(x=one_kernel(lambda g, x: g * cos(x)))
@floating
def sin(x: Array) -> Tensor:
    """The sine."""
    return array_module(x).sin(x)


@op(x=one_kernel(lambda g, x: -g * sin(x)))
@floating
def cos(x: Array) -> Tensor:
    """The cosine."""
    return array_module(x).cos(x)


@op(x=one_kernel(lambda g, y: g * (1.0 - y * y)))
@floating
def tanh(x: Array) -> Tensor:
    """The hyperbolic tangent."""
    return array_module(x).tanh(x)


@op(x=one_kernel(lambda g, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x)))
@floating
def erf(x: Array) -> Tensor:
    """The error function: 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    if loops := loops_for(x):
        return in_one_pass(loops.erf, np.empty_like(x), x)
    if array_module(x) is np:
        return np.vectorize(math.erf, otypes=[x.dtype])(x)
    return gpu.erf(x)


# Activations


@op(x=one_kernel(lambda g, y: g * y * (1.0 - y)))
@floating
def sigmoid(x: Array) -> Tensor:
    """1 / (1 + exp(-x))"""
    if loops := loops_for(x):
        return in_one_pass(loops.sigmoid, np.empty_like(x), x)
    with np.errstate(over="ignore"):  # exp(-x) may become inf, and 1 / inf is the right answer
        return gpu.sigmoid(x)


@op(x=one_kernel(lambda g, x: g * sigmoid(x)))
@only(beta=1, threshold=20)
@floating
def softplus(x: Array) -> Tensor:
    """log(1 + exp(x)), without overflow, also above 20, where PyTorch's is x."""
    if loops := loops_for(x):
        return in_one_pass(loops.softplus, np.empty_like(x), x)
    return array_module(x).logaddexp(x, x.dtype.type(0))


@op(x=lambda g, y: _gate(g, y, 0.0))
@only(inplace=False)
def relu(x: Array) -> Tensor:
    """max(x, 0); the derivative at 0 is taken as 0."""
    return array_module(x).maximum(x, 0)


@composite
@only(inplace=False)
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
    return gpu.gate(a, x, a.dtype.type(negative_slope))


@fused(
    "x",
    Way(
        lambda x: (in_one_pass(loops_for(x).silu, x.copy("K")), None),
        lambda g, y, kept, x: (in_one_pass(loops_for(x).silu_vjp, x.copy("K"), g, y),),
    ),
    Way(lambda x: (gpu.silu(x), None), lambda g, y, kept, x: (gpu.silu_vjp(g, x),)),
)
@only(inplace=False)
def silu(x: Array) -> Tensor:
    """x * sigmoid(x), which is swish with beta = 1 (Ramachandran et al. 2017)."""
    return x * sigmoid(x)


@fused(
    "x",
    Way(
        lambda x: (in_one_pass(loops_for(x).gelu, np.empty_like(x), x), None),
        lambda g, y, kept, x: (in_one_pass(loops_for(x).gelu_vjp, np.empty_like(x), g, x),),
    ),
    Way(lambda x: (gpu.gelu(x), None), lambda g, y, kept, x: (gpu.gelu_vjp(g, x),)),
)
def _gelu(x: Array) -> Tensor:
    return 0.5 * x * (1.0 + erf(x * math.sqrt(0.5)))


@composite
def gelu(x, *, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the Gaussian distribution function Phi (Hendrycks & Gimpel 2016).

    `approximate="none"` uses erf; `"tanh"` is their approximation.
    """
    if approximate == "none":
        return _gelu(x)
    if approximate == "tanh":
        return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


# Kinks


@op(x=one_kernel(lambda g, x: g * sign(x)))
def abs(x: Array) -> Tensor:
    """|x|; the derivative at 0 is taken as 0."""
    return array_module(x).abs(x)


# Constant between their jumps: the gradient is 0


def _zeros(g):
    return 0.0 * g


@op(x=_zeros)
def sign(x: Array) -> Tensor:
    """-1, 0 or 1. TypeError for bool."""
    if x.dtype == "bool":
        raise TypeError("sign: cannot compute with bool")
    return array_module(x).sign(x)


@op(x=_zeros)
def floor(x: Array) -> Tensor:
    """The largest whole number that is not above x."""
    return _rounded("floor", x)


@op(x=_zeros)
def ceil(x: Array) -> Tensor:
    """The smallest whole number that is not below x."""
    return _rounded("ceil", x)


@op(x=_zeros)
@only(decimals=0)
def round(x: Array) -> Tensor:
    """The nearest whole number, of two the even one."""
    return _rounded("round", x)


def _rounded(how: str, x: Array) -> Array:
    """Integers are whole as they are; what NumPy makes of them depends on its version."""
    return x if x.dtype.kind in "iu" else getattr(array_module(x), how)(x)


# Kinks between two: ties share the gradient equally


@one_kernel
def _where_larger(g, a, b):
    """g where a > b, half of it at a tie, nothing elsewhere."""
    return 0.5 * (g * (a > b) + g * (a >= b))


@op(a=lambda g, a, b: _where_larger(g, a, b), b=lambda g, a, b: _where_larger(g, b, a))
def maximum(a: Array, b: Array) -> Tensor:
    """The larger of a and b; at a tie each gets half of the gradient."""
    return _module(a, b).maximum(a, b)


@op(a=lambda g, a, b: _where_larger(g, b, a), b=lambda g, a, b: _where_larger(g, a, b))
def minimum(a: Array, b: Array) -> Tensor:
    """The smaller of a and b; at a tie each gets half of the gradient."""
    return _module(a, b).minimum(a, b)


def _clamp_vjp(g, x, min, max):
    g = g if min is None else g * (x >= min)
    return g if max is None else g * (x <= max)


@op(
    x=_clamp_vjp,
    min=lambda g, x, min, max: g * (x < min) * (True if max is None else min < max),
    max=lambda g, x, min, max: g * ((x > max) + (False if min is None else min > max)),
)
def clamp(x: Array, min: Array | None = None, max: Array | None = None) -> Tensor:
    """x limited to [min, max], numbers or tensors. Where min > max it is max; NaN if one is NaN.

    The gradient passes where x lies inside, bounds included; elsewhere the bound taken has it.
    """
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    xp, min, max = _module(x, min, max), _representable(min, x), _representable(max, x)
    if type(x) is np.ndarray:
        return xp.clip(x, min, max)
    # For NumPy's clip a number is float64, and for CuPy's NaN is no limit.
    y = x if min is None else xp.maximum(x, min)
    return y if max is None else xp.minimum(y, max)


def _representable(bound: Array, x: Array) -> Array:
    """The bound, or for one that integers such as those of x cannot reach the nearest that can."""
    if type(bound) is not int or getattr(x, "dtype", FLOAT32).kind not in "iu":
        return bound
    least, most = np.iinfo(x.dtype).min, np.iinfo(x.dtype).max
    return least if bound < least else most if bound > most else bound


@op(
    a=lambda g, condition: where(condition, g, 0.0), b=lambda g, condition: where(condition, 0.0, g)
)
def where(condition: Array, a: Array, b: Array) -> Tensor:
    """a where the condition, of bool, holds, b elsewhere."""
    kind = getattr(condition, "dtype", described(condition))
    if kind != "bool":
        raise TypeError(f"expected a condition of bool, such as x > 0, got {kind}")
    xp = _module(condition, a, b)
    return xp.where(xp.asarray(condition), a, b)


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
    return _refuse_none_and_text(a) == _refuse_none_and_text(b)


@op()
def ne(a: Array, b: Array) -> Tensor:
    """a != b"""
    return _refuse_none_and_text(a) != _refuse_none_and_text(b)


def _refuse_none_and_text(x: Array) -> Array:
    """x itself; TypeError for what NumPy would compare with, None and texts."""
    if x is None or isinstance(x, str):
        raise TypeError(f"expected a tensor, an array or a number, got {x!r}")
    return x


@op()
def isfinite(x: Array) -> Tensor:
    """True where x is neither infinite nor NaN."""
    return array_module(x).isfinite(x)


@op()
def isnan(x: Array) -> Tensor:
    """True where x is not a number."""
    return array_module(x).isnan(x)


@op()
def isinf(x: Array) -> Tensor:
    """True where x is infinite."""
    return array_module(x).isinf(x)


# Logic, of bool or of the bits of integers


@op()
def bitwise_not(x: Array) -> Tensor:
    """not x"""
    return ~x


@op()
def bitwise_and(a: Array, b: Array) -> Tensor:
    """a and b"""
    return a & b


@op()
def bitwise_or(a: Array, b: Array) -> Tensor:
    """a or b, or both"""
    return a | b


@op()
def bitwise_xor(a: Array, b: Array) -> Tensor:
    """Either a or b, and not both."""
    return a ^ b


# Two tensors as a whole: an answer of Python's


@composite
def equal(a, b) -> bool:
    """Whether shapes and all elements are equal."""
    return a.shape == b.shape and bool(raw(eq(a, b)).all())


@composite
def allclose(a, b, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |a - b| <= atol + rtol |b| for all elements; NaN equals NaN if `equal_nan`."""
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and not near
        near = isfinite(b) * (abs(a - 1.0 * b) <= atol + rtol * abs(1.0 * b))
    both_nan = isnan(a) * isnan(b) * equal_nan
    return bool((raw(eq(a, b)) | raw(near) | raw(both_nan)).all())
