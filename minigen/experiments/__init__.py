"""Models in training, by the names that the command line knows."""

from minigen.experiments.ae import AERun
from minigen.experiments.base import Experiment as Experiment
from minigen.experiments.cyclegan import CycleGANRun
from minigen.experiments.ddpm import DDPM
from minigen.experiments.gan import GANRun
from minigen.experiments.pix2pix import Pix2PixRun
from minigen.experiments.vae import VAERun

MODELS: dict[str, type[Experiment]] = {
    "ae": AERun,
    "vae": VAERun,
    "ddpm": DDPM,
    "gan": GANRun,
    "cyclegan": CycleGANRun,
    "pix2pix": Pix2PixRun,
}
