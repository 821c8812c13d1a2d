"""Autoencoders: images through a code and back, with a regulariser that keeps it from copying."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import nn
import tensor as T
from minigen.data import Dataset
from minigen.evaluation import codes, curves, pictures
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import FLOOR, Measures, reconstruction_measures, sample_measures
from minigen.models import autoencoder
from minigen.models.autoencoder import CORRUPTIONS, SPARSITIES, Autoencoder, reconstruction_error
from minigen.models.latent import lerp
from minigen.networks.coders import DECODERS, ENCODERS
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import (
    ImageSettings,
    heading,
    seeded,
    setting,
    unused_settings,
    with_default,
)
from tensor import Tensor

PENALTIES = ("contractive", *SPARSITIES)
REGULARISERS = ("none", "denoising", *PENALTIES)


@dataclass(frozen=True)
class AESettings(ImageSettings):
    """`weight` is for l1, kl and contractive; `corruption` and `strength` are for denoising."""

    batch_size: int = with_default(ImageSettings, "batch_size", 128)
    latent: int = setting(16, "dimensions of the latent code", within=(1, 10**4))
    networks: str = setting("mlp", "dense or convolutional networks", choices=tuple(ENCODERS))
    regulariser: str = setting("none", "what keeps the code from copying", choices=REGULARISERS)
    weight: float = setting(0.1, "weight of the penalty", within=(0, 1e6))
    corruption: str = setting("gaussian", "what denoising removes", choices=tuple(CORRUPTIONS))
    strength: float = setting(0.5, "deviation of the noise, or share of pixels", within=(0, 1e3))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corruption != "gaussian" and self.strength > 1:
            rule = f"`strength` is a share of the pixels for {self.corruption}, and at most 1"
            raise ValueError(f"{rule}, got {self.strength!r}")


class AERecipe:
    """An autoencoder of images."""

    Settings = AESettings
    title = "Autoencoder"
    reference = FLOOR
    samples_need_data = True

    def __init__(self, settings: AESettings):
        self.rng = seeded(settings, AESettings)
        self.settings = settings
        regulariser = "" if settings.regulariser == "none" else settings.regulariser
        self.heading = heading(self.title, settings.data_name, regulariser)
        shape, latent = settings.about.shape, settings.latent
        encoder = ENCODERS[settings.networks](shape, latent)
        if settings.regulariser == "kl":  # for a code in (0, 1)
            encoder = nn.Sequential(encoder, nn.Sigmoid())
        decoder = DECODERS[settings.networks](latent, shape)
        self.model = Autoencoder(encoder, decoder).to(settings.device)
        schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.model, settings.lr, (0.9, 0.99), schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.model, self.rng, {"model": self.learner})

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed."""
        return self.settings.load()

    @property
    def warning(self) -> str | None:
        """Settings that were changed, but are for other regularisers."""
        used = {"weight": PENALTIES, "corruption": ("denoising",), "strength": ("denoising",)}
        return unused_settings(self.settings, "regulariser", used)

    def step(self, k: int) -> dict[str, Tensor]:
        """The encoder sees x, or a corrupted copy; its code must be enough to bring x back."""
        s = self.settings
        x, _ = self.data.batch(s.batch_size, self.rng)
        seen = Tensor(self.corrupted(x.numpy(), self.rng), device=s.device)
        x, code = x.to(s.device), self.model.encoder(seen)
        reconstruction = reconstruction_error(self.model.decoder(code), x)
        metrics = {"loss": reconstruction}
        if s.regulariser in PENALTIES:
            is_sparse = s.regulariser in SPARSITIES
            penalty = SPARSITIES[s.regulariser](code) if is_sparse else self.contraction(x)
            loss = reconstruction + s.weight * penalty
            metrics = {"loss": loss, "reconstruction": reconstruction, "penalty": penalty}
        self.learner.descend(metrics["loss"], k)
        return metrics

    def corrupted(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What the encoder sees of x: x itself, but for denoising."""
        if self.settings.regulariser != "denoising":
            return x
        return CORRUPTIONS[self.settings.corruption](x, self.settings.strength, rng)

    def contraction(self, x: Tensor) -> Tensor:
        """The penalty on |dh/dx|^2, of a quarter of the batch: it takes a backward per feature."""
        quarter = x[: math.ceil(len(x) / 4)].requires_grad_()
        return autoencoder.contraction(self.model.encoder(quarter), quarter)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Decoded draws of a Gaussian fitted to the training codes (Ghosh et al. 2020 sec. 4).

        Returns float32 (n, ...) within [-1, 1]. Raises Diverged if they are not finite.
        """
        codes = self.encode(self.data.train)
        only_one = len(codes) == 1  # it has no unbiased covariance
        covariance = np.cov(codes, rowvar=False, bias=only_one).reshape(2 * codes.shape[1:])
        rng = np.random.default_rng(seed)
        drawn = rng.multivariate_normal(codes.mean(0), covariance, n)
        return self.decode(drawn).clip(-1, 1)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The codes (N, latent) of images (N, ...), by the average of the weights."""
        with self.learner.using_average():
            return in_batches(self.model.encoder, x, device=self.settings.device)

    def decode(self, code: np.ndarray) -> np.ndarray:
        """The images of codes (N, latent)."""
        with self.learner.using_average():
            return in_batches(self.model.decoder, code, device=self.settings.device)

    def interpolate(self, a: np.ndarray, b: np.ndarray, n: int) -> np.ndarray:
        """n codes on the straight line from one to another: (n, latent)."""
        return lerp(a, b, n)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images (N, ...) through the code and back, by the average of the weights."""
        with self.learner.using_average():
            return in_batches(self.model, x, device=self.settings.device)

    def evaluate(self, n: int, seed: int) -> Measures:
        """How well the test images come back; then the measures of n samples."""
        x = self.data.test
        seen = self.corrupted(x, np.random.default_rng(seed))
        measures = reconstruction_measures(x, seen, self.reconstruct(seen))
        return measures | sample_measures(self.sample(n, seed), self.data)

    def draw(self, run: Run) -> None:
        """The losses; test images, what the encoder saw of them, and what came back; the codes."""
        penalised = self.settings.regulariser in PENALTIES
        names = ["loss", "reconstruction", "penalty"] if penalised else ["loss"]
        curves.losses(run, names, f"{self.heading}: squared error per image")
        x = self.data.test[: pictures.SHOWN]
        seen = self.corrupted(x, np.random.default_rng(self.settings.seed))
        columns = {"test image": x}
        if seen is not x:
            columns["corrupted"] = seen
        columns["reconstruction"] = self.reconstruct(seen)
        path, title = run.path / "reconstructions.png", f"{self.heading}: reconstructions"
        pictures.sequence(path, list(columns.values()), list(columns), title)
        title = f"{self.heading}: what the units of the code do"
        codes.activations(run.path / "codes.png", self.encode(self.data.test), title)
        if self.settings.regulariser == "contractive":
            title = f"{self.heading}: what moves the code of an image"
            codes.sensitivity(run.path / "sensitivity.png", x, self.jacobians(x), title)

    def jacobians(self, x: np.ndarray) -> np.ndarray:
        """dh/dx, (N, latent, ...), at images (N, ...), by the average of the weights."""
        with self.learner.using_average(), T.enable_grad():
            images = Tensor(x, device=self.settings.device, requires_grad=True)
            found = autoencoder.jacobian(self.model.encoder(images), images)
        return found.numpy().swapaxes(0, 1)
