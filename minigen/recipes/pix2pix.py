"""pix2pix, both ways: the turns of generators and discriminators."""

from dataclasses import dataclass
from functools import cached_property

import nn
from minigen.data.domains import Domains
from minigen.evaluation.report import BEFORE
from minigen.models.pix2pix import Pix2Pix
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.learner import Learner, to_checkpoint
from minigen.training.settings import seeded, setting
from tensor import Tensor


@dataclass(frozen=True)
class Pix2PixSettings(translation.TranslationSettings):
    """`l1` is the paper's lambda."""

    l1: float = setting(100.0, "weight of the L1 loss", within=(0, 1e6))


class BothWays(nn.Module):
    """Two models that know nothing of each other: from X to Y, and from Y to X."""

    def __init__(self, x2y: Pix2Pix, y2x: Pix2Pix):
        self.x2y, self.y2x = x2y, y2x


class Pix2PixRecipe:
    """A conditional generative adversarial network: translation learnt from pairs, both ways."""

    Settings = Pix2PixSettings
    title = "pix2pix"
    reference = BEFORE
    samples_need_data = True
    warning = None
    translate, sample = translation.translate, translation.sample
    evaluate, draw = translation.evaluate, translation.draw

    def __init__(self, settings: Pix2PixSettings):
        self.rng = seeded(settings, Pix2PixSettings)
        self.settings, self.heading = settings, f"{self.title} on {settings.data}"
        width, blocks = settings.width, settings.blocks
        G, D_Y = resnet_generator(3, 3, width, blocks), patch_discriminator(6, width)
        F, D_X = resnet_generator(3, 3, width, blocks), patch_discriminator(6, width)
        self.model = BothWays(Pix2Pix(G, D_Y), Pix2Pix(F, D_X)).to(settings.device)
        self.generators = {"x2y": G, "y2x": F}
        lr, betas, schedule = settings.lr, (0.5, 0.999), translation.linear_fall(settings.steps)
        self.G_learner = Learner(nn.Sequential(G, F), lr, betas, schedule, ema=0.99)
        self.D_learner = Learner(nn.Sequential(D_Y, D_X), lr, betas, schedule)
        learners = {"generators": self.G_learner, "discriminators": self.D_learner}
        self.checkpointed = to_checkpoint(self.model, self.rng, learners)

    @cached_property
    def data(self) -> Domains:
        """Loaded when it is first needed: images can be translated without it."""
        return translation.load(self.settings, paired=True)

    def step(self, k: int) -> dict[str, Tensor]:
        """A step of the generators, then one of the discriminators; in sec. 3.3 D moves first."""
        s, x2y, y2x = self.settings, self.model.x2y, self.model.y2x
        x, y = self.data.pairs(s.batch_size, self.rng, s.device)
        fake_x, fake_y = y2x.G(y), x2y.G(x)
        to_y = x2y.generator_losses(x, y, fake_y)
        to_x = y2x.generator_losses(y, x, fake_x)
        g_loss = to_y.total(s.l1) + to_x.total(s.l1)  # eq. 4, both ways
        self.G_learner.descend(g_loss, k)  # moves the generators alone
        d_loss = x2y.discriminator_loss(x, y, fake_y) + y2x.discriminator_loss(y, x, fake_x)
        self.D_learner.descend(d_loss, k)  # and the discriminators
        l1 = {"l1_y": to_y.l1, "l1_x": to_x.l1}
        return {"generators": g_loss, "discriminators": d_loss} | l1
