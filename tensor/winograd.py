"""3x3 convolutions with stride 1 by 36 multiplications for 16 pixels in the place of 144 (Lavin & Gray 2016, F(4x4, 3x3)).

A tile of 4x4 pixels y of the output sees 6x6 pixels d of the input through the kernel w:

    y = A^T [(G w G^T) * (B^T d B)] A

The product * is element by element for one channel each, and over C input and O output channels 36 matrix products. Of this
trilinear form in w, d and y the gradient of w is another part:  dw = G^T [(A dy A^T) * (B^T d B)] G. The gradient of d is a
convolution with the turned kernel.

The matrices evaluate polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity. With the points of the paper, 0, +-1 and +-2,
they would have simpler numbers, and twice the rounding error.
"""

from __future__ import annotations

from math import sqrt
from types import ModuleType

import numpy as np

from tensor.arrays import Array
from tensor.kernels import operand
from tensor.parallel import map_blocks

Pair = tuple[int, int]

A = np.array([[1, 0, 0, 0]] + [[1, p, p**2, p**3] for p in (sqrt(1 / 2), -sqrt(1 / 2), sqrt(2), -sqrt(2))] + [[0, 0, 0, 1]])
G = np.array(
    [[1, 0, 0]]
    + [[sqrt(2) / 3, s / 3, sqrt(2) / 6] for s in (1, -1)]
    + [[1 / 12, s * sqrt(2) / 12, 1 / 6] for s in (1, -1)]
    + [[0, 0, 1]]
)
GG = np.kron(G, G)  # w -> G w G^T as one matrix (36, 9)



def serves(kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair, C: int, O: int) -> bool:
    """Whether this is the way to convolve: the geometry is right, tiles are well filled and channels not too few."""
    rows, columns = _tiles(size)
    fits = kernel == (3, 3) and stride == dilation == (1, 1)
    return fits and size[0] * size[1] > 8 * rows * columns and min(C, O) >= 8


def _tiles(size: Pair) -> Pair:
    return -(-size[0] // 4), -(-size[1] // 4)


def convolve(loops: ModuleType, x: Array, weight: Array, bias: Array | None, size: Pair, padding: Pair) -> Array:
    """x (N, H, W, C) and weight (O, C, 3, 3) to (N, *size, O)."""
    O, C = weight.shape[:2]
    tiles = _tiles(size)
    U = (GG.astype(x.dtype) @ weight.transpose(3, 2, 1, 0).reshape(9, C * O)).reshape(36, C, O)
    bias = np.zeros(O, x.dtype) if bias is None else bias
    y = np.empty((len(x), *size, O), x.dtype)

    def block(images: slice) -> None:
        pixels = operand(x[images])
        V = np.empty((36, len(pixels) * tiles[0] * tiles[1], C), x.dtype)
        loops.winograd_input(pixels, padding, tiles, V)
        loops.winograd_output(V @ U, operand(bias), tiles, y[images])

    map_blocks(block, len(x), len(x) * 36 * tiles[0] * tiles[1] * max(C, O))
    return y


def weight_gradient(loops: ModuleType, x: Array, g: Array, padding: Pair) -> Array:
    """The gradient of weight, (O, C, 3, 3), from x (N, H, W, C) and that of the output, g (N, h, w, O)."""
    C, O = x.shape[3], g.shape[3]
    tiles = _tiles(g.shape[1:3])

    def block(images: slice) -> Array:
        pixels, slopes = operand(x[images]), operand(g[images])
        n = len(pixels) * tiles[0] * tiles[1]
        V, Z = np.empty((36, n, C), x.dtype), np.empty((36, n, O), x.dtype)
        loops.winograd_input(pixels, padding, tiles, V)
        loops.winograd_gradient(slopes, tiles, Z)
        return V.transpose(0, 2, 1) @ Z

    dU = sum(map_blocks(block, len(x), len(x) * 36 * tiles[0] * tiles[1] * max(C, O)))
    return (GG.T.astype(x.dtype) @ dU.reshape(36, C * O)).reshape(3, 3, C, O).transpose(3, 2, 1, 0)
