"""NCSN: a network learns the score of noisy data, and Langevin dynamics goes uphill with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import tensor as T
from minigen.data import Dataset
from minigen.evaluation import curves, fields, pictures
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.ddpm import Rng
from minigen.models.mixture import Mixture
from minigen.models.score import (
    LangevinState,
    Score,
    ScoreNetwork,
    annealed_langevin,
    denoised,
    denoising_score_matching,
    langevin,
    noise_ladder,
)
from minigen.networks.denoisers import denoiser_network
from minigen.recipes import chains
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import DataSettings, heading, seeded, setting, with_default
from tensor import Tensor


@dataclass(frozen=True)
class NCSNSettings(DataSettings):
    """`largest_sigma` and `smallest_sigma` are in units of the largest coordinate of the data, 1
    for images; `step_size` is the alpha of Algorithm 1 in units of sigma^2, in which it is the same
    for all levels: from 4 on, chains run away. The paper's are 1, 0.01, 10 levels of 100 steps and
    0.2: with these, a tenth of the evaluations serve small images."""

    steps: int = with_default(DataSettings, "steps", 3000)
    batch_size: int = with_default(DataSettings, "batch_size", 64, points=256)
    lr: float = with_default(DataSettings, "lr", 3e-3)
    largest_sigma: float = setting(2.0, "sigma_1, of the first level", within=(1e-6, 1e6))
    smallest_sigma: float = setting(
        0.02, "sigma_L, of the last level", within=(1e-6, 1e6), points=0.005
    )
    levels: int = setting(20, "L, how many levels of noise there are", within=(2, 10**4))
    level_steps: int = setting(5, "T, Langevin steps at each level", within=(1, 10**5), points=10)
    step_size: float = setting(0.5, "of Langevin steps, in sigma^2", within=(1e-6, 3))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest_sigma >= self.largest_sigma:
            got = f"{self.smallest_sigma} and {self.largest_sigma}"
            raise ValueError(f"`smallest_sigma` must be below `largest_sigma`, got {got}")


class NCSNRecipe:
    """A noise-conditional score network: a U-Net for images, an MLP for points in the plane."""

    Settings = NCSNSettings
    title = "NCSN"
    reference = FLOOR
    samples_need_data = False
    warning = None

    def __init__(self, settings: NCSNSettings):
        self.rng = seeded(settings, NCSNSettings)
        self.settings, self.heading = settings, heading(self.title, settings.data_name)
        self.shape = settings.about.shape
        ends = (
            settings.largest_sigma * settings.largest,
            settings.smallest_sigma * settings.largest,
        )
        self.sigmas = noise_ladder(*ends, settings.levels)
        self._epsilon = settings.step_size * float(self.sigmas[-1]) ** 2
        self.score = ScoreNetwork(denoiser_network(self.shape), self.sigmas).to(settings.device)
        lr_schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.score, settings.lr, (0.9, 0.99), lr_schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.score, self.rng, {"model": self.learner})

    @cached_property
    def data(self) -> Dataset:
        """Loaded when it is first needed: samples can be drawn without it."""
        return self.settings.load()

    def step(self, k: int) -> dict[str, Tensor]:
        """NCSN eq. 6: the levels of the items are drawn, where the equation sums over all."""
        n, device = self.settings.batch_size, self.settings.device
        x, _ = self.data.batch(n, self.rng, device)
        sigma = self.rng.choice(self.sigmas, size=n)
        noise = T.randn(x.shape, generator=self.rng, device=device)
        loss = denoising_score_matching(self.score, x, sigma, noise)
        self.learner.descend(loss, k)
        return {"loss": loss}

    def states(self, n: int, rng: Rng) -> Iterator[LangevinState]:
        """Annealed Langevin dynamics from n draws of N(0, sigma_1^2 I); last, at sigma 0, what is
        seen behind the noise that is left (Jolicoeur-Martineau et al. 2021), held within the range
        of the data."""
        noise = T.randn((n, *self.shape), generator=rng, device=self.settings.device)
        for state in self._annealed(float(self.sigmas[0]) * noise, rng):
            yield state
        limit = self.settings.largest
        yield LangevinState(0.0, denoised(self.score, state.x, state.sigma).clamp(-limit, limit))

    def _annealed(self, x: Tensor, rng: Rng) -> Iterator[LangevinState]:
        epsilon, steps = self._epsilon, self.settings.level_steps
        return annealed_langevin(self.score, x, self.sigmas, epsilon, steps, rng)

    def sample(self, n: int, seed: int) -> np.ndarray:
        """n samples by the average of the weights.

        Returns float32 (n, ...). Raises Diverged if they are not finite.
        """
        rng = np.random.default_rng(seed)
        length = self.settings.levels * self.settings.level_steps + 2
        with self.learner.using_average():
            return chains.ends(lambda rows: self.states(rows.stop - rows.start, rng), n, length)

    def evaluate(self, n: int, seed: int) -> Measures:
        """The measures of n samples."""
        return sample_measures(self.sample(n, seed), self.data)

    def draw(self, run: Run) -> None:
        """The loss, and a few samples after each level; of points, scores and chains as well."""
        curves.losses(run, ["loss"], f"{self.heading}: denoising score matching (NCSN eq. 6)")
        are_images = len(self.shape) == 3
        n = min(len(self.data.test), pictures.SHOWN if are_images else pictures.POINTS)
        rng = np.random.default_rng(self.settings.seed)
        with self.learner.using_average():
            ends = {state.sigma: state.x.numpy() for state in self.states(n, rng)}
            if not are_images:
                self._draw_scores(run)
                self._draw_chains(run, rng)
        x = [x / np.sqrt(1 + sigma**2) for sigma, x in ends.items()]
        labels = [_label(sigma) for sigma in ends]
        title = f"{self.heading}: x / sqrt(1 + sigma^2) after each level, NCSN Algorithm 1"
        pictures.film(run.path / "annealing.gif", x, [f"sigma = {s:.2g}" for s in ends], title)
        few = chains.moments(len(x) - 1, 8)
        x, labels = [x[k] for k in few], [labels[k] for k in few]
        pictures.sequence(run.path / "trajectory.png", x, labels, title, math=True)

    def _draw_scores(self, run: Run) -> None:
        """What the network says at three levels, above what is true, if that is known."""
        scores: dict[str, Score] = {"learnt": self.score}
        if self.data.modes:
            mixture = Mixture(*self.data.modes)
            scores["true"] = lambda x, sigma: mixture.score(x, spread=sigma)
        grid, L = fields.window(self.data.test), len(self.sigmas)
        x = Tensor(grid, device=self.settings.device)
        arrows = {}
        for name, score in scores.items():
            for sigma in self.sigmas[[L // 4, L // 2, 3 * L // 4]]:
                s = score(x, np.full(len(x), sigma)).numpy()
                arrows[f"{name}, {_label(sigma)}"] = sigma**2 * s
        title = f"{self.heading}: scores times sigma^2; the brighter, the longer"
        path, rows = run.path / "scores.png", len(scores)
        fields.fields(path, grid, list(arrows.values()), rows, list(arrows), title, self.data.test)

    def _draw_chains(self, run: Run, rng: Rng) -> None:
        """Chains at the last level alone, and others from the first level to the last."""
        levels, steps, last = len(self.sigmas), self.settings.level_steps, float(self.sigmas[-1])
        grid = fields.window(self.data.test)[:: 4 * fields.SIDE + 5]
        x = Tensor(grid, device=self.settings.device)
        plain = langevin(self.score, x, last, self._epsilon, levels * steps, rng)
        paths = [
            np.stack([state.x.numpy() for state in states][::steps])
            for states in (plain, self._annealed(x, rng))
        ]
        labels = [f"all at {_label(last)}", "annealed, NCSN Algorithm 1"]
        title = f"{self.heading}: chains of Langevin dynamics, after every {steps} steps"
        fields.paths(run.path / "chains.png", paths, labels, title, self.data.test)


def _label(sigma: float) -> str:
    return f"$\\sigma$ = {sigma:.2g}"
