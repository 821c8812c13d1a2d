"""Faster samplers: solvers of the ODE whose solutions carry noise to data.

The probability-flow ODE (Song et al. 2021, "Score-based generative modeling", eq. 13) has the same
x_t at each time as the diffusion. In the units of the data, y = x_t / sqrt(alpha_bar_t), and with
the noise level sigma = sqrt(1 - alpha_bar_t) / sqrt(alpha_bar_t) as its time, it reads

    dy / dsigma = eps(x_t, t)

(DDIM eq. 14). DDIM is Euler's method for it; here are two of second order. They start from x = x_T
and visit the given timesteps, T, ..., 0; 0 is reached by a step of first order.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from minigen.models.ddpm import Denoiser, Diffusion, SamplerState, States
from tensor import Tensor


def heun(
    diffusion: Diffusion, denoiser: Denoiser, x: Tensor, times: Sequence[int],
    clip_x0: float | None = 1.0,
) -> States:  # fmt: skip
    """Heun's method, Karras et al. 2022 Algorithm 1 without their choice of sigma: a step by the
    noise at its start, then again by the mean of the noise at both ends. Two evaluations a step,
    but for the last."""
    yield SamplerState(times[0], x, None)
    for t, s in pairwise(times):
        x0, noise = diffusion.seen(denoiser, x, t, clip_x0)
        if s > 0:
            ahead = diffusion.q_sample(x0, s, noise)
            _, noise_ahead = diffusion.seen(denoiser, ahead, s, clip_x0)
            mean = (noise + noise_ahead) / 2
            x0, noise = diffusion.seen(lambda *_, mean=mean: mean, x, t, clip_x0)
        x = diffusion.q_sample(x0, s, noise)
        yield SamplerState(s, x, x0)


def dpm_solver(
    diffusion: Diffusion, denoiser: Denoiser, x: Tensor, times: Sequence[int],
    clip_x0: float | None = 1.0,
) -> States:  # fmt: skip
    """DPM-Solver++(2M) (Lu et al. 2022, "DPM-Solver++", Algorithm 2): x_0 is extrapolated from
    where it was seen last, and before, in the time lambda = log(1 / sigma). One evaluation a step.
    """
    yield SamplerState(times[0], x, None)
    log_snr, h_before, before = _log_snr(diffusion), 0.0, None
    for t, s in pairwise(times):
        x0, _ = diffusion.seen(denoiser, x, t, clip_x0)
        h = float(log_snr[s] - log_snr[t])  # infinite at s = 0
        ahead = x0 if before is None or s == 0 else x0 + h / h_before / 2 * (x0 - before)
        shrunk = float(diffusion.spread[s] / diffusion.spread[t])
        x = shrunk * x - float(diffusion.signal[s]) * math.expm1(-h) * ahead
        h_before, before = h, x0
        yield SamplerState(s, x, x0)


def _log_snr(diffusion: Diffusion) -> np.ndarray:
    """lambda_t = log(sqrt(alpha_bar_t) / sqrt(1 - alpha_bar_t)) for t = 0..T, from the logs of
    alpha: alpha_bar itself may be too small for a float64."""
    with np.errstate(divide="ignore"):
        return 0.5 * np.log(diffusion.alpha).cumsum() - np.log(diffusion.spread)
