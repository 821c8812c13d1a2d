"""PyTorch's name for the ops of `tensor` that layers are made of, and for the losses."""

# ruff: noqa: F401

from nn.losses import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss
from tensor import (
    avg_pool2d,
    batch_norm,
    conv2d,
    conv_transpose2d,
    embedding,
    gelu,
    group_norm,
    instance_norm,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    max_pool2d,
    pad,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
