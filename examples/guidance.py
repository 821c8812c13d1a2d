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
from minigen.recipes.ddpm import DDPMRecipe, DDPMSettings

STRENGTHS = (0, 0.25, 1, 3, 8)
CLASSES = 10


def plot(axes: Axes, measures: dict[float, dict], names: list[str], title: str) -> None:
    """Measures over the strengths, evenly spaced, and dashed what real digits have."""
    places = np.arange(len(measures))
    for k, name in enumerate(names):
        values, reference = zip(*(found[name] for found in measures.values()))
        axes.plot(places, values, f"C{k}o-", label=name)
        axes.plot(places, reference, f"C{k}--")
    axes.set_xticks(places, [f"{w:g}" for w in measures])
    axes.set(title=title, xlabel="strength w")
    axes.legend()


def main(steps: int = 1500, n: int = 500, out: Path = OUT) -> None:
    recipe = DDPMRecipe(DDPMSettings(conditional=True, steps=steps))
    for k in trange(1, steps + 1, unit="step"):
        recipe.step(k)

    measures, rows = {}, []
    for w in STRENGTHS:
        measures[w] = recipe.evaluate(n, seed=1, guidance=w)
        rows.append(recipe.sample(2 * CLASSES, seed=2, guidance=w))
        found = ", ".join(f"{name} {value:.3g}" for name, (value, _) in measures[w].items())
        print(f"w = {w:g}: {found}")

    figure = Figure(figsize=(12.8, 7.2), layout="constrained")
    figure.suptitle("Classifier-free guidance (Ho & Salimans 2022)", fontsize=20)
    panels = figure.subplot_mosaic("abc;add", width_ratios=(2.2, 1, 1))
    show(panels["a"], np.concatenate(rows), CLASSES)
    panels["a"].set_xticks(9 * np.arange(CLASSES) + 4.5, [str(k) for k in range(CLASSES)])
    panels["a"].set_yticks(18 * np.arange(len(rows)) + 9, [f"w = {w:g}" for w in STRENGTHS])
    panels["a"].set(title="the same noise in a column", xlabel="class asked for", ylabel="strength")
    plot(panels["b"], measures, ["read as asked"], "share of samples")
    plot(panels["c"], measures, ["Fréchet distance"], "to 500 test digits")
    plot(panels["d"], measures, ["precision (k = 3)", "recall (k = 3)"], "good, and varied")
    save(figure, out / "guidance.png")


if __name__ == "__main__":
    main()
