"""DDPM in training: data, denoiser, one step, samples, pictures, evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

import nn
import tensor as T
from minigen import data, pictures, settings
from minigen.ddpm import SCHEDULES, Diffusion, Step, beta_schedule
from minigen.metrics import frechet_distance, precision_recall
from minigen.run import Run, State
from minigen.training import Diverged
from minigen.unet import MLPDenoiser, UNet
from tensor import Tensor
from tensor.arrays import parse_device

WARMUP_STEPS = 100
EMA_DECAY = 0.99
BETAS = (0.9, 0.99)
BATCH_OF_SAMPLES = 500


@dataclass(frozen=True)
class Config:
    """The settings of a run, as config.json holds them. `timesteps` and `schedule` define the forward process."""

    data: str = "digits"
    data_dir: str | None = None
    steps: int = 1500
    batch_size: int = 64
    lr: float = 5e-3
    seed: int = 0
    device: str = "cpu"
    timesteps: int = 50
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        settings.check(
            self, steps=(1, 10**9), batch_size=(1, 10**6), lr=(1e-30, 1e30), seed=(0, 2**63 - 1), timesteps=(1, 10**5)
        )
        if self.data not in data.NAMES or self.schedule not in SCHEDULES:
            raise ValueError(
                f"data must be one of {data.NAMES} and schedule one of {SCHEDULES}, got {self.data!r}, {self.schedule!r}"
            )
        parse_device(self.device)


class DDPM:
    """A diffusion model in training on a data set: a U-Net for images, an MLP for points in the plane.

    Without the data it can load a state and draw samples.
    """

    def __init__(self, config: Config, with_data: bool = True):
        self.config = config
        self.shape = data.SHAPES[config.data]
        if with_data:
            self.data = data.load(config.data, config.data_dir)
        self.diffusion = Diffusion(beta_schedule(config.schedule, config.timesteps))
        T.manual_seed(config.seed)
        self.model = _denoiser(self.shape).to(config.device)
        self.optimizer = nn.Adam(self.model.parameters(), config.lr, BETAS)
        self.ema = nn.EMA(self.model.parameters(), EMA_DECAY)
        self.rng = np.random.default_rng(config.seed)

    @property
    def size(self) -> int:
        """How many parameters the denoiser has."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def most_evaluated(self) -> int:
        """How many samples can be compared with as many test points and as many training points."""
        return min(len(self.data.train), len(self.data.test))

    @property
    def warning(self) -> str | None:
        """What is questionable about the settings: a schedule that leaves signal in x_T, of which the sampler knows nothing."""
        left = float(self.diffusion.alpha_bar[-1])
        if left > 1e-3:
            return f"{self.config.schedule} over {self.diffusion.T} steps leaves alpha_bar_T = {left:.2g} of the signal at T"
        return None

    def step(self, k: int) -> dict[str, float]:
        """Algorithm 1 of DDPM on a random batch, with warm-up and cosine decay of the learning rate."""
        x0 = self.data.train[self.rng.integers(len(self.data.train), size=self.config.batch_size)]
        t = self.rng.integers(1, self.diffusion.T + 1, size=len(x0))
        noise = T.randn(x0.shape, generator=self.rng, device=self.config.device)
        loss = self.diffusion.loss(self.model, Tensor(x0, device=self.config.device), t, noise)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.lr = (
            self.config.lr * nn.schedules.warmup(k - 1, WARMUP_STEPS) * nn.schedules.cosine(k - 1, self.config.steps)
        )
        self.optimizer.step()
        self.ema.update()
        return {"loss": loss.item()}

    def state_dict(self) -> State:
        """Weights, their average, the optimiser and the random generator."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from a `state_dict`. KeyError or ValueError if it is of another model."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.bit_generator.state = state["rng"]

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
        with self.ema.applied(), np.errstate(all="ignore"):
            for start in range(0, n, BATCH_OF_SAMPLES):
                size = min(BATCH_OF_SAMPLES, n - start)
                states = self.states(size, rng, sampler, sampler_steps)
                bar = tqdm(states, desc=f"sampling {start + size} of {n}", total=total, unit="step")
                batches.append(deque(bar, maxlen=1).pop().x.numpy())
        x = np.concatenate(batches)
        if not np.isfinite(x).all():
            raise Diverged("samples are not finite, for the weights have exploded: a lower --lr may help")
        return x

    def draw(self, run: Run) -> None:
        """The pictures of a finished run: the loss, the forward process, and the denoising of eight samples."""
        name, diffusion = self.config.data, self.diffusion
        if metrics := run.metrics():
            pictures.curves(run.path / "loss.png", metrics, ["loss"], f"DDPM on {name}: simple loss (DDPM eq. 14)")
        times = np.unique(np.linspace(0, diffusion.T, 9).round().astype(int)).tolist()
        n = min(len(self.data.test), 8 if len(self.shape) == 3 else 1000)
        rng = np.random.default_rng(self.config.seed)
        x0, noise = Tensor(self.data.test[:n]), T.randn((n, *self.shape), generator=rng)
        noisy = [diffusion.q_sample(x0, t, noise).numpy() for t in times]
        labels = [f"t = {t}\n$\\bar\\alpha$ = {diffusion.alpha_bar[t]:.3f}" for t in times]
        pictures.sequence(run.path / "forward.png", noisy, labels, "Forward process: q(x_t | x_0), DDPM eq. 4")
        with self.ema.applied():
            kept = [state for state in self.states(n, rng) if state.t in times]
        path = [state.x.numpy() for state in kept]
        labels = [f"t = {state.t}" for state in kept]
        pictures.sequence(run.path / "trajectory.png", path, labels, "Denoising: x_t on its way from noise, DDPM Algorithm 2")

    def evaluate(
        self, n: int, seed: int, sampler: str = "ancestral", sampler_steps: int | None = None
    ) -> dict[str, tuple[float, float]]:
        """Of n samples: each measure beside its floor, the same measure for n real training points."""
        fake = self.sample(n, seed, sampler, sampler_steps)
        real, floor = self.data.test[:n], self.data.train[:n]
        precision, recall = precision_recall(real, fake)
        best_precision, best_recall = precision_recall(real, floor)
        return {
            "Fréchet distance": (frechet_distance(real, fake), frechet_distance(real, floor)),
            "precision (k = 3)": (precision, best_precision),
            "recall (k = 3)": (recall, best_recall),
        }


def _denoiser(shape: tuple[int, ...]) -> nn.Module:
    """A U-Net for images (C, H, W), with a level more for large ones; an MLP for points."""
    if len(shape) == 1:
        return MLPDenoiser(shape[0])
    return UNet(shape[0], (32, 64) if shape[1] < 16 else (32, 64, 64))
