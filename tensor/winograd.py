"""Winograd's convolution (Lavin & Gray 2016): fewer multiplications for kernels of 2x2 to 4x4.

With stride 1, a tile of m x m pixels y of the output sees 6x6 pixels d of the input through the
r x r kernel w, where m + r = 7:

    y = A^T [(G w G^T) * (B^T d B)] A

Here * multiplies element by element, for C input and O output channels 36 matrix products: 36
multiplications in the place of (m r)^2, which is 100, 144, 144. Of this trilinear form in w, d and
y the gradient of w is another part, dw = G^T [(A dy A^T) * (B^T d B)] G. The gradient of d is a
convolution with the turned kernel.

Behind it are polynomials: A and G evaluate them at six points, and B interpolates. The paper's
points 0, +-1, +-2 and infinity have simpler numbers; 0, +-sqrt(1/2), +-sqrt(2) and infinity have
half the rounding error.
"""

from __future__ import annotations

import functools
from math import sqrt

import numpy as np

from tensor.arrays import Array, Pair, Shape
from tensor.kernels import bias_operand, operand
from tensor.parallel import map_blocks

POINTS = (0.0, sqrt(1 / 2), -sqrt(1 / 2), sqrt(2), -sqrt(2))
SCALES = np.array([1, sqrt(2) / 3, sqrt(2) / 3, 1 / 12, 1 / 12, 1])
Bt = np.array(  # written out row by row in tensor/loops.py
    [
        [1, 0, -5 / 2, 0, 1, 0],
        [0, 2, 2 * sqrt(2), -1, -sqrt(2), 0],
        [0, -2, 2 * sqrt(2), 1, -sqrt(2), 0],
        [0, -sqrt(2), -1, 2 * sqrt(2), 2, 0],
        [0, sqrt(2), -1, -2 * sqrt(2), 2, 0],
        [0, 1, 0, -5 / 2, 0, 1],
    ]
)


def A(m: int) -> np.ndarray:
    """(6, m): the powers 0..m-1 of each point; at infinity the last one alone is left."""
    return np.array([[p**k for k in range(m)] for p in POINTS] + [[0] * (m - 1) + [1]])


@functools.cache
def _GG(r: int, dtype: np.dtype) -> np.ndarray:
    """(36, r r): the map of a kernel w to G w G^T, with G = SCALES A(r)."""
    G = SCALES[:, None] * A(r)
    return np.kron(G, G).astype(dtype)


PRECISIONS = frozenset([np.dtype(np.float32)])
"""In float64, which is there for checking, sums are taken directly."""


def serves(weight_shape: Shape, size: Pair, dtype: np.dtype) -> bool:
    """Whether this is the way for a kernel (O, C, r, r): enough channels, and well-filled tiles."""
    O, C, r, other = weight_shape
    if r != other or not 2 <= r <= 4 or min(O, C) < 8 or dtype not in PRECISIONS:
        return False
    rows, columns = _tiles(size, r)
    return r * r * size[0] * size[1] > 1.5 * 36 * rows * columns


def _tiles(size: Pair, r: int) -> Pair:
    return -(-size[0] // (7 - r)), -(-size[1] // (7 - r))


def convolve(
    loops, x: Array, weight: Array, bias: Array | None, size: Pair, padding: Pair
) -> Array:
    """x (N, H, W, C) and weight (O, C, r, r) to (N, *size, O): U = G w G^T, V = B^T d B."""
    O, C, r, _ = weight.shape
    GG, tiles = _GG(r, x.dtype), _tiles(size, r)
    if weight.strides[0] < weight.strides[1]:
        U = (GG @ _rows(weight.transpose(3, 2, 1, 0))).reshape(36, C, O)
    else:  # C varies faster in memory than O, as in a turned kernel
        U = (GG @ _rows(weight.transpose(3, 2, 0, 1))).reshape(36, O, C).transpose(0, 2, 1)
    y = np.empty((len(x), *size, O), x.dtype)
    bias = bias_operand(bias, y)

    def block(images: slice) -> None:
        V = _transformed(loops, x[images], padding, tiles, r, 6)
        loops.winograd_pixels(V @ U, bias, tiles, 7 - r, y[images])

    map_blocks(block, len(x), _numbers(x, tiles, O))
    return y


def weight_gradient(loops, x: Array, g: Array, r: int, padding: Pair) -> Array:
    """The gradient of weight, (O, C, r, r), from x (N, H, W, C) and the output's g (N, h, w, O)."""
    C, O = x.shape[3], g.shape[3]
    tiles = _tiles(g.shape[1:3], r)

    def block(images: slice) -> Array:
        V = _transformed(loops, x[images], padding, tiles, r, 6)
        return V.transpose(0, 2, 1) @ _transformed(loops, g[images], (0, 0), tiles, r, 7 - r)

    dU = sum(map_blocks(block, len(x), _numbers(x, tiles, O)))
    return (_GG(r, x.dtype).T @ dU.reshape(36, C * O)).reshape(r, r, C, O).transpose(3, 2, 1, 0)


def _numbers(x: Array, tiles: Pair, O: int) -> int:
    """How many there are in the larger of a transformed input and a transformed output."""
    return len(x) * 36 * tiles[0] * tiles[1] * max(x.shape[3], O)


def _rows(w: Array) -> Array:
    """w (r, r, ...) with a row for each pixel."""
    return np.ascontiguousarray(w).reshape(len(w) ** 2, -1)


def _transformed(loops, x: Array, padding: Pair, tiles: Pair, r: int, seen: int) -> Array:
    """(36, N tiles, C): of each tile B^T d B if it sees 6 pixels a side, A d A^T if 7 - r."""
    V = np.empty((36, len(x) * tiles[0] * tiles[1], x.shape[3]), x.dtype)
    loops.winograd_tiles(operand(x), padding, tiles, 7 - r, seen, V)
    return V
