"""CycleGAN: the turns of generators and discriminators, and the pools between them."""

from dataclasses import dataclass
from functools import cached_property

import nn
from minigen.data.domains import Domains
from minigen.evaluation.report import BEFORE
from minigen.models.cyclegan import CycleGAN, ImagePool
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.learner import Learner, to_checkpoint
from minigen.training.settings import seeded, setting
from tensor import Tensor


@dataclass(frozen=True)
class CycleGANSettings(translation.TranslationSettings):
    """The paper's lambda is 2 `cycle`: see `CycleGANLosses.total`. Its identity losses, by half of
    `cycle`, hold on to colours, which between these digits shall change.

    During `cycle_warmup` the game alone decides where the generators go. With the full cycle losses
    from the start they often settle on a wrong map, light for dark, that the way back undoes, and
    the discriminators cannot turn them any more.
    """

    cycle: float = setting(10.0, "weight of the cycle losses", within=(0, 1e6))
    identity: float = setting(0.0, "weight of identity losses, to keep colours", within=(0, 1e6))
    cycle_warmup: int = setting(200, "steps over which both weights grow from 0", within=(0, 10**9))


class CycleGANRecipe:
    """A cycle-consistent generative adversarial network: translation learnt without pairs."""

    Settings = CycleGANSettings
    title = "CycleGAN"
    reference = BEFORE
    samples_need_data = True
    warning = None
    translate, sample = translation.translate, translation.sample
    evaluate, draw = translation.evaluate, translation.draw

    def __init__(self, settings: CycleGANSettings):
        self.rng = seeded(settings, CycleGANSettings)
        self.settings, self.heading = settings, f"{self.title} on {settings.data}"
        shape = 3, settings.size, settings.size
        self.pool_x, self.pool_y = ImagePool(shape), ImagePool(shape)
        G, F = (resnet_generator(3, 3, settings.width, settings.blocks) for _ in range(2))
        D_X, D_Y = (patch_discriminator(3, settings.width) for _ in range(2))
        self.model = CycleGAN(G, F, D_X, D_Y).to(settings.device)
        self.generators = {"x2y": G, "y2x": F}
        lr, betas, schedule = settings.lr, (0.5, 0.999), translation.linear_fall(settings.steps)
        self.G_learner = Learner(nn.Sequential(G, F), lr, betas, schedule, ema=0.99)
        self.D_learner = Learner(nn.Sequential(D_X, D_Y), lr, betas, schedule)
        learners = {"generators": self.G_learner, "discriminators": self.D_learner}
        self.checkpointed = to_checkpoint(self.model, self.rng, learners)
        self.checkpointed["pools"] = {"X": self.pool_x, "Y": self.pool_y}

    @cached_property
    def data(self) -> Domains:
        """Loaded when it is first needed: images can be translated without it."""
        return translation.load(self.settings, paired=False)

    def step(self, k: int) -> dict[str, Tensor]:
        """A step of the generators, and one of the discriminators on images from the pools."""
        s, model = self.settings, self.model
        x, y = self.data.batch(s.batch_size, self.rng, s.device)
        fake_x, fake_y = model.F(y), model.G(x)
        losses = model.generator_losses(x, y, fake_x, fake_y, identity=s.identity > 0)
        grown = nn.schedules.warmup(k - 1, s.cycle_warmup)
        g_loss = losses.total(grown * s.cycle, grown * s.identity)  # eq. 3
        self.G_learner.descend(g_loss, k)  # moves the generators alone
        old_x, old_y = self.pool_x.query(fake_x, self.rng), self.pool_y.query(fake_y, self.rng)
        d_loss = model.discriminator_loss(x, y, old_x, old_y)
        self.D_learner.descend(d_loss, k)  # and the discriminators
        return {"generators": g_loss, "discriminators": d_loss} | losses._asdict()
