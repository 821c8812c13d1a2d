"""Autoencoders in training: a regulariser by name, the loss of a batch, samples, the error on test data, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import nn
from minigen.evaluation import pictures
from minigen.evaluation.metrics import psnr
from minigen.models.autoencoder import (
    CORRUPTIONS,
    Autoencoder,
    contraction,
    kl_sparsity,
    l1_sparsity,
    squared_error,
)
from minigen.networks.coders import CODERS
from minigen.recipes import base
from minigen.training import settings
from minigen.training.run import Run
from minigen.training.settings import setting
from tensor import Tensor

PENALTIES = {"l1": l1_sparsity, "kl": kl_sparsity}
PENALISED = ("contractive", *PENALTIES)
REGULARISERS = ("none", "denoising", *PENALISED)


@dataclass(frozen=True)
class Config(base.ImageConfig):
    """`weight` multiplies the penalty of l1, kl and contractive; `corruption` and `strength` are for denoising."""

    regulariser: str = setting("none", "what keeps the code from copying", choices=REGULARISERS)
    weight: float = setting(0.1, "weight of the penalty", within=(0, 1e6))
    corruption: str = setting("gaussian", "what denoising removes", choices=tuple(CORRUPTIONS))
    strength: float = setting(0.5, "standard deviation of the noise, or share of the pixels", within=(0, 1e3))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corruption != "gaussian" and self.strength > 1:
            raise ValueError(f"strength is a share of the pixels for {self.corruption}, and at most 1, got {self.strength!r}")


class AERun(base.Experiment):
    """An autoencoder of images."""

    Config = Config
    title = "Autoencoder"
    model: Autoencoder
    samples_need_data = True

    @property
    def warning(self) -> str | None:
        """Settings that were changed, but are for other regularisers."""
        used = {"weight": PENALISED, "corruption": ("denoising",), "strength": ("denoising",)}
        return settings.idle(self.config, "regulariser", used)

    def build(self) -> Autoencoder:
        """The coders for the shape of the images. A KL sparsity needs a code in (0, 1)."""
        encoder, decoder = CODERS[self.config.coders]
        code = encoder(self.shape, self.config.latent)
        if self.config.regulariser == "kl":
            code = nn.Sequential(code, nn.Sigmoid())
        return Autoencoder(code, decoder(self.config.latent, self.shape))

    def corrupted(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What the encoder sees in training: x itself, but for denoising."""
        if self.config.regulariser != "denoising":
            return x
        return CORRUPTIONS[self.config.corruption](x, self.config.strength, rng)

    def losses(self, x: Tensor, labels: np.ndarray | None) -> dict[str, Tensor]:
        """The reconstruction error, and the penalty if there is one."""
        regulariser = self.config.regulariser
        code = self.model.encoder(Tensor(self.corrupted(x.numpy(), self.rng), device=x.device))
        reconstruction = squared_error(self.model.decoder(code), x)
        if regulariser not in PENALISED:
            return {"loss": reconstruction}
        penalty = self._contraction(x) if regulariser == "contractive" else PENALTIES[regulariser](code)
        return {"loss": reconstruction + self.config.weight * penalty, "reconstruction": reconstruction, "penalty": penalty}

    def _contraction(self, x: Tensor) -> Tensor:
        """That of a quarter of the batch, an unbiased estimate: it takes a backward per feature of the code."""
        part = x[: -(-len(x) // 4)].requires_grad_()
        return contraction(self.model.encoder(part), part)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Decoded draws of a Gaussian fitted to the codes of the training images (Ghosh et al. 2020 sec. 4), within [-1, 1]."""
        rng = np.random.default_rng(seed)
        with self.averaged():
            codes = self.computed(self.model.encoder, self.data.train)
            drawn = rng.multivariate_normal(codes.mean(0), np.cov(codes, rowvar=False).reshape(2 * codes.shape[1:]), n)
            x = self.computed(self.model.decoder, drawn)
        return self.finite(x).clip(-1, 1)

    def _reconstructed(self, x: np.ndarray) -> np.ndarray:
        with self.averaged():
            return self.finite(self.computed(self.model, x))

    def evaluate(self, n: int, seed: int, *args: Any, **options: Any) -> base.Measures:
        """How well the test images come back, and, of denoising, how noisy they were; then the measures of the samples."""
        x = self.data.test
        seen = self.corrupted(x, np.random.default_rng(seed))
        y = self._reconstructed(seen)
        values = {"test error": float(((y - x) ** 2).sum() / len(x)), "test PSNR, dB": psnr(x, y)}
        if seen is not x:
            values["PSNR before, dB"] = psnr(x, seen)
        return {name: (value, None) for name, value in values.items()} | super().evaluate(n, seed, *args, **options)

    def draw(self, run: Run) -> None:
        """The losses; test images, what the encoder saw of them, and what came back."""
        names = ("loss", "reconstruction", "penalty") if self.config.regulariser in PENALISED else ("loss",)
        self.draw_losses(run, "squared error per image", *names)
        x = self.data.test[: base.ROWS]
        seen = self.corrupted(x, np.random.default_rng(self.config.seed))
        on = f"{self.heading}, {self.config.regulariser}"
        columns = {"test image": x} | ({} if seen is x else {"corrupted": seen}) | {"reconstruction": self._reconstructed(seen)}
        pictures.sequence(run.path / "reconstructions.png", list(columns.values()), list(columns), f"{on}: reconstructions")
