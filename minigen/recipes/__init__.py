"""Models in training, by the names that the command line knows."""

from minigen.recipes.ae import AERun
from minigen.recipes.base import Experiment as Experiment
from minigen.recipes.cyclegan import CycleGANRun
from minigen.recipes.ddpm import DDPM
from minigen.recipes.gan import GANRun
from minigen.recipes.pix2pix import Pix2PixRun
from minigen.recipes.vae import VAERun

MODELS: dict[str, type[Experiment]] = {
    "ae": AERun,
    "vae": VAERun,
    "ddpm": DDPM,
    "gan": GANRun,
    "cyclegan": CycleGANRun,
    "pix2pix": Pix2PixRun,
}
