"""DDPM: a denoiser learns to see the noise in data, and noise becomes data without it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tqdm.auto import tqdm

import nn
import tensor as T
from minigen.data import Dataset
from minigen.evaluation import curves, pictures
from minigen.evaluation.batches import finite
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.ddpm import SCHEDULES, Diffusion, Rng, States, beta_schedule
from minigen.networks.points import MLPDenoiser
from minigen.networks.unet import UNet
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import DataSettings, heading, seeded, setting, with_default
from tensor import Tensor

BATCH_OF_SAMPLES = 500
SAMPLERS = ("ancestral", "ddim")


@dataclass(frozen=True)
class DDPMSettings(DataSettings):
    """`timesteps` and `schedule` define the forward process; `frequency` is that of the Fourier
    features of points, a standard deviation, or 0 for none."""

    steps: int = with_default(DataSettings, "steps", 3000)
    lr: float = with_default(DataSettings, "lr", 3e-3)
    timesteps: int = setting(
        20, "T, the steps of the forward process", within=(1, 10**5), points=100
    )
    schedule: str = setting("cosine", "how the noise grows with t", choices=SCHEDULES)
    frequency: float = setting(3.0, "how sharp points may be", within=(0, 1e3), before=0.0)


class DDPMRecipe:
    """A diffusion model: the denoiser is a U-Net for images, an MLP for points in the plane."""

    Settings = DDPMSettings
    title = "DDPM"
    reference = FLOOR
    samples_need_data = False

    def __init__(self, settings: DDPMSettings):
        self.rng = seeded(settings, DDPMSettings)
        self.settings, self.heading = settings, heading(self.title, settings.data_name)
        self.shape = settings.about.shape
        self.diffusion = Diffusion(beta_schedule(settings.schedule, settings.timesteps))
        self.denoiser = _denoiser(self.shape, settings.frequency).to(settings.device)
        lr_schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.denoiser, settings.lr, (0.9, 0.99), lr_schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.denoiser, self.rng, {"model": self.learner})

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed: samples can be drawn without it."""
        return self.settings.load()

    @property
    def warning(self) -> str | None:
        """A schedule that leaves some of the data in x_T, of which the sampler knows nothing."""
        share = float(self.diffusion.alpha_bar[-1])
        if share < 1.001e-3:  # cosine leaves 0.001, up to rounding
            return None
        process = f"{self.settings.schedule} over {self.diffusion.T} steps"
        return f"{process} leaves alpha_bar_T = {share:.2g} of the data's variance in x_T"

    def step(self, k: int) -> dict[str, Tensor]:
        """DDPM Algorithm 1."""
        n, device = self.settings.batch_size, self.settings.device
        x0, _ = self.data.batch(n, self.rng, device)  # line 2: x_0 ~ q(x_0)
        t = self.rng.integers(1, self.diffusion.T + 1, size=n)  # line 3
        noise = T.randn(x0.shape, generator=self.rng, device=device)  # line 4
        loss = self.diffusion.loss(self.denoiser, x0, t, noise)
        self.learner.descend(loss, k)  # line 5
        return {"loss": loss}

    def check_sampling(self, sampler: str = "ancestral", sampler_steps: int | None = None) -> None:
        """ValueError for another sampler, and unless `sampler_steps` are for ddim and at most T."""
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
        most = self.diffusion.T
        if sampler_steps and (sampler != "ddim" or sampler_steps > most):
            rule = f"is for --sampler ddim, and at most {most} for this run"
            raise ValueError(f"--sampler-steps {rule}")

    def states(
        self, n: int, rng: Rng, sampler: str = "ancestral", sampler_steps: int | None = None
    ) -> States:
        """The states of a sampler, from n draws of x_T ~ N(0, I) to x_0.

        What is predicted of x_0 is held within the range of the data. The noise added to points
        has the smaller of the paper's two variances. Raises ValueError as `check_sampling` does.
        """
        self.check_sampling(sampler, sampler_steps)
        x = T.randn((n, *self.shape), generator=rng, device=self.settings.device)
        limit = self.settings.largest
        if sampler == "ddim":
            steps = sampler_steps or self.diffusion.T
            return self.diffusion.ddim(self.denoiser, x, steps, limit)
        variance = "beta" if len(self.shape) == 3 else "beta_tilde"
        return self.diffusion.ancestral(self.denoiser, x, rng, variance, limit)

    def sample(
        self, n: int, seed: int, sampler: str = "ancestral", sampler_steps: int | None = None
    ) -> np.ndarray:
        """n samples by the average of the weights.

        sampler: one of SAMPLERS
        sampler_steps: those of ddim, T if it is None

        Returns float32 (n, ...). Raises ValueError as `check_sampling` does, Diverged if they are
        not finite.
        """
        rng = np.random.default_rng(seed)
        total = (sampler_steps or self.diffusion.T) + 1
        batches = []
        with self.learner.using_average():
            for start in range(0, n, BATCH_OF_SAMPLES):
                size = min(BATCH_OF_SAMPLES, n - start)
                states = self.states(size, rng, sampler, sampler_steps)
                progress = f"sampling {start + size} of {n}"
                bar = tqdm(states, desc=progress, total=total, unit="step", leave=None)
                for state in bar:
                    x = state.x
                batches.append(x.numpy())
            return finite(np.concatenate(batches))

    def evaluate(
        self, n: int, seed: int, sampler: str = "ancestral", sampler_steps: int | None = None
    ) -> Measures:
        """The measures of n samples; arguments and errors are those of `sample`."""
        return sample_measures(self.sample(n, seed, sampler, sampler_steps), self.data)

    def draw(self, run: Run) -> None:
        """The loss, the forward process, and the denoising of a few samples."""
        diffusion = self.diffusion
        curves.losses(run, ["loss"], f"{self.heading}: simple loss (DDPM eq. 14)")
        are_images = len(self.shape) == 3
        times = _times(diffusion.T, 9 if are_images else 8)
        n = min(len(self.data.test), pictures.SHOWN if are_images else pictures.POINTS)
        rng = np.random.default_rng(self.settings.seed)
        x0, noise = Tensor(self.data.test[:n]), T.randn((n, *self.shape), generator=rng)
        noisy = [diffusion.q_sample(x0, t, noise).numpy() for t in times]
        labels = [f"t = {t}\n$\\bar\\alpha$ = {diffusion.alpha_bar[t]:.3f}" for t in times]
        title = f"{self.heading}: the forward process q(x_t | x_0), DDPM eq. 4"
        pictures.sequence(run.path / "forward.png", noisy, labels, title, math=True)
        falling, frames = times[::-1], _times(diffusion.T, 31)[::-1]
        wanted = {*falling, *frames}
        with self.learner.using_average():
            x = {state.t: state.x.numpy() for state in self.states(n, rng) if state.t in wanted}
        title = f"{self.heading}: x_t on its way from noise, DDPM Algorithm 2"
        denoised, labels = [x[t] for t in falling], [f"t = {t}" for t in falling]
        pictures.sequence(run.path / "trajectory.png", denoised, labels, title)
        denoised, labels = [x[t] for t in frames], [f"t = {t}" for t in frames]
        pictures.film(run.path / "denoising.gif", denoised, labels, title)


def _times(T: int, n: int) -> list[int]:
    """n times from 0 to T, or all if there are fewer."""
    return np.unique(np.linspace(0, T, n).round().astype(int)).tolist()


def _denoiser(shape: tuple[int, ...], frequency: float) -> nn.Module:
    """A U-Net, with a level more for large images, or an MLP for points."""
    if len(shape) == 1:
        return MLPDenoiser(shape[0], std=frequency)
    return UNet(shape[0], (24, 48) if shape[1] < 16 else (32, 64, 64))
