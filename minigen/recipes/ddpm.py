"""DDPM: a network learns to see the noise in data, and noise becomes data without it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import tensor as T
from minigen.data import Dataset, labels_to_draw
from minigen.evaluation import curves, pictures
from minigen.evaluation.batches import slices
from minigen.evaluation.report import FLOOR, Measures, sample_measures
from minigen.models.bound import bits_per_dimension, bound
from minigen.models.ddpm import SCHEDULES, Denoiser, Diffusion, Rng, States, beta_schedule
from minigen.models.guidance import classifier_free, dropped
from minigen.models.predictions import PREDICTIONS, WEIGHTINGS, Prediction
from minigen.models.solvers import dpm_solver, heun
from minigen.networks.denoisers import denoiser_network
from minigen.networks.labels import Labels, labels_if_conditional
from minigen.recipes import chains, editing
from minigen.training.learner import Learner, cosine, to_checkpoint
from minigen.training.run import Run
from minigen.training.settings import DataSettings, heading, seeded, setting, with_default
from tensor import Tensor

SOLVERS: dict[str, Callable] = {"heun": heun, "dpm-solver": dpm_solver}
SAMPLERS = ("ancestral", "ddim", *SOLVERS)

FEW = 100
"""How many test items the picture of the bound is of."""

GUIDANCE = 0.25
"""How much a conditional model is guided, unless one says so: 99.8 % of digits are read as asked,
99.4 % without, at a small cost (recall 0.78 for 0.83)."""

DROPPED = 0.1
"""The share of labels that training drops: Ho & Salimans 2022 find 0.1 and 0.2 about equal."""


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
    predict: str = setting("noise", "what the network predicts", choices=PREDICTIONS)
    weighting: str = setting(
        "simple", "of the timesteps: as in L_simple, or the bound", choices=WEIGHTINGS
    )
    conditional: bool = setting(False, "tell the network the label")
    frequency: float = setting(3.0, "how sharp points may be", within=(0, 1e3), before=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditional:
            self.check_conditional()


class DDPMRecipe:
    """A diffusion model: its network is a U-Net for images, an MLP for points in the plane."""

    Settings = DDPMSettings
    title = "DDPM"
    reference = FLOOR
    samples_need_data = False
    inpaint, image_to_image, mix = editing.inpaint, editing.image_to_image, editing.mix

    def __init__(self, settings: DDPMSettings):
        self.rng = seeded(settings, DDPMSettings)
        predicts = "" if settings.predict == "noise" else f"predicting {settings.predict}"
        conditional = "conditional" if settings.conditional else ""
        self.settings = settings
        self.heading = heading(self.title, settings.data_name, predicts, conditional)
        self.shape = settings.about.shape
        self.classes = settings.about.classes if settings.conditional else 0
        self.diffusion = Diffusion(beta_schedule(settings.schedule, settings.timesteps))
        self.prediction = Prediction(settings.predict, self.diffusion)
        network = denoiser_network(self.shape, self.classes, settings.frequency)
        self.network = network.to(settings.device)
        lr_schedule = cosine(settings.steps, warmup_steps=100)
        self.learner = Learner(self.network, settings.lr, (0.9, 0.99), lr_schedule, ema=0.99)
        self.checkpointed = to_checkpoint(self.network, self.rng, {"model": self.learner})

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
        left = f"{process} leaves alpha_bar_T = {share:.2g} of the data's variance in x_T"
        return f"{left}: more `timesteps`, or `schedule` cosine, leave less"

    def step(self, k: int) -> dict[str, Tensor]:
        """DDPM Algorithm 1; with labels, Ho & Salimans 2022 Algorithm 1."""
        n, device = self.settings.batch_size, self.settings.device
        x0, labels = self.data.batch(n, self.rng, device)  # line 2: x_0 ~ q(x_0)
        t = self.rng.integers(1, self.diffusion.T + 1, size=n)  # line 3
        noise = T.randn(x0.shape, generator=self.rng, device=device)  # line 4
        labels = labels_if_conditional(labels, self.classes)
        told = () if labels is None else (dropped(labels, DROPPED, self.classes, self.rng),)
        weighting = self.settings.weighting
        loss = self.prediction.loss(self.network, x0, t, noise, *told, weighting=weighting)
        self.learner.descend(loss, k)  # line 5
        return {"loss": loss}

    def denoiser(self, labels: Labels = None, guidance: float = 0.0) -> Denoiser:
        """The denoiser of items with these labels (N,), or of a model that is not conditional."""
        if labels is None:
            return self.prediction.denoiser(self.network)

        def told(labels: np.ndarray) -> Denoiser:
            return self.prediction.denoiser(lambda x, t: self.network(x, t, labels))

        if not guidance:
            return told(labels)
        return classifier_free(told(labels), told(np.full_like(labels, self.classes)), guidance)

    def check_sampling(
        self, sampler: str = "ancestral", sampler_steps: int | None = None, eta: float = 0.0,
        guidance: float | None = None,
    ) -> None:  # fmt: skip
        """ValueError for another sampler, more steps than T, and what is not for this sampler or
        this model."""
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {sampler!r}")
        most = self.diffusion.T
        if sampler_steps and (sampler == "ancestral" or sampler_steps > most):
            rule = f"is for `sampler` {' or '.join(SAMPLERS[1:])}, and at most {most} for this run"
            raise ValueError(f"`sampler_steps` {rule}")
        if eta and sampler != "ddim":
            raise ValueError("`eta` is for `sampler` ddim")
        if not 0 <= eta <= 1:
            raise ValueError(f"`eta` must lie between 0 and 1, got {eta}")
        if guidance is None:
            return
        if not self.classes:
            raise ValueError("`guidance` is for models trained with `conditional`")
        if not -1 <= guidance <= 100:
            raise ValueError(f"`guidance` must lie between -1 (any class) and 100, got {guidance}")

    @property
    def variance(self) -> str:
        """That of p(x_{t-1} | x_t): the smaller of the paper's two for points."""
        return "beta" if len(self.shape) == 3 else "beta_tilde"

    def states(
        self, n: int, rng: Rng, sampler: str = "ancestral", sampler_steps: int | None = None,
        eta: float = 0.0, guidance: float | None = None, labels: Labels = None,
    ) -> States:  # fmt: skip
        """The states of a sampler, from n draws of x_T ~ N(0, I) to x_0; arguments as in `sample`.

        What is predicted of x_0 is held within the range of the data.
        """
        denoiser = self.denoiser(labels, GUIDANCE if guidance is None else guidance)
        x = T.randn((n, *self.shape), generator=rng, device=self.settings.device)
        diffusion, limit = self.diffusion, self.settings.largest
        if sampler == "ancestral":
            return diffusion.ancestral(denoiser, x, rng, self.variance, limit)
        steps = sampler_steps or diffusion.T
        if sampler == "ddim":
            return diffusion.ddim(denoiser, x, steps, limit, eta, rng)
        return SOLVERS[sampler](diffusion, denoiser, x, diffusion.spread_times(steps), limit)

    def sample(
        self, n: int, seed: int, sampler: str = "ancestral", sampler_steps: int | None = None,
        eta: float = 0.0, guidance: float | None = None, label: int | None = None,
    ) -> np.ndarray:  # fmt: skip
        """n samples by the average of the weights; if conditional, of each class in turn.

        sampler: one of SAMPLERS
        sampler_steps: of all but ancestral; T if it is None
        eta: of ddim, how much noise it adds, 1 for as much as ancestral
        guidance: the w of Ho & Salimans 2022; 0 for none, GUIDANCE if it is None
        label: the class of all

        Returns float32 (n, ...). Raises ValueError as `check_sampling` does, Diverged if they are
        not finite.
        """
        self.check_sampling(sampler, sampler_steps, eta, guidance)
        rng, labels = np.random.default_rng(seed), labels_to_draw(n, self.classes, label)

        def states(rows: slice) -> States:
            told = None if labels is None else labels[rows]
            size = rows.stop - rows.start
            return self.states(size, rng, sampler, sampler_steps, eta, guidance, told)

        with self.learner.using_average():
            return chains.ends(states, n, (sampler_steps or self.diffusion.T) + 1)

    def evaluate(self, n: int, seed: int, **how: Any) -> Measures:
        """The bound on n test items, of a density if their levels are not known; then the measures
        of n samples, drawn as `sample` does."""
        x0 = Tensor(self.data.test[:n], device=self.settings.device)
        bits = bits_per_dimension(self.bound(x0, np.random.default_rng(seed)), x0)
        measures: Measures = {"bound, bits/dim": (bits, None)}
        labels = labels_to_draw(n, self.classes)
        return measures | sample_measures(self.sample(n, seed, **how), self.data, labels)

    def bound(self, x0: Tensor, rng: Rng) -> np.ndarray:
        """The terms of the variational bound of test items x0, in nats: see `models.bound`."""
        labels = labels_if_conditional(self.data.test_labels, self.classes)
        levels, limit, terms = self.data.levels, self.settings.largest, []
        with self.learner.using_average():
            for rows in slices(len(x0), chains.BATCH):
                denoiser = self.denoiser(None if labels is None else labels[rows])
                of_rows = self.diffusion, denoiser, x0[rows], rng, self.variance, levels, limit
                terms.append(bound(*of_rows))
        return np.concatenate(terms, 1)

    def draw(self, run: Run) -> None:
        """The loss, the terms of the bound, the forward process, and the denoising of a few
        samples."""
        diffusion = self.diffusion
        weighting = {
            "simple": "simple loss (DDPM eq. 14)",
            "bound": "the bound's loss (DDPM eq. 12)",
        }
        curves.losses(run, ["loss"], f"{self.heading}: {weighting[self.settings.weighting]}")
        self._draw_bound(run)
        are_images = len(self.shape) == 3
        times = chains.moments(diffusion.T, 9 if are_images else 8)
        n = min(len(self.data.test), pictures.SHOWN if are_images else pictures.POINTS)
        rng = np.random.default_rng(self.settings.seed)
        x0, noise = Tensor(self.data.test[:n]), T.randn((n, *self.shape), generator=rng)
        noisy = [diffusion.q_sample(x0, t, noise).numpy() for t in times]
        labels = [f"t = {t}\n$\\bar\\alpha$ = {diffusion.alpha_bar[t]:.3f}" for t in times]
        title = f"{self.heading}: the forward process q(x_t | x_0), DDPM eq. 4"
        pictures.sequence(run.path / "forward.png", noisy, labels, title, math=True)
        falling, frames = times[::-1], chains.moments(diffusion.T, 31)[::-1]
        wanted = {*falling, *frames}
        with self.learner.using_average():
            states = self.states(n, rng, labels=labels_to_draw(n, self.classes))
            x = {state.t: state.x.numpy() for state in states if state.t in wanted}
        title = f"{self.heading}: x_t on its way from noise, DDPM Algorithm 2"
        denoised, labels = [x[t] for t in falling], [f"t = {t}" for t in falling]
        pictures.sequence(run.path / "trajectory.png", denoised, labels, title)
        denoised, labels = [x[t] for t in frames], [f"t = {t}" for t in frames]
        pictures.film(run.path / "denoising.gif", denoised, labels, title)

    def _draw_bound(self, run: Run) -> None:
        x0 = Tensor(self.data.test[:FEW], device=self.settings.device)
        terms = self.bound(x0, np.random.default_rng(self.settings.seed))
        of_each = [bits_per_dimension(L[None], x0) for L in terms]
        total = f"{bits_per_dimension(terms, x0):.2f} bits a dimension"
        title = f"{self.heading}: the bound (DDPM eq. 5), {total}"
        curves.terms(run.path / "bound.png", np.array(of_each), title)
