"""What networks are made of: modules and layers, initial weights, losses, optimisers."""

import inspect as _inspect

from nn import distributions as distributions
from nn import functional as functional
from nn import init as init
from nn import safetensors as safetensors
from nn import schedules as schedules
from nn.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from nn.attention import MultiheadAttention, SelfAttention2d
from nn.ema import EMA
from nn.layers import (
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    Identity,
    InstanceNorm2d,
    LayerNorm,
    Linear,
    MaxPool2d,
    Unflatten,
    Upsample,
)
from nn.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    L1Loss,
    MSELoss,
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
)
from nn.module import Buffer, Module, ModuleList, Parameter, Sequential
from nn.optim import SGD, Adam, AdamW, Optimizer, clip_grad_norm_, clip_grad_value_

__all__ = [
    name
    for name, value in list(vars().items())
    if not (name.startswith("_") or _inspect.ismodule(value))
]
