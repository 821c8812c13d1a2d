"""The recipes, by the names that the command line knows.

A recipe is made of its `Settings`, and loads its data when it first needs them. The loop calls its
`step` and saves what it has `checkpointed`; the command line calls its `sample`, `evaluate` and
`draw`. `title` and `heading` are what it is called, `reference` is what stands beside its measures,
`samples_need_data` says whether it samples without data, `warning` what is questionable.
"""

from typing import Any

from minigen.recipes.ae import AERecipe
from minigen.recipes.cyclegan import CycleGANRecipe
from minigen.recipes.ddpm import DDPMRecipe
from minigen.recipes.gan import GANRecipe
from minigen.recipes.ncsn import NCSNRecipe
from minigen.recipes.pix2pix import Pix2PixRecipe
from minigen.recipes.vae import VAERecipe

RECIPES: dict[str, Any] = {
    "ae": AERecipe,
    "vae": VAERecipe,
    "ddpm": DDPMRecipe,
    "ncsn": NCSNRecipe,
    "gan": GANRecipe,
    "cyclegan": CycleGANRecipe,
    "pix2pix": Pix2PixRecipe,
}
