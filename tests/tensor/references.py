"""Ops computed slowly, straight from their definitions, on NumPy arrays, as references."""

import math
from collections.abc import Iterator
from itertools import product

import numpy as np

Index = tuple[int, ...]


def pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


# Convolution


def taps(
    x_shape: Index, weight_shape: Index, y_shape: Index, stride, padding, dilation, groups
) -> Iterator:
    """All (index of x, of weight, of y) whose elements meet in a convolution y = x * weight."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    O, C, kh, kw = weight_shape
    _, _, H, W = x_shape
    for n, o, p, q in np.ndindex(y_shape):
        for c, i, j in product(range(C), range(kh), range(kw)):
            row, column = p * sh + i * dh - ph, q * sw + j * dw - pw
            if 0 <= row < H and 0 <= column < W:
                yield (n, o // (O // groups) * C + c, row, column), (o, c, i, j), (n, o, p, q)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> np.ndarray:
    axes = zip(
        x.shape[2:], weight.shape[2:], pair(stride), pair(padding), pair(dilation), strict=True
    )
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
    y = np.zeros((len(x), len(weight), *size))
    for a, b, c in taps(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        y[c] += x[a] * weight[b]
    return y if bias is None else y + bias[:, None, None]


def conv_transpose2d(
    y, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> np.ndarray:
    steps = pair(stride), pair(padding), pair(dilation), pair(output_padding)
    axes = zip(y.shape[2:], weight.shape[2:], *steps, strict=True)
    size = [(n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, d, e in axes]
    x = np.zeros((len(y), weight.shape[1] * groups, *size))
    for a, b, c in taps(x.shape, weight.shape, y.shape, stride, padding, dilation, groups):
        x[a] += y[c] * weight[b]
    return x if bias is None else x + bias[:, None, None]


def conv_weight(x, y, weight_shape: Index, stride=1, padding=0, dilation=1, groups=1) -> np.ndarray:
    """The derivative of <conv2d(x, weight), y> by the weight."""
    weight = np.zeros(weight_shape)
    for a, b, c in taps(x.shape, weight_shape, y.shape, stride, padding, dilation, groups):
        weight[b] += x[a] * y[c]
    return weight


# Linear systems


def linear(x, weight, bias=0.0) -> np.ndarray:
    y = np.zeros((*x.shape[:-1], len(weight)))
    for place in np.ndindex(*y.shape):
        y[place] = (x[place[:-1]] * weight[place[-1]]).sum()
    return y + bias


def solve(A, B) -> np.ndarray:
    """Cramer's rule: X[i, j] = det(A with column i replaced by column j of B) / det A.

    B is a vector, or a batch of them, where it is 1-d or has the shape of A without a dimension.
    """
    vectors = B.ndim == 1 or B.shape == A.shape[:-1]
    B = B[..., None] if vectors else B
    batch = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    A, B = (np.broadcast_to(x, batch + x.shape[-2:]) for x in (A, B))
    X = np.empty(B.shape)
    for i, j in np.ndindex(B.shape[-2:]):
        replaced = A.copy()
        replaced[..., i] = B[..., j]
        X[..., i, j] = np.linalg.det(replaced) / np.linalg.det(A)
    return X[..., 0] if vectors else X


def cholesky(x) -> np.ndarray:
    """Column by column, of the symmetric part."""
    x = (x + np.swapaxes(x, -1, -2)) / 2
    L = np.zeros(x.shape)
    for j in range(x.shape[-1]):
        rest = x[..., j:, j] - (L[..., j:, :j] * L[..., j : j + 1, :j]).sum(-1)
        L[..., j:, j] = rest / np.sqrt(rest[..., :1])
    return L


def gather(x, dim, index) -> np.ndarray:
    y = np.empty(index.shape, x.dtype)
    for place in np.ndindex(index.shape):
        source = list(place)
        source[dim] = index[place]
        y[place] = x[tuple(source)]
    return y


# Pooling


def pool(reduce, frame: float, x, kernel_size, stride=None, padding=0) -> np.ndarray:
    """`reduce` of each window of x in a frame of constants."""
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride or kernel_size), pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=frame)
    rows, columns = range(0, x.shape[2] - kh + 1, sh), range(0, x.shape[3] - kw + 1, sw)
    y = [[reduce(x[:, :, i : i + kh, j : j + kw], axis=(2, 3)) for j in columns] for i in rows]
    return np.moveaxis(np.array(y), (0, 1), (2, 3))


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False) -> np.ndarray:
    """Each window in a frame of -inf, which `ceil_mode` makes wider on the right and below."""
    sizes = [pair(v) for v in (kernel_size, stride or kernel_size, padding, dilation)]
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in sizes[2])], constant_values=-np.inf)
    starts, ends = [], []
    for n, k, s, p, d in zip(x.shape[2:], *sizes):
        last = n - d * (k - 1) - 1
        first_pixels = range(0, n - p, s) if ceil_mode else range(0, last + 1, s)
        starts.append([i for i in first_pixels if i - s < last or not i])
        ends.append(starts[-1][-1] + d * (k - 1) + 1 - n)
    x = np.pad(x, [(0, 0), (0, 0), *((0, max(0, e)) for e in ends)], constant_values=-np.inf)
    (kh, kw), (_, _), (_, _), (dh, dw) = sizes
    y = [
        [x[:, :, i : i + dh * kh : dh, j : j + dw * kw : dw].max((2, 3)) for j in starts[1]]
        for i in starts[0]
    ]
    return np.moveaxis(np.array(y), (0, 1), (2, 3))


def avg_pool2d(x, kernel_size, stride=None, padding=0) -> np.ndarray:
    return pool(np.mean, 0.0, x, kernel_size, stride, padding)


def upsample_nearest(x, size=None, scale_factor=None) -> np.ndarray:
    height, width = pair(scale_factor or (size[0] // x.shape[2], size[1] // x.shape[3]))
    return x.repeat(height, 2).repeat(width, 3)


# Normalisation


def standardize(x, axes, eps: float) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def affine(x, weight, bias) -> np.ndarray:
    """x (N, C, ...) times weight (C,) plus bias (C,)."""
    across = (-1,) + (1,) * (x.ndim - 2)
    x = x if weight is None else x * weight.reshape(across)
    return x if bias is None else x + bias.reshape(across)


def group_norm(x, weight=None, bias=None, num_groups=1, eps=1e-5, silu=False) -> np.ndarray:
    y = standardize(x.reshape(len(x), num_groups, -1), 2, eps).reshape(x.shape)
    y = affine(y, weight, bias)
    return y * sigmoid(y) if silu else y


def instance_norm(x, weight=None, bias=None, eps=1e-5) -> np.ndarray:
    return affine(standardize(x, tuple(range(2, x.ndim)), eps), weight, bias)


def batch_norm(x, weight=None, bias=None, eps=1e-5) -> np.ndarray:
    return affine(standardize(x, (0, *range(2, x.ndim)), eps), weight, bias)


def layer_norm(x, weight, bias, eps=1e-5) -> np.ndarray:
    return standardize(x, tuple(range(x.ndim - weight.ndim, x.ndim)), eps) * weight + bias


def running_statistics(channels: int) -> list:
    """A mean and a variance for each channel: some constants."""
    return [np.linspace(-1, 1, channels), np.linspace(0.5, 2, channels)]


def batch_norm_evaluating(x, weight=None, bias=None, eps=1e-5) -> np.ndarray:
    mean, var = running_statistics(x.shape[1])
    rstd = 1 / np.sqrt(var + eps)
    return affine(affine(x, rstd, -mean * rstd), weight, bias)


# Elementwise functions


def power(a, b) -> np.ndarray:
    return a**b


def erf(x) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(x)


def sigmoid(x) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softplus(x) -> np.ndarray:
    return np.log1p(np.exp(x))


def leaky_relu(x, negative_slope=0.0) -> np.ndarray:
    return np.where(x > 0, x, negative_slope * x)


def silu(x) -> np.ndarray:
    return x * sigmoid(x)


def gelu(x, approximate="none") -> np.ndarray:
    z = (
        erf(x / np.sqrt(2))
        if approximate == "none"
        else np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    )
    return x / 2 * (1 + z)


def clamp(x, min=-np.inf, max=np.inf) -> np.ndarray:
    return np.minimum(np.maximum(x, min), max)


def where(a, b, condition) -> np.ndarray:
    return np.where(condition, a, b)


# Reductions


def total(x, dim=None, keepdim=False) -> np.ndarray:
    return x.sum(dim, keepdims=keepdim)


def mean(x, dim=None, keepdim=False) -> np.ndarray:
    return x.mean(dim, keepdims=keepdim)


def var(x, dim=None, correction=1, keepdim=False) -> np.ndarray:
    return x.var(dim, ddof=correction, keepdims=keepdim)


def std(x, dim=None, correction=1, keepdim=False) -> np.ndarray:
    return x.std(dim, ddof=correction, keepdims=keepdim)


def norm(x, p, dim=None, keepdim=False) -> np.ndarray:
    if p == np.inf:
        return abs(x).max(dim, keepdims=keepdim)
    if p == -np.inf:
        return abs(x).min(dim, keepdims=keepdim)
    p = 2 if p == "fro" else p
    return (abs(x) ** p).sum(dim, keepdims=keepdim) ** (1 / p)


def prod(x, dim=None, keepdim=False) -> np.ndarray:
    return x.prod(dim, keepdims=keepdim)


def cumsum(x, dim) -> np.ndarray:
    return x.cumsum(dim)


def largest(x, dim=None, keepdim=False) -> np.ndarray:
    return x.max(dim, keepdims=keepdim)


def smallest(x, dim=None, keepdim=False) -> np.ndarray:
    return x.min(dim, keepdims=keepdim)


def logsumexp(x, dim=None, keepdim=False) -> np.ndarray:
    return np.log(np.exp(x).sum(dim, keepdims=keepdim))


def softmax(x, dim=None) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(dim, keepdims=True)


def log_softmax(x, dim=None) -> np.ndarray:
    return x - logsumexp(x, dim, keepdim=True)


# Shapes


def cat(*xs, dim) -> np.ndarray:
    return np.concatenate(xs, dim)


def stack(*xs, dim) -> np.ndarray:
    return np.stack(xs, dim)


def chunk(x, chunks, dim) -> list[np.ndarray]:
    return split(x, -(-x.shape[dim] // chunks), dim)


def split(x, split_size_or_sections, dim) -> list[np.ndarray]:
    size = split_size_or_sections
    ends = range(size, x.shape[dim], size) if isinstance(size, int) else np.cumsum(size[:-1])
    return np.split(x, ends, dim)


def roll(x, shifts, dims=None) -> np.ndarray:
    return np.roll(x, shifts, dims)


def tril(x, diagonal) -> np.ndarray:
    return np.tril(x, diagonal)


def triu(x, diagonal) -> np.ndarray:
    return np.triu(x, diagonal)


def einsum(*xs, equation) -> np.ndarray:
    return np.einsum(equation, *xs)


def repeat(x, repeats) -> np.ndarray:
    return np.tile(x, repeats)


def diag(x, diagonal) -> np.ndarray:
    return np.diag(x, diagonal)


def flatten(x, start_dim, end_dim) -> np.ndarray:
    start, end = start_dim % x.ndim, end_dim % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def flip(x, dims) -> np.ndarray:
    return np.flip(x, dims)


def getitem(x, index) -> np.ndarray:
    """Integers are taken first, from the last one on; the rest is NumPy's."""
    parts = list(index) if isinstance(index, tuple) else [index]
    masks = [isinstance(p, bool) or getattr(p, "dtype", None) == "bool" for p in parts]
    taken = [0 if p is None else np.ndim(p) if mask else 1 for p, mask in zip(parts, masks)]
    taken = [n if p is not ... else x.ndim + 1 - sum(taken) for p, n in zip(parts, taken)]
    for k in reversed(range(len(parts))):
        if isinstance(parts[k], (int, np.integer)) and not masks[k]:
            x = x.take(parts.pop(k), sum(taken[:k]))
    return x[tuple(parts)]


def narrow(x, dim, start, length) -> np.ndarray:
    return x.take(range(start, start + length), dim)


def pad(x, pad, value) -> np.ndarray:
    last_first = [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)]
    return np.pad(
        x, [(0, 0)] * (x.ndim - len(last_first)) + last_first[::-1], constant_values=value
    )


def permute(x, dims) -> np.ndarray:
    return np.moveaxis(x, dims, range(x.ndim))


def squeeze(x, dim=None) -> np.ndarray:
    dims = range(x.ndim) if dim is None else [d % x.ndim for d in np.atleast_1d(dim)]
    return np.squeeze(x, tuple(d for d in dims if x.shape[d] == 1))


def transpose(x, dim0, dim1) -> np.ndarray:
    return np.swapaxes(x, dim0, dim1)


def unsqueeze(x, dim) -> np.ndarray:
    return np.expand_dims(x, dim)


def embedding(weight, indices) -> np.ndarray:
    return weight[indices]
