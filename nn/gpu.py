"""Losses, a divergence, and the steps of optimisers and of averages: one kernel each on a GPU.

Without Numba most serve on the CPU, too.
"""

from __future__ import annotations

from tensor.arrays import Array, array_module
from tensor.gpu import one_kernel


@one_kernel
def momentum(g: Array, lr: float, momentum: float, p: Array, velocity: Array) -> None:
    """velocity <- momentum velocity + g;  p <- p - lr velocity"""
    velocity *= momentum
    velocity += g
    p -= lr * velocity


@one_kernel
def nesterov(g: Array, lr: float, momentum: float, p: Array, velocity: Array) -> None:
    """velocity <- momentum velocity + g;  p <- p - lr (g + momentum velocity)"""
    velocity *= momentum
    velocity += g
    p -= lr * (g + momentum * velocity)


@one_kernel
def adam(g, b1, a1, b2, a2, rate, root, eps, p, m, v) -> None:
    """m <- b1 m + a1 g;  v <- b2 v + a2 g^2;  p <- p - rate m / (sqrt(v) / root + eps)"""
    m *= b1
    m += a1 * g
    v *= b2
    v += a2 * (g * g)
    p -= rate * m / (array_module(p).sqrt(v) / root + eps)


@one_kernel
def average(x: Array, old: float, new: float, y: Array) -> None:
    """y <- old y + new x"""
    y *= old
    y += new * x


@one_kernel
def squared_error(x: Array, target: Array) -> Array:
    """(x - target)^2"""
    difference = x - target
    return difference * difference


@one_kernel
def bernoulli_cost(x: Array, target: Array) -> Array:
    """|x| error + log(1 + e^-|x|), and no error costs 0, even at infinity."""
    xp = array_module(x)
    size, error = xp.abs(x), xp.where(x > 0, 1 - target, target)
    linear = xp.where(error == 0, error, size) * error  # for 0 times inf is NaN
    return linear + xp.log1p(xp.exp(-size))


@one_kernel
def normal_divergence(loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array) -> Array:
    """1/2 (r^2 + d^2 - 1 - log r^2), r = scale_p / scale_q, d = (loc_p - loc_q) / scale_q"""
    r, d = scale_p / scale_q, (loc_p - loc_q) / scale_q
    return 0.5 * (r * r + d * d - 1 - array_module(r).log(r * r))


@one_kernel
def normal_divergence_vjp(
    g: Array, loc_p: Array, scale_p: Array, loc_q: Array, scale_q: Array
) -> tuple[Array, Array, Array, Array]:
    """The gradients of all four."""
    r, d = scale_p / scale_q, (loc_p - loc_q) / scale_q
    g = g / scale_q
    return g * d, g * (r - 1 / r), -g * d, g * (1 - r * r - d * d)
