"""Models in training, by the names that the command line knows."""

from minigen.experiments.base import Experiment as Experiment
from minigen.experiments.ddpm import DDPM
from minigen.experiments.vae import VAERun

MODELS: dict[str, type[Experiment]] = {"ddpm": DDPM, "vae": VAERun}
