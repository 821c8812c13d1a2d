"""What both contestants share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from minigen.recipes.cyclegan import CycleGANRecipe
from minigen.recipes.gan import GANRecipe
from minigen.recipes.vae import VAERecipe
from minigen.training.learner import Learner

Work = Callable[[], object]

RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "VAE training step, digits, batch 128": (VAERecipe, {}),
    "DCGAN training step, digits, batch 64": (GANRecipe, {"loss": "non-saturating"}),
    "WGAN-GP training step, digits, batch 64": (GANRecipe, {"loss": "wgan-gp"}),
    "WGAN-GP training step, points, batch 64": (GANRecipe, {"loss": "wgan-gp", "data": "grid"}),
    "CycleGAN training step, 16x16, batch 8": (CycleGANRecipe, {}),
}


def new_recipe(case: str, device: str, double: bool = False) -> Any:
    """A recipe as `minigen train` begins it; with `double`, weights and data are float64."""
    kind, options = RECIPES[case]
    recipe = kind(kind.Settings(device=device, **options))
    if double:
        _double(recipe)
    return recipe


def _double(recipe: Any) -> None:
    recipe.model.to(np.float64)
    for name, x in list(vars(recipe).items()):
        if isinstance(x, Learner):
            ema = None if x.average is None else x.average.decay
            setattr(recipe, name, Learner(x.network, x.lr, x.optimizer.betas, x.schedule, ema))
    arrays = {n: x for n, x in vars(recipe.data).items() if getattr(x, "dtype", None) == np.float32}
    recipe.data = replace(recipe.data, **{n: x.astype(np.float64) for n, x in arrays.items()})


def multiply_and_differentiate(x: Any, factor: Any, count: int) -> Work:
    """x times `factor`, `count` times, and back again."""

    def work() -> None:
        y = x
        for _ in range(count):
            y = y * factor
        y.backward()

    return work
