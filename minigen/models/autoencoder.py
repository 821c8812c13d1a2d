"""Autoencoders and their regularisers.

An encoder f maps x to a code h = f(x), a decoder g maps it back, and both learn to make r(x) =
g(f(x)) close to x. With a code smaller than the data, that alone forces f to keep what matters
(undercomplete). With a larger one, a regulariser does:

    sparse         L1 on the code, or KL(rho || rho_hat_j) on the mean of each unit
                   (KL: Ng 2011, CS294A notes)
    denoising      reconstruct x from a corrupted copy of it (Vincent et al. 2008)
    contractive    the squared Frobenius norm of the Jacobian dh/dx (Rifai et al. 2011)

Losses are summed over pixels and averaged over images.
"""

import numpy as np

import nn
import tensor as T
from tensor import Tensor

Rng = np.random.Generator


class Autoencoder(nn.Module):
    """x to decoder(encoder(x))."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module):
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))  # (N, C, H, W)


def reconstruction_error(x: Tensor, y: Tensor) -> Tensor:
    """|x - y|^2, summed over pixels, averaged over images."""
    return nn.mse_loss(x, y, reduction="sum") / len(x)


# What is added to the reconstruction error


def l1_sparsity(h: Tensor) -> Tensor:
    """sum_j |h_j|, averaged over codes h (N, features)."""
    return T.sum(T.abs(h)) / len(h)


def kl_sparsity(h: Tensor, rho: float = 0.05) -> Tensor:
    """sum_j KL(rho || rho_hat_j) in nats; rho_hat_j is the mean of unit j of h (N, features).

    ValueError unless it lies in [0, 1]; on a GPU, which a check would wait for, it becomes NaN.
    """
    rho_hat = T.mean(h, 0)
    if rho_hat.device == "cpu" and ((rho_hat.data < 0) | (rho_hat.data > 1)).any():
        raise ValueError("kl_sparsity: the mean of each unit must lie in [0, 1], as of a sigmoid")
    return T.sum(rho * T.log(rho / rho_hat) + (1 - rho) * T.log((1 - rho) / (1 - rho_hat)))


SPARSITIES = {"l1": l1_sparsity, "kl": kl_sparsity}


def jacobian(h: Tensor, x: Tensor, create_graph: bool = False) -> Tensor:
    """dh/dx, (features, N, ...), of codes h (N, features) of x (N, ...), a tensor with
    requires_grad: one backward per feature. ValueError for other codes."""
    if h.ndim != 2:
        raise ValueError(f"jacobian: expected codes (N, features), got {h.shape}")
    sums = [T.sum(h[:, j]) for j in range(h.shape[1])]
    grads = [T.grad(s, x, create_graph=create_graph, retain_graph=True)[0] for s in sums]
    return T.stack(grads)


def contraction(h: Tensor, x: Tensor) -> Tensor:
    """|dh/dx|^2 (Frobenius), averaged over images; h and x are those of `jacobian`."""
    return T.sum(T.square(jacobian(h, x, create_graph=True))) / len(h)


# Corruptions of images in [-1, 1]


def gaussian_noise(x: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """x + sigma N(0, I)"""
    return x + float(sigma) * rng.standard_normal(x.shape, np.float32)


def masking_noise(x: np.ndarray, share: float, rng: Rng) -> np.ndarray:
    """A share of the pixels is set to -1, black."""
    return np.where(rng.random(x.shape) < share, np.float32(-1), x)


def salt_and_pepper(x: np.ndarray, share: float, rng: Rng) -> np.ndarray:
    """A share of the pixels is set to -1 or 1, with equal chances."""
    coin = np.where(rng.random(x.shape) < 0.5, np.float32(-1), np.float32(1))
    return np.where(rng.random(x.shape) < share, coin, x)


CORRUPTIONS = {
    "gaussian": gaussian_noise,
    "masking": masking_noise,
    "salt-and-pepper": salt_and_pepper,
}
