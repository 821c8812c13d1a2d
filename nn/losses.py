"""Losses, with PyTorch's names. Each is averaged over all elements unless `reduction` is "sum" or "none"."""

from __future__ import annotations

import numpy as np

import tensor as T
from tensor import Tensor
from tensor.arrays import check_indices


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return loss if reduction == "none" else getattr(T, reduction)(loss)


def _check_shapes(name: str, input, target) -> None:
    """Broadcasting a prediction against its target is nearly always a mistake, so it is an error."""
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"{name}: input {tuple(input.shape)} and target {tuple(target.shape)} differ in shape")


def mse_loss(input: Tensor, target, reduction: str = "mean") -> Tensor:
    """(input - target)^2"""
    _check_shapes("mse_loss", input, target)
    return _reduced(T.square(input - target), reduction)


def l1_loss(input: Tensor, target, reduction: str = "mean") -> Tensor:
    """|input - target|"""
    _check_shapes("l1_loss", input, target)
    return _reduced(T.abs(input - target), reduction)


def binary_cross_entropy_with_logits(input: Tensor, target, reduction: str = "mean") -> Tensor:
    """-log of the Bernoulli probability of `target` in [0, 1], in nats, stable for any logit x.

    With sigmoid(x) = exp(-softplus(-x)) it is  target softplus(-x) + (1 - target) softplus(x).
    """
    _check_shapes("binary_cross_entropy_with_logits", input, target)
    return _reduced(target * T.softplus(-input) + (1 - target) * T.softplus(input), reduction)


def cross_entropy(input: Tensor, target, reduction: str = "mean") -> Tensor:
    """-log softmax(input)[target] in nats: logits (N, classes) and integer classes (N,)."""
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    if input.ndim != 2 or labels.shape != input.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"cross_entropy: expected logits (N, classes) and N integer classes, got {input.shape} and "
            f"{labels.dtype} {labels.shape}"
        )
    check_indices(labels, input.shape[1], "cross_entropy", "class", from_the_end=False)
    return _reduced(-T.log_softmax(input, 1)[np.arange(len(labels)), target], reduction)
