"""Guidance: samples of a class, and more so.

By Bayes' rule the score of p(x_t | c) is that of p(x_t) plus the gradient of log p(c | x_t). To
count that gradient 1 + w times is to follow the score of p(x_t) p(c | x_t)^(1 + w), up to a factor:
samples of which the class is surer. The noise is -sqrt(1 - alpha_bar_t) times the score.
"""

from collections.abc import Callable

import numpy as np

import tensor as T
from minigen.models.ddpm import Denoiser, Diffusion, Rng, at
from tensor import Tensor

Classifier = Callable[[Tensor, np.ndarray], Tensor]
"""log p(c | x_t) of noisy items (N, ...) and timesteps (N,), for the class asked of each: (N,)."""


def classifier_free(conditional: Denoiser, unconditional: Denoiser, w: float) -> Denoiser:
    """(1 + w) eps(x_t, c) - w eps(x_t): Ho & Salimans 2022 eq. 6. With w = 0 no guidance."""
    return lambda x, t: (1 + w) * conditional(x, t) - w * unconditional(x, t)


def classifier_guided(
    denoiser: Denoiser, classifier: Classifier, diffusion: Diffusion, scale: float
) -> Denoiser:
    """eps(x_t) - scale sqrt(1 - alpha_bar_t) grad log p(c | x_t): Dhariwal & Nichol 2021,
    Algorithm 2. From a denoiser of all classes, scale = 1 is that of the class asked for."""

    def guided(x: Tensor, t: np.ndarray) -> Tensor:
        with T.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = T.grad(classifier(leaf, t).sum(), leaf)
        return denoiser(x, t) - scale * at(diffusion.spread, t, x) * gradient

    return guided


def dropped(labels: np.ndarray, share: float, nothing: int, rng: Rng) -> np.ndarray:
    """Labels of which a share, chosen at random, are replaced by `nothing`: Ho & Salimans 2022,
    Algorithm 1. A network trained on them is both the conditional and the unconditional one."""
    return np.where(rng.random(labels.shape) < share, nothing, labels)
