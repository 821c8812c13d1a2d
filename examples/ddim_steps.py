"""How many steps does sampling need? The same digits by DDIM in 1 to 100 steps.

    python -m examples.ddim_steps

One network, trained for T = 100 timesteps. DDIM (Song et al. 2021) is deterministic: what comes out
is decided by the noise x_T, so each column, from the same x_T, shows the same digit becoming
clearer as the steps become finer, and keeping what it is from a few steps on. In a single step the
network has nothing but noise to look at, and what it sees there is its own error. On the right, and
printed, the Fréchet distance of 500 samples to 500 test digits (pixels); dashed that of 500
training digits, and the cross is ancestral sampling (DDPM Algorithm 2), which takes all the steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tensor as T
from examples.common import OUT, save, trained_denoiser
from minigen.data.digits import load_digits
from minigen.evaluation.metrics import frechet_distance
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, SLIDE, TITLE
from minigen.models.ddpm import Diffusion, States, beta_schedule

TIMESTEPS = 100
STEPS = (1, 2, 4, 8, 20, 50, 100)
SHOWN, MEASURED = 8, 500


def last(states: States) -> np.ndarray:
    """The x_0 at the end of a sampler."""
    *_, state = states
    return state.x.numpy()


def main(steps: int = 1500, out: Path = OUT) -> None:
    (train, _), (test, _) = load_digits("train"), load_digits("test")
    diffusion = Diffusion(beta_schedule("cosine", TIMESTEPS))
    learner = trained_denoiser(train, diffusion, steps)
    denoiser, rng = learner.network, np.random.default_rng(1)
    noise = T.randn((MEASURED, *train.shape[1:]), generator=rng)
    with learner.using_average():
        samples = [last(diffusion.ddim(denoiser, noise, k)) for k in STEPS]
        ancestral = last(diffusion.ancestral(denoiser, noise, rng))

    test = test[:MEASURED]
    distances = [frechet_distance(x, test) for x in samples]
    floor, full = (frechet_distance(x[:MEASURED], test) for x in (train, ancestral))
    for k, distance in zip(STEPS, distances):
        print(f"DDIM in {k} steps: Fréchet distance {distance:.2f}")
    print(f"ancestral in {TIMESTEPS} steps: {full:.2f}; training digits: {floor:.2f}")

    figure = Figure(figsize=SLIDE, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    show(left, np.concatenate([x[:SHOWN] for x in samples]), SHOWN)
    left.set_yticks(9 * np.arange(len(STEPS)) + 4.5, [str(k) for k in STEPS])
    left.set_title("samples, the same noise in a column", fontsize=FONT)
    left.set_xlabel("noise $x_T$", fontsize=FONT)
    left.set_ylabel("steps of DDIM", fontsize=FONT)
    right.loglog(STEPS, distances, "o-", color="C0", linewidth=3, markersize=9, label="DDIM")
    right.plot(
        TIMESTEPS, full, "x", color="C3", markersize=14, markeredgewidth=4, label="ancestral"
    )
    right.axhline(floor, color="black", linestyle="dashed", label="training digits")
    right.set_xticks(STEPS, [str(k) for k in STEPS])
    right.minorticks_off()
    right.yaxis.set_major_formatter("{x:g}")
    right.set_title("Fréchet distance to test digits", fontsize=FONT)
    right.set_xlabel("steps", fontsize=FONT)
    right.set_ylabel("distance", fontsize=FONT)
    right.legend(fontsize=FONT)
    for axes in (left, right):
        axes.tick_params(labelsize=FONT)
    figure.suptitle(f"One network of {TIMESTEPS} timesteps, sampled in fewer", fontsize=TITLE)
    save(figure, out / "ddim_steps.png")


if __name__ == "__main__":
    main()
