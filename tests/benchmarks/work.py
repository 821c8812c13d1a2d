"""What both contestants share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from minigen.recipes.base import Experiment
from minigen.recipes.cyclegan import CycleGANRun
from minigen.recipes.gan import GANRun
from minigen.recipes.vae import VAERun

Work = Callable[[], object]

RUNS: dict[str, tuple[type[Experiment], dict[str, Any]]] = {
    "VAE training step, digits, batch 128": (VAERun, {}),
    "DCGAN training step, digits, batch 64": (GANRun, {"loss": "non-saturating"}),
    "WGAN-GP training step, digits, batch 64": (GANRun, {"loss": "wgan-gp"}),
    "WGAN-GP training step, points, batch 64": (GANRun, {"loss": "wgan-gp", "data": "grid"}),
    "CycleGAN training step, 16x16, batch 8": (CycleGANRun, {}),
}


def new_run(case: str, device: str, double: bool = False) -> Any:
    """An experiment as `minigen train` begins it; with `double`, weights and data are float64."""
    experiment, options = RUNS[case]
    return (_doubled(experiment) if double else experiment)(experiment.Config(device=device, **options))


def _doubled(experiment: type[Experiment]) -> type[Experiment]:
    class Doubled(experiment):  # type: ignore[misc, valid-type]
        def load(self) -> Any:
            data = super().load()
            images = {name: x for name, x in vars(data).items() if getattr(x, "dtype", None) == np.float32}
            return replace(data, **{name: x.astype(np.float64) for name, x in images.items()})

        def build(self) -> Any:
            return super().build().to(np.float64)

    return Doubled


def multiply_and_differentiate(x: Any, factor: Any, count: int) -> Work:
    """x times `factor`, `count` times, and back again."""

    def work() -> None:
        y = x
        for _ in range(count):
            y = y * factor
        y.backward()

    return work
