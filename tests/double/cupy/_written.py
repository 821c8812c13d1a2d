"""What the kernels do that the project writes in CUDA, in NumPy: each writes into its outputs."""

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


def normalize(x, weight, bias, y, moments, eps, form) -> None:
    h, mean, rstd, _, shape = _standardised(x, form, eps=eps)
    affine = (h * weight.reshape(shape) + bias.reshape(shape)).reshape(x.shape)
    y[...] = affine / (1 + np.exp(-affine)) if form[5] else affine
    moments[...] = mean.reshape(-1), rstd.reshape(-1)


def _through(g, x, weight, bias, moments, form):
    """h, and the gradient of what SiLU is applied to, if it is."""
    h, _, rstd, over, shape = _standardised(x, form, *moments)
    g = g.reshape(h.shape).astype(np.float64)
    if form[5]:
        affine = h * weight.reshape(shape) + bias.reshape(shape)
        s = 1 / (1 + np.exp(-affine))
        g = g * (s + affine * s * (1 - s))
    return h, g, rstd.reshape(h.mean(over, keepdims=True).shape), over, weight.reshape(shape)


def normalize_vjp(g, x, weight, bias, moments, gx, form) -> None:
    h, g, rstd, over, weight = _through(g, x, weight, bias, moments, form)
    gh = g * weight
    mean_gh, mean_ghh = (a.mean(over, keepdims=True) for a in (gh, gh * h))
    gx[...] = ((gh - mean_gh - h * mean_ghh) * rstd).reshape(x.shape)


def affine_vjp(g, x, weight, bias, moments, g_affine, form) -> None:
    h, g, *_ = _through(g, x, weight, bias, moments, form)
    g_affine[...] = (g * h).sum((0, 3)).reshape(-1), g.sum((0, 3)).reshape(-1)


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
    y[...] = 0 if isinstance(bias, int) else bias[:, None, None]
    for k, l, seen in _seen(x, y.shape[2:], form):
        y += np.einsum("nchw,oc->nohw", seen, weight[:, :, k, l], optimize=True)


def weight_gradient(x, g, sums, form) -> None:
    """From each share of the pixels, counted by item, row and column."""
    pixels, shares = len(x) * g.shape[2] * g.shape[3], range(len(sums))
    parts = [slice(s * form[26], min(pixels, (s + 1) * form[26])) for s in shares]
    sent = g.transpose(0, 2, 3, 1).reshape(pixels, -1)
    for k, l, seen in _seen(x, g.shape[2:], form):
        rows = seen.transpose(1, 0, 2, 3).reshape(x.shape[1], pixels)
        for part, sum in zip(parts, sums):
            sum[k, l] = rows[:, part] @ sent[part]


_ALL = (total, normalize, normalize_vjp, affine_vjp, convolve, weight_gradient)
KERNELS = {f"minigen_{kernel.__name__}": kernel for kernel in _ALL}
