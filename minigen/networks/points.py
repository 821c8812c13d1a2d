"""Networks for points in the plane: dense layers behind Fourier features."""

from collections.abc import Callable

import numpy as np

import nn
import tensor as T
from minigen.networks.unet import TimeMLP
from tensor import Tensor
from tensor.creation import default_generator


class FourierFeatures(nn.Module):
    """x (N, dim) as sines and cosines (N, 2 features) of random projections x B, B ~ N(0, std^2):
    Tancik et al. 2020 eq. 5 with std = 2 pi sigma.

    Dense layers learn slowly what varies fast; the larger std, the faster it may vary behind these.
    """

    def __init__(self, dim: int, features: int, std: float):
        B = std * default_generator().standard_normal((dim, features))
        self.B = nn.Buffer(B.astype(np.float32))

    def forward(self, x: Tensor) -> Tensor:
        angles = x @ self.B  # (N, features)
        return T.cat([T.sin(angles), T.cos(angles)], 1)  # (N, 2 features)


def mlp_generator(latent: int, dim: int, hidden: int = 128) -> nn.Sequential:
    """Noise (N, latent) to points (N, dim): Fourier features, and two hidden layers."""
    return _dense(FourierFeatures(latent, hidden // 2, 0.5), hidden, dim, nn.ReLU)


def mlp_discriminator(dim: int, hidden: int = 128) -> nn.Sequential:
    """Points (N, dim) to (N, 1): Fourier features, and two hidden layers."""
    return _dense(FourierFeatures(dim, hidden // 2, 1.5), hidden, 1, lambda: nn.LeakyReLU(0.2))


def _dense(features: nn.Module, hidden: int, out: int, activation: Callable) -> nn.Sequential:
    """Features (N, hidden), two hidden layers (N, hidden), and numbers (N, out); He et al. 2015's
    weights, leaky or not."""
    layers = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(features, layers[0], activation(), layers[1], activation(), layers[2])


class MLPDenoiser(nn.Module):
    """Noise prediction for points (N, dim) and timesteps (N,): dense residual layers.

    std: of the Fourier features beside the points, 0 for none. Without them the noise in points
        near a narrow mode, which changes over its width, is learnt very slowly.
    """

    def __init__(self, dim: int = 2, width: int = 128, depth: int = 3, std: float = 3.0):
        self.time = TimeMLP(64, width)
        self.waves = FourierFeatures(dim, width // 2, std) if std else None
        self.stem = nn.Linear(dim + (2 * (width // 2) if std else 0), width)
        self.layers = [nn.Linear(width, width) for _ in range(depth)]
        self.head = nn.Linear(width, dim)

    def forward(self, x: Tensor, t: np.ndarray) -> Tensor:
        time = self.time(t, len(x))  # (N, width)
        seen = x if self.waves is None else T.cat([x, self.waves(x)], 1)  # (N, dim + width)
        h = self.stem(seen)  # (N, width)
        for layer in self.layers:
            h = h + layer(T.silu(h + time))  # (N, width)
        return self.head(T.silu(h))  # (N, dim)
