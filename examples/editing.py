"""Editing with a diffusion model: to repaint a part, to redraw a sketch, to mix two images.

    python -m examples.editing

A model of digits is trained as always; none of the three was its task, each is another way to
sample. Left, a quarter of test digits is repainted: by replacement, which puts the known part, as
noisy as the rest, back after each step, and by RePaint, which repeats each step until both agree
(Lugmayr et al. 2022). In the middle, sketches in black and white are noised a part of the way and
denoised (SDEdit, Meng et al. 2022): the further, the more like the data, and the less like the
sketch. Right, two digits are noised alike, mixed by lambda, and denoised (Ho et al. 2020, fig. 8).
Printed are, over 100 test digits, the PSNR within the repainted part, and which share a reader by
the three nearest training digits still takes for what they were.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

from examples.common import OUT, columns, save
from minigen.data.digits import load_digits
from minigen.evaluation.metrics import psnr
from minigen.evaluation.neighbours import knn_classify
from minigen.evaluation.pictures import HOLE
from minigen.recipes.ddpm import DDPMRecipe, DDPMSettings

MEASURED = 100


def main(steps: int = 1500, repeats: int = 10, out: Path = OUT) -> None:
    recipe = DDPMRecipe(DDPMSettings(steps=steps))
    for k in trange(1, steps + 1, unit="step"):
        recipe.step(k)

    (train, train_labels), (test, labels) = load_digits("train"), load_digits("test")
    x, y = test[:MEASURED], test[MEASURED : 2 * MEASURED]

    def rightly_read(z: np.ndarray) -> str:
        return (
            f"{np.mean(knn_classify(train, train_labels, z) == labels[:MEASURED]):.0%} read rightly"
        )

    known = np.ones(x.shape, bool)
    known[:, :, 4:, 4:] = False
    repainted = {"digit": x, "known": np.where(known, x, HOLE)}
    for name, times in (("replaced", 1), ("RePaint", repeats)):
        z = repainted[name] = recipe.inpaint(x, known, seed=1, repeats=times)
        within = psnr(x[:, :, 4:, 4:], z[:, :, 4:, 4:])
        print(f"a quarter, {name}: {within:.1f} dB, {rightly_read(z)}")

    sketch = np.where(x > 0, np.float32(1), np.float32(-1))
    redrawn = {"sketch": sketch}
    for strength in (0.15, 0.3, 0.5):
        z = redrawn[f"{strength}"] = recipe.image_to_image(sketch, seed=1, strength=strength)
        print(f"a sketch, strength {strength}: {rightly_read(z)}")

    mixed = {"x": x}
    for weight in (0.25, 0.5, 0.75):
        mixed[f"{weight}"] = recipe.mix(x, y, weight, seed=1, strength=0.5)
    mixed |= {"y": y}

    figure = Figure(figsize=(11.6, 6.4), layout="constrained")
    parts = {"A quarter repainted": repainted, "Redrawn: strength": redrawn}
    parts |= {r"Mixed: $\lambda$": mixed}
    grid = figure.add_gridspec(1, 3, wspace=0.04, width_ratios=[len(p) for p in parts.values()])
    for k, (title, images) in enumerate(parts.items()):
        columns(figure.add_subfigure(grid[k]), title, images)
    save(figure, out / "editing.png")


if __name__ == "__main__":
    main()
