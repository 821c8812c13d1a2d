"""The variational autoencoder: images of latent vectors, by maximising a bound."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import tensor as T
from minigen.data import Dataset, labels_to_draw
from minigen.evaluation import curves, pictures
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.latent import slerp, traversal
from minigen.models.vae import LIKELIHOODS, VAE
from minigen.networks.coders import DECODERS, ENCODERS
from minigen.networks.labels import Labels, labels_if_conditional
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import ImageSettings, heading, seeded, setting, with_default
from nn.distributions import kl_divergence
from tensor import Tensor

IWAE_SAMPLES = 100


@dataclass(frozen=True)
class VAESettings(ImageSettings):
    """`decoder` is the distribution of a pixel given the latent vector, `beta` that of beta-VAE
    (Higgins et al. 2017)."""

    steps: int = with_default(ImageSettings, "steps", 3000)
    batch_size: int = with_default(ImageSettings, "batch_size", 128)
    latent: int = setting(16, "dimensions of the latent code", within=(1, 10**4))
    networks: str = setting("mlp", "dense or convolutional networks", choices=tuple(ENCODERS))
    decoder: str = setting("bernoulli", "the distribution of a pixel", choices=LIKELIHOODS)
    beta: float = setting(1.0, "the weight of the KL term", within=(0, 1e6))
    conditional: bool = setting(False, "show encoder and decoder the label")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditional:
            self.check_conditional()


class VAERecipe:
    """A variational autoencoder of images."""

    Settings = VAESettings
    title = "VAE"
    reference = FLOOR
    samples_need_data = False
    warning = None

    def __init__(self, settings: VAESettings):
        self.rng = seeded(settings, VAESettings)
        self.settings = settings
        beta = "" if settings.beta == 1 else f"beta = {settings.beta:g}"
        conditional = "conditional" if settings.conditional else ""
        self.heading = heading(self.title, settings.data_name, beta, conditional)
        (C, H, W), latent = settings.about.shape, settings.latent
        classes = settings.about.classes if settings.conditional else 0
        encoder = ENCODERS[settings.networks]((C + classes, H, W), 2 * latent)
        decoder = DECODERS[settings.networks](latent + classes, (C, H, W))
        self.model = VAE(encoder, decoder, latent, settings.decoder, classes).to(settings.device)
        schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.model, settings.lr, (0.9, 0.99), schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.model, self.rng, {"model": self.learner})

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed: samples can be drawn without it."""
        return self.settings.load()

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

    def encode(self, x: np.ndarray, labels: Labels = None) -> np.ndarray:
        """The means (N, latent) of q(z | x) for images (N, C, H, W), labelled if conditional."""
        with self.learner.using_average():
            return in_batches(self._posterior_mean, x, labels, device=self.settings.device)

    def _posterior_mean(self, x: Tensor, labels: Labels) -> Tensor:
        return self.model.posterior(x, labels).mean

    def decode(self, z: np.ndarray, labels: Labels = None) -> np.ndarray:
        """The mean images of latent vectors (N, latent), labelled if conditional."""
        with self.learner.using_average():
            return in_batches(self.model.decode, z, labels, device=self.settings.device)

    def interpolate(self, a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
        """n latent vectors on the arc from one to another: (n, latent)."""
        return slerp(a, b, n)

    def sample(self, n: int, seed: int, label: int | None = None) -> np.ndarray:
        """The mean images of n draws from the prior; if conditional, of each class in turn, or of
        one `label`.

        Returns float32 (n, ...) within [-1, 1]. Raises Diverged if they are not finite.
        """
        rng = np.random.default_rng(seed)
        z = self.model.prior(n).sample(generator=rng).numpy()
        return self.decode(z, labels_to_draw(n, self.model.classes, label)).clip(-1, 1)

    def evaluate(self, n: int, seed: int) -> Measures:
        """The bound and its terms on test images, in nats each; then the measures of samples."""
        rng = np.random.default_rng(seed)

        def bounds(x: Tensor, labels: Labels) -> Tensor:
            terms = self.model.terms(x, labels, rng)
            iwae = self.model.iwae_bound(x, IWAE_SAMPLES, labels, rng)
            return T.stack([terms.reconstruction, terms.kl, terms.elbo, iwae], 1)

        labels = labels_if_conditional(self.data.test_labels, self.model.classes)
        with self.learner.using_average():
            values = in_batches(bounds, self.data.test, labels, device=self.settings.device)
        means = values.mean(0, dtype=np.float64)
        iwae = f"test IWAE, S = {IWAE_SAMPLES}"
        names = ("test reconstruction", "test KL", "test ELBO", iwae)
        measures: Measures = {name: (float(mean), None) for name, mean in zip(names, means)}
        labels = labels_to_draw(n, self.model.classes)
        return measures | sample_measures(self.sample(n, seed), self.data, labels)

    def draw(self, run: Run) -> None:
        """The losses; reconstructions; ways between two images; what a latent dimension does, and
        what the label does."""
        names = ["loss", "reconstruction", "kl"]
        curves.losses(run, names, f"{self.heading}: nats per image")
        x = self.data.test[: pictures.SHOWN]
        labels = labels_if_conditional(self.data.test_labels, self.model.classes)
        labels = None if labels is None else labels[: len(x)]
        with self.learner.using_average():
            q = self.model.posterior(Tensor(x, device=self.settings.device), labels)
            z = q.mean.numpy()
            kl = kl_divergence(q.base_dist, self.model.prior(len(x)).base_dist).numpy()
        shown, titles = [x, self.decode(z, labels)], ["test image", "reconstruction"]
        path, title = run.path / "reconstructions.png", f"{self.heading}: reconstructions"
        pictures.sequence(path, shown, titles, title)
        self._draw_ways(run, z, labels)
        self._draw_traversal(run, z[0], kl.mean(0), None if labels is None else labels[:1])
        if labels is not None:
            self._draw_labels(run)

    def _draw_ways(self, run: Run, z: np.ndarray, labels: Labels) -> None:
        """From each code to the next, with the label of the first."""
        t = np.linspace(0, 1, 9)
        ways = np.stack([slerp(a, b, len(t)) for a, b in zip(z, np.roll(z, -1, 0))], 1)
        shown, titles = [self.decode(codes, labels) for codes in ways], [f"{u:.2f}" for u in t]
        title = f"{self.heading}: spherical ways between test images{self._as(labels)}"
        pictures.sequence(run.path / "interpolation.png", shown, titles, title)

    def _draw_traversal(self, run: Run, z: np.ndarray, kl: np.ndarray, label: Labels) -> None:
        """One code (latent,), moved along the dimensions of the largest kl (latent,)."""
        values, dims = np.linspace(-3, 3, 9), kl.argsort()[::-1][: pictures.ROWS]
        moved = np.stack([traversal(z, dim, values) for dim in dims], 1)
        labels = None if label is None else label.repeat(len(dims))
        shown, titles = [self.decode(z, labels) for z in moved], [f"z = {v:.2f}" for v in values]
        title = f"{self.heading}: a latent dimension a row, by falling KL{self._as(label)}"
        pictures.sequence(run.path / "traversal.png", shown, titles, title)

    def _draw_labels(self, run: Run) -> None:
        """The same draws from the prior with each label."""
        rng = np.random.default_rng(self.settings.seed)
        z = self.model.prior(pictures.ROWS).sample(generator=rng).numpy()
        names = self.settings.names_of_classes[:12]
        shown = [self.decode(z, np.full(len(z), k)) for k in range(len(names))]
        title = f"{self.heading}: the same z along a row, with each label"
        pictures.sequence(run.path / "labels.png", shown, names, title)

    def _as(self, labels: Labels) -> str:
        """With which labels the rows of a picture are decoded, for its title."""
        if labels is None:
            return ""
        names = [self.settings.names_of_classes[k] for k in labels[: pictures.ROWS]]
        return f", decoded as {', '.join(names)}"
