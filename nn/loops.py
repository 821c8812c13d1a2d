"""The loops of the optimisers and of the average of weights, compiled by Numba: one pass each."""

from __future__ import annotations

import numpy as np

from tensor.loops import compiled


@compiled
def momentum(g, lr, momentum, nesterov, p, velocity):
    """velocity <- momentum velocity + g;  p <- p - lr velocity, by Nesterov p - lr (g + momentum
    velocity)."""
    rate, share = p.dtype.type(lr), p.dtype.type(momentum)
    for i in range(p.size):
        velocity[i] = share * velocity[i] + g[i]
        p[i] = p[i] - rate * (g[i] + share * velocity[i] if nesterov else velocity[i])


@compiled
def adam(g, b1, b2, rate, root, eps, p, m, v):
    """m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; p <- p - rate m / (sqrt(v) / root + eps)"""
    b1_, a1 = p.dtype.type(b1), p.dtype.type(1 - b1)
    b2_, a2 = p.dtype.type(b2), p.dtype.type(1 - b2)
    step, scale, least = p.dtype.type(rate), p.dtype.type(1 / root), p.dtype.type(eps)
    for i in range(p.size):
        m[i] = b1_ * m[i] + a1 * g[i]
        v[i] = b2_ * v[i] + a2 * (g[i] * g[i])
        p[i] = p[i] - step * m[i] / (np.sqrt(v[i]) * scale + least)


@compiled
def average(x, decay, y):
    """y <- decay y + (1 - decay) x"""
    old, new = y.dtype.type(decay), y.dtype.type(1 - decay)
    for i in range(y.size):
        y[i] = old * y[i] + new * x[i]
