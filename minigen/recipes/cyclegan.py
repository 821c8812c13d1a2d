"""CycleGAN: the turns of generators and discriminators, and the pools between them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import nn
import tensor as T
from minigen.data.domains import Domains
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import BEFORE, Measures, translation_measures
from minigen.models.cyclegan import CycleGAN, ImagePool
from minigen.networks.translators import patch_discriminator, resnet_generator
from minigen.recipes import translation
from minigen.training.learner import Learner, checkpointed
from minigen.training.run import Run
from minigen.training.settings import setting
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

    def __init__(self, settings: CycleGANSettings):
        self.settings, self.heading = settings, f"{self.title} on {settings.data}"
        T.manual_seed(settings.seed)
        self.rng = np.random.default_rng(settings.seed)
        shape = 3, settings.size, settings.size
        self.pool_x, self.pool_y = ImagePool(shape), ImagePool(shape)
        G, F = (resnet_generator(3, 3, settings.width, settings.blocks) for _ in range(2))
        D_X, D_Y = (patch_discriminator(3, settings.width) for _ in range(2))
        self.model = CycleGAN(G, F, D_X, D_Y).to(settings.device)
        lr, betas, schedule = settings.lr, (0.5, 0.999), translation.linear_fall(settings.steps)
        self.generators = Learner(nn.Sequential(G, F), lr, betas, schedule, ema=0.99)
        self.discriminators = Learner(nn.Sequential(D_X, D_Y), lr, betas, schedule)
        players = {"generators": self.generators, "discriminators": self.discriminators}
        self.checkpointed = checkpointed(self.model, self.rng, players)
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
        generators = losses.total(grown * s.cycle, grown * s.identity)  # eq. 3
        self.generators.descend(generators, k)
        old_x, old_y = self.pool_x.query(fake_x, self.rng), self.pool_y.query(fake_y, self.rng)
        discriminators = model.discriminator_loss(x, y, old_x, old_y)
        self.discriminators.descend(discriminators, k)
        return {"generators": generators, "discriminators": discriminators} | losses._asdict()

    def translate(self, x: np.ndarray, direction: str = "x2y") -> np.ndarray:
        """Images (N, 3, H, W) of one domain as images of the other, by the average of the weights.

        Raises Diverged if they are not finite.
        """
        generator = self.model.G if direction == "x2y" else self.model.F
        with self.generators.using_average():
            return in_batches(generator, x, device=self.settings.device)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Translations of n random test images of X."""
        return translation.sample_translations(self.data, self.translate, n, seed)

    def evaluate(self, n: int, seed: int) -> Measures:
        """The measures of translations of the first n test images; nothing is drawn by the seed."""
        return translation_measures(self.data, n, self.translate)

    def draw(self, run: Run) -> None:
        """The losses, and translations of test images."""
        translation.draw_translations(run, self.heading, self.data, self.translate)
