"""The variational autoencoder (Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014).

Images are thought to arise from latent vectors, z ~ p(z) = N(0, I) and x ~ p(x | z). An encoder
network gives a Gaussian q(z | x) that stands in for the posterior, a decoder network p(x | z), and
both maximise the same lower bound:

    log p(x)  >=  E over q(z|x) of log p(x | z)  -  KL(q(z | x) || p(z))             VAE eq. 3

All terms are in nats per image: summed over pixels and latent dimensions, never averaged over them.
"""

import math
from typing import NamedTuple

import numpy as np

import nn
import tensor as T
from minigen.networks.labels import Labels, with_labels
from nn.checks import check_sizes
from nn.distributions import Bernoulli, Independent, Normal, kl_divergence
from tensor import Tensor

Rng = np.random.Generator
LIKELIHOODS = ("bernoulli", "gaussian")


class BoundTerms(NamedTuple):
    """The terms of the bound for each image (N,), in nats, the first for one draw of z."""

    reconstruction: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """-(reconstruction + kl) (N,): in expectation over z, the ELBO."""
        return -(self.reconstruction + self.kl)


class VAE(nn.Module):
    """A Gaussian encoder and a decoder around a latent space of `latent` dimensions.

    `encoder` maps images (N, C, H, W) to 2 `latent` numbers, the mean and log-variance of q(z | x);
    `decoder` maps latents back to (N, C, H, W), the logits of Bernoulli pixels or the means of
    Gaussian ones, all of one variance, which is learnt. Grey values are the chances of white for
    Bernoulli pixels: the bounds are then of the mean of log p over black-and-white images drawn
    with these chances. With `classes`, both also see the label, p(x | z, y) and q(z | x, y) (Sohn,
    Lee & Yan 2015); the prior does not. Labels are then needed everywhere, and without `classes`
    they are a ValueError.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent: int, likelihood: str = "bernoulli",
        classes: int = 0,
    ):  # fmt: skip
        if likelihood not in LIKELIHOODS:
            raise ValueError(f"VAE: likelihood must be one of {LIKELIHOODS}, got {likelihood!r}")
        self.encoder, self.decoder = encoder, decoder
        self.latent, self.likelihood, self.classes = latent, likelihood, classes
        self.log_var = nn.Parameter(np.zeros((), np.float32)) if likelihood == "gaussian" else None

    def posterior(self, x: Tensor, labels: Labels = None) -> Independent:
        """q(z | x): a Gaussian over latents (latent,) for each image x (N, C, H, W)."""
        mu, log_var = T.chunk(self.encoder(with_labels(x, labels, self.classes)), 2, 1)
        return Independent(Normal.from_log_var(mu, log_var), 1)

    def prior(self, n: int) -> Independent:
        """p(z) = N(0, I) over latents (latent,), n times."""
        weight = next(self.parameters())
        zeros = T.zeros(n, self.latent, dtype=weight.dtype, device=weight.device)
        return Independent(Normal.from_log_var(zeros, zeros), 1)

    def observation(self, z: Tensor, labels: Labels = None) -> Independent:
        """p(x | z) for latents (N, latent): a distribution over images."""
        y = self.decoder(with_labels(z, labels, self.classes))
        if self.log_var is None:
            on_cpu = y.device == "cpu"  # a check on a GPU waits for it
            return Independent(Bernoulli(logits=y, validate_args=on_cpu), 3)
        return Independent(Normal.from_log_var(y, self.log_var), 3)

    def terms(self, x: Tensor, labels: Labels = None, rng: Rng | None = None) -> BoundTerms:
        """The bound for images in [-1, 1], with one draw of z each (VAE eq. 10, L = 1)."""
        q = self.posterior(x, labels)
        z = q.rsample(generator=rng)
        log_likelihood = self.observation(z, labels).log_prob(self.pixels(x))
        return BoundTerms(-log_likelihood, kl_divergence(q, self.prior(len(x))))

    def iwae_bound(
        self, x: Tensor, samples: int, labels: Labels = None, rng: Rng | None = None
    ) -> Tensor:
        """log of the mean of p(x, z) / q(z | x) over `samples` draws of z: (N,), in nats.

        It estimates Burda et al. 2016 eq. 8: the ELBO for one draw, no lower for more, in the limit
        log p(x) if the ratio is bounded (theorem 1). Raises ValueError for no samples.
        """
        check_sizes("iwae_bound", samples=samples)
        q = self.posterior(x, labels)
        prior, pixels = self.prior(len(x)), self.pixels(x)
        log_weights = []
        for _ in range(samples):
            z = q.rsample(generator=rng)
            log_joint = self.observation(z, labels).log_prob(pixels) + prior.log_prob(z)
            log_weights.append(log_joint - q.log_prob(z))
        return T.logsumexp(T.stack(log_weights), 0) - math.log(samples)

    def pixels(self, x: Tensor) -> Tensor:
        """Images in [-1, 1] as the decoder sees them: Bernoulli pixels are brought to [0, 1]."""
        return x if self.log_var is not None else 0.5 * (x + 1)

    def decode(self, z: Tensor, labels: Labels = None) -> Tensor:
        """The mean image (N, C, H, W) of each latent (N, latent), in [-1, 1] again."""
        mean = self.observation(z, labels).mean
        return mean if self.log_var is not None else 2 * mean - 1
