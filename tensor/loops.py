"""The loops of the fused ops, compiled by Numba: the formula beside each, in float32 and in float64.

A loop writes into the arrays that come last among its arguments. Sums are carried in float64, so that they are right however
many terms they have. NaN and infinities come through, as they would by the definition.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable

import numba
import numpy as np
from numba.core import event

SECOND_THOUGHTS = 1.0
"""After so many seconds of compiling, a line says what is going on."""


def kernel(loop: Callable, flags: frozenset[str] = frozenset({"contract", "nsz"})) -> Callable:
    """Compile a loop when it is first called: without the interpreter's lock, and with fused multiply-adds.

    The machine code is kept beside the source or in the user's cache folder, if one of them can be written to. A change of
    this file, of Numba or of the processor makes it anew; so a loop calls none in another file, whose changes went unseen.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(flags)}
    try:
        return numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # there is no such folder
        return numba.njit(**options)(loop)


class _Announcement(event.Listener):
    """Says once what is going on when compiling takes long."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.seconds = 0.0
        self.said = False

    def on_start(self, event: event.Event) -> None:
        self.began.append(time.perf_counter())
        if self.seconds > SECOND_THOUGHTS and not self.said:
            self.said = True
            print("minigen: compiling its loops, which takes some seconds the first time", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        elapsed = time.perf_counter() - self.began.pop()
        if not self.began:  # else it was a loop inside another
            self.seconds += elapsed


event.register("numba:compile", _Announcement())


# Numbers

# Exact in float32 and float64: what they meet keeps its dtype.
ZERO, QUARTER, HALF, ONE = np.float32(0), np.float32(1 / 4), np.float32(1 / 2), np.float32(1)
TINY = np.float32(2.0**-100)


@kernel
def _exp(x):
    """e^x in float32, by 2^n e^r with n = round(x / log 2): the series of e^r, |r| <= log(2) / 2, ends after r^7.

    In float64 the C library's. Unlike that one, this can be computed for many numbers at once.
    """
    if not isinstance(x, np.float32):
        return math.exp(x)
    x = min(max(x, np.float32(-88)), np.float32(89))  # from 0 to infinity; NaN stays
    n = np.rint(x * np.float32(1.44269504))
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)  # log 2 in two parts, the first exact
    p = np.float32(1 / 5040) * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    p = p * r + np.float32(1)
    p = p * r + np.float32(1)
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)  # the bits of 2^n


@kernel
def _log1p(x):
    """log(1 + x) for x in [0, 1] in float32, by 2 artanh(s), s = x / (2 + x) <= 1/3: its series ends after s^13."""
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


@kernel
def _sigmoid(x):
    return ONE / (ONE + _exp(-x))


# Activations, element by element on flat arrays


@kernel
def sigmoid(x, y):
    for i in range(x.size):
        y[i] = _sigmoid(x[i])


@kernel
def softplus(x, y):
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)"""
    for i in range(x.size):
        y[i] = max(x[i], ZERO) + _log1p(_exp(-abs(x[i])))


@kernel
def erf(x, y):
    for i in range(x.size):
        y[i] = math.erf(x[i])


@kernel
def silu(y):
    """y <- y sigmoid(y)"""
    for i in range(y.size):
        y[i] = y[i] * _sigmoid(y[i])


@kernel
def silu_vjp(g, y, gx):
    """gx = g (s + y (1 - s)) in the place of x, where s = sigmoid(x) = y / x spares an exponential."""
    for i in range(gx.size):
        s = y[i] / gx[i] if abs(gx[i]) > TINY else HALF
        gx[i] = g[i] * (s + y[i] * (ONE - s))


@kernel
def gelu(x, y):
    """y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2"""
    sqrt_half = x.dtype.type(math.sqrt(0.5))
    for i in range(x.size):
        y[i] = x[i] * HALF * (ONE + math.erf(x[i] * sqrt_half))


@kernel
def gelu_vjp(g, x, gx):
    """gx = g (Phi(x) + x phi(x)), with the density phi(x) = e^(-x^2 / 2) / sqrt(2 pi)"""
    sqrt_half, top = x.dtype.type(math.sqrt(0.5)), x.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(x.size):
        Phi = HALF * (ONE + math.erf(x[i] * sqrt_half))
        gx[i] = g[i] * (Phi + x[i] * _exp(-HALF * x[i] * x[i]) * top)


@kernel
def gate(g, x, slope, y):
    """y = g where x > 0, and slope g elsewhere: leaky ReLU of g = x, and the derivative of it."""
    for i in range(x.size):
        y[i] = g[i] if x[i] > ZERO else g[i] * slope


# Sums


@functools.partial(kernel, flags=frozenset({"contract", "nsz", "reassoc"}))
def add_between(x, y):
    """y[b, c] += the sum of x[b, m, c] over m. In any order, so that several are added at once."""
    B, M, C = x.shape
    for b in range(B):
        for m in range(M):
            for c in range(C):
                y[b, c] += x[b, m, c]


# Normalisation of x (B, M, C). An item's mean and 1 / sqrt(variance + eps) are vectors (C,), equal within a group.


@kernel
def _group_means(sums, rows, groups):
    """Sums (C,) over some rows become the means of whole groups, each in the place of every channel of its group."""
    D = sums.size // groups
    for start in range(0, sums.size, D):
        total = 0.0
        for c in range(start, start + D):
            total += sums[c]
        for c in range(start, start + D):
            sums[c] = total / (rows * D)


@kernel
def _halves(mean, high, low):
    """A quarter of the mean (C,) in two parts, of which the second is what rounding leaves of it.

    x / 4 - high - low keeps what little there may be of a difference between large numbers, and cannot overflow.
    """
    for c in range(mean.size):
        high[c] = mean[c] / 4
        low[c] = mean[c] / 4 - high[c]


@kernel
def _standardise(x, mean, rstd, weight, bias, y):
    """y = (x - mean) rstd weight + bias, of an item (M, C)."""
    M, C = x.shape
    high, low, scale = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    _halves(mean, high, low)
    for c in range(C):
        scale[c] = 4 * rstd[c] * weight[c]
    for m in range(M):
        for c in range(C):
            y[m, c] = (x[m, c] * QUARTER - high[c] - low[c]) * scale[c] + bias[c]


@kernel
def normalize(x, weight, bias, groups, eps, with_silu, y, mean, rstd):
    """y = (x - mean) rstd weight + bias, and then its SiLU."""
    B, M, C = x.shape
    for b in range(B):
        mean[b] = 0
        for m in range(M):
            for c in range(C):
                mean[b, c] += x[b, m, c]
        _group_means(mean[b], M, groups)

        rstd[b] = 0
        for m in range(M):
            for c in range(C):
                d = x[b, m, c] - mean[b, c]
                rstd[b, c] += d * d
        _group_means(rstd[b], M, groups)
        for c in range(C):
            rstd[b, c] = 1 / math.sqrt(rstd[b, c] + eps)

        _standardise(x[b], mean[b], rstd[b], weight, bias, y[b])
        if with_silu:
            silu(y[b].reshape(-1))


@kernel
def normalize_vjp(g, y, x, weight, bias, groups, with_silu, mean, rstd, gx, g_weight, g_bias):
    """With h = (x - mean) rstd and gh = g weight:  gx = rstd (gh - mean(gh) - h mean(gh h)).

    The sums of g h and g over all items are added to g_weight and g_bias. SiLU's derivative comes first, at
    z = h weight + bias, which is computed anew.
    """
    B, M, C = x.shape
    by_h, by_1 = np.empty(C), np.empty(C)
    high, low = np.empty(C, x.dtype), np.empty(C, x.dtype)
    scale, slope, offset = np.empty(C, x.dtype), np.empty(C, x.dtype), np.empty(C, x.dtype)
    for b in range(B):
        if with_silu:
            _standardise(x[b], mean[b], rstd[b], weight, bias, gx[b])
            silu_vjp(g[b].reshape(-1), y[b].reshape(-1), gx[b].reshape(-1))
        else:
            gx[b] = g[b]

        by_h[:] = 0
        by_1[:] = 0
        for m in range(M):
            for c in range(C):
                by_h[c] += gx[b, m, c] * (x[b, m, c] - mean[b, c])
                by_1[c] += gx[b, m, c]
        for c in range(C):
            by_h[c] *= rstd[b, c]
            g_weight[c] += by_h[c]
            g_bias[c] += by_1[c]
            by_h[c] *= weight[c]
            by_1[c] *= weight[c]
        _group_means(by_h, M, groups)
        _group_means(by_1, M, groups)

        _halves(mean[b], high, low)
        for c in range(C):
            scale[c] = rstd[b, c] * weight[c]
            slope[c] = -4 * rstd[b, c] * rstd[b, c] * by_h[c]
            offset[c] = -rstd[b, c] * by_1[c]
        for m in range(M):
            for c in range(C):
                d = x[b, m, c] * QUARTER - high[c] - low[c]
                gx[b, m, c] = gx[b, m, c] * scale[c] + d * slope[c] + offset[c]


# Convolution of images (N, H, W, C)


@kernel
def columns(x, stride, padding, dilation, y):
    """y[n, i, j, k, l] = x[n, stride i + dilation k - padding, ...], and 0 outside the image; y is (N, h, w, kh, kw, C)."""
    N, H, W, C = x.shape
    _, h, w, kh, kw, _ = y.shape
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


@kernel
def place(y, bias, phase, stride, x):
    """x[n, phase + stride i, ...] = y[n, i, ...] + bias"""
    N, h, w, C = y.shape
    for n in range(N):
        for i in range(h):
            for j in range(w):
                for c in range(C):
                    x[n, phase[0] + stride[0] * i, phase[1] + stride[1] * j, c] = y[n, i, j, c] + bias[c]


# The same, 3x3 with stride 1, by tiles of 4x4 pixels: see tensor/winograd.py for the matrices A^T and B^T


@kernel
def _times_Bt(d, v):
    """v = B^T d for 6 rows of equal length."""
    root2, c = d.dtype.type(math.sqrt(2)), d.dtype.type(2.5)
    for i in range(d.shape[1]):
        odd, even = d[1, i] + d[1, i] - d[3, i], root2 * (d[2, i] + d[2, i] - d[4, i])
        odd2, even2 = root2 * (d[3, i] + d[3, i] - d[1, i]), d[4, i] + d[4, i] - d[2, i]
        v[0, i], v[5, i] = d[0, i] - c * d[2, i] + d[4, i], d[1, i] - c * d[3, i] + d[5, i]
        v[1, i], v[2, i] = even + odd, even - odd
        v[3, i], v[4, i] = even2 + odd2, even2 - odd2


@kernel
def _times_At(m, y):
    """y = A^T m for 6 rows of equal length: 4 rows."""
    root2 = m.dtype.type(math.sqrt(2))
    half_root2, quarter_root2 = m.dtype.type(math.sqrt(1 / 2)), m.dtype.type(math.sqrt(1 / 8))
    for i in range(m.shape[1]):
        even, odd, even2, odd2 = m[1, i] + m[2, i], m[1, i] - m[2, i], m[3, i] + m[4, i], m[3, i] - m[4, i]
        y[0, i] = m[0, i] + even + even2
        y[1, i] = half_root2 * odd + root2 * odd2
        y[2, i] = HALF * even + even2 + even2
        y[3, i] = quarter_root2 * odd + (root2 + root2) * odd2 + m[5, i]


@kernel
def _times_A(y, m):
    """m = A y for 4 rows of equal length: 6 rows."""
    root2 = y.dtype.type(math.sqrt(2))
    half_root2, quarter_root2 = y.dtype.type(math.sqrt(1 / 2)), y.dtype.type(math.sqrt(1 / 8))
    for i in range(y.shape[1]):
        even, odd = y[0, i] + HALF * y[2, i], half_root2 * y[1, i] + quarter_root2 * y[3, i]
        even2, odd2 = y[0, i] + y[2, i] + y[2, i], root2 * (y[1, i] + y[3, i] + y[3, i])
        m[0, i], m[5, i] = y[0, i], y[3, i]
        m[1, i], m[2, i] = even + odd, even - odd
        m[3, i], m[4, i] = even2 + odd2, even2 - odd2


@kernel
def _frame(x, top, left, framed):
    """x (H, W, C) in a frame of zeros."""
    H, W, C = x.shape
    for i in range(framed.shape[0]):
        for j in range(framed.shape[1]):
            u, v = i - top, j - left
            if 0 <= u < H and 0 <= v < W:
                for c in range(C):
                    framed[i, j, c] = x[u, v, c]
            else:
                for c in range(C):
                    framed[i, j, c] = 0


@kernel
def winograd_input(x, padding, tiles, V):
    """V[:, p] = B^T d B for the 6x6 pixels d that tile p of each image sees: x (N, H, W, C), V (36, N tiles, C)."""
    N, H, W, C = x.shape
    rows, columns = tiles
    width = 4 * columns + 2
    framed = np.empty((4 * rows + 2, width, C), x.dtype)
    strip, turned = np.empty((6, width, C), x.dtype), np.empty((width, 6, C), x.dtype)
    tile = np.empty((36, C), x.dtype)
    p = 0
    for n in range(N):
        _frame(x[n], padding[0], padding[1], framed)
        for i in range(rows):
            _times_Bt(framed[4 * i : 4 * i + 6].reshape(6, width * C), strip.reshape(6, width * C))
            for j in range(width):
                for a in range(6):
                    for c in range(C):
                        turned[j, a, c] = strip[a, j, c]
            for j in range(columns):
                _times_Bt(turned[4 * j : 4 * j + 6].reshape(6, 6 * C), tile.reshape(6, 6 * C))
                for a in range(36):
                    for c in range(C):
                        V[a, p, c] = tile[a, c]
                p += 1


@kernel
def winograd_output(M, bias, tiles, y):
    """Tile p of each image y (N, H, W, O) is A^T m A + bias, with m (6, 6) in M[:, p]; M is (36, N tiles, O)."""
    N, H, W, O = y.shape
    rows, columns = tiles
    width = 4 * columns
    tile, small = np.empty((36, O), y.dtype), np.empty((4, 6, O), y.dtype)
    strip, pixels = np.empty((6, width, O), y.dtype), np.empty((4, width, O), y.dtype)
    p = 0
    for n in range(N):
        for i in range(rows):
            for j in range(columns):
                for a in range(36):
                    for o in range(O):
                        tile[a, o] = M[a, p, o]
                _times_At(tile.reshape(6, 6 * O), small.reshape(4, 6 * O))
                for a in range(6):
                    for k in range(4):
                        for o in range(O):
                            strip[a, 4 * j + k, o] = small[k, a, o]
                p += 1
            _times_At(strip.reshape(6, width * O), pixels.reshape(4, width * O))
            for a in range(min(4, H - 4 * i)):
                for j in range(W):
                    for o in range(O):
                        y[n, 4 * i + a, j, o] = pixels[a, j, o] + bias[o]


@kernel
def winograd_gradient(g, tiles, Z):
    """Z[:, p] = A g A^T for tile p of each image: the adjoint of `winograd_output`. g is (N, H, W, O), Z (36, N tiles, O)."""
    N, H, W, O = g.shape
    rows, columns = tiles
    width = 4 * columns
    framed = np.empty((4 * rows, width, O), g.dtype)
    strip, turned = np.empty((6, width, O), g.dtype), np.empty((width, 6, O), g.dtype)
    tile = np.empty((36, O), g.dtype)
    p = 0
    for n in range(N):
        _frame(g[n], 0, 0, framed)
        for i in range(rows):
            _times_A(framed[4 * i : 4 * i + 4].reshape(4, width * O), strip.reshape(6, width * O))
            for j in range(width):
                for a in range(6):
                    for o in range(O):
                        turned[j, a, o] = strip[a, j, o]
            for j in range(columns):
                _times_A(turned[4 * j : 4 * j + 4].reshape(4, 6 * O), tile.reshape(6, 6 * O))
                for a in range(36):
                    for o in range(O):
                        Z[a, p, o] = tile[a, o]
                p += 1
