"""CycleGAN (Zhu et al. 2017): from images of X to images of Y and back, learnt without pairs.

Two generators, G: X -> Y and F: Y -> X, play against two discriminators, D_Y and D_X. The game
alone would let G send any x to any y, but F(G(x)) = x and G(F(y)) = y shall hold as well.
"""

from typing import Any, NamedTuple

import numpy as np

import nn
import tensor as T
from minigen.models.gan import LOSSES
from nn.checks import check_names, fitting
from tensor import Tensor

GAN_LOSS = LOSSES["lsgan"]


class CycleGANLosses(NamedTuple):
    """What the generators minimise, numbers averaged over pixels and patches."""

    adversarial_G: Tensor
    adversarial_F: Tensor
    cycle_x: Tensor
    cycle_y: Tensor
    identity_x: Tensor
    identity_y: Tensor

    def total(self, cycle: float = 10.0, identity: float = 5.0) -> Tensor:
        """Eq. 3 and `identity` times the loss of sec. 5.2; the paper has lambda = 10, and for
        paintings identity = lambda / 2.

        The squares of the adversarial terms are halved, as in Mao et al. 2017 and not as in the
        paper: cycle = 10 is its lambda = 20.
        """
        adversarial = self.adversarial_G + self.adversarial_F
        cycles, identities = self.cycle_x + self.cycle_y, self.identity_x + self.identity_y
        return adversarial + cycle * cycles + identity * identities


class CycleGAN(nn.Module):
    """G: X -> Y, F: Y -> X, and discriminators whose numbers are high for images of X, or of Y."""

    def __init__(self, G: nn.Module, F: nn.Module, D_X: nn.Module, D_Y: nn.Module):
        self.G, self.F, self.D_X, self.D_Y = G, F, D_X, D_Y

    def generator_losses(
        self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor, identity: bool = True
    ) -> CycleGANLosses:
        """For images x and y (N, C, H, W) and their translations fake_y = G(x), fake_x = F(y): six
        scalars. Without `identity`, the last two are 0."""
        same_x, same_y = (self.F(x), self.G(y)) if identity else (x, y)
        return CycleGANLosses(
            # eq. 1 in the squares of sec. 4, / 2
            adversarial_G=GAN_LOSS.generator(self.D_Y(fake_y)),
            adversarial_F=GAN_LOSS.generator(self.D_X(fake_x)),
            cycle_x=nn.l1_loss(self.F(fake_y), x),  # eq. 2
            cycle_y=nn.l1_loss(self.G(fake_x), y),
            identity_x=nn.l1_loss(same_x, x),  # sec. 5.2
            identity_y=nn.l1_loss(same_y, y),
        )

    def discriminator_loss(self, x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor) -> Tensor:
        """Of both discriminators, for images and translations, constants here; halved: sec. 7.1."""
        of_X = GAN_LOSS.discriminator(self.D_X(x), self.D_X(fake_x.detach()))
        of_Y = GAN_LOSS.discriminator(self.D_Y(y), self.D_Y(fake_y.detach()))
        return of_X + of_Y


class ImagePool:
    """Generated images that no discriminator shall forget (Shrivastava et al. 2017, sec. 2.3).

    Which of them come back is decided as in the code of CycleGAN.
    """

    def __init__(self, shape: tuple[int, ...], size: int = 50):
        self.images = T.zeros(size, *shape)
        self.count = 0

    def query(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """As many images as are given, (N, *shape), as constants.

        Until the pool is full it keeps and returns each; then it returns each with probability 1/2,
        and else exchanges it for a random one of its own.
        """
        size = len(self.images)
        kept, returned = list(range(size)), list(range(size, size + len(images)))
        for i, image in enumerate(returned):  # numbered after those in the pool
            if self.count < size:
                kept[self.count] = image
                self.count += 1
            elif rng.random() < 0.5:
                k = rng.integers(self.count)
                returned[i], kept[k] = kept[k], image
        all_images = T.cat([self.images.to(images.device), images.detach()])
        chosen = all_images[kept + returned]
        self.images = chosen[:size]
        return chosen[size:]

    def state_dict(self) -> dict[str, Any]:
        """The images, and how many of them there are."""
        return {"images": self.images, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`. KeyError or ValueError if it is of another pool."""
        check_names("ImagePool", state, ["images", "count"])
        if not 0 <= state["count"] <= len(self.images):
            room = f"the pool has room for {len(self.images)} images"
            raise ValueError(f"ImagePool: count is {state['count']}, but {room}")
        images = fitting("ImagePool: images", state["images"], self.images.data)
        self.images = Tensor(images, dtype=self.images.dtype)
        self.count = state["count"]
