"""What the recipes of CycleGAN and pix2pix share: settings, two domains, and four methods.

A function of a `recipe` is a method of both their classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import nn
from minigen.data import About
from minigen.data.domains import SIZE, Domains, load_domains
from minigen.data.folders import load_folders
from minigen.evaluation import curves, pictures
from minigen.evaluation.batches import in_batches
from minigen.evaluation.report import Measures, translation_measures
from minigen.training.learner import Schedule
from minigen.training.run import Run
from minigen.training.settings import RunSettings, setting, with_default

DIRECTIONS = ("x2y", "y2x")


@dataclass(frozen=True)
class TranslationSettings(RunSettings):
    """The domains are made from the digits, unless there are two folders of images."""

    steps: int = with_default(RunSettings, "steps", 1500)
    batch_size: int = with_default(RunSettings, "batch_size", 8)
    lr: float = with_default(RunSettings, "lr", 1e-3)
    data_x: str | None = setting(None, "a folder of images: X (default: made from the digits)")
    data_y: str | None = setting(None, "a folder of images: Y")
    size: int = setting(SIZE, "height and width that images in folders get", within=(8, 512))
    width: int = setting(16, "channels of the first layer of each network", within=(1, 1024))
    blocks: int = setting(1, "residual blocks of each generator", within=(0, 100))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.data_x is None) != (self.data_y is None):
            raise ValueError("`data_x` and `data_y` go together: the images of X, and those of Y")
        if self.size % 2:
            rule = "`size` must be even, for the generators halve the images"
            raise ValueError(f"{rule}, got {self.size}")

    @property
    def data(self) -> str:
        """What the domains are called."""
        return "digits" if self.data_x is None else "folders"

    data_name, is_known = data, True

    @property
    def about(self) -> About:
        """The shape of an image."""
        return About((3, self.size, self.size))


def load(settings: TranslationSettings, paired: bool) -> Domains:
    """The two domains, in pairs or not. ValueError for digits of another size."""
    if settings.data_x is not None and settings.data_y is not None:
        return load_folders(settings.data_x, settings.data_y, settings.size, paired)
    if settings.size != SIZE:
        rule = f"`size` {settings.size} is for `data_x` and `data_y`"
        raise ValueError(f"{rule}: the digits have a size of {SIZE}")
    return load_domains(paired)


def linear_fall(steps: int) -> Schedule:
    """The full learning rate for half of the steps, then a line to 0 (Zhu et al. 2017, sec. 4)."""
    return lambda k: nn.schedules.linear(k - 1, steps, steps // 2)


def translate(recipe: Any, x: np.ndarray, direction: str = "x2y") -> np.ndarray:
    """Images (N, 3, H, W) of one domain as images of the other, by the average of the weights.

    Raises ValueError for a direction not in DIRECTIONS, Diverged if they are not finite.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be {' or '.join(DIRECTIONS)}, got {direction!r}")
    with recipe.G_learner.using_average():
        return in_batches(recipe.generators[direction], x, device=recipe.settings.device)


def sample(recipe: Any, n: int, seed: int) -> np.ndarray:
    """Translations of n random test images of X."""
    rows = np.random.default_rng(seed).integers(len(recipe.data.test_x), size=n)
    return recipe.translate(recipe.data.test_x[rows], "x2y")


def evaluate(recipe: Any, n: int, seed: int) -> Measures:
    """The measures of translations of the first n test images; nothing is drawn by the seed."""
    return translation_measures(recipe.data, n, recipe.translate)


def draw(recipe: Any, run: Run) -> None:
    """The losses; test images, their translations, the truth where it is known, the way back."""
    data, translate = recipe.data, recipe.translate
    curves.losses(run, ["generators", "discriminators"], f"{recipe.heading}: losses")
    x = data.test_x[: pictures.SHOWN]
    fake_y = translate(x, "x2y")
    shown = {"x": x, "G(x)": fake_y, "F(G(x))": translate(fake_y, "y2x")}
    if data.test_y is not None:
        y = data.test_y[: pictures.SHOWN]
        fake_x = translate(y, "y2x")
        shown |= {"y, the truth": y, "F(y)": fake_x, "G(F(y))": translate(fake_x, "x2y")}
    title = f"{recipe.heading}: test images, translations, cycles"
    pictures.sequence(run.path / "translations.png", list(shown.values()), list(shown), title)
