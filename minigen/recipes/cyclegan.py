"""CycleGAN in training: the turns of generators and discriminators, and the pools between them."""

from __future__ import annotations

from dataclasses import dataclass

import nn
from minigen.models.cyclegan import CycleGAN, ImagePool
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.run import State
from minigen.training.settings import setting
from tensor import Tensor


@dataclass(frozen=True)
class Config(translation.Config):
    """`cycle` is the paper's lambda. Its identity losses hold on to colours, which between these digits shall change."""

    cycle: float = setting(10.0, "weight of the cycle losses", within=(0, 1e6))
    identity: float = setting(0.0, "weight of the identity losses, half of --cycle to keep colours", within=(0, 1e6))
    cycle_warmup: int = setting(200, "steps over which both weights grow from 0", within=(0, 10**9))


class CycleGANRun(translation.Translation):
    """A cycle-consistent generative adversarial network: translation between domains of images, learnt without pairs."""

    Config = Config
    title = "CycleGAN"
    model: CycleGAN
    paired = False

    def build(self) -> CycleGAN:
        """The networks; and the pools of what they generate."""
        self.pool_x, self.pool_y = ImagePool(self.shape), ImagePool(self.shape)
        G, F = (resnet_generator(3, 3, self.config.width, self.config.blocks) for _ in range(2))
        D_X, D_Y = (patch_discriminator(3, self.config.width) for _ in range(2))
        return CycleGAN(G, F, D_X, D_Y)

    def translators(self) -> dict[str, nn.Module]:
        return {"x2y": self.model.G, "y2x": self.model.F}

    def parts(self) -> dict[str, nn.Module]:
        """Both generators, and both discriminators."""
        model = self.model
        return {"generators": nn.Sequential(model.G, model.F), "discriminators": nn.Sequential(model.D_X, model.D_Y)}

    def update(self, k: int) -> dict[str, Tensor]:
        """A step of the generators, and one of the discriminators, which see translations from the pools.

        At first the game alone decides where the generators go. With the full cycle losses from the start they often settle
        on a wrong map, light for dark, that the way back undoes, and the discriminators cannot turn them any more.
        """
        x, y = self.batch_of_both()
        fake_x, fake_y = self.model.F(y), self.model.G(x)
        terms = self.model.generator_terms(x, y, fake_x, fake_y, identity=self.config.identity > 0)
        tie = nn.schedules.warmup(k - 1, self.config.cycle_warmup)
        generators = terms.total(tie * self.config.cycle, tie * self.config.identity)
        self.descend("generators", generators, k)
        fakes = self.pool_x.query(fake_x, self.rng), self.pool_y.query(fake_y, self.rng)
        discriminators = self.model.discriminator_loss(x, y, *fakes)
        self.descend("discriminators", discriminators, k)
        return {"generators": generators, "discriminators": discriminators} | terms._asdict()

    def state_dict(self) -> State:
        """With the pools."""
        return super().state_dict() | {"pools": {"X": self.pool_x.state_dict(), "Y": self.pool_y.state_dict()}}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.pool_x.load_state_dict(state["pools"]["X"])
        self.pool_y.load_state_dict(state["pools"]["Y"])
