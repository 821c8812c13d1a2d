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
def over(d: Array, root: Array) -> Array:
    """d / root^2, also where root^2 is too small to be told from 0; and 0 / 0 = 0"""
    xp = array_module(d)
    root = xp.where(d == 0, 1, root)
    return d / root / root


@one_kernel
def normal_divergence(
    loc_p: Array, log_scale_p: Array, loc_q: Array, log_scale_q: Array, root_q: Array
) -> Array:
    """1/2 (e^u - 1 - u + d^2), u = 2 log(scale_p / scale_q), d = (loc_p - loc_q) / root_q^2"""
    u, d = 2 * (log_scale_p - log_scale_q), over(loc_p - loc_q, root_q)
    return 0.5 * (array_module(u).exp(u) - 1 - u + d * d)
