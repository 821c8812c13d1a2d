"""Generative models on `tensor` and `nn`: how they work, down to the last gradient.

`train` trains a model, `load` opens the run of one: see `minigen.api`.
"""

from minigen.api import TrainedModel, UsageError, load, new, train

__all__ = ["TrainedModel", "UsageError", "load", "new", "train"]
