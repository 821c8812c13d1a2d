"""Generative adversarial networks (Goodfellow et al. 2014): a game of two networks.

The generator G turns noise z ~ N(0, I) into samples G(z); the discriminator d is trained to tell
them from data, the generator to be taken for data. In Algorithm 1 each has its turn: k steps of the
discriminator, one of the generator. d(x) is high for what it takes for data; D(x) = sigmoid(d(x))
is the probability of the papers, and a critic is a discriminator whose number is no logit.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

import nn
import tensor as T
from minigen.networks.labels import Labels, with_labels
from tensor import Tensor

Rng = np.random.Generator
Critic = Callable[[Tensor], Tensor]


# The losses, of d(x) at data and at samples. With D = sigmoid(d),
#
#     -log D = softplus(-d)    and    -log(1 - D) = softplus(d).


class Loss(NamedTuple):
    """What each player minimises, averaged over the batch."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _tell_apart(real: Tensor, fake: Tensor) -> Tensor:
    return T.mean(T.softplus(-real)) + T.mean(T.softplus(fake))


def _squares(real: Tensor, fake: Tensor) -> Tensor:
    return 0.5 * T.mean(T.square(real - 1)) + 0.5 * T.mean(T.square(fake))


def _earth_mover(real: Tensor, fake: Tensor) -> Tensor:
    return T.mean(fake) - T.mean(real)


def _margins(real: Tensor, fake: Tensor) -> Tensor:
    return T.mean(T.relu(1 - real)) + T.mean(T.relu(1 + fake))


def _pass_for_no_sample(fake: Tensor) -> Tensor:
    return -T.mean(T.softplus(fake))


def _pass_for_data(fake: Tensor) -> Tensor:
    return T.mean(T.softplus(-fake))


def _rise(fake: Tensor) -> Tensor:
    return -T.mean(fake)


LOSSES = {
    "minimax": Loss(_tell_apart, _pass_for_no_sample),  # Goodfellow et al. 2014 eq. 1
    "non-saturating": Loss(_tell_apart, _pass_for_data),  # the same, sec. 3
    "gan-gp": Loss(_tell_apart, _pass_for_data),  # Fedus et al. 2018, with gradient_penalty
    "lsgan": Loss(_squares, lambda fake: 0.5 * T.mean(T.square(fake - 1))),  # Mao et al. 2017 eq. 9
    "wgan": Loss(_earth_mover, _rise),  # Arjovsky et al. 2017 eqs. 2-3, with clip_weights
    "wgan-gp": Loss(_earth_mover, _rise),  # Gulrajani et al. 2017 eq. 3, with gradient_penalty
    "hinge": Loss(_margins, _rise),  # Lim & Ye 2017; Miyato et al. 2018 eqs. 16-17
}
EQUILIBRIA = {
    "minimax": {"discriminator": math.log(4), "generator": -math.log(2)},
    "non-saturating": {"discriminator": math.log(4), "generator": math.log(2)},
    "lsgan": {"discriminator": 1 / 4, "generator": 1 / 8},
    "wgan": {"discriminator": 0.0},
    "hinge": {"discriminator": 2.0},
}
"""The losses where samples are distributed as data and d does what it can: D = 1/2, in lsgan
d = 1/2. A critic of wgan or hinge may have any level there, and so may the loss of its generator; a
gradient penalty moves the equilibrium."""

PENALISED = ("gan-gp", "wgan-gp")
"""The losses to which `GAN.discriminator_loss` adds a gradient penalty."""


def clip_weights(parameters: Iterable[Tensor], limit: float) -> None:
    """Clamp every weight to [-limit, limit] (Arjovsky et al. 2017, Algorithm 1)."""
    for p in parameters:
        p.copy_(p.detach().clamp(-limit, limit))


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, rng: Rng | None = None) -> Tensor:
    """E (|grad d(x)| - 1)^2, x random between real and fake (N, ...): Gulrajani et al. 2017 eq. 3.

    The gradient is itself differentiated. The critic must judge each item by itself: no batch norm.
    """
    if real.shape != fake.shape:
        shapes = f"real {real.shape} and fake {fake.shape}"
        raise ValueError(f"gradient_penalty: {shapes} must have one shape")
    ones = [1] * (real.ndim - 1)
    u = T.rand((len(real), *ones), generator=rng, dtype=real.dtype, device=real.device)
    between = (u * real.detach() + (1 - u) * fake.detach()).requires_grad_()
    (slope,) = T.grad(T.sum(critic(between)), between, create_graph=True)
    squares = T.sum(T.square(slope.reshape(len(real), -1)), 1)
    norms = T.sqrt(squares + 1e-12)  # sqrt has no derivative at 0
    return T.mean(T.square(norms - 1))


# The two players


class GAN(nn.Module):
    """A generator G of noise (N, latent), a discriminator D of samples, the name of their loss.

    With `classes`, both see the label (Mirza & Osindero 2014). ValueError unless LOSSES has `loss`.
    """

    def __init__(self, G: nn.Module, D: nn.Module, latent: int, loss: str, classes: int = 0):
        if loss not in LOSSES:
            raise ValueError(f"GAN: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.generator, self.discriminator = G, D
        self.latent, self.loss, self.classes = latent, loss, classes

    def generate(self, n: int, labels: Labels = None, rng: Rng | None = None) -> Tensor:
        """n samples G(z), z ~ N(0, I): (n, ...). ValueError unless labels (n,) fit `classes`."""
        weight = next(self.generator.parameters())
        z = T.randn((n, self.latent), generator=rng, dtype=weight.dtype, device=weight.device)
        return self.generator(with_labels(z, labels, self.classes))

    def judge(self, x: Tensor, labels: Labels = None) -> Tensor:
        """d(x), (N,), for data or samples x (N, ...). ValueError unless labels fit `classes`."""
        return self.discriminator(with_labels(x, labels, self.classes)).reshape(len(x))

    def discriminator_loss(
        self, x: Tensor, labels: Labels = None, rng: Rng | None = None, penalty: float = 10.0
    ) -> Tensor:
        """That of LOSSES for data x (N, ...) and N samples, which are constants here: a scalar.

        labels: those of x, for a conditional GAN
        penalty: the weight of the gradient penalty, which PENALISED losses add
        """
        with T.no_grad():
            fake = self.generate(len(x), labels, rng)
        loss = LOSSES[self.loss].discriminator(self.judge(x, labels), self.judge(fake, labels))
        if self.loss in PENALISED:
            loss = loss + penalty * gradient_penalty(lambda x: self.judge(x, labels), x, fake, rng)
        return loss

    def generator_loss(self, n: int, labels: Labels = None, rng: Rng | None = None) -> Tensor:
        """That of LOSSES for n samples: a scalar."""
        return LOSSES[self.loss].generator(self.judge(self.generate(n, labels, rng), labels))
