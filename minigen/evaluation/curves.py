"""Curves: what a training logged, and the terms of a bound."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from minigen.evaluation import slides
from minigen.evaluation.slides import FONT
from minigen.training.run import Run


def curves(
    path: Path, metrics: list[dict[str, float]], names: Sequence[str], title: str,
    equilibrium: Mapping[str, float] = {},
) -> None:  # fmt: skip
    """Metrics over the steps, as logged and as a running mean.

    Those ten times smaller than the largest have a panel of their own. An axis is logarithmic if
    its metrics are positive, and one is ten times another.

    equilibrium: what some of the metrics would be in it, drawn as dashed lines
    """
    steps = np.array([line["step"] for line in metrics])
    values = {name: np.array([line[name] for line in metrics]) for name in names}
    size = {name: np.median(np.abs(values[name])) for name in names}
    large = [name for name in names if 10 * size[name] >= max(size.values())]
    groups = [large] + ([small] if (small := [n for n in names if n not in large]) else [])
    figure = slides.titled(title)
    for axes, group in zip(figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups):
        for name in group:
            color = f"C{list(names).index(name)}"
            _curve(axes, steps, values[name], name, color)
            if name in equilibrium:
                label = f"{name} in equilibrium: {equilibrium[name]:.2f}"
                axes.axhline(equilibrium[name], color=color, linestyle="--", label=label)
        _scale(axes, np.concatenate([values[name] for name in group]))
        axes.set_ylabel(", ".join(group), fontsize=FONT)
        axes.legend(fontsize=FONT)
    axes.set_xlabel("step", fontsize=FONT)
    slides.save(figure, path)


def terms(path: Path, L: np.ndarray, title: str) -> None:
    """The terms L_0, ..., L_T (T + 1,) of a diffusion model's bound, in bits a dimension. L_T,
    which no training changes, is a number; so is an L_0 below 0, as that of a density may be."""
    figure, T = slides.titled(title), len(L) - 1
    axes = figure.subplots()
    times = np.arange(T)[L[:-1] > 0]
    style = "o-" if T <= 100 else "-"
    axes.plot(times, L[times], style, linewidth=3, markersize=9, label="$L_t$")
    for t, name in ((0, "L_0"), (T, "L_T")):
        if t not in times:
            axes.plot([], [], " ", label=f"${name}$ = {L[t]:.2g}")
    _scale(axes, L[times] if len(times) else L)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("$t$, of $L_t$: from $x_{t+1}$ to $x_t$", fontsize=FONT)
    axes.set_ylabel("bits a dimension", fontsize=FONT)
    axes.legend(fontsize=FONT)
    slides.save(figure, path)


def _curve(axes: Axes, steps: np.ndarray, y: np.ndarray, name: str, color: str) -> None:
    """y as it is, pale, and over it the mean of the last steps."""
    window = max(1, len(steps) // 50)
    mean = np.convolve(y, np.ones(window) / window, "valid")
    label = name if window == 1 else f"{name}, mean of {window} steps"
    axes.plot(steps, y, color=color, alpha=0.3, linewidth=1)
    axes.plot(steps[window - 1 :], mean, color=color, linewidth=3, zorder=3, label=label)


def _scale(axes: Axes, y: np.ndarray) -> None:
    """A logarithmic or a linear axis of y, whose ticks are plain numbers."""
    axes.tick_params(labelsize=FONT)
    if 0 < 10 * y.min() < y.max():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def losses(
    run: Run, names: Sequence[str], title: str, equilibrium: Mapping[str, float] = {}
) -> None:
    """loss.png, of what was logged under these names. A run that has lost its metrics has none."""
    if metrics := run.metrics(*names):
        curves(run.path / "loss.png", metrics, names, title, equilibrium)
