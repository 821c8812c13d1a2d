"""pix2pix in training, both ways: the turns of generators and discriminators."""

from __future__ import annotations

from dataclasses import dataclass

import nn
from minigen.models.pix2pix import Pix2Pix
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.settings import setting
from tensor import Tensor


@dataclass(frozen=True)
class Config(translation.Config):
    """`l1` is the paper's lambda."""

    l1: float = setting(100.0, "weight of the L1 loss", within=(0, 1e6))


class BothWays(nn.Module):
    """Two models that know nothing of each other: from X to Y, and from Y to X."""

    def __init__(self, x2y: Pix2Pix, y2x: Pix2Pix):
        self.x2y, self.y2x = x2y, y2x


class Pix2PixRun(translation.Translation):
    """A conditional generative adversarial network: translation between domains of images, learnt from pairs, both ways."""

    Config = Config
    title = "pix2pix"
    model: BothWays
    paired = True

    def build(self) -> BothWays:
        """The networks."""
        width, blocks = self.config.width, self.config.blocks
        return BothWays(*(Pix2Pix(resnet_generator(3, 3, width, blocks), patch_discriminator(6, width)) for _ in range(2)))

    def translators(self) -> dict[str, nn.Module]:
        return {"x2y": self.model.x2y.G, "y2x": self.model.y2x.G}

    def parts(self) -> dict[str, nn.Module]:
        """Both generators, and both discriminators."""
        x2y, y2x = self.model.x2y, self.model.y2x
        return {"generators": nn.Sequential(x2y.G, y2x.G), "discriminators": nn.Sequential(x2y.D, y2x.D)}

    def update(self, k: int) -> dict[str, Tensor]:
        """A step of the generators, and one of the discriminators."""
        x2y, y2x = self.model.x2y, self.model.y2x
        x, y = self.batch_of_both()
        fake_x, fake_y = y2x.G(y), x2y.G(x)
        to_y, to_x = x2y.generator_terms(x, y, fake_y), y2x.generator_terms(y, x, fake_x)
        generators = to_y.total(self.config.l1) + to_x.total(self.config.l1)
        self.descend("generators", generators, k)
        discriminators = x2y.discriminator_loss(x, y, fake_y) + y2x.discriminator_loss(y, x, fake_x)
        self.descend("discriminators", discriminators, k)
        logged = {"generators": generators, "discriminators": discriminators}
        return logged | {"l1_y": to_y.l1, "l1_x": to_x.l1}
