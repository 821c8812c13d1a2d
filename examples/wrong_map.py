"""Where cycle consistency is not enough: CycleGAN may learn a wrong map without a fault that it
could see.

    python -m examples.wrong_map

X are white digits on black and black ones on white, Y are orange on blue and blue on orange. White
shall become orange, y = (x, 0, -x). But X is its own negative: the wrong map (-x, 0, x), white to
blue, reaches the same Y, and its inverse leads home. To the discriminators and the cycles both maps
are perfect; only pairs, which CycleGAN never sees, could tell them apart, and which one it learns
is left to chance. Each half is one seed: test images x, their translations G(x), the truth, and the
way back F(G(x)). Look for colours exchanged between G(x) and the truth, but a way back that is
as good as in the other half.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

from examples.common import OUT, columns, save
from minigen.data.domains import load_symmetric_domains
from minigen.recipes.cyclegan import CycleGANRecipe, CycleGANSettings

SEEDS = (0, 1)


def main(steps: int = 300, out: Path = OUT) -> None:
    figure = Figure(figsize=(10.4, 9.8), layout="constrained")
    halves = figure.add_gridspec(1, len(SEEDS), wspace=0.04)
    for half, seed in enumerate(SEEDS):
        recipe = CycleGANRecipe(CycleGANSettings(steps=steps, seed=seed))
        recipe.data = load_symmetric_domains(paired=False)
        for k in trange(1, steps + 1, desc=f"seed {seed}", unit="step"):
            recipe.step(k)
        x, y = recipe.data.test_x, recipe.data.test_y
        assert y is not None
        fake_y = recipe.translate(x)
        back = recipe.translate(fake_y, "y2x")
        wrong, cycle = np.abs(fake_y - y).mean(), np.abs(back - x).mean()
        other = np.abs(fake_y + y).mean()
        print(f"seed {seed}: L1 {wrong:.3f} to the truth, {other:.3f} to its negative", end="; ")
        print(f"there and back {cycle:.3f}")
        title = f"seed {seed}: L1 to the truth {wrong:.2f}, there and back {cycle:.2f}"
        images = {"x": x, "G(x)": fake_y, "truth": y, "F(G(x))": back}
        columns(figure.add_subfigure(halves[half]), title, images)
    save(figure, out / "wrong_map.png")


if __name__ == "__main__":
    main()
