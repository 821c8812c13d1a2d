"""Layers with PyTorch's names, arguments and initial weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tensor as T
from nn import init
from nn.checks import accepts, check_groups, check_only, check_pairs, check_range, check_sizes
from nn.module import Buffer, Module, Parameter
from tensor import Tensor
from tensor.arrays import axis, integers
from tensor.convolution import as_pair

Shape = tuple[int, ...]


class Identity(Module):
    """x as it is, in the place of a layer that is left out."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def _uniform_bias(size: int, fan_in: int) -> Parameter:
    """PyTorch's choice: U(-1, 1) / sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    bias = Parameter(np.zeros(size, np.float32))
    init.uniform_(bias, -bound, bound)
    return bias


class Linear(Module):
    """y = x W^T + b on the last dimension: (..., in_features) to (..., out_features)."""

    @accepts(device=None, dtype=None)
    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.zeros((out_features, in_features), np.float32))
        init.kaiming_uniform_(self.weight, math.sqrt(5))
        self.bias = _uniform_bias(out_features, in_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return T.linear(x, self.weight, self.bias)


def _conv_weight(out_channels: int, in_channels: int, kernel_size) -> Parameter:
    """A weight (out, in, kh, kw) that lies in memory as conv2d needs it, as (kh, kw, in, out)."""
    kh, kw = as_pair(kernel_size, "kernel_size", 1)
    stored = np.zeros((kh, kw, in_channels, out_channels), np.float32)
    weight = Parameter(stored.transpose(3, 2, 0, 1))
    init.kaiming_uniform_(weight, math.sqrt(5))
    return weight


def _as_numbers(padding, kernel_size, stride, dilation):
    """The padding that "valid" or "same" stands for; numbers as they are."""
    if not isinstance(padding, str):
        return padding
    if padding == "valid":
        return 0
    sizes = zip(as_pair(kernel_size, "kernel_size", 1), as_pair(dilation, "dilation", 1))
    added = [d * (k - 1) for k, d in sizes]
    if padding != "same" or as_pair(stride, "stride", 1) != (1, 1) or any(n % 2 for n in added):
        rule = "must be numbers, 'valid', or 'same' with stride 1 and an odd kernel"
        raise ValueError(f"Conv2d: padding {rule}, got {padding!r}")
    return added[0] // 2, added[1] // 2


class Conv2d(Module):
    """conv2d with its own weight (out, in / groups, kh, kw) and bias (out,): images (N, in, H, W)
    to (N, out, H', W').

    padding="same" keeps the size of the images, "valid" adds none.
    """

    @accepts(padding_mode="zeros", device=None, dtype=None)
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
        groups: int = 1, bias: bool = True,
    ):  # fmt: skip
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_groups("Conv2d", groups, in_channels, out_channels)
        check_pairs("Conv2d", kernel_size=kernel_size, stride=stride, dilation=dilation)
        padding = _as_numbers(padding, kernel_size, stride, dilation)
        check_pairs("Conv2d", padding=padding)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.groups = dilation, groups
        self.weight = _conv_weight(out_channels, in_channels // groups, kernel_size)
        self.bias = _uniform_bias(out_channels, math.prod(self.weight.shape[1:])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        where = self.stride, self.padding, self.dilation
        return T.conv2d(x, self.weight, self.bias, *where, self.groups)


class ConvTranspose2d(Module):
    """conv_transpose2d with its own weight (in, out / groups, kh, kw) and bias (out,): images (N,
    in, H, W) to (N, out, H', W')."""

    @accepts(padding_mode="zeros", device=None, dtype=None)
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0,
        groups: int = 1, bias: bool = True, dilation=1,
    ):  # fmt: skip
        name = "ConvTranspose2d"
        check_sizes(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        check_groups(name, groups, in_channels, out_channels)
        check_pairs(name, kernel_size=kernel_size, stride=stride, padding=padding)
        check_pairs(name, dilation=dilation, output_padding=output_padding)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.output_padding, self.groups, self.dilation = output_padding, groups, dilation
        self.weight = _conv_weight(in_channels, out_channels // groups, kernel_size)
        self.bias = _uniform_bias(out_channels, math.prod(self.weight.shape[1:])) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        where = self.stride, self.padding, self.output_padding
        return T.conv_transpose2d(x, self.weight, self.bias, *where, self.groups, self.dilation)


def _check_channels(layer: str, x: Tensor, channels: int, ndims: Shape = ()) -> None:
    if x.shape[1:2] != (channels,) or (ndims and x.ndim not in ndims):
        of = f" of {' or '.join(map(str, ndims))} dimensions" if ndims else ""
        raise ValueError(f"{layer}: expected x (N, {channels}, ...){of}, got {x.shape}")


def _scale_and_shift(shape, affine: bool, bias: bool) -> tuple[Parameter | None, Parameter | None]:
    """A weight of ones and a bias of zeros, or None for what there shall not be."""
    scale = Parameter(np.ones(shape, np.float32)) if affine else None
    return scale, Parameter(np.zeros(shape, np.float32)) if affine and bias else None


class GroupNorm(Module):
    """group_norm of (N, num_channels, ...), with a scale and a shift for each channel.

    With `silu=True`, SiLU follows in the same pass over memory.
    """

    @accepts(device=None, dtype=None)
    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
        bias: bool = True, silu: bool = False,
    ):  # fmt: skip
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        check_groups("GroupNorm", num_groups, num_channels)
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.silu = eps, silu
        self.weight, self.bias = _scale_and_shift(num_channels, affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        _check_channels("GroupNorm", x, self.num_channels)
        affine = self.weight, self.bias
        return T.group_norm(x, self.num_groups, *affine, eps=self.eps, silu=self.silu)


class InstanceNorm2d(Module):
    """instance_norm of (N, num_features, H, W); no scale and shift unless affine=True.

    It keeps no running statistics, the only use of PyTorch's `momentum`.
    """

    @accepts(device=None, dtype=None)
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, *, bias: bool = True,
    ):  # fmt: skip
        check_sizes("InstanceNorm2d", num_features=num_features)
        check_only("InstanceNorm2d", False, track_running_stats=track_running_stats)
        self.num_features, self.eps = num_features, eps
        self.weight, self.bias = _scale_and_shift(num_features, affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        _check_channels("InstanceNorm2d", x, self.num_features, (4,))
        return T.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class LayerNorm(Module):
    """layer_norm over the last dimensions, with a scale and a shift for each element."""

    @accepts(device=None, dtype=None)
    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True,
    ):  # fmt: skip
        shape = integers(normalized_shape)
        for n in shape:
            check_sizes("LayerNorm", normalized_shape=n)
        self.normalized_shape, self.eps = shape, eps
        self.weight, self.bias = _scale_and_shift(shape, elementwise_affine, bias)

    def forward(self, x: Tensor) -> Tensor:
        return T.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class _BatchNorm(Module):
    """batch_norm by the batch's mean and variance in training, by running averages of them in
    evaluation; with track_running_stats=False by the batch's in both."""

    ndims: Shape

    @accepts(device=None, dtype=None)
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
        track_running_stats: bool = True, *, bias: bool = True,
    ):  # fmt: skip
        owner = type(self).__name__
        check_sizes(owner, num_features=num_features)
        check_range(owner, eps=eps, momentum=momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight, self.bias = _scale_and_shift(num_features, affine, bias)
        self.running_mean = Buffer(T.zeros(num_features)) if track_running_stats else None
        self.running_var = Buffer(T.ones(num_features)) if track_running_stats else None

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(type(self).__name__, x, self.num_features, self.ndims)
        by_batch = self.training or self.running_mean is None
        running, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        return T.batch_norm(x, *running, *affine, by_batch, self.momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch norm, as above, of (N, num_features) or (N, num_features, L)."""

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm, as above, of (N, num_features, H, W)."""

    ndims = (4,)


class Embedding(Module):
    """A table of num_embeddings vectors; integers (...) to vectors (..., embedding_dim)."""

    @accepts(
        padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False,
        _weight=None, _freeze=False, device=None, dtype=None,
    )  # fmt: skip
    def __init__(self, num_embeddings: int, embedding_dim: int):
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = Parameter(np.zeros((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight)

    def forward(self, indices) -> Tensor:
        return T.embedding(indices, self.weight)


class Dropout(Module):
    """In training, each element is 0 with probability p and otherwise divided by 1 - p (Srivastava
    et al. 2014, sec. 10).

    The paper's p is the probability that an element stays.
    """

    @accepts(inplace=False)
    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | None = None):
        check_range("Dropout", 1, p=p)
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        kept = T.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * kept / (1 - self.p)


class Flatten(Module):
    """The dimensions start_dim..end_dim become one: (N, ...) becomes (N, features)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)


class Unflatten(Module):
    """Dimension `dim` becomes several, of sizes `unflattened_size`."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        dim = axis(self.dim, x.ndim, "Unflatten")
        return x.reshape(*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :])


class MaxPool2d(Module):
    """max_pool2d: the largest number in each window of (N, C, H, W)."""

    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices: bool = False,
        ceil_mode: bool = False,
    ):  # fmt: skip
        step = kernel_size if stride is None else stride
        check_pairs("MaxPool2d", kernel_size=kernel_size, stride=step, padding=padding)
        check_pairs("MaxPool2d", dilation=dilation)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Tensor) -> Any:
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return T.max_pool2d(x, *window, self.ceil_mode, self.return_indices)


class AvgPool2d(Module):
    """avg_pool2d: the mean of each window of (N, C, H, W)."""

    @accepts(ceil_mode=False, count_include_pad=True, divisor_override=None)
    def __init__(self, kernel_size, stride=None, padding=0):
        step = kernel_size if stride is None else stride
        check_pairs("AvgPool2d", kernel_size=kernel_size, stride=step, padding=padding)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return T.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class Upsample(Module):
    """upsample_nearest: each pixel of (N, C, H, W) `scale_factor` times, down and across."""

    @accepts(align_corners=None, recompute_scale_factor=None)
    def __init__(self, size=None, scale_factor=None, mode: str = "nearest"):
        check_only("Upsample", None, size=size)
        check_only("Upsample", "nearest", mode=mode)
        check_pairs("Upsample", scale_factor=scale_factor)
        self.scale_factor = scale_factor

    def forward(self, x: Tensor) -> Tensor:
        return T.upsample_nearest(x, scale_factor=self.scale_factor)
