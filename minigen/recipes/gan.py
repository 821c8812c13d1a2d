"""GANs: the turns of the two players."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import nn
from minigen.data import Dataset, labels_to_draw
from minigen.evaluation import batches, curves
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.gan import EQUILIBRIA, GAN, LOSSES, PENALISED, clip_weights
from minigen.networks.dcgan import dcgan_discriminator, dcgan_generator
from minigen.networks.labels import labels_if_conditional
from minigen.networks.points import mlp_discriminator, mlp_generator
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import (
    DataSettings,
    heading,
    seeded,
    setting,
    unused_settings,
    with_default,
)
from tensor import Tensor


@dataclass(frozen=True)
class GANSettings(DataSettings):
    """`critic_steps` is the k of Algorithm 1, which the papers of wgan and wgan-gp set to 5;
    `penalty` is for gan-gp and wgan-gp, `clip` for wgan, whose paper has 0.01. All are trained by
    Adam; the paper of wgan has RMSProp."""

    steps: int = with_default(DataSettings, "steps", 4000, points=10_000)
    batch_size: int = with_default(DataSettings, "batch_size", 64, points=256)
    lr: float = with_default(DataSettings, "lr", 5e-4, points=2e-3)
    loss: str = setting(
        "non-saturating", "the loss of the two players", choices=tuple(LOSSES), points="gan-gp"
    )
    conditional: bool = setting(False, "show both players the label")
    critic_steps: int = setting(1, "discriminator steps for one of the generator", within=(1, 1000))
    latent: int = setting(16, "dimensions of the noise", within=(1, 10**4), points=2)
    penalty: float = setting(10.0, "weight of the gradient penalty", within=(0, 1e6), points=0.3)
    clip: float = setting(0.1, "limit of the weights of a wgan critic", within=(1e-6, 1e6))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditional:
            self.check_conditional()


class GANRecipe:
    """A generative adversarial network: convolutions for images, dense layers for points."""

    Settings = GANSettings
    title = "GAN"
    reference = FLOOR
    samples_need_data = False

    def __init__(self, settings: GANSettings):
        self.rng = seeded(settings, GANSettings)
        self.settings = settings
        conditional = "conditional" if settings.conditional else ""
        self.heading = heading(self.title, settings.data_name, settings.loss, conditional)
        classes = settings.about.classes if settings.conditional else 0
        G, D = _players(settings, classes)
        self.model = GAN(G, D, settings.latent, settings.loss, classes).to(settings.device)
        lr, betas, schedule = settings.lr, (0.5, 0.99), cosine(settings.steps, warmup_steps=500)
        self.G_learner = Learner(self.model.generator, lr, betas, schedule, ema=0.995)
        self.D_learner = Learner(self.model.discriminator, lr, betas, schedule)
        learners = {"generator": self.G_learner, "discriminator": self.D_learner}
        self.checkpointed = to_checkpoint(self.model, self.rng, learners)

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed: samples can be drawn without it."""
        return self.settings.load()

    @property
    def warning(self) -> str | None:
        """Settings that were changed, but are for other losses."""
        return unused_settings(self.settings, "loss", {"penalty": PENALISED, "clip": ("wgan",)})

    def step(self, k: int) -> dict[str, Tensor]:
        """Goodfellow et al. 2014, Algorithm 1."""
        s, model = self.settings, self.model
        for _ in range(s.critic_steps):  # the turn of the discriminator
            x, labels = self.data.batch(s.batch_size, self.rng, s.device)
            labels = labels_if_conditional(labels, model.classes)
            d_loss = model.discriminator_loss(x, labels, self.rng, s.penalty)
            self.D_learner.descend(d_loss, k)
            if s.loss == "wgan":
                clip_weights(model.discriminator.parameters(), s.clip)
        g_loss = model.generator_loss(len(x), labels, self.rng)  # the turn of the generator
        self.G_learner.descend(g_loss, k)
        return {"discriminator": d_loss, "generator": g_loss}

    def sample(self, n: int, seed: int, label: int | None = None) -> np.ndarray:
        """n samples by the average of the weights; if conditional, of each class in turn, or of
        one `label`.

        Returns float32 (n, ...). Raises Diverged if they are not finite.
        """
        rng = np.random.default_rng(seed)
        labels = labels_to_draw(n, self.model.classes, label)
        samples = []
        with self.G_learner.using_average():
            for rows in batches.slices(n, batches.BATCH):
                given = None if labels is None else labels[rows]
                size = rows.stop - rows.start
                samples.append(self.model.generate(size, given, rng).numpy())
            return batches.finite(np.concatenate(samples))

    def evaluate(self, n: int, seed: int) -> Measures:
        """The measures of n samples, and of a conditional model of their labels."""
        labels = labels_to_draw(n, self.model.classes)
        return sample_measures(self.sample(n, seed), self.data, labels)

    def draw(self, run: Run) -> None:
        """The losses, and those of two players of whom neither can do better."""
        names, equilibrium = ["discriminator", "generator"], EQUILIBRIA.get(self.settings.loss, {})
        curves.losses(run, names, f"{self.heading}: losses", equilibrium)


def _players(settings: GANSettings, classes: int) -> tuple[nn.Module, nn.Module]:
    """A generator and a discriminator. With a gradient penalty there is no batch norm."""
    shape = settings.about.shape
    if len(shape) == 1:
        return mlp_generator(settings.latent, *shape), mlp_discriminator(*shape)
    C, H, W = shape
    generator = dcgan_generator(settings.latent + classes, (C, H, W))
    norm = settings.loss not in PENALISED
    return generator, dcgan_discriminator((C + classes, H, W), norm=norm)
