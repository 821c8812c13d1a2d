"""How many modes of the grid of 25 a GAN covers, by loss, over several seeds: `python -m
tests.benchmarks.modes`.

The measures are those of PacGAN (Lin et al. 2018, table 1): 2,500 samples; modes covered, share of
good samples, reverse KL, here of all samples (see `mode_coverage`).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from tqdm import trange

from minigen import data
from minigen.evaluation.metrics import mode_coverage
from minigen.recipes.gan import GANRecipe, GANSettings


def coverage(loss: str, seed: int, steps: int) -> np.ndarray:
    """Modes, share of good samples and reverse KL of a run with this loss and seed."""
    options = {"batch_size": 256, "lr": 2e-3, "penalty": 0.3, "latent": 2}
    recipe = GANRecipe(GANSettings(data="grid", loss=loss, seed=seed, steps=steps, **options))
    for k in trange(1, steps + 1, desc=f"{loss}, seed {seed}"):
        recipe.step(k)
    return np.array(mode_coverage(recipe.sample(2500, seed=1), *data.MODES["grid"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.modes", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=5, help="how many runs of each loss (default: 5)"
    )
    parser.add_argument("--steps", type=int, default=10_000, help="training steps (default: 10000)")
    parser.add_argument("--losses", nargs="+", default=["minimax", "gan-gp"], metavar="LOSS")
    options = parser.parse_args()
    measures = f"{'modes':>20}{'good samples':>20}{'reverse KL, nats':>20}"
    print(f"{'mean +- standard error':22}{measures}{'s a run':>12}")
    for loss in options.losses:
        start = time.perf_counter()
        runs = np.array([coverage(loss, seed, options.steps) for seed in range(options.seeds)])
        error = runs.std(0, ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else np.full(3, np.nan)
        seconds = (time.perf_counter() - start) / len(runs)
        cells = [f"{mean:.3f} +- {se:.3f}" for mean, se in zip(runs.mean(0), error)]
        print(
            f"{loss:22}" + "".join(f"{cell:>20}" for cell in cells) + f"{seconds:12.0f}", flush=True
        )


if __name__ == "__main__":
    main()
