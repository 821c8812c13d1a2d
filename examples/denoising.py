"""A diffusion model at work, as a film: what it makes of noise, and what it sees in it.

    python -m examples.denoising

On the left x_t, on its way from noise at t = T to digits at t = 0 (DDPM Algorithm 2). On the right
the x_0 that the network sees behind that x_t: what is left when the noise that it predicts is taken
away (eq. 4 solved for x_0), held in [-1, 1]. In x_T, which is nothing but noise, it sees nothing
but its own error; then a blur, the average of all digits, which settles from coarse to fine, and
long before the noise on the left is gone the digit on the right is decided. Printed: how far what
is seen is from what comes out, a root mean square over pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tensor as T
from examples.common import OUT, trained_denoiser
from minigen.data.digits import load_digits
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, TITLE, frame, save_film
from minigen.models.ddpm import Diffusion, beta_schedule

SHOWN, COLUMNS = 30, 6


def main(steps: int = 1500, out: Path = OUT, timesteps: int = 40) -> None:
    images, _ = load_digits("train")
    diffusion = Diffusion(beta_schedule("cosine", timesteps))
    learner = trained_denoiser(images, diffusion, steps)
    rng = np.random.default_rng(1)
    noise = T.randn((SHOWN, *images.shape[1:]), generator=rng)
    with learner.using_average():
        states = list(diffusion.ancestral(learner.network, noise, rng))
    sights = [state.x0.numpy() for state in states if state.x0 is not None]
    end = states[-1].x.numpy()

    figure = Figure(figsize=(12, 5.8), layout="constrained")
    panels, frames = figure.subplots(1, 2), []
    # The x_0 of a state was seen behind the state before it; at the end both are the same.
    for state, seen in zip(states, [*sights, sights[-1]]):
        titles = "$x_t$, on its way from noise", "the $x_0$ that the network sees in it"
        for axes, x, title in zip(panels, (state.x.numpy(), seen), titles):
            axes.clear()
            show(axes, x, COLUMNS)
            axes.set_title(title, fontsize=FONT)
        figure.suptitle(f"t = {state.t} of {timesteps}", fontsize=TITLE)
        frames.append(frame(figure))
        if state.t % max(1, timesteps // 8) == 0:
            off = np.sqrt(np.mean((seen - end) ** 2))
            print(f"t = {state.t}: the x_0 seen is {off:.2f} from the end")
    out.mkdir(parents=True, exist_ok=True)
    save_film(out / "denoising.gif", frames)
    print(out / "denoising.gif")


if __name__ == "__main__":
    main()
