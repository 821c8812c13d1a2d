"""Models in training, by the names that the command line knows."""

from minigen.experiments.base import Experiment as Experiment
from minigen.experiments.ddpm import DDPM

MODELS: dict[str, type[Experiment]] = {"ddpm": DDPM}
