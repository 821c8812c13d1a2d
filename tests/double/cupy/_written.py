"""What the kernels do that the project writes in CUDA, in NumPy: each writes into its outputs, but
for `sums_between`, an elementwise kernel, which returns them."""

import numpy as np
from numpy.lib.stride_tricks import as_strided


def total(x, y, divisor, form) -> None:
    kept, kept_steps, summed, steps = form[2:14].reshape(4, 3)
    strides = x.itemsize * np.concatenate([kept_steps, steps])
    terms = as_strided(x, (*kept, *summed), strides)
    y[...] = (terms.sum((3, 4, 5), np.float64) / divisor).reshape(y.shape)


# Norms, of x as (N, G, D, M)


def _standardised(x, form, mean=None, rstd=None, eps=0.0):
    """h, mean and rstd; the sets, of which a moment is; and how the weight of a channel lies."""
    N, G, D, M, batch, _ = form
    split, over = x.reshape(N, G, D, M).astype(np.float64), (0, 2, 3) if batch else (2, 3)
    if mean is None:
        mean, rstd = split.mean(over), 1 / np.sqrt(split.var(over) + eps)
    shape = (1 if batch else N, G, 1, 1)
    return (split - mean.reshape(shape)) * rstd.reshape(shape), mean, rstd, over, (G, D, 1)


def _given(weight, bias, shape):
    """Null pointers stand for a weight of ones and a bias of zeros."""
    weight = np.ones(shape) if isinstance(weight, int) else weight.reshape(shape)
    return weight, np.zeros(shape) if isinstance(bias, int) else bias.reshape(shape)


def normalize(x, weight, bias, y, moments, eps, form) -> None:
    h, mean, rstd, _, shape = _standardised(x, form, eps=eps)
    weight, bias = _given(weight, bias, shape)
    affine = (h * weight + bias).reshape(x.shape)
    y[...] = affine / (1 + np.exp(-affine)) if form[5] else affine
    moments[...] = mean.reshape(-1), rstd.reshape(-1)


def _through(g, x, weight, bias, moments, form):
    """h, and the gradient of what SiLU is applied to, if it is."""
    h, _, rstd, over, shape = _standardised(x, form, *moments)
    g = g.reshape(h.shape).astype(np.float64)
    weight, bias = _given(weight, bias, shape)
    if form[5]:
        affine = h * weight + bias
        s = 1 / (1 + np.exp(-affine))
        g = g * (s + affine * s * (1 - s))
    return h, g, rstd.reshape(h.mean(over, keepdims=True).shape), over, weight


def normalize_vjp(g, x, weight, bias, moments, gx, form) -> None:
    h, g, rstd, over, weight = _through(g, x, weight, bias, moments, form)
    gh = g * weight
    mean_gh, mean_ghh = (a.mean(over, keepdims=True) for a in (gh, gh * h))
    gx[...] = ((gh - mean_gh - h * mean_ghh) * rstd).reshape(x.shape)


def affine_vjp(g, x, weight, bias, moments, g_affine, form) -> None:
    h, g, *_ = _through(g, x, weight, bias, moments, form)
    g_affine[...] = (g * h).sum((0, 3)).reshape(-1), g.sum((0, 3)).reshape(-1)


def running(x, mean, var, new_mean, new_var, momentum, form) -> None:
    rows = x.reshape(form[0], form[1] * form[2], form[3]).astype(np.float64)
    own = (1 - momentum) * mean, (1 - momentum) * var
    new_mean[...] = own[0] + momentum * rows.mean((0, 2))
    new_var[...] = own[1] + momentum * rows.var((0, 2), ddof=1)


# Convolution


def _seen(x, size, form):
    """For each tap (k, l) what all pixels of y see by it: (N, C, *size)."""
    (kh, kw), steps, taps, shifts, phases = form[7:9], *form[18:26].reshape(4, 2)
    for k in range(kh):
        for l in range(kw):
            rows, inside = [], []
            for n, places, step, tap, shift, phase, at in zip(
                x.shape[2:], size, steps, taps, shifts, phases, (k, l)
            ):
                u, rest = np.divmod(step * np.arange(places) + tap * at + shift, phase)
                inside.append((rest == 0) & (u >= 0) & (u < n))
                rows.append(u.clip(0, n - 1))
            mask = inside[0][:, None] & inside[1]
            yield k, l, np.where(mask, x[:, :, rows[0][:, None], rows[1]], x.dtype.type(0))


def convolve(x, weight, bias, y, form) -> None:
    x, weight, out = _of_pixels(x), _of_pixels(weight, form), _of_pixels(y)
    out[...] = 0 if isinstance(bias, int) else bias[:, None, None]
    for k, l, seen in _seen(x, out.shape[2:], form):
        out += np.einsum("nchw,oc->nohw", seen, weight[:, :, k, l], optimize=True)


def _of_pixels(x, form=None):
    """Matrices as images of one pixel; a right factor (C, O) as a weight (O, C, 1, 1)."""
    if x.ndim == 4:
        return x
    return (x if form is None else x.T)[:, :, None, None]


def weight_gradient(x, g, sums, gradient, finished, form) -> None:
    """From each share of the pixels, counted by item, row and column."""
    x, g = _of_pixels(x), _of_pixels(g)
    share, *steps = form[26:]
    (N, C), (O, h, w), (kh, kw) = x.shape[:2], g.shape[1:], form[7:9]
    sent = g.transpose(0, 2, 3, 1).reshape(N * h * w, O)
    rows = np.empty((kh, kw, C, N * h * w), x.dtype)
    for k, l, seen in _seen(x, (h, w), form):
        rows[k, l] = seen.transpose(1, 0, 2, 3).reshape(C, -1)
    places = np.add.outer(*map(np.multiply, map(np.arange, (kh * kw * C, O)), steps))
    for s, of_share in enumerate(sums.reshape(-1, gradient.size)):
        part = slice(s * share, (s + 1) * share)
        of_share[places] = rows.reshape(kh * kw * C, -1)[:, part] @ sent[part]
        of_share[places.size :] = sent[part].sum(0)
    gradient[...] = sums.reshape(-1, gradient.size).sum(0, np.float64)


def join(y, ends, *parts) -> None:
    vectors = [x for x in parts if not isinstance(x, int)]
    assert np.array_equal(np.cumsum([x.size for x in vectors]), ends[: len(vectors)])
    y[ends[-1] :][: ends[-2]] = np.concatenate(vectors)


def sums_between(x, order, starts):
    """y[i] is the sum of x[order[starts[i]]], ..., x[order[starts[i + 1] - 1]]."""
    sums = np.zeros(len(starts) - 1, x.dtype)
    np.add.at(sums, np.repeat(np.arange(len(sums)), np.diff(starts)), x[order])
    return sums


_ALL = (
    sums_between,
    join,
    total,
    normalize,
    normalize_vjp,
    affine_vjp,
    running,
    convolve,
    weight_gradient,
)
KERNELS = {f"minigen_{kernel.__name__}": kernel for kernel in _ALL}
