"""The variational autoencoder: images of latent vectors, by maximising a bound."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import tensor as T
from minigen.data import CLASSES, SHAPES, Dataset, load, repeating_labels
from minigen.evaluation import pictures
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.vae import LIKELIHOODS, VAE, slerp, traversal
from minigen.networks.coders import DECODERS, ENCODERS
from minigen.networks.labels import labels_if_conditional
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import DataSettings, seeded, setting, with_default
from nn.distributions import kl_divergence
from tensor import Tensor

IWAE_SAMPLES = 100


@dataclass(frozen=True)
class VAESettings(DataSettings):
    """`decoder` is the distribution of a pixel given the latent vector, `beta` that of beta-VAE
    (Higgins et al. 2017)."""

    data: str = setting("digits", "what to learn", choices=("digits", "mnist"))
    steps: int = with_default(DataSettings, "steps", 3000)
    batch_size: int = with_default(DataSettings, "batch_size", 128)
    latent: int = setting(16, "dimensions of the latent code", within=(1, 10**4))
    networks: str = setting("mlp", "dense or convolutional networks", choices=tuple(ENCODERS))
    decoder: str = setting("bernoulli", "the distribution of a pixel", choices=LIKELIHOODS)
    beta: float = setting(1.0, "the weight of the KL term", within=(0, 1e6))
    conditional: bool = setting(False, "show encoder and decoder the label")


class VAERecipe:
    """A variational autoencoder of images."""

    Settings = VAESettings
    title = "VAE"
    reference = FLOOR
    samples_need_data = False
    warning = None

    def __init__(self, settings: VAESettings):
        self.rng = seeded(settings, VAESettings)
        self.settings, self.heading = settings, f"{self.title} on {settings.data}"
        (C, H, W), latent = SHAPES[settings.data], settings.latent
        classes = CLASSES if settings.conditional else 0
        encoder = ENCODERS[settings.networks]((C + classes, H, W), 2 * latent)
        decoder = DECODERS[settings.networks](latent + classes, (C, H, W))
        self.model = VAE(encoder, decoder, latent, settings.decoder, classes).to(settings.device)
        schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.model, settings.lr, (0.9, 0.99), schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.model, self.rng, {"model": self.learner})

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed: samples can be drawn without it."""
        return load(self.settings.data, self.settings.data_dir)

    def step(self, k: int) -> dict[str, Tensor]:
        """Kingma & Welling 2014, Algorithm 1, with one draw of z for each image."""
        s = self.settings
        x, labels = self.data.batch(s.batch_size, self.rng, s.device)
        labels = labels_if_conditional(labels, self.model.classes)
        terms = self.model.terms(x, labels, self.rng)  # eq. 10
        reconstruction, kl = T.mean(terms.reconstruction), T.mean(terms.kl)
        loss = reconstruction + s.beta * kl  # for beta = 1 in expectation -ELBO
        self.learner.descend(loss, k)
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def decode(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The mean images of latent vectors (N, latent)."""

        def decoded(z: Tensor, labels: np.ndarray) -> Tensor:
            return self.model.decode(z, labels_if_conditional(labels, self.model.classes))

        return in_batches(decoded, z, labels, device=self.settings.device)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """The mean images of n draws from the prior; if conditional, of 0, ..., 9, 0, ...

        Returns float32 (n, ...) within [-1, 1]. Raises Diverged if they are not finite.
        """
        with self.learner.using_average():
            z = self.model.prior(n).sample(generator=np.random.default_rng(seed)).numpy()
            return self.decode(z, repeating_labels(n)).clip(-1, 1)

    def evaluate(self, n: int, seed: int) -> Measures:
        """The bound and its terms on test images, in nats each; then the measures of samples."""
        rng = np.random.default_rng(seed)

        def bounds(x: Tensor, labels: np.ndarray) -> Tensor:
            given = labels_if_conditional(labels, self.model.classes)
            terms = self.model.terms(x, given, rng)
            iwae = self.model.iwae_bound(x, IWAE_SAMPLES, given, rng)
            return T.stack([terms.reconstruction, terms.kl, terms.elbo, iwae], 1)

        assert self.data.test_labels is not None
        x, labels = self.data.test, self.data.test_labels
        with self.learner.using_average():
            values = in_batches(bounds, x, labels, device=self.settings.device)
        means = values.mean(0, dtype=np.float64)
        iwae = f"test IWAE, S = {IWAE_SAMPLES}"
        names = ("test reconstruction", "test KL", "test ELBO", iwae)
        measures: Measures = {name: (float(mean), None) for name, mean in zip(names, means)}
        return measures | sample_measures(self.sample(n, seed), self.data)

    def draw(self, run: Run) -> None:
        """The losses; reconstructions; ways between two images; what a latent dimension does."""
        names = ["loss", "reconstruction", "kl"]
        pictures.losses(run, names, f"{self.heading}: nats per image")
        assert self.data.test_labels is not None
        x, labels = self.data.test[: pictures.ROWS], self.data.test_labels[: pictures.ROWS]
        with self.learner.using_average():
            images = Tensor(x, device=self.settings.device)
            q = self.model.posterior(images, labels_if_conditional(labels, self.model.classes))
            z = q.mean.numpy()
            kl = kl_divergence(q.base_dist, self.model.prior(len(x)).base_dist).numpy()

            shown, titles = [x, self.decode(z, labels)], ["test image", "reconstruction"]
            path, title = run.path / "reconstructions.png", f"{self.heading}: reconstructions"
            pictures.sequence(path, shown, titles, title)

            t = np.linspace(0, 1, 9)
            ways = np.stack([slerp(a, b, len(t)) for a, b in zip(z, np.roll(z, -1, 0))], 1)
            shown, titles = [self.decode(codes, labels) for codes in ways], [f"{u:.2f}" for u in t]
            title = f"{self.heading}: spherical ways from a test image to the next"
            pictures.sequence(run.path / "interpolation.png", shown, titles, title)

            values = np.linspace(-3, 3, 9)
            dims = kl.mean(0).argsort()[::-1][: pictures.ROWS]
            moved = np.stack([traversal(z[0], dim, values) for dim in dims], 1)
            label = np.full(len(dims), labels[0])
            shown, titles = [self.decode(z, label) for z in moved], [f"z = {v:.2f}" for v in values]
            title = f"{self.heading}: a latent dimension a row, by falling KL"
            pictures.sequence(run.path / "traversal.png", shown, titles, title)
