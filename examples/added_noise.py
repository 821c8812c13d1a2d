"""Why is noise added while sampling? The same network, with it and without.

    python -m examples.added_noise

Each step of ancestral sampling (DDPM Algorithm 2) goes to the mean of x_{t-1} given x_t, and adds
noise. Without the noise every step still goes to a mean, and a mean varies less than what it is
the mean of: all x_T lead to nearly the same image, most of them from the first step on, in which
the cosine schedule replaces nearly all of x_T. On the right, and printed, is the standard deviation
of a pixel on the way from t = T to 0; dashed that of the forward process, as it should be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tensor as T
from examples.common import OUT, save, trained_denoiser
from minigen.data.digits import load_digits
from minigen.evaluation.metrics import frechet_distance, precision_recall
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, SLIDE, TITLE
from minigen.models.ddpm import Diffusion, beta_schedule

TIMESTEPS = 100
COLUMNS = 5


def spread(x: np.ndarray) -> float:
    """The standard deviation of a pixel over images: the root of the mean over all pixels."""
    return float(np.sqrt(x.var(0).mean()))


def main(steps: int = 1500, n: int = 500, out: Path = OUT) -> None:
    (train, _), (test, _) = load_digits("train"), load_digits("test")
    diffusion = Diffusion(beta_schedule("cosine", TIMESTEPS))
    learner = trained_denoiser(train, diffusion, steps)
    x = T.randn((n, *train.shape[1:]), generator=np.random.default_rng(1))
    variances = {"with noise": diffusion.beta_tilde, "without": np.zeros(TIMESTEPS + 1)}
    ends, spreads = {}, {}
    with learner.using_average():
        for name, variance in variances.items():
            rng = np.random.default_rng(2)
            states = list(diffusion.ancestral(learner.network, x, rng, variance))
            ends[name] = states[-1].x.numpy()
            spreads[name] = [spread(state.x.numpy()) for state in states]

    for name, samples in ends.items():
        precision, recall = precision_recall(test, samples)
        distance = frechet_distance(test, samples)
        measures = f"precision {precision:.2f}, recall {recall:.2f}, a pixel's deviation"
        print(f"{name}: Fréchet distance {distance:.2f}, {measures} {spread(samples):.2f}")
    print(f"training digits: a pixel's deviation {spread(train):.2f}")

    figure = Figure(figsize=SLIDE, layout="constrained")
    *sheets, curve = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    for axes, (name, samples) in zip(sheets, ends.items()):
        show(axes, samples[: 2 * COLUMNS**2], COLUMNS)
        axes.set_title(name, fontsize=FONT)
    times = np.arange(TIMESTEPS, -1, -1)
    for name, found in spreads.items():
        curve.plot(times, found, linewidth=3, label=name)
    expected = np.sqrt(
        diffusion.alpha_bar[times] * train.var(0).mean() + diffusion.spread[times] ** 2
    )
    curve.plot(times, expected, "k--", label="forward process")
    curve.invert_xaxis()
    curve.set_title("standard deviation of a pixel", fontsize=FONT)
    curve.set_xlabel("t", fontsize=FONT)
    curve.set_ylabel("deviation", fontsize=FONT)
    curve.tick_params(labelsize=FONT)
    curve.legend(fontsize=FONT, loc="center right")
    figure.suptitle(
        f"Ancestral sampling in {TIMESTEPS} steps, with its noise and without", fontsize=TITLE
    )
    save(figure, out / "added_noise.png")


if __name__ == "__main__":
    main()
