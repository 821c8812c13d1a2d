"""What the kernels do that the project writes in C, in NumPy."""

import numpy as np


def columns(x, H, W, C, h, w, kh, kw, sh, sw, ph, pw, dh, dw):
    """The pixels of x (N, H, W, C) that each place of a kernel sees: (N, h, w, kh, kw, C)."""
    far = [(s * n + d * k, s * n + d * k) for s, n, d, k in ((sh, h, dh, kh), (sw, w, dw, kw))]
    framed = np.pad(x, ((0, 0), *far, (0, 0)))
    rows = far[0][0] + sh * np.arange(h)[:, None] + dh * np.arange(kh) - ph  # (h, kh)
    cols = far[1][0] + sw * np.arange(w)[:, None] + dw * np.arange(kw) - pw
    rows, cols = rows.clip(0, framed.shape[1] - 1), cols.clip(0, framed.shape[2] - 1)
    return framed[:, rows[:, None, :, None], cols[None, :, None, :]]


def pixels(y, bias, H, W, C, h, w, kh, kw, sh, sw, ph, pw, dh, dw):
    """Each pixel (N, H, W, C) is the sum of all y (N, h, w, kh, kw, C) that saw it, plus bias."""
    reach = ph + H + sh * h + dh * kh, pw + W + sw * w + dw * kw
    framed = np.zeros((len(y), *reach, C), y.dtype)
    for k in range(kh):
        for l in range(kw):
            rows, cols = dh * k + sh * np.arange(h), dw * l + sw * np.arange(w)
            framed[:, rows[:, None], cols] += y[..., k, l, :]
    return framed[:, ph : ph + H, pw : pw + W] + bias


def sums_between(x, order, starts):
    """y[i] is the sum of x[order[starts[i]]], ..., x[order[starts[i + 1] - 1]]."""
    sums = np.zeros(len(starts) - 1, x.dtype)
    np.add.at(sums, np.repeat(np.arange(len(sums)), np.diff(starts)), x[order])
    return sums


KERNELS = {
    "minigen_columns": columns,
    "minigen_pixels": pixels,
    "minigen_sums_between": sums_between,
}
