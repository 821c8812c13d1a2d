"""The variational autoencoder in training: its coders, the loss of a batch, samples, bounds on test data, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tensor as T
from minigen.evaluation import pictures
from minigen.models.vae import LIKELIHOODS, VAE, slerp, traversal
from minigen.networks.coders import CODERS
from minigen.recipes import base
from minigen.training.run import Run
from minigen.training.settings import setting, with_default
from nn.distributions import kl_divergence
from tensor import Tensor

IWAE_SAMPLES = 100


@dataclass(frozen=True)
class Config(base.ImageConfig):
    """`decoder` is the distribution of a pixel given the latent vector."""

    steps: int = with_default(base.Config, "steps", 3000)
    decoder: str = setting("bernoulli", "the distribution of a pixel", choices=LIKELIHOODS)
    beta: float = setting(1.0, "the weight of the KL term", within=(0, 1e6))
    conditional: bool = setting(False, "tell encoder and decoder the label")


class VAERun(base.Experiment):
    """A variational autoencoder of images."""

    Config = Config
    title = "VAE"
    model: VAE

    def build(self) -> VAE:
        """The coders for the shape of the images; with `conditional`, they are told one of ten classes."""
        encoder, decoder = CODERS[self.config.coders]
        latent, classes = self.config.latent, self.classes
        C, H, W = self.shape
        coders = encoder((C + classes, H, W), 2 * latent), decoder(latent + classes, self.shape)
        return VAE(*coders, latent, self.config.decoder, classes)

    def losses(self, x: Tensor, labels: np.ndarray | None) -> dict[str, Tensor]:
        """The two terms of the bound, and their weighted sum, in nats per image."""
        terms = self.model.terms(x, self.told(labels), self.rng)
        reconstruction, kl = T.mean(terms.reconstruction), T.mean(terms.kl)
        return {"loss": reconstruction + self.config.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def sample(self, n: int, seed: int) -> np.ndarray:
        """The mean images of n draws from the prior, within [-1, 1]; of a conditional model, the classes take turns."""
        with self.averaged():
            z = self.model.prior(n).sample(generator=np.random.default_rng(seed)).numpy()
            x = self._decoded(z, base.in_turn(n))
        return self.finite(x).clip(-1, 1)

    def evaluate(self, n: int, seed: int, *args: Any, **options: Any) -> base.Measures:
        """The bound and its terms on the test images, in nats per image; then what base measures of the samples."""
        rng = np.random.default_rng(seed)

        def measured(x: Tensor, labels: np.ndarray) -> Tensor:
            terms = self.model.terms(x, self.told(labels), rng)
            tighter = self.model.iwae_bound(x, IWAE_SAMPLES, self.told(labels), rng)
            return T.stack([terms.reconstruction, terms.kl, terms.elbo, tighter], 1)

        assert self.data.test_labels is not None
        with self.averaged():
            means = self.finite(self.computed(measured, self.data.test, self.data.test_labels)).mean(0, dtype=np.float64)
        names = ("test reconstruction", "test KL", "test ELBO", f"test IWAE, S = {IWAE_SAMPLES}")
        bounds: base.Measures = {name: (float(mean), None) for name, mean in zip(names, means)}
        return bounds | super().evaluate(n, seed, *args, **options)

    def draw(self, run: Run) -> None:
        """The losses; test images and their reconstructions; ways between two images; what a latent dimension does."""
        on, path = self.heading, run.path
        self.draw_losses(run, "nats per image", "loss", "reconstruction", "kl")
        assert self.data.test_labels is not None
        x, labels = self.data.test[: base.ROWS], self.data.test_labels[: base.ROWS]
        with self.averaged():
            q = self.model.posterior(Tensor(x, device=self.config.device), self.told(labels))
            z, kl = q.mean.numpy(), kl_divergence(q.base, self.model.prior(len(x)).base).numpy()
            shown = [x, self._decoded(z, labels)]
            pictures.sequence(path / "reconstructions.png", shown, ["test image", "reconstruction"], f"{on}: reconstructions")
            steps = np.linspace(0, 1, 9)
            ways = np.stack([slerp(a, b, len(steps)) for a, b in zip(z, np.roll(z, -1, 0))], 1)
            shown = [self._decoded(codes, labels) for codes in ways]
            titles = [f"{t:.2f}" for t in steps]
            pictures.sequence(path / "interpolation.png", shown, titles, f"{on}: spherical ways from a test image to the next")
            values = np.linspace(-3, 3, 9)
            dims = kl.mean(0).argsort()[::-1][: base.ROWS]
            moved = np.stack([traversal(z[0], dim, values) for dim in dims], 1)
            shown = [self._decoded(codes, np.full(len(dims), labels[0])) for codes in moved]
            titles = [f"z = {value:.2f}" for value in values]
            pictures.sequence(path / "traversal.png", shown, titles, f"{on}: a latent dimension a row, by falling KL")

    def _decoded(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.computed(lambda z, labels: self.model.decode(z, self.told(labels)), z, labels)
