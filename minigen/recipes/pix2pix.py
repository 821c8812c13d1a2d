"""pix2pix, both ways: the turns of generators and discriminators."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import nn
import tensor as T
from minigen.data.domains import Domains
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import BEFORE, Measures, translation_measures
from minigen.models.pix2pix import Pix2Pix
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.learner import Learner, checkpointed
from minigen.training.run import Run
from minigen.training.settings import setting
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

    def __init__(self, settings: Pix2PixSettings):
        self.settings, self.heading = settings, f"{self.title} on {settings.data}"
        T.manual_seed(settings.seed)
        self.rng = np.random.default_rng(settings.seed)
        width, blocks = settings.width, settings.blocks
        G, D_Y = resnet_generator(3, 3, width, blocks), patch_discriminator(6, width)
        F, D_X = resnet_generator(3, 3, width, blocks), patch_discriminator(6, width)
        self.model = BothWays(Pix2Pix(G, D_Y), Pix2Pix(F, D_X)).to(settings.device)
        lr, betas, schedule = settings.lr, (0.5, 0.999), translation.linear_fall(settings.steps)
        self.generators = Learner(nn.Sequential(G, F), lr, betas, schedule, ema=0.99)
        self.discriminators = Learner(nn.Sequential(D_Y, D_X), lr, betas, schedule)
        players = {"generators": self.generators, "discriminators": self.discriminators}
        self.checkpointed = checkpointed(self.model, self.rng, players)

    @cached_property
    def data(self) -> Domains:
        """Loaded when it is first needed: images can be translated without it."""
        return translation.load(self.settings, paired=True)

    def step(self, k: int) -> dict[str, Tensor]:
        """A step of the generators, and one of the discriminators."""
        s, x2y, y2x = self.settings, self.model.x2y, self.model.y2x
        x, y = self.data.pairs(s.batch_size, self.rng, s.device)
        fake_x, fake_y = y2x.G(y), x2y.G(x)
        to_y = x2y.generator_losses(x, y, fake_y)
        to_x = y2x.generator_losses(y, x, fake_x)
        generators = to_y.total(s.l1) + to_x.total(s.l1)  # eq. 4, both ways
        self.generators.descend(generators, k)
        d_y, d_x = x2y.discriminator_loss(x, y, fake_y), y2x.discriminator_loss(y, x, fake_x)
        self.discriminators.descend(d_y + d_x, k)
        totals = {"generators": generators, "discriminators": d_y + d_x}
        return totals | {"l1_y": to_y.l1, "l1_x": to_x.l1}

    def translate(self, x: np.ndarray, direction: str = "x2y") -> np.ndarray:
        """Images (N, 3, H, W) of one domain as images of the other, by the average of the weights.

        Raises Diverged if they are not finite.
        """
        model = self.model.x2y if direction == "x2y" else self.model.y2x
        with self.generators.using_average():
            return in_batches(model.G, x, device=self.settings.device)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Translations of n random test images of X."""
        return translation.sample_translations(self.data, self.translate, n, seed)

    def evaluate(self, n: int, seed: int) -> Measures:
        """The measures of translations of the first n test images; nothing is drawn by the seed."""
        return translation_measures(self.data, n, self.translate)

    def draw(self, run: Run) -> None:
        """The losses, and translations of test images."""
        translation.draw_translations(run, self.heading, self.data, self.translate)
