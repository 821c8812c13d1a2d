"""Losses, with PyTorch's names, of tensors of one shape.

Each is averaged over all elements, or summed with reduction="sum"; with "none" it keeps their
shape. Raises TypeError for what is no tensor or array, ValueError for shapes that differ, another
reduction, or the mean of an empty batch. Each is a module, too: MSELoss(reduction="sum").
"""

from __future__ import annotations

import math

import numpy as np

import tensor as T
from nn import gpu
from nn.checks import accepts, check_probabilities
from nn.module import Module
from tensor import Tensor
from tensor.arrays import Array, check_indices, device_of, to_device
from tensor.autodiff import op
from tensor.base import raw
from tensor.calls import only
from tensor.errors import composite
from tensor.gpu import one_kernel
from tensor.kernels import in_one_pass, loops_for
from tensor.shaping import taken_along


def _reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if reduction == "mean" and not math.prod(loss.shape):
        raise ValueError(f"{name}: an empty batch has no mean, the losses have shape {loss.shape}")
    return loss if reduction == "none" else getattr(T, reduction)(loss)


def _check(name: str, input, target) -> None:
    """Broadcasting a prediction against its target is nearly always a mistake: an error."""
    _check_tensors(name, input=input, target=target)
    if tuple(input.shape) != tuple(target.shape):
        shapes = f"input {tuple(input.shape)} and target {tuple(target.shape)}"
        raise ValueError(f"{name}: {shapes} differ in shape")


def _check_tensors(name: str, **given) -> None:
    for role, x in given.items():
        if not hasattr(x, "shape"):
            raise TypeError(f"{name}: {role} must be a tensor or an array, got {type(x).__name__}")


@composite
@only(size_average=None, reduce=None, weight=None)
def mse_loss(input: Tensor, target, *, reduction: str = "mean") -> Tensor:
    """(input - target)^2"""
    _check("mse_loss", input, target)
    return _reduced("mse_loss", squared_error(input, target), reduction)


@op(
    x=one_kernel(lambda g, x, target: 2.0 * g * (x - target)),
    target=one_kernel(lambda g, x, target: 2.0 * g * (target - x)),
)
def squared_error(x: Array, target: Array) -> Tensor:
    """(x - target)^2"""
    if (loops := loops_for(x)) and x.shape == np.shape(target) and x.dtype == target.dtype:
        return in_one_pass(loops.squared_error, np.empty_like(x), x, target)
    return gpu.squared_error(x, target)


@composite
@only(size_average=None, reduce=None, weight=None)
def l1_loss(input: Tensor, target, *, reduction: str = "mean") -> Tensor:
    """|input - target|"""
    _check("l1_loss", input, target)
    return _reduced("l1_loss", T.abs(input - target), reduction)


@composite
@only(weight=None, size_average=None, reduce=None, pos_weight=None)
def binary_cross_entropy_with_logits(input: Tensor, target, *, reduction: str = "mean") -> Tensor:
    """-log of the Bernoulli probability of `target` in [0, 1], in nats, exact for any logit x.

    With sigmoid(x) = exp(-softplus(-x)) it is  target softplus(-x) + (1 - target) softplus(x).
    Raises ValueError for targets outside [0, 1].
    """
    name = "binary_cross_entropy_with_logits"
    _check(name, input, target)
    check_probabilities(f"{name}: target", target)
    return _reduced(name, bernoulli_cost(input, target), reduction)


@op(
    x=one_kernel(lambda g, x, target: g * (T.sigmoid(x) - target)),
    target=one_kernel(lambda g, x: -g * x),
)
def bernoulli_cost(x: Array, target: Array) -> Tensor:
    """softplus(x) - target x, computed as error |x| + softplus(-|x|).

    `error` is how far target is from 1 where x > 0, from 0 elsewhere. Where there is none, the cost
    at x = +-inf is 0, not inf - inf.
    """
    if (loops := loops_for(x)) and x.shape == np.shape(target) and x.dtype == target.dtype:
        return in_one_pass(loops.bernoulli_cost, np.empty_like(x), x, target)
    return gpu.bernoulli_cost(x, target)


@composite
@only(weight=None, size_average=None, ignore_index=-100, reduce=None, label_smoothing=0.0)
def cross_entropy(input: Tensor, target, *, reduction: str = "mean") -> Tensor:
    """-log softmax(input)[target] in nats: logits (N, classes) and integer classes (N,).

    Raises ValueError for other shapes or dtypes, IndexError for classes not in 0..classes-1.
    """
    _check_tensors("cross_entropy", input=input)
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    if input.ndim != 2 or labels.shape != input.shape[:1] or labels.dtype.kind not in "iu":
        expected = "expected logits (N, classes) and N integer classes"
        got = f"got {input.shape} and {labels.dtype} {labels.shape}"
        raise ValueError(f"cross_entropy: {expected}, {got}")
    check_indices(labels, input.shape[1], "cross_entropy", "class", from_the_end=False)
    of_target = to_device(labels[:, None], device_of(raw(input)))
    cost = -taken_along(T.log_softmax(input, 1), 1, of_target)[:, 0]
    return _reduced("cross_entropy", cost, reduction)


class _Loss(Module):
    @accepts(size_average=None, reduce=None)
    def __init__(self, *, reduction: str = "mean"):
        self.reduction = reduction


class MSELoss(_Loss):
    """mse_loss"""

    def forward(self, input: Tensor, target) -> Tensor:
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """l1_loss"""

    def forward(self, input: Tensor, target) -> Tensor:
        return l1_loss(input, target, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """binary_cross_entropy_with_logits"""

    @accepts(weight=None, size_average=None, reduce=None, pos_weight=None)
    def __init__(self, *, reduction: str = "mean"):
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target) -> Tensor:
        return binary_cross_entropy_with_logits(input, target, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """cross_entropy"""

    @accepts(weight=None, size_average=None, ignore_index=-100, reduce=None, label_smoothing=0.0)
    def __init__(self, *, reduction: str = "mean"):
        super().__init__(reduction=reduction)

    def forward(self, input: Tensor, target) -> Tensor:
        return cross_entropy(input, target, reduction=self.reduction)
