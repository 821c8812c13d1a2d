"""Generative models on `tensor` and `nn`: how they work, down to the last gradient.

`train` trains a model, `load` opens the run of one: see `minigen.api`.
"""

from minigen.api import TrainedModel, UsageError, load, new, train
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged
from minigen.training.run import RunError

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Diverged",
    "RunError",
    "TrainedModel",
    "UsageError",
    "load",
    "new",
    "train",
]
