"""Four noise schedules of a diffusion process, and what they leave of an image.

    python -m examples.noise_schedules

A schedule is a choice of beta_1..beta_T; what counts is alpha_bar_t, the share of the data's
variance that is left in x_t (DDPM eq. 4). Above on the left alpha_bar_t, below the signal-to-noise
ratio alpha_bar_t / (1 - alpha_bar_t), 1 on the dotted line, over t / T; on the right two digits
with the same noise all the way. Cosine (Nichol & Dhariwal 2021) falls evenly; linear has lost the
digits halfway, constant after a fifth, and the steps beyond have almost nothing to do. Printed:
when signal and noise are equal, and what is left at T, of which the sampler, which starts from
N(0, I), knows nothing: with main(steps=100) all but cosine still show the digits at the end.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples.common import OUT, save
from minigen.data.digits import load_digits
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, SLIDE, TITLE
from minigen.models.ddpm import SCHEDULES, Diffusion, beta_schedule
from tensor import Tensor

MOMENTS = 11


def main(steps: int = 1000, out: Path = OUT) -> None:
    images, labels = load_digits("test")
    digits = images[[np.argmax(labels == k) for k in (3, 0)]]
    noise = np.random.default_rng(0).standard_normal(digits.shape)
    moments = np.linspace(0, steps, MOMENTS).round().astype(int)
    x0, eps = (Tensor(x.repeat(MOMENTS, 0), dtype=np.float32) for x in (digits, noise))

    figure = Figure(figsize=SLIDE, layout="constrained")
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(2, 3))
    share, ratio = left.subplots(2, 1, sharex=True)
    for k, (axes, name) in enumerate(zip(right.subplots(len(SCHEDULES), 1), SCHEDULES)):
        diffusion = Diffusion(beta_schedule(name, steps))
        alpha_bar = diffusion.alpha_bar
        snr = alpha_bar[1:] / (1 - alpha_bar[1:])
        t = np.arange(steps + 1) / steps
        share.plot(t, alpha_bar, color=f"C{k}", linewidth=3)
        ratio.semilogy(t[1:], snr, color=f"C{k}", linewidth=3)
        show(axes, diffusion.q_sample(x0, np.tile(moments, 2), eps).numpy(), MOMENTS)
        axes.set_title(name, fontsize=FONT, color=f"C{k}", fontweight="bold")
        equal = t[np.argmin(alpha_bar > 0.5)]
        print(f"{name}: as much noise as signal at t/T = {equal:.2f}; {alpha_bar[-1]:.1e} is left")
    axes.set_xticks(9 * np.arange(0, MOMENTS, 2) + 4.5, [f"{m / steps:.1f}" for m in moments[::2]])
    axes.tick_params(labelsize=FONT, length=0)
    axes.set_xlabel("$t / T$", fontsize=FONT)
    axes.set_ylabel(" ")
    share.set_title("$\\bar\\alpha_t$: share of the signal", fontsize=FONT)
    ratio.set_title("signal-to-noise ratio", fontsize=FONT)
    ratio.axhline(1, color="black", linestyle="dotted")
    ratio.set_ylim(1e-5, 1e5)
    for axes, name in ((share, "$\\bar\\alpha_t$"), (ratio, "SNR")):
        axes.set_xlabel("$t / T$", fontsize=FONT)
        axes.set_ylabel(name, fontsize=FONT)
        axes.tick_params(labelsize=FONT)
    figure.suptitle(f"Noise schedules over T = {steps} steps", fontsize=TITLE)
    save(figure, out / "noise_schedules.png")


if __name__ == "__main__":
    main()
