"""The score of a mixture at three levels of noise, learnt and true, and where Langevin dynamics
goes by it.

    python -m examples.langevin

The data are those of Song & Ermon 2019, figures 2 and 3: four fifths around (5, 5), one fifth
around (-5, -5). Arrows show the direction of the score of the data with noise, over their density.
With much noise it leads to the middle, and is learnt everywhere; with little it leads to the
nearest mode, and between and beyond the modes, where the network saw no data, it is learnt wrongly.
Right, chains from all over the square: with little noise alone each ends in the mode on whose side
it starts, even if the score is the true one, which says nothing of how heavy a mode is that is far
away. Annealed, from much noise to little, they learn it while there is still a way from mode to
mode (section 4.3). Printed is the angle between the learnt score and the true one, all over the
square, and the share of chains that end at (5, 5), which should be 80 %.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, apply, save
from minigen.models.mixture import Mixture
from minigen.models.score import (
    Score,
    ScoreNetwork,
    annealed_langevin,
    denoising_score_matching,
    langevin,
    noise_ladder,
)
from minigen.networks.points import MLPDenoiser
from minigen.training.learner import Learner, cosine
from tensor import Tensor

DATA = Mixture([[-5.0, -5.0], [5.0, 5.0]], 1.0, [1, 4])
SIGMAS = noise_ladder(10, 0.3, 15)
STEPS, STEP_SIZE = 20, 0.5 * 0.3**2
CHAINS, SHOWN = 500, 4
SIDE = 8.0


def true_score(x: Tensor, sigma: np.ndarray) -> Tensor:
    return DATA.score(x, spread=sigma)


def square(n: int) -> np.ndarray:
    """A grid of n^2 points, float32 (n^2, 2)."""
    line = np.linspace(-SIDE, SIDE, n)
    return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """The mean angle between vectors (N, 2) and others, in degrees."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.degrees(np.arccos(np.clip((a * b).sum(1) / lengths, -1, 1))).mean())


def at(score: Score, x: np.ndarray, sigma: float) -> np.ndarray:
    return apply(lambda x: score(x, np.full(len(x), sigma)), x)


def draw_field(axes: Axes, score: Score, sigma: float) -> None:
    """The directions of a score over the density of the data with noise."""
    u, v = square(81).T.reshape(2, 81, 81)
    log_density = apply(lambda x: DATA.log_prob(x, spread=sigma), square(81)).reshape(81, 81)
    axes.contourf(u, v, np.exp(log_density), 12, cmap="Blues", alpha=0.7)
    x = square(17)
    s = at(score, x, sigma)
    axes.quiver(*x.T, *(s / np.linalg.norm(s, axis=1, keepdims=True)).T, pivot="mid", scale=20)


def draw_chains(axes: Axes, states: np.ndarray) -> float:
    """The ends of chains (S, n, 2), and the ways of a few. Returns the share that ends at
    (5, 5)."""
    end = states[-1]
    axes.scatter(end[:, 0], end[:, 1], s=6, color="C0", alpha=0.4, linewidths=0)
    for k in range(SHOWN):
        axes.plot(*states[::STEPS, k].T, linewidth=1, color=f"C{k + 1}")
        axes.plot(*states[0, k], "o", fillstyle="none", color=f"C{k + 1}")
        axes.plot(*end[k], "o", color=f"C{k + 1}")
    return float((end.sum(1) > 0).mean())


def main(steps: int = 3000, out: Path = OUT) -> None:
    T.manual_seed(0)
    rng = np.random.default_rng(0)
    score = ScoreNetwork(MLPDenoiser(), SIGMAS)
    learner = Learner(score, 3e-3, (0.9, 0.99), cosine(steps, warmup_steps=100), ema=0.99)
    for k in trange(1, steps + 1, unit="step"):
        x = Tensor(DATA.sample(256, rng))
        sigma, noise = rng.choice(SIGMAS, 256), T.randn(256, 2, generator=rng)
        learner.descend(denoising_score_matching(score, x, sigma, noise), k)

    figure = Figure(figsize=(15, 6.4), layout="constrained")
    start = Tensor(rng.uniform(-SIDE, SIDE, (CHAINS, 2)).astype(np.float32))
    last = float(SIGMAS[-1])
    scores: dict[str, Score] = {"learnt": score, "true": true_score}
    with learner.using_average():
        for (name, s), row in zip(scores.items(), figure.subplots(2, 5)):
            for axes, sigma in zip(row, SIGMAS[[0, 7, 14]]):
                draw_field(axes, s, sigma)
                off = angle(at(s, square(41), sigma), at(true_score, square(41), sigma))
                axes.set_title(f"{name}, $\\sigma$ = {sigma:.1f}", fontsize=16)
                print(f"{name} score at sigma {sigma:.1f}: {off:.0f} degrees from the true one")
            plain = langevin(s, start, last, STEP_SIZE, len(SIGMAS) * STEPS, rng)
            annealed = annealed_langevin(s, start, SIGMAS, STEP_SIZE, STEPS, rng)
            for axes, way, states in zip(row[3:], ("plain", "annealed"), (plain, annealed)):
                share = draw_chains(axes, np.stack([state.x.numpy() for state in states]))
                axes.set_title(f"{way}: {share:.0%} at (5, 5)", fontsize=16)
                print(f"{name} score, {way} Langevin dynamics: {share:.0%} end at (5, 5)")
            for axes in row:
                axes.set(aspect="equal", xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE))
                axes.set(xticks=[], yticks=[])
    save(figure, out / "langevin.png")


if __name__ == "__main__":
    main()
