"""DDPM in training: the denoiser, the loss of a batch, samples, pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

import nn
import tensor as T
from minigen.evaluation import pictures
from minigen.models.ddpm import SCHEDULES, Diffusion, Step, beta_schedule
from minigen.networks.unet import MLPDenoiser, UNet
from minigen.recipes import base
from minigen.training.run import Run
from minigen.training.settings import setting, with_default
from tensor import Tensor

BATCH_OF_SAMPLES = 500


@dataclass(frozen=True)
class Config(base.Config):
    """`timesteps` and `schedule` define the forward process."""

    steps: int = with_default(base.Config, "steps", 3000)
    lr: float = with_default(base.Config, "lr", 3e-3)
    timesteps: int = setting(20, "T, the steps of the forward process", within=(1, 10**5))
    schedule: str = setting("cosine", "how the noise grows with t", choices=SCHEDULES)


class DDPM(base.Experiment):
    """A diffusion model: the denoiser is a U-Net for images, an MLP for points in the plane."""

    Config = Config
    title = "DDPM"

    def build(self) -> nn.Module:
        """The denoiser: a U-Net, with a level more for large images, or an MLP."""
        self.diffusion = Diffusion(beta_schedule(self.config.schedule, self.config.timesteps))
        if len(self.shape) == 1:
            return MLPDenoiser(self.shape[0])
        return UNet(self.shape[0], (24, 48) if self.shape[1] < 16 else (32, 64, 64))

    @property
    def warning(self) -> str | None:
        """A schedule that leaves signal in x_T, of which the sampler knows nothing."""
        left = float(self.diffusion.alpha_bar[-1])
        if left > 1e-3:
            return f"{self.config.schedule} over {self.diffusion.T} steps leaves alpha_bar_T = {left:.2g} of the signal at T"
        return None

    def losses(self, x: Tensor, labels: np.ndarray | None) -> dict[str, Tensor]:
        """Algorithm 1 of DDPM: a random timestep and noise for each image."""
        t = self.rng.integers(1, self.diffusion.T + 1, size=len(x))
        noise = T.randn(x.shape, generator=self.rng, device=self.config.device)
        return {"loss": self.diffusion.loss(self.model, x, t, noise)}

    def check_sampling(self, sampler: str = "ancestral", sampler_steps: int | None = None) -> None:
        """`sampler_steps` are for ddim, and at most T."""
        if sampler_steps and (sampler != "ddim" or sampler_steps > self.diffusion.T):
            raise ValueError(f"--sampler-steps is for --sampler ddim, and at most {self.diffusion.T} for this run")

    def states(
        self, n: int, rng: np.random.Generator, sampler: str = "ancestral", sampler_steps: int | None = None
    ) -> Iterator[Step]:
        """The states of a sampler, from n draws of x_T ~ N(0, I) to x_0. Points are not clipped to [-1, 1], images are."""
        x = T.randn((n, *self.shape), generator=rng, device=self.config.device)
        clip = len(self.shape) == 3
        if sampler == "ddim":
            return self.diffusion.ddim(self.model, x, sampler_steps or self.diffusion.T, clip)
        return self.diffusion.ancestral(self.model, x, rng, clip_x0=clip)

    def sample(self, n: int, seed: int, sampler: str = "ancestral", sampler_steps: int | None = None) -> np.ndarray:
        """n samples from the averaged weights, float32 (n, ...)."""
        rng = np.random.default_rng(seed)
        total = (sampler_steps or self.diffusion.T) + 1
        batches = []
        with self.averaged():
            for start in range(0, n, BATCH_OF_SAMPLES):
                size = min(BATCH_OF_SAMPLES, n - start)
                states = self.states(size, rng, sampler, sampler_steps)
                bar = tqdm(states, desc=f"sampling {start + size} of {n}", total=total, unit="step")
                batches.append(deque(bar, maxlen=1).pop().x.numpy())
        return self.finite(np.concatenate(batches))

    def draw(self, run: Run) -> None:
        """The pictures of a finished run: the loss, the forward process, and the denoising of a few samples."""
        diffusion = self.diffusion
        self.draw_losses(run, "simple loss (DDPM eq. 14)", "loss")
        times = np.unique(np.linspace(0, diffusion.T, 9).round().astype(int)).tolist()
        n = min(len(self.data.test), base.ROWS if len(self.shape) == 3 else 1000)
        rng = np.random.default_rng(self.config.seed)
        x0, noise = Tensor(self.data.test[:n]), T.randn((n, *self.shape), generator=rng)
        noisy = [diffusion.q_sample(x0, t, noise).numpy() for t in times]
        labels = [f"t = {t}\n$\\bar\\alpha$ = {diffusion.alpha_bar[t]:.3f}" for t in times]
        pictures.sequence(run.path / "forward.png", noisy, labels, "Forward process: q(x_t | x_0), DDPM eq. 4")
        with self.averaged():
            kept = [state for state in self.states(n, rng) if state.t in times]
        path = [state.x.numpy() for state in kept]
        labels = [f"t = {state.t}" for state in kept]
        pictures.sequence(run.path / "trajectory.png", path, labels, "Denoising: x_t on its way from noise, DDPM Algorithm 2")
