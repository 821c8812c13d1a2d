"""GANs in training: the turns of the two players, samples, pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import nn
from minigen import data
from minigen.evaluation import pictures
from minigen.evaluation.neighbours import knn_classify
from minigen.models.gan import GAN, LOSSES, PENALISED, clip_weights
from minigen.networks.dcgan import dcgan_discriminator, dcgan_generator
from minigen.networks.fourier import mlp_discriminator, mlp_generator
from minigen.recipes import base
from minigen.training import settings
from minigen.training.run import Run
from minigen.training.settings import setting, with_default
from tensor import Tensor


@dataclass(frozen=True)
class Config(base.Config):
    """`critic_steps` is the k of Algorithm 1, which the papers of wgan and wgan-gp set to 5; `penalty` is for gan-gp and
    wgan-gp, `clip` for wgan, whose paper has 0.01."""

    steps: int = with_default(base.Config, "steps", 4000)
    batch_size: int = with_default(base.Config, "batch_size", 64)
    lr: float = with_default(base.Config, "lr", 5e-4)
    loss: str = setting("non-saturating", "the loss of the two players", choices=tuple(LOSSES))
    conditional: bool = setting(False, "tell both players the label")
    critic_steps: int = setting(1, "steps of the discriminator for one of the generator", within=(1, 1000))
    latent: int = setting(16, "dimensions of the noise", within=(1, 10**4))
    penalty: float = setting(10.0, "weight of the gradient penalty", within=(0, 1e6))
    clip: float = setting(0.1, "limit of the weights of a wgan critic", within=(1e-6, 1e6))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditional and len(data.SHAPES[self.data]) == 1:
            raise ValueError(f"conditional is for images, which have labels: {self.data} has none")


class GANRun(base.Experiment):
    """A generative adversarial network: convolutions for images, dense layers for points in the plane."""

    Config = Config
    title = "GAN"
    model: GAN

    betas = (0.5, 0.99)
    ema_decay = 0.995
    warmup_steps = 500

    @property
    def warning(self) -> str | None:
        """Settings that were changed, but are for other losses."""
        return settings.idle(self.config, "loss", {"penalty": PENALISED, "clip": ("wgan",)})

    def build(self) -> GAN:
        """The two players for the shape of the data."""
        latent, classes = self.config.latent, self.classes
        if len(self.shape) == 3:
            C, H, W = self.shape
            norm = self.config.loss not in PENALISED
            players = dcgan_generator(latent + classes, (C, H, W)), dcgan_discriminator((C + classes, H, W), norm=norm)
        else:
            players = mlp_generator(latent, *self.shape), mlp_discriminator(*self.shape)
        return GAN(*players, latent, self.config.loss, classes)

    def parts(self) -> dict[str, nn.Module]:
        """The players."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def update(self, k: int) -> dict[str, Tensor]:
        """Goodfellow et al. 2014, Algorithm 1: some steps of the discriminator, and one of the generator."""
        for _ in range(self.config.critic_steps):
            x, labels = self.batch()
            discriminator = self.model.discriminator_loss(x, self.told(labels), self.rng, self.config.penalty)
            self.descend("discriminator", discriminator, k)
            if self.config.loss == "wgan":
                clip_weights(self.model.discriminator.parameters(), self.config.clip)
        generator = self.model.generator_loss(len(x), self.told(labels), self.rng)
        self.descend("generator", generator, k)
        return {"discriminator": discriminator, "generator": generator}

    def sample(self, n: int, seed: int) -> np.ndarray:
        """n samples; of a conditional model, the classes take turns."""
        rng = np.random.default_rng(seed)
        batches = np.split(base.in_turn(n), range(base.BATCH, n, base.BATCH))
        with self.averaged():
            samples = [self.model.generate(len(labels), self.told(labels), rng).numpy() for labels in batches]
        return self.finite(np.concatenate(samples))

    def measures(self, fake: np.ndarray) -> base.Measures:
        """What base measures; of a conditional model, the share of samples that are read as the class asked for, beside the
        share of test images that are read rightly: by their neighbours among the training images."""
        measures = super().measures(fake)
        if self.config.conditional:
            n = len(fake)
            sets = (fake, base.in_turn(n)), (self.data.test[:n], self.data.test_labels[:n])
            read = [knn_classify(self.data.train, self.data.train_labels, x) == labels for x, labels in sets]
            measures["read as asked"] = float(read[0].mean()), float(read[1].mean())
        return measures

    def draw(self, run: Run) -> None:
        """The losses of the two players; samples by class if conditional, or beside test images, or over test points."""
        self.draw_losses(run, "losses", "discriminator", "generator")
        path, seed, on = run.path / "comparison.png", self.config.seed, self.heading
        if self.config.conditional:
            x = self.sample(base.ROWS * base.CLASSES, seed)
            columns = [x[label :: base.CLASSES] for label in range(base.CLASSES)]
            pictures.sequence(path, columns, [str(label) for label in range(base.CLASSES)], f"{on}: samples by class")
        elif len(self.shape) == 3:
            real = self.data.test[: 4 * base.ROWS]
            columns = [x[k::4] for x in (real, self.sample(len(real), seed)) for k in range(4)]
            pictures.sequence(path, columns, 4 * ["test"] + 4 * ["sample"], f"{on}: samples beside test images")
        else:
            real = self.data.test[:1000]
            sets = {"test points": real, "samples": self.sample(len(real), seed)}
            pictures.overlay(path, sets, f"{on}: samples over test points")
