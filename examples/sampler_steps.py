"""How many steps does sampling need? The same network by five samplers.

    python -m examples.sampler_steps

One network, trained for T = 100 timesteps, is asked as often as the axis says. DDIM (Song et al.
2021) is Euler's method for an ODE that carries noise to data, Heun's method (Karras et al. 2022)
and DPM-Solver++ (Lu et al. 2022) are of second order; DDIM with eta = 1 adds as much noise as
ancestral sampling (DDPM Algorithm 2), which takes all the steps: the cross. On the left are digits
by DPM-Solver++, in each column from the same noise x_T: they become clearer as the steps become
finer, and keep what they are from a few steps on. On the right, and printed, is the Fréchet
distance of 500 samples to 500 test digits (pixels); dashed that of 500 training digits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tensor as T
from examples.common import OUT, save, trained_denoiser
from minigen.data.digits import load_digits
from minigen.evaluation.metrics import frechet_distance
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, SLIDE, TITLE
from minigen.models.ddpm import Denoiser, Diffusion, States, beta_schedule
from minigen.models.solvers import dpm_solver, heun
from tensor import Tensor

TIMESTEPS = 100
EVALUATIONS = (3, 5, 9, 19, 49)
SHOWN = 6


def samplers(d: Diffusion, denoiser: Denoiser, x: Tensor) -> dict[str, Callable[[int], States]]:
    """What starts each sampler at x, for a number of evaluations."""
    rng, times = np.random.default_rng(2), d.spread_times
    return {
        "DDIM": lambda k: d.ddim(denoiser, x, k),
        "DDIM, eta = 1": lambda k: d.ddim(denoiser, x, k, eta=1.0, rng=rng),
        "Heun": lambda k: heun(d, denoiser, x, times((k + 1) // 2)),  # two a step, but the last
        "DPM-Solver++(2M)": lambda k: dpm_solver(d, denoiser, x, times(k)),
    }


def last(states: States) -> np.ndarray:
    """The x_0 at the end of a sampler."""
    *_, state = states
    return state.x.numpy()


def main(steps: int = 1500, n: int = 500, out: Path = OUT) -> None:
    (train, _), (test, _) = load_digits("train"), load_digits("test")
    diffusion = Diffusion(beta_schedule("cosine", TIMESTEPS))
    learner = trained_denoiser(train, diffusion, steps)
    denoiser, rng = learner.network, np.random.default_rng(1)
    noise = T.randn((n, *train.shape[1:]), generator=rng)
    with learner.using_average():
        by = samplers(diffusion, denoiser, noise)
        samples = {name: [last(states(k)) for k in EVALUATIONS] for name, states in by.items()}
        ancestral = last(diffusion.ancestral(denoiser, noise, rng))

    test = test[:n]
    distances = {name: [frechet_distance(x, test) for x in xs] for name, xs in samples.items()}
    floor, full = (frechet_distance(x[:n], test) for x in (train, ancestral))
    for name, found in distances.items():
        listed = ", ".join(f"{d:.2f} in {k}" for k, d in zip(EVALUATIONS, found))
        print(f"{name}: Fréchet distance {listed} evaluations")
    print(f"ancestral: {full:.2f} in {TIMESTEPS}; training digits: {floor:.2f}")

    figure = Figure(figsize=SLIDE, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    show(left, np.concatenate([x[:SHOWN] for x in samples["DPM-Solver++(2M)"]]), SHOWN)
    left.set_yticks(9 * np.arange(len(EVALUATIONS)) + 4.5, [str(k) for k in EVALUATIONS])
    left.set_title("by DPM-Solver++, the same noise in a column", fontsize=FONT)
    left.set_xlabel("noise $x_T$", fontsize=FONT)
    left.set_ylabel("evaluations of the network", fontsize=FONT)
    for k, (name, found) in enumerate(distances.items()):
        right.loglog(EVALUATIONS, found, "o-", color=f"C{k}", linewidth=3, markersize=9, label=name)
    how = {"markersize": 14, "markeredgewidth": 4, "label": "ancestral"}
    right.plot(TIMESTEPS, full, "kx", **how)
    right.axhline(floor, color="black", linestyle="dashed", label="training digits")
    ticks = (*EVALUATIONS, TIMESTEPS)
    right.set_xticks(ticks, [str(k) for k in ticks])
    right.minorticks_off()
    right.yaxis.set_major_formatter("{x:g}")
    right.set_title("Fréchet distance to test digits", fontsize=FONT)
    right.set_xlabel("evaluations", fontsize=FONT)
    right.set_ylabel("distance", fontsize=FONT)
    right.legend(fontsize=FONT)
    for axes in (left, right):
        axes.tick_params(labelsize=FONT)
    figure.suptitle(f"One network of {TIMESTEPS} timesteps, asked less often", fontsize=TITLE)
    save(figure, out / "sampler_steps.png")


if __name__ == "__main__":
    main()
