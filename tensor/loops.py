"""Loops, compiled by Numba, that ops use in the place of NumPy, in float32 and in float64.

A loop writes into the arrays that come last among its arguments. Sums are carried in float64, so
that they are right however many terms they have. NaN and infinities come through; in Winograd's
convolution one of them spoils all pixels of a tile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def compiled(loop: Callable, flags: frozenset[str] = frozenset({"contract", "nsz"})) -> Callable:
    """Compile a loop when first called: without the interpreter's lock, with fused multiply-adds.

    The machine code is kept beside the source or in the user's cache folder, if one of them can be
    written to. A change of this file, of Numba or of the processor makes it anew; so a loop calls
    none in another file, whose changes went unseen.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(flags)}
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # there is no such folder
        return numba.njit(**options)(loop)


# Numbers

# Exact in float32 and float64: what they meet keeps its dtype.
ZERO, QUARTER, HALF, ONE, FOUR = map(np.float32, (0, 1 / 4, 1 / 2, 1, 4))
TINY = np.float32(2.0**-100)


@compiled
def _exp(x):
    """e^x in float32 = 2^n e^r, n = round(x / log 2), |r| <= log(2) / 2: the series ends after r^7.

    In float64 the C library's. Unlike that one, this can be computed for many numbers at once.
    """
    if not isinstance(x, np.float32):
        return math.exp(x)
    x = min(max(x, np.float32(-88)), np.float32(89))  # 0 below -87.7, inf above 88.3; NaN stays
    n = np.rint(x * np.float32(1.44269504))
    # log 2 in two parts, the first exact
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    p = np.float32(1 / 5040) * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = p * r + np.float32(1)
    p = p * r + np.float32(1)
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)  # the bits of 2^n


@compiled
def _log1p(x):
    """log(1 + x), x in [0, 1], in float32: 2 artanh s, s = x / (2 + x) <= 1/3, a series to s^13."""
    if not isinstance(x, np.float32):
        return math.log1p(x)
    s = x / (np.float32(2) + x)
    q = s * s
    p = np.float32(1 / 13) * q + np.float32(1 / 11)
    p = p * q + np.float32(1 / 9)
    p = p * q + np.float32(1 / 7)
    p = p * q + np.float32(1 / 5)
    p = p * q + np.float32(1 / 3)
    p = p * q + np.float32(1)
    return (s + s) * p


@compiled
def _sigmoid(x):
    return ONE / (ONE + _exp(-x))


# Activations, element by element on flat arrays


@compiled
def sigmoid(x, y):
    """y = 1 / (1 + e^-x)"""
    for i in range(x.size):
        y[i] = _sigmoid(x[i])


@compiled
def softplus(x, y):
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)"""
    for i in range(x.size):
        y[i] = max(x[i], ZERO) + _log1p(_exp(-abs(x[i])))


@compiled
def erf(x, y):
    """y = 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x."""
    for i in range(x.size):
        y[i] = math.erf(x[i])


@compiled
def silu(y):
    """y <- y sigmoid(y)"""
    for i in range(y.size):
        y[i] = y[i] * _sigmoid(y[i])


@compiled
def silu_vjp(g, y, gx):
    """gx = g (s + y (1 - s)), in the place of x. s = sigmoid(x) = y / x spares an exponential."""
    for i in range(gx.size):
        s = y[i] / gx[i] if abs(gx[i]) > TINY else HALF
        gx[i] = g[i] * (s + y[i] * (ONE - s))


@compiled
def gelu(x, y):
    """y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2"""
    sqrt_half = x.dtype.type(math.sqrt(0.5))
    for i in range(x.size):
        y[i] = x[i] * HALF * (ONE + math.erf(x[i] * sqrt_half))


@compiled
def gelu_vjp(g, x, gx):
    """gx = g (Phi(x) + x phi(x)), with the density phi(x) = e^(-x^2 / 2) / sqrt(2 pi)"""
    sqrt_half, top = x.dtype.type(math.sqrt(0.5)), x.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(x.size):
        Phi = HALF * (ONE + math.erf(x[i] * sqrt_half))
        gx[i] = g[i] * (Phi + x[i] * _exp(-HALF * x[i] * x[i]) * top)


@compiled
def gate(g, x, slope, y):
    """y = g where x > 0, and slope g elsewhere: leaky ReLU of g = x, and the derivative of it."""
    share = y.dtype.type(slope)
    for i in range(x.size):
        y[i] = g[i] if x[i] > ZERO else g[i] * share


@compiled
def bernoulli_cost(x, target, y):
    """log(1 + e^x) - target x = |x| error + log(1 + e^-|x|): no error costs 0, even at infinity."""
    for i in range(x.size):
        error = ONE - target[i] if x[i] > ZERO else target[i]
        y[i] = (abs(x[i]) * error if error != ZERO else ZERO) + _log1p(_exp(-abs(x[i])))


@compiled
def squared_error(x, target, y):
    """y = (x - target)^2"""
    for i in range(x.size):
        y[i] = (x[i] - target[i]) * (x[i] - target[i])


# Sums


@functools.partial(compiled, flags=frozenset({"contract", "nsz", "reassoc"}))
def add_between(x, y):
    """y[b, c] += the sum of x[b, m, c] over m. In any order, so that several are added at once."""
    B, M, C = x.shape
    for b in range(B):
        for m in range(M):
            for c in range(C):
                y[b, c] += x[b, m, c]


@compiled
def softmax(x, y):
    """y = e^(x - max x) / sum e^(x - max x) in each row."""
    for r in range(x.shape[0]):
        top = x[r].max()
        for i in range(x.shape[1]):
            y[r, i] = _exp(x[r, i] - top)
        scale = y.dtype.type(1 / y[r].astype(np.float64).sum())
        for i in range(x.shape[1]):
            y[r, i] *= scale


@compiled
def log_softmax(x, y):
    """y = x - max x - log sum e^(x - max x) in each row."""
    for r in range(x.shape[0]):
        top = x[r].max()
        for i in range(x.shape[1]):
            y[r, i] = _exp(x[r, i] - top)
        shift = y.dtype.type(math.log(y[r].astype(np.float64).sum()))
        for i in range(x.shape[1]):
            y[r, i] = x[r, i] - top - shift


# Normalisation of x (B, M, C). An item's mean and 1 / sqrt(variance + eps) are vectors (C,), equal
# within a group.


@compiled
def _group_means(sums, rows, groups):
    """Sums (C,) over some rows become the means of whole groups, in the place of each channel."""
    D = sums.size // groups
    for start in range(0, sums.size, D):
        total = 0.0
        for c in range(start, start + D):
            total += sums[c]
        for c in range(start, start + D):
            sums[c] = total / (rows * D)


@compiled
def _split_mean(mean, high, low):
    """A quarter of the mean (C,) in two parts, the second what rounding leaves of it.

    x / 4 - high - low keeps a small difference between large numbers, and cannot overflow.
    """
    for c in range(mean.size):
        high[c] = mean[c] / 4
        low[c] = mean[c] / 4 - high[c]


@compiled
def standardise(x, mean, rstd, weight, bias, y):
    """y = (x - mean) rstd weight + bias, with a quarter of x, so that the difference is finite."""
    B, M, C = x.shape
    high, low, scale = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for b in range(B):
        _split_mean(mean[b], high, low)
        for c in range(C):
            scale[c] = 4 * rstd[b, c] * weight[c]
        for m in range(M):
            for c in range(C):
                y[b, m, c] = (x[b, m, c] * QUARTER - high[c] - low[c]) * scale[c] + bias[c]


@compiled
def moments(x, groups, eps, mean, rstd):
    """The mean of each group, and 1 / sqrt(variance + eps)."""
    B, M, C = x.shape
    mu, var = (
        np.empty(C),
        np.empty(C),
    )  # summed here in half the time that it takes in mean and rstd
    for b in range(B):
        mu[:] = 0
        for m in range(M):
            for c in range(C):
                mu[c] += x[b, m, c]
        _group_means(mu, M, groups)

        var[:] = 0
        for m in range(M):
            for c in range(C):
                d = x[b, m, c] - mu[c]
                var[c] += d * d
        _group_means(var, M, groups)
        for c in range(C):
            mean[b, c], rstd[b, c] = mu[c], 1 / math.sqrt(var[c] + eps)


@compiled
def standardise_vjp(x, mean, rstd, weight, groups, gx, g_weight, g_bias):
    """gx, which holds g, becomes rstd (gh - mean(gh) - h mean(gh h)).

    h = (x - mean) rstd and gh = g weight. The sums of g h and of g over all items are added to
    g_weight and g_bias.
    """
    B, M, C = x.shape
    sum_gh, sum_g = np.empty(C), np.empty(C)
    high, low = np.empty(C, x.dtype), np.empty(C, x.dtype)
    r, mean_gh, mean_ghh = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for b in range(B):
        sum_gh[:] = 0
        sum_g[:] = 0
        for m in range(M):
            for c in range(C):
                sum_gh[c] += gx[b, m, c] * (x[b, m, c] - mean[b, c])
                sum_g[c] += gx[b, m, c]
        for c in range(C):
            sum_gh[c] *= rstd[b, c]
            g_weight[c] += sum_gh[c]
            g_bias[c] += sum_g[c]
            sum_gh[c] *= weight[c]
            sum_g[c] *= weight[c]
        _group_means(sum_gh, M, groups)
        _group_means(sum_g, M, groups)

        _split_mean(mean[b], high, low)
        for c in range(C):
            r[c], mean_gh[c], mean_ghh[c] = rstd[b, c], sum_g[c], sum_gh[c]
        for m in range(M):
            for c in range(C):
                h = (x[b, m, c] * QUARTER - high[c] - low[c]) * (FOUR * r[c])
                gx[b, m, c] = (gx[b, m, c] * weight[c] - mean_gh[c] - h * mean_ghh[c]) * r[c]


# Convolution of images (N, H, W, C)


@compiled
def columns(x, stride, padding, dilation, y):
    """y[n, i, j, k, l] = x[n, stride i + dilation k - padding, ...], 0 outside the image."""
    _, H, W, _ = x.shape
    N, h, w, kh, kw, C = y.shape
    for n in range(N):
        for i in range(h):
            for j in range(w):
                for k in range(kh):
                    u = stride[0] * i + dilation[0] * k - padding[0]
                    for l in range(kw):
                        v = stride[1] * j + dilation[1] * l - padding[1]
                        if 0 <= u < H and 0 <= v < W:
                            for c in range(C):
                                y[n, i, j, k, l, c] = x[n, u, v, c]
                        else:
                            for c in range(C):
                                y[n, i, j, k, l, c] = 0


@compiled
def place(y, bias, phase, stride, x):
    """x[n, phase + stride i, ...] = y[n, i, ...] + bias"""
    N, h, w, C = y.shape
    for n in range(N):
        for i in range(h):
            for j in range(w):
                u, v = phase[0] + stride[0] * i, phase[1] + stride[1] * j
                for c in range(C):
                    x[n, u, v, c] = y[n, i, j, c] + bias[c]


@compiled
def pixels(y, bias, stride, padding, x):
    """x[n, u, v] = y[n, i, j, k, l] + bias, where u = stride i + k - padding; y is 0 outside."""
    N, H, W, C = x.shape
    _, h, w, _, _, _ = y.shape  # (N, h, w, sh, sw, C)
    for n in range(N):
        for u in range(H):
            i, k = divmod(u + padding[0], stride[0])
            for v in range(W):
                j, l = divmod(v + padding[1], stride[1])
                if i < h and j < w:
                    for c in range(C):
                        x[n, u, v, c] = y[n, i, j, k, l, c] + bias[c]
                else:
                    for c in range(C):
                        x[n, u, v, c] = bias[c]


@compiled
def argmax_in_windows(x, rows, columns, best):
    """best[p, i, j] = the index in H W of the first largest pixel in rows[i] and columns[j]; NaN is
    largest."""
    P, _, W = x.shape
    for p in range(P):
        for i in range(len(rows)):
            for j in range(len(columns)):
                largest, at = x[p, rows[i, 0], columns[j, 0]], rows[i, 0] * W + columns[j, 0]
                for u in rows[i]:
                    for v in columns[j]:
                        if x[p, u, v] > largest or (np.isnan(x[p, u, v]) and not np.isnan(largest)):
                            largest, at = x[p, u, v], u * W + v
                best[p, i, j] = at


# The same by Winograd's algorithm: see tensor/winograd.py for the matrices


@compiled
def _times_Bt(d, v):
    """v = B^T d for 6 rows of equal length."""
    root2, c = d.dtype.type(math.sqrt(2)), d.dtype.type(2.5)
    for i in range(d.shape[1]):
        odd, even = d[1, i] + d[1, i] - d[3, i], root2 * (d[2, i] + d[2, i] - d[4, i])
        odd2, even2 = root2 * (d[3, i] + d[3, i] - d[1, i]), d[4, i] + d[4, i] - d[2, i]
        v[0, i], v[5, i] = d[0, i] - c * d[2, i] + d[4, i], d[1, i] - c * d[3, i] + d[5, i]
        v[1, i], v[2, i] = even + odd, even - odd
        v[3, i], v[4, i] = even2 + odd2, even2 - odd2


@compiled
def _points(x):
    """The points sqrt(1/2) and sqrt(2), and their cubes, in the dtype of x."""
    of = x.dtype.type
    return of(math.sqrt(1 / 2)), of(math.sqrt(2)), of(math.sqrt(1 / 8)), of(math.sqrt(8))


@compiled
def _times_A(y, v):
    """v = A y for 3 to 5 rows of equal length: 6 rows."""
    m = y.shape[0]
    a, b, a3, b3 = _points(y)
    for i in range(y.shape[1]):
        y3, y4 = y[3, i] if m > 3 else ZERO, y[4, i] if m > 4 else ZERO
        even, odd = y[0, i] + HALF * y[2, i] + QUARTER * y4, a * y[1, i] + a3 * y3
        even2, odd2 = y[0, i] + y[2, i] + y[2, i] + FOUR * y4, b * y[1, i] + b3 * y3
        v[0, i], v[5, i] = y[0, i], y[m - 1, i]
        v[1, i], v[2, i] = even + odd, even - odd
        v[3, i], v[4, i] = even2 + odd2, even2 - odd2


@compiled
def _times_At(v, y):
    """y = A^T v for 6 rows of equal length: 3 to 5 rows."""
    m = y.shape[0]
    a, b, a3, b3 = _points(v)
    for i in range(v.shape[1]):
        even, odd = v[1, i] + v[2, i], v[1, i] - v[2, i]
        even2, odd2 = v[3, i] + v[4, i], v[3, i] - v[4, i]
        y[0, i] = v[0, i] + even + even2
        y[1, i] = a * odd + b * odd2
        y[2, i] = HALF * even + even2 + even2
        if m > 3:
            y[3, i] = a3 * odd + b3 * odd2
        if m > 4:
            y[4, i] = QUARTER * even + FOUR * even2
    for i in range(v.shape[1]):
        y[m - 1, i] += v[5, i]


@compiled
def _transform(d, v):
    """v = L d, with L = B^T for the 6 rows that are seen, and L = A for those of a tile."""
    if d.shape[0] == 6:
        _times_Bt(d, v)
    else:
        _times_A(d, v)


@compiled
def winograd_tiles(x, padding, tiles, m, seen, V):
    """V[:, p] (36, N tiles, C) = L d L^T, transposed, for the pixels d in x (N, H, W, C) of tile p.

    Tiles are m pixels apart. If 6x6 pixels are seen, L = B^T; if m x m, L = A.
    """
    N, H, W, C = x.shape
    rows, columns = tiles
    width = m * (columns - 1) + seen
    framed = np.zeros((m * (rows - 1) + seen, width, C), x.dtype)
    strip, turned = np.empty((6, width, C), x.dtype), np.empty((width, 6, C), x.dtype)
    tile = np.empty((36, C), x.dtype)
    top, left = padding
    p = 0
    for n in range(N):
        for i in range(max(0, -top), min(H, framed.shape[0] - top)):
            for j in range(max(0, -left), min(W, width - left)):
                for c in range(C):
                    framed[i + top, j + left, c] = x[n, i, j, c]
        for i in range(rows):
            d = framed[m * i : m * i + seen].reshape(seen, width * C)
            _transform(d, strip.reshape(6, width * C))
            for j in range(width):
                for a in range(6):
                    for c in range(C):
                        turned[j, a, c] = strip[a, j, c]
            for j in range(columns):
                Ld = turned[m * j : m * j + seen].reshape(seen, 6 * C)
                _transform(Ld, tile.reshape(6, 6 * C))
                for a in range(36):
                    for c in range(C):
                        V[a, p, c] = tile[a, c]
                p += 1


@compiled
def winograd_pixels(V, bias, tiles, m, y):
    """Tile p of y, m x m pixels, is A^T v A + bias, with v (6, 6), transposed, in V[:, p]."""
    N, H, W, O = y.shape  # V is (36, N tiles, O)
    rows, columns = tiles
    width = m * columns
    tile, small = np.empty((36, O), y.dtype), np.empty((m, 6, O), y.dtype)
    strip, pixels = np.empty((6, width, O), y.dtype), np.empty((m, width, O), y.dtype)
    p = 0
    for n in range(N):
        for i in range(rows):
            for j in range(columns):
                for a in range(36):
                    for o in range(O):
                        tile[a, o] = V[a, p, o]
                _times_At(tile.reshape(6, 6 * O), small.reshape(m, 6 * O))
                for a in range(6):
                    for k in range(m):
                        for o in range(O):
                            strip[a, m * j + k, o] = small[k, a, o]
                p += 1
            _times_At(strip.reshape(6, width * O), pixels.reshape(m, width * O))
            for a in range(min(m, H - m * i)):
                for j in range(W):
                    for o in range(O):
                        y[n, m * i + a, j, o] = pixels[a, j, o] + bias[o]
