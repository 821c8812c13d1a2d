"""Mixtures of Gaussians, of which everything that diffusion learns is known.

For x_0 ~ sum_k w_k N(m_k, diag(s_k^2)) what is noisy is a mixture again: x = a x_0 + b eps has

    p(x)                 = sum_k w_k N(x; a m_k, diag(V_k)),  V_k = a^2 s_k^2 + b^2
    p(k | x)             = w_k N(x; a m_k, diag(V_k)) / p(x)
    gradient of log p(x) = sum_k p(k | x) (a m_k - x) / V_k

DDPM's process has a = sqrt(alpha_bar_t) and b = sqrt(1 - alpha_bar_t), NCSN's a = 1 and b = sigma.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

import tensor as T
from minigen.models.ddpm import Denoiser, Diffusion, Rng
from minigen.models.score import denoiser_of
from tensor import Tensor


class Mixture:
    """K Gaussians in d dimensions, with axis-parallel covariances.

    means: (K, d)
    std: the standard deviations s, a number or what broadcasts to (K, d)
    weights: (K,), positive, made to sum to 1; None for equal ones

    In the methods x is (N, d), and `signal`, a, and `spread`, b, are numbers or (N,). Gradients
    flow to x. Raises ValueError for shapes that do not fit, and for a std or a weight that is not
    positive.
    """

    def __init__(self, means: ArrayLike, std: ArrayLike, weights: ArrayLike | None = None):
        self.means = np.asarray(means, np.float64)
        if self.means.ndim != 2 or not self.means.size:
            raise ValueError(f"Mixture: means must be (K, d), got {self.means.shape}")
        self.std = np.broadcast_to(np.asarray(std, np.float64), self.means.shape)
        w = np.ones(len(self.means)) if weights is None else np.asarray(weights, np.float64)
        if w.shape != self.means.shape[:1]:
            raise ValueError(f"Mixture: {len(self.means)} means, but weights {w.shape}")
        if not (self.std > 0).all() or not (w > 0).all():
            raise ValueError("Mixture: each std and each weight must be positive")
        self.weights = w / w.sum()

    def sample(self, n: int, rng: Rng) -> np.ndarray:
        """n points, float32 (n, d)."""
        k = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        return (self.means[k] + self.std[k] * noise).astype(np.float32)

    def log_prob(self, x: Tensor, signal: ArrayLike = 1.0, spread: ArrayLike = 0.0) -> Tensor:
        """log p(x), in nats: (N,)."""
        return T.logsumexp(self._log_joint(*self._deviations(x, signal, spread)), 1)

    def posterior(self, x: Tensor, signal: ArrayLike = 1.0, spread: ArrayLike = 0.0) -> Tensor:
        """p(k | x): (N, K)."""
        return T.softmax(self._log_joint(*self._deviations(x, signal, spread)), 1)

    def score(self, x: Tensor, signal: ArrayLike = 1.0, spread: ArrayLike = 0.0) -> Tensor:
        """The gradient of log p(x): (N, d)."""
        deviation, V = self._deviations(x, signal, spread)
        posterior = T.softmax(self._log_joint(deviation, V), 1)  # (N, K)
        return -T.sum(posterior.unsqueeze(2) * deviation / V, 1)

    def denoiser(self, diffusion: Diffusion) -> Denoiser:
        """E[eps | x_t]: no denoiser of these data has a smaller loss."""
        signal, spread = diffusion.signal, diffusion.spread
        return denoiser_of(lambda x, t: self.score(x, signal[t], spread[t]), diffusion)

    def _deviations(self, x: Tensor, signal: ArrayLike, spread: ArrayLike) -> tuple[Tensor, Tensor]:
        """x - a m_k and V_k, (N, K, d) each, of which V may have 1 in the place of N."""
        K, d = self.means.shape
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(f"Mixture: expected x (N, {d}), got {x.shape}")
        a, b = (np.reshape(v, (-1, 1, 1)) for v in (signal, spread))
        centres = Tensor(a * self.means, dtype=x.dtype, device=x.device)
        V = Tensor((a * self.std) ** 2 + b**2, dtype=x.dtype, device=x.device)
        return x.unsqueeze(1) - centres, V

    def _log_joint(self, deviation: Tensor, V: Tensor) -> Tensor:
        """log w_k N(x; a m_k, diag(V_k)): (N, K)."""
        log_w = Tensor(np.log(self.weights), dtype=V.dtype, device=V.device)
        log_normal = T.square(deviation) / V + T.log(V) + math.log(2 * math.pi)
        return log_w - 0.5 * T.sum(log_normal, 2)
