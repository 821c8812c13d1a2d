"""What both contestants share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigen.experiments.cyclegan import CycleGANRun
from minigen.experiments.gan import GANRun
from minigen.experiments.vae import VAERun

Work = Callable[[], object]

RUNS: dict[str, tuple[type, dict[str, Any]]] = {
    "VAE training step, digits, batch 128": (VAERun, {}),
    "DCGAN training step, digits, batch 128": (GANRun, {"loss": "non-saturating"}),
    "WGAN-GP training step, digits, batch 128": (GANRun, {"loss": "wgan-gp"}),
    "WGAN-GP training step, points, batch 128": (GANRun, {"loss": "wgan-gp", "data": "grid"}),
    "CycleGAN training step, 16x16, batch 8": (CycleGANRun, {}),
}


def new_run(case: str, device: str) -> Any:
    """An experiment as `minigen train` begins it."""
    experiment, options = RUNS[case]
    return experiment(experiment.Config(device=device, **options))  # type: ignore[attr-defined]


def multiply_and_differentiate(x: Any, factor: Any, count: int) -> Work:
    """x times `factor`, `count` times, and back again."""

    def work() -> None:
        y = x
        for _ in range(count):
            y = y * factor
        y.backward()

    return work
