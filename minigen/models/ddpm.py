"""Denoising diffusion, DDPM (Ho, Jain & Abbeel 2020), and DDIM (Song, Meng & Ermon 2021).

The forward process adds noise in T steps, t = 1..T, until nothing of the data is left:

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)                        DDPM eq. 2
    q(x_t | x_0)     = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)                DDPM eq. 4

with alpha_t = 1 - beta_t and alpha_bar_t = alpha_1 ... alpha_t; alpha_bar_0 = 1. A network learns
to predict the noise in x_t; sampling runs the process backwards with its predictions. A denoiser is
any function eps(x_t, t) of images or points (N, ...) and timesteps (N,).
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import nn
import tensor as T
from tensor import Tensor

Rng = np.random.Generator
Denoiser = Callable[[Tensor, np.ndarray], Tensor]
SCHEDULES = ("cosine", "linear", "quadratic", "constant")

LEAST_SIGNAL = 1e-30
"""Less is counted as this: 1 / signal must be a float32."""


def beta_schedule(name: str, steps: int) -> np.ndarray:
    """beta_1..beta_T as float64 (T,), for T = `steps`.

    linear: 1e-4 to 0.02 (DDPM sec. 4). quadratic: linear in sqrt(beta) between the same ends.
    constant: 0.02. cosine: alpha_bar_t ~ cos^2(pi/2 (t/T + s) / (1 + s)), s = 0.008, beta at most
    0.999 (Nichol & Dhariwal 2021 eq. 17).

    Cosine leaves at most 0.001 of the data's variance in x_T, whatever T is. To leave as little the
    others need many steps: 342 (constant), 683 (linear), 958 (quadratic).

    Raises ValueError for another name, and for T below 1.
    """
    if steps < 1:
        raise ValueError(f"beta_schedule: T must be at least 1, got {steps}")
    if name == "linear":
        return np.linspace(1e-4, 0.02, steps)
    if name == "quadratic":
        return np.linspace(1e-4**0.5, 0.02**0.5, steps) ** 2
    if name == "constant":
        return np.full(steps, 0.02)
    if name == "cosine":
        t = np.arange(steps + 1)
        alpha_bar = np.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)
    known = ", ".join(SCHEDULES)
    raise ValueError(f"beta_schedule: unknown schedule {name!r}, expected one of {known}")


class SamplerState(NamedTuple):
    """A state of a sampler: x_t, and the x_0 seen behind the state before (None at first)."""

    t: int
    x: Tensor
    x0: Tensor | None


States = Iterator[SamplerState]


class Diffusion:
    """The forward process of a schedule, its loss, and its samplers.

    `beta`, `alpha`, `alpha_bar` and `beta_tilde` are float64 arrays indexed by t = 0..T; at 0 there
    is no noise. Raises ValueError unless every beta lies strictly between 0 and 1.
    """

    def __init__(self, beta: np.ndarray):
        beta = np.asarray(beta, np.float64)
        if beta.ndim != 1 or not len(beta) or not ((beta > 0) & (beta < 1)).all():
            raise ValueError("Diffusion: beta must be a vector of numbers strictly between 0 and 1")
        self.T = len(beta)
        self.beta = np.concatenate([[0.0], beta])
        self.alpha = 1 - self.beta
        self.alpha_bar = np.cumprod(self.alpha)
        self.signal = np.sqrt(self.alpha_bar)  # the factors of eq. 4
        self.spread = np.sqrt(1 - self.alpha_bar)
        before = np.concatenate([[1.0], self.alpha_bar[:-1]])  # alpha_bar_{t-1}
        variance = np.concatenate([[1.0], 1 - self.alpha_bar[1:]])
        self.beta_tilde = (1 - before) / variance * self.beta
        self.mean_of_x0 = np.sqrt(before) * self.beta / variance  # the factors of eq. 7
        self.mean_of_xt = np.sqrt(self.alpha) * (1 - before) / variance

    # The forward process and the loss

    def q_sample(self, x0: Tensor, t: np.ndarray | int, noise: Tensor) -> Tensor:
        """A draw from q(x_t | x_0), sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps: DDPM eq. 4.

        Raises ValueError for shapes that differ, IndexError for timesteps not in 0..T.
        """
        t = self.checked(t, 0, x0, noise)
        return at(self.signal, t, x0) * x0 + at(self.spread, t, x0) * noise

    def q_posterior(self, x0: Tensor, xt: Tensor, t: np.ndarray | int) -> tuple[Tensor, Tensor]:
        """Mean and variance of q(x_{t-1} | x_t, x_0) for t >= 1, DDPM eqs. 6-7."""
        t = self.checked(t, 1, x0, xt)
        mean = at(self.mean_of_x0, t, x0) * x0 + at(self.mean_of_xt, t, x0) * xt
        return mean, at(self.beta_tilde, t, x0)

    def loss(self, denoiser: Denoiser, x0: Tensor, t: np.ndarray | int, noise: Tensor) -> Tensor:
        """The simple loss, |eps - eps(x_t, t)|^2 per element, averaged over the batch: DDPM eq. 14.

        Raises ValueError for shapes that differ, IndexError for timesteps not in 1..T.
        """
        t = self.checked(t, 1, x0, noise)
        return nn.mse_loss(denoiser(self.q_sample(x0, t, noise), t), noise)

    def predict_x0(self, xt: Tensor, t: np.ndarray | int, noise: Tensor) -> Tensor:
        """The x_0 of which x_t would be the noisy version: eq. 4 solved for x_0."""
        t = self.checked(t, 0, xt, noise)
        rescaled = 1 / np.maximum(self.signal, LEAST_SIGNAL)
        return at(rescaled, t, xt) * (xt - at(self.spread, t, xt) * noise)

    # The samplers

    def ancestral(
        self, denoiser: Denoiser, x: Tensor, rng: Rng, variance: str | np.ndarray = "beta",
        clip_x0: float | None = 1.0, start: int | None = None,
    ) -> States:  # fmt: skip
        """DDPM Algorithm 2, from x = x_T ~ N(0, I): the states from x_T to x_0.

        variance: that of the noise added, see `variance`; the last step adds none
        clip_x0: hold the predicted x_0 in [-clip_x0, clip_x0], unlike Algorithm 2; eq. 7 gives the
            mean. With None it runs away in long schedules: for large t it is 1 / signal times the
            network's error
        start: the timestep of x, if it is not T

        Raises ValueError, once a state is asked for, if there is no such variance.
        """
        sigma = np.sqrt(self.variance(variance))
        start = self.T if start is None else start
        yield SamplerState(start, x, None)
        for t in range(start, 0, -1):  # line 2
            noise = float(sigma[t]) * step_noise(x, t, rng)
            x, x0 = self.p_sample(denoiser, x, t, noise, clip_x0)
            yield SamplerState(t - 1, x, x0)

    def p_sample(
        self, denoiser: Denoiser, xt: Tensor, t: int, noise: Tensor, clip_x0: float | None
    ) -> tuple[Tensor, Tensor]:
        """x_{t-1} after x_t, Algorithm 2, line 4, and the x_0 that the denoiser sees behind x_t.

        noise: sigma_t z
        """
        x0, _ = self.seen(denoiser, xt, t, clip_x0)
        mean, _ = self.q_posterior(x0, xt, t)
        return mean + noise, x0

    def ddim(
        self, denoiser: Denoiser, x: Tensor, steps: int, clip_x0: float | None = 1.0,
        eta: float = 0.0, rng: Rng | None = None,
    ) -> States:  # fmt: skip
        """DDIM eq. 12 from x = x_T ~ N(0, I), deterministic unless noise is asked for:

            x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z
            sigma^2 = eta^2 (1 - alpha_bar_s) / (1 - alpha_bar_t) (1 - alpha_bar_t / alpha_bar_s)

        where s is the next timestep kept (eq. 16). With eta = 1 and every step kept that is
        `ancestral` with beta-tilde.

        steps: how many timesteps are kept, see `spread_times`
        clip_x0: as in `ancestral`; eps is derived anew from the clipped x_0
        rng: what draws z

        Raises ValueError, once a state is asked for, unless `steps` lies in 1..T.
        """
        times = self.spread_times(steps)
        yield SamplerState(self.T, x, None)
        for t, s in pairwise(times):
            x0, noise = self.seen(denoiser, x, t, clip_x0)
            left, before = 1 - self.alpha_bar[t], 1 - self.alpha_bar[s]
            kept = self.alpha[s + 1 : t + 1].prod()  # alpha_bar_t / alpha_bar_s, which may be 0 / 0
            sigma2 = eta**2 * before / left * (1 - kept)
            x = float(self.signal[s]) * x0 + math.sqrt(before - sigma2) * noise
            if sigma2:
                x = x + math.sqrt(sigma2) * T.randn_like(x, generator=rng)
            yield SamplerState(s, x, x0)

    def variance(self, name: str | np.ndarray) -> np.ndarray:
        """The variance of p(x_{t-1} | x_t), (T + 1,): beta_t ("beta") or beta-tilde_t
        ("beta_tilde"), sec. 3.2, or what is given.

        Raises ValueError for another name.
        """
        if not isinstance(name, str):
            return name
        if name not in ("beta", "beta_tilde"):
            raise ValueError(f"variance must be 'beta' or 'beta_tilde', got {name!r}")
        return self.beta if name == "beta" else self.beta_tilde

    def spread_times(self, steps: int) -> list[int]:
        """The timesteps that a sampler of so many steps visits: T, ..., 0, evenly spread.

        Raises ValueError unless `steps` lies in 1..T.
        """
        if not 1 <= steps <= self.T:
            raise ValueError(f"steps must lie in 1..{self.T}, got {steps}")
        return np.linspace(0, self.T, steps + 1).round().astype(int)[::-1].tolist()

    def seen(
        self, denoiser: Denoiser, x: Tensor, t: int, clip_x0: float | None
    ) -> tuple[Tensor, Tensor]:
        """The x_0 that the denoiser sees behind x_t, clipped, and the noise that would lead from
        it to x_t."""
        with T.no_grad():
            noise = denoiser(x, np.full(len(x), t))
        x0 = self.predict_x0(x, t, noise)
        if clip_x0 is None:
            return x0, noise
        x0 = x0.clamp(-clip_x0, clip_x0)
        return x0, (x - float(self.signal[t]) * x0) / float(self.spread[t])

    def checked(self, t: np.ndarray | int, least: int, x: Tensor, y: Tensor) -> np.ndarray:
        """t as (N,), for each item of x and y (N, ...) a timestep in least..T."""
        t = np.asarray(t)
        if x.shape != y.shape or t.shape not in ((), x.shape[:1]) or not len(x):
            expected = "twice the same (N, ...), N at least 1, and timesteps (N,) or a single one"
            got = f"tensors {x.shape} and {y.shape} with timesteps {t.shape}"
            raise ValueError(f"Diffusion: {got}, expected {expected}")
        if t.dtype.kind not in "iu" or (t < least).any() or (t > self.T).any():
            got = f"{t.dtype} from {t.min()} to {t.max()}"
            raise IndexError(f"timesteps must be integers in {least}..{self.T}, got {got}")
        return np.broadcast_to(t, len(x))


def step_noise(x: Tensor, t: int, rng: Rng) -> Tensor:
    """z of DDPM Algorithm 2, line 3: a draw from N(0, I) for x = x_t if t > 1, else 0."""
    return T.randn_like(x, generator=rng) if t > 1 else T.zeros_like(x)


def at(table: np.ndarray, t: np.ndarray, x: Tensor) -> Tensor:
    """table[t] for each item of x, shaped to broadcast over it."""
    return to_each(table[t], x)


def to_each(values: np.ndarray, x: Tensor) -> Tensor:
    """values (N,), one for each item of x (N, ...), shaped to broadcast over it."""
    return Tensor(values.reshape(-1, *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device)
