"""pix2pix (Isola et al. 2017): from images of X to images of Y, learnt from pairs.

The pair says where each pixel should be; the game keeps the average of all that it could be, which
is blurred, from winning. The paper's noise, which is dropout and makes, as it says, only minor
differences, is left out: a translation is a function.
"""

from typing import NamedTuple

import nn
import tensor as T
from minigen.models.gan import LOSSES
from tensor import Tensor

GAN_LOSS = LOSSES["non-saturating"]


class Pix2PixLosses(NamedTuple):
    """What the generator minimises, numbers averaged over patches and pixels."""

    adversarial: Tensor
    l1: Tensor

    def total(self, l1: float = 100.0) -> Tensor:
        """Eq. 4; the paper sets l1 = lambda = 100."""
        return self.adversarial + l1 * self.l1


class Pix2Pix(nn.Module):
    """A generator G: X -> Y, and a discriminator D of pairs x, y, the channels of one image."""

    def __init__(self, G: nn.Module, D: nn.Module):
        self.G, self.D = G, D

    def judge(self, x: Tensor, y: Tensor) -> Tensor:
        """The discriminator's numbers, high where it takes y for the image that belongs to x."""
        return self.D(T.cat([x, y], 1))

    def generator_losses(self, x: Tensor, y: Tensor, fake: Tensor) -> Pix2PixLosses:
        """For pairs x, y and fake = G(x): eq. 1, non-saturating as in sec. 3.3, and eq. 3."""
        return Pix2PixLosses(GAN_LOSS.generator(self.judge(x, fake)), nn.l1_loss(fake, y))

    def discriminator_loss(self, x: Tensor, y: Tensor, fake: Tensor) -> Tensor:
        """For pairs x, y and a translation of x, a constant here. Not halved as in sec. 3.3."""
        return GAN_LOSS.discriminator(self.judge(x, y), self.judge(x, fake.detach()))
