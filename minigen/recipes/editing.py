"""Editing with a trained ddpm: see `minigen.models.editing`.

A function of a `recipe` is a method of its class. All take images (N, C, H, W), draw by a seed, use
the average of the weights, and raise Diverged if what they return is not finite.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minigen.evaluation import batches
from minigen.models import editing
from minigen.models.ddpm import States
from minigen.models.editing import REPEATS, STRENGTH
from minigen.progress import Bar
from tensor import Tensor


def inpaint(
    recipe: Any, x: np.ndarray, known: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Images that are x where it is `known`, bool (N, C, H, W)."""
    return _edited(recipe, editing.inpaint, seed, x, known, repeats=repeats)


def image_to_image(recipe: Any, x: np.ndarray, seed: int, strength: float = STRENGTH) -> np.ndarray:
    """Images like x, the less so the more `strength`."""
    return _edited(recipe, editing.image_to_image, seed, x, strength=strength)


def mix(
    recipe: Any, x: np.ndarray, y: np.ndarray, weight: float, seed: int, strength: float = STRENGTH
) -> np.ndarray:
    """Images between x and y; `weight` is that of y."""
    return _edited(recipe, editing.mix, seed, x, y, weight=weight, strength=strength)


def _edited(
    recipe: Any, edit: Callable[..., States], seed: int, *arrays: np.ndarray, **how: Any
) -> np.ndarray:
    """The last state of an edit of arrays (N, ...), a batch at a time."""
    rng, device = np.random.default_rng(seed), recipe.settings.device
    steps, limit, results = recipe.diffusion.T, recipe.settings.largest, []
    with recipe.learner.using_average():
        for rows in batches.slices(len(arrays[0]), batches.BATCH):
            batch = [Tensor(a[rows], device=device) for a in arrays]
            labels = np.full(len(batch[0]), recipe.classes) if recipe.classes else None  # of none
            denoiser = recipe.denoiser(labels)
            states = edit(recipe.diffusion, denoiser, *batch, rng=rng, clip_x0=limit, **how)
            with Bar(total=steps, desc="editing", leave=False) as bar:
                for state in states:
                    bar.update(steps - state.t - bar.n)  # backwards, where noise is added
            results.append(state.x.numpy())
    return batches.finite(np.concatenate(results))
