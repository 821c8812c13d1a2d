"""Guidance: digits of a class, and ever more so.

    python -m examples.guidance

One network learns the noise in digits whose class it is told, and, as a tenth of the labels is
dropped, in digits of any class (Ho & Salimans 2022). The difference of the two points to where the
class is surer, and is added w times. From top to bottom w grows, from the same noise: digits become
plain and alike. On the right is what that costs: the class is read ever more surely, and samples
are good, but cover ever less of the data (recall), from which their Fréchet distance grows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import trange

from examples.common import OUT, save
from minigen.evaluation.pictures import show
from minigen.evaluation.slides import FONT, SLIDE, TITLE
from minigen.recipes.ddpm import DDPMRecipe, DDPMSettings

STRENGTHS = (0, 0.25, 1, 3, 8)
CLASSES = 10


def plot(axes: Axes, measures: dict[float, dict], names: list[str], unit: str) -> None:
    """Measures over the strengths, evenly spaced, and dashed what real digits have."""
    places = np.arange(len(measures))
    for k, name in enumerate(names):
        values, reference = zip(*(found[name] for found in measures.values()))
        axes.plot(places, values, f"C{k}o-", label=name)
        axes.plot(places, reference, f"C{k}--", label="real digits" if k == 0 else None)
    axes.set_xticks(places, [f"{w:g}" for w in measures])
    axes.set_xlabel("strength w", fontsize=FONT)
    axes.set_ylabel(unit, fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.legend(fontsize=FONT)


def main(steps: int = 1500, n: int = 500, out: Path = OUT) -> None:
    recipe = DDPMRecipe(DDPMSettings(conditional=True, steps=steps))
    for k in trange(1, steps + 1, unit="step"):
        recipe.step(k)

    measures, rows = {}, []
    for w in STRENGTHS:
        measures[w] = recipe.evaluate(n, seed=1, guidance=w)
        rows.append(recipe.sample(2 * CLASSES, seed=2, guidance=w))
        found = ", ".join(f"{name} {x:.3g}" for name, (x, floor) in measures[w].items() if floor)
        print(f"w = {w:g}: {found}")

    figure = Figure(figsize=SLIDE, layout="constrained")
    figure.suptitle("Classifier-free guidance (Ho & Salimans 2022)", fontsize=TITLE)
    panels = figure.subplot_mosaic("ab;ac;ad", width_ratios=(1.3, 1))
    sheet = panels["a"]
    show(sheet, np.concatenate(rows), CLASSES)
    sheet.set_xticks(9 * np.arange(CLASSES) + 4.5, [str(k) for k in range(CLASSES)])
    sheet.set_yticks(18 * np.arange(len(rows)) + 9, [f"w = {w:g}" for w in STRENGTHS])
    sheet.set_xlabel("class asked for", fontsize=FONT)
    sheet.set_ylabel("two of each class by each strength", fontsize=FONT)
    sheet.tick_params(labelsize=FONT)
    plot(panels["b"], measures, ["read as asked"], "share")
    plot(panels["c"], measures, ["precision (k = 3)", "recall (k = 3)"], "share")
    plot(panels["d"], measures, ["Fréchet distance"], "to test digits")
    save(figure, out / "guidance.png")


if __name__ == "__main__":
    main()
