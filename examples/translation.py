"""CycleGAN: translation between two kinds of images, learnt without a single pair.

    python -m examples.translation

X are grey digits on black, Y other digits in blue ink with an orange outline, on paper. Nobody
tells the networks which image belongs to which; the two discriminators ask for images like those of
the other domain, and the cycles that the way there and back leads home. Left, for test digits: x,
its translation G(x), the truth that training never saw, and the way back F(G(x)) (Zhu et al. 2017,
figures 3 and 4). Right the same from the other side: y, F(y), the truth, G(F(y)). The outlines must
be invented, and the digit must stay the same; printed are the L1 distances to the truth of the
translations and of untranslated images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

from examples.common import OUT, columns, save
from minigen.recipes.cyclegan import CycleGANRecipe, CycleGANSettings


def l1(a: np.ndarray, b: np.ndarray) -> float:
    """The mean absolute difference."""
    return float(np.abs(a - b).mean())


def main(steps: int = 600, out: Path = OUT) -> None:
    recipe = CycleGANRecipe(CycleGANSettings(steps=steps))
    for k in trange(1, steps + 1, unit="step"):
        recipe.step(k)

    x, y = recipe.data.test_x, recipe.data.test_y
    assert y is not None
    fake_y, fake_x = recipe.translate(x), recipe.translate(y, "y2x")
    back_x, back_y = recipe.translate(fake_y, "y2x"), recipe.translate(fake_x)
    ways = [("X to Y", x, y, fake_y, back_x), ("Y to X", y, x, fake_x, back_y)]
    for way, a, b, fake_b, back_a in ways:
        print(f"{way}: L1 {l1(fake_b, b):.3f} to the truth", end=", ")
        print(f"untranslated {l1(a, b):.3f}; there and back {l1(back_a, a):.3f}")

    figure = Figure(figsize=(10.4, 9.6), layout="constrained")
    cycles = {
        "X to Y and back": {"x": x, "G(x)": fake_y, "truth": y, "F(G(x))": back_x},
        "Y to X and back": {"y": y, "F(y)": fake_x, "truth": x, "G(F(y))": back_y},
    }
    halves = figure.add_gridspec(1, 2, wspace=0.04)
    for k, (title, images) in enumerate(cycles.items()):
        columns(figure.add_subfigure(halves[k]), title, images)
    save(figure, out / "translation.png")


if __name__ == "__main__":
    main()
