"""Layers: each computes what its definition says, and has the right gradient by all its weights."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from nn import Module
from tensor import Tensor
from tensor.strategies import (
    ConvGeometry,
    ConvTransposeGeometry,
    PoolGeometry,
    Shape,
    conv_geometries,
    conv_transpose_geometries,
    pool_geometries,
    shapes,
)
from tensor.testing import gradcheck
from tests.tensor import references as ref

generators = st.integers(0, 2**16).map(np.random.default_rng)
few = st.integers(1, 3)


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return Tensor(rng.standard_normal(shape))


def randomized(layer: Any) -> Any:
    """The layer in float64, with no parameter left at 0 or 1."""
    rng = np.random.default_rng(0)
    for p in layer.to("float64").parameters():
        p.copy_(rng.standard_normal(p.shape))
    return layer


def weights(layer: Module) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in layer.named_tensors()}


def assert_close(a, b) -> None:
    a, b = (x.numpy() if isinstance(x, Tensor) else x for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# Every layer


class Case(NamedTuple):
    """A layer, the shape of its input, and its definition f(x, **weights) on NumPy arrays."""

    layer: Callable[[], Module]
    x_shape: Shape
    definition: Callable[..., np.ndarray]


def attention(x: np.ndarray, num_heads: int, **weights: np.ndarray) -> np.ndarray:
    """Every pixel asks all pixels, once for each head."""
    (N, C, H, W), d = x.shape, x.shape[1] // num_heads
    tokens = np.moveaxis(x, 1, 3).reshape(N, H * W, C)
    q, k, v = np.split(tokens @ weights["qkv.weight"].T + weights["qkv.bias"], 3, axis=2)
    mixed = np.zeros_like(tokens)
    for n, i, head in np.ndindex(N, H * W, num_heads):
        own = slice(head * d, (head + 1) * d)
        scores = np.exp([q[n, i, own] @ k[n, j, own] / math.sqrt(d) for j in range(H * W)])
        mixed[n, i, own] = sum(
            score * v[n, j, own] for j, score in enumerate(scores / scores.sum())
        )
    y = mixed @ weights["out.weight"].T + weights["out.bias"]
    return np.moveaxis(y.reshape(N, H, W, C), 3, 1)


def batch_norm(x, weight, bias, running_mean, running_var) -> np.ndarray:
    return ref.batch_norm(x, weight, bias)


PIXELS = (2, 4, 2, 3)

CASES: dict[str, Case] = {
    "Linear": Case(lambda: nn.Linear(3, 2), (2, 3), lambda x, weight, bias: x @ weight.T + bias),
    "Linear without bias": Case(
        lambda: nn.Linear(3, 2, bias=False), (2, 3), lambda x, weight: x @ weight.T
    ),
    "Conv2d": Case(
        lambda: nn.Conv2d(2, 3, 2, padding=1), (1, 2, 3, 2), partial(ref.conv2d, padding=1)
    ),
    "ConvTranspose2d": Case(
        lambda: nn.ConvTranspose2d(2, 3, 2, stride=2),
        (1, 2, 2, 2),
        partial(ref.conv_transpose2d, stride=2),
    ),
    "Conv2d of the same size": Case(
        lambda: nn.Conv2d(1, 2, (3, 1), padding="same", dilation=(2, 5)),
        (1, 1, 4, 3),
        partial(ref.conv2d, padding=(2, 0), dilation=(2, 5)),
    ),
    "Conv2d of what is valid": Case(
        lambda: nn.Conv2d(1, 2, 2, stride=2, padding="valid"),
        (1, 1, 4, 3),
        partial(ref.conv2d, stride=2),
    ),
    "GroupNorm": Case(lambda: nn.GroupNorm(2, 4), PIXELS, partial(ref.group_norm, num_groups=2)),
    "GroupNorm plain": Case(
        lambda: nn.GroupNorm(2, 4, eps=0.1, affine=False),
        PIXELS,
        partial(ref.group_norm, num_groups=2, eps=0.1),
    ),
    "GroupNorm with SiLU": Case(
        lambda: nn.GroupNorm(4, 4, silu=True),
        PIXELS,
        partial(ref.group_norm, num_groups=4, silu=True),
    ),
    "InstanceNorm2d": Case(lambda: nn.InstanceNorm2d(4), PIXELS, ref.instance_norm),
    "InstanceNorm2d affine": Case(
        lambda: nn.InstanceNorm2d(4, eps=0.1, affine=True),
        PIXELS,
        partial(ref.instance_norm, eps=0.1),
    ),
    "GroupNorm without bias": Case(
        lambda: nn.GroupNorm(2, 4, bias=False),
        PIXELS,
        lambda x, weight: ref.group_norm(x, weight, num_groups=2),
    ),
    "LayerNorm": Case(lambda: nn.LayerNorm(4), (2, 3, 4), ref.layer_norm),
    "LayerNorm of two axes": Case(
        lambda: nn.LayerNorm((3, 4), eps=0.1), (2, 3, 4), partial(ref.layer_norm, eps=0.1)
    ),
    "LayerNorm without bias": Case(
        lambda: nn.LayerNorm([4], bias=False),
        (2, 4),
        lambda x, weight: ref.layer_norm(x, weight, 0),
    ),
    "LayerNorm plain": Case(
        lambda: nn.LayerNorm(4, elementwise_affine=False),
        (2, 4),
        lambda x: ref.standardize(x, 1, 1e-5),
    ),
    "BatchNorm2d": Case(lambda: nn.BatchNorm2d(4), PIXELS, batch_norm),
    "BatchNorm2d of batches only": Case(
        lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False).eval(),
        PIXELS,
        ref.batch_norm,
    ),
    "BatchNorm1d": Case(lambda: nn.BatchNorm1d(4), (5, 4), batch_norm),
    "BatchNorm1d of sequences": Case(lambda: nn.BatchNorm1d(4), (2, 4, 3), batch_norm),
    "SelfAttention2d": Case(
        lambda: nn.SelfAttention2d(4, num_heads=2), (1, 4, 2, 2), partial(attention, num_heads=2)
    ),
    "Identity": Case(nn.Identity, PIXELS, lambda x: x),
    "Flatten": Case(nn.Flatten, PIXELS, lambda x: x.reshape(2, 24)),
    "Flatten of pixels": Case(lambda: nn.Flatten(2), PIXELS, lambda x: x.reshape(2, 4, 6)),
    "Flatten of batches": Case(lambda: nn.Flatten(0, 1), PIXELS, lambda x: x.reshape(8, 2, 3)),
    "MaxPool2d": Case(
        lambda: nn.MaxPool2d(2, 1), PIXELS, partial(ref.max_pool2d, kernel_size=2, stride=1)
    ),
    "AvgPool2d": Case(
        lambda: nn.AvgPool2d((1, 2), padding=(0, 1)),
        PIXELS,
        partial(ref.avg_pool2d, kernel_size=(1, 2), padding=(0, 1)),
    ),
    "Upsample": Case(
        lambda: nn.Upsample(scale_factor=(2, 1)),
        PIXELS,
        partial(ref.upsample_nearest, scale_factor=(2, 1)),
    ),
    "ReLU": Case(nn.ReLU, (6,), lambda x: np.maximum(x, 0)),
    "LeakyReLU": Case(nn.LeakyReLU, (6,), partial(ref.leaky_relu, negative_slope=0.01)),
    "LeakyReLU with a slope": Case(
        lambda: nn.LeakyReLU(0.2), (6,), partial(ref.leaky_relu, negative_slope=0.2)
    ),
    "SiLU": Case(nn.SiLU, (6,), ref.silu),
    "GELU": Case(nn.GELU, (6,), ref.gelu),
    "GELU by tanh": Case(lambda: nn.GELU("tanh"), (6,), partial(ref.gelu, approximate="tanh")),
    "Sigmoid": Case(nn.Sigmoid, (6,), ref.sigmoid),
    "Tanh": Case(nn.Tanh, (6,), np.tanh),
    "Softmax": Case(
        lambda: nn.Softmax(1), (3, 4), lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)
    ),
    "LogSoftmax": Case(
        lambda: nn.LogSoftmax(0), (3, 4), lambda x: x - np.log(np.exp(x).sum(0, keepdims=True))
    ),
    "Softplus": Case(nn.Softplus, (6,), ref.softplus),
}

every_layer = pytest.mark.parametrize("name", CASES)


@every_layer
def test_a_layer_is_its_definition(name: str) -> None:
    layer, x = (
        randomized(CASES[name].layer()),
        normal(np.random.default_rng(1), *CASES[name].x_shape),
    )
    assert_close(layer(x), CASES[name].definition(x.numpy(), **weights(layer)))


@every_layer
def test_gradients_by_the_input_and_by_every_parameter(name: str) -> None:
    layer, x = (
        randomized(CASES[name].layer()),
        normal(np.random.default_rng(1), *CASES[name].x_shape),
    )

    def applied(x: Tensor, *parameters: Tensor) -> Tensor:
        twin = deepcopy(layer)
        for (path, _), value in zip(layer.named_parameters(), parameters, strict=True):
            *owners, last = path.split(".")
            vars(getattr(twin, owners[0]) if owners else twin)[last] = value
        return twin(x)

    gradcheck(applied, [x.requires_grad_(), *layer.parameters()])


@every_layer
def test_layers_are_float32_until_told_otherwise(name: str) -> None:
    layer, x = (
        CASES[name].layer(),
        Tensor(np.ones(CASES[name].x_shape), dtype=np.float32, requires_grad=True),
    )
    layer(x).sum().backward()
    assert {y.dtype for y in (layer(x), x.grad, *(p.grad for p in layer.parameters()))} == {
        np.dtype(np.float32)
    }


@every_layer
def test_layers_compute_the_same_on_every_device(name: str, device: str) -> None:
    layer, x = (
        randomized(CASES[name].layer()),
        normal(np.random.default_rng(1), *CASES[name].x_shape),
    )
    here, there = x.requires_grad_(), Tensor(x, device=device, requires_grad=True)
    twin = deepcopy(layer).to(device)
    for module, leaf in ((layer, here), (twin, there)):
        module(leaf).sin().sum().backward()
    assert_close(there.grad, here.grad)
    for p, q in zip(twin.parameters(), layer.parameters(), strict=True):
        assert_close(p.grad, q.grad)


@every_layer
def test_what_lies_on_cuda_stays_there(name: str, double: ModuleType) -> None:
    """Nothing comes from the host, and nothing waits. (Dropout, whose noise is drawn there, is no
    case here.)"""
    layer = CASES[name].layer().to("cuda")
    x = T.ones(CASES[name].x_shape, device="cuda", requires_grad=True)
    for _ in range(2):  # constants may come in the first call
        double.events.clear()
        layer(x).sum().backward()
    assert not {"to device", "wait"} & {kind for kind, _, _ in double.events}


# Options reach the ops


@given(geometry=conv_geometries(), rng=generators, bias=st.booleans())
def test_conv2d_takes_the_options_of_the_op(
    geometry: ConvGeometry, rng: np.random.Generator, bias: bool
) -> None:
    O, C, *kernel = geometry.weight_shape
    layer = randomized(
        nn.Conv2d(C * geometry.groups, O, tuple(kernel), bias=bias, **geometry.options)
    )
    assert layer.weight.shape == geometry.weight_shape and (layer.bias is not None) == bias
    x = normal(rng, *geometry.x_shape)
    assert_close(layer(x), T.conv2d(x, layer.weight, layer.bias, **geometry.options))


@given(geometry=conv_transpose_geometries(), rng=generators, bias=st.booleans())
def test_conv_transpose2d_takes_the_options_of_the_op(
    geometry: ConvTransposeGeometry, rng: np.random.Generator, bias: bool
) -> None:
    C, O, *kernel = geometry.weight_shape
    layer = randomized(
        nn.ConvTranspose2d(C, O * geometry.groups, tuple(kernel), bias=bias, **geometry.options)
    )
    assert layer.weight.shape == geometry.weight_shape and (layer.bias is not None) == bias
    x = normal(rng, *geometry.x_shape)
    assert_close(layer(x), T.conv_transpose2d(x, layer.weight, layer.bias, **geometry.options))


@given(geometry=pool_geometries(), rng=generators)
def test_pools_take_the_options_of_the_ops(
    geometry: PoolGeometry, rng: np.random.Generator
) -> None:
    x = normal(rng, *geometry.x_shape)
    assert_close(nn.MaxPool2d(**geometry.options)(x), ref.max_pool2d(x.numpy(), **geometry.options))
    assert_close(nn.AvgPool2d(**geometry.options)(x), ref.avg_pool2d(x.numpy(), **geometry.options))


# Linear


@given(leading=shapes(min_side=0), inputs=few, outputs=few, rng=generators)
def test_linear_maps_the_last_dimension(
    leading: Shape, inputs: int, outputs: int, rng: np.random.Generator
) -> None:
    layer, x = randomized(nn.Linear(inputs, outputs)), normal(rng, *leading, inputs)
    y = layer(x)
    assert y.shape == (*leading, outputs)
    for k in np.ndindex(leading):
        assert_close(y.numpy()[k], layer.weight.numpy() @ x.numpy()[k] + layer.bias.numpy())


# Embedding


@given(shape=shapes(max_dims=2), rng=generators)
def test_embedding_looks_rows_up_and_sums_their_gradients(
    shape: Shape, rng: np.random.Generator
) -> None:
    layer, indices = randomized(nn.Embedding(4, 3)), rng.integers(4, size=shape)
    y = layer(indices)
    assert np.array_equal(y.numpy(), layer.weight.numpy()[indices])
    y.sum().backward()
    counts = np.bincount(indices.ravel(), minlength=4)
    assert np.array_equal(layer.weight.grad.numpy(), np.tile(counts[:, None], 3))


# Dropout


@given(p=st.floats(0, 0.9), seed=st.integers(0, 2**16))
def test_dropout_keeps_a_share_and_scales_it_up(p: float, seed: int) -> None:
    n = 10_000
    y = nn.Dropout(p, generator=np.random.default_rng(seed))(T.ones(n)).numpy()
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) <= 6 * math.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-6)


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    x = Tensor(np.arange(1.0, 21.0), requires_grad=True)
    y = nn.Dropout(0.5, generator=np.random.default_rng(0))(x)
    y.sum().backward()
    assert_close(x.grad, np.where(y.numpy() != 0, 2.0, 0.0))
    assert 0 < np.count_nonzero(y.numpy()) < 20


def test_dropout_does_nothing_in_evaluation_or_with_probability_0() -> None:
    x = T.ones(100)
    assert nn.Dropout(0.9).eval()(x) is x and nn.Dropout(0.0)(x) is x


def test_dropout_repeats_with_its_generator() -> None:
    x = T.ones(100)
    a, b = (nn.Dropout(0.5, generator=np.random.default_rng(3)) for _ in range(2))
    first = a(x).numpy()
    assert np.array_equal(first, b(x).numpy()) and not np.array_equal(first, a(x).numpy())


def test_dropout_without_a_generator_follows_the_manual_seed() -> None:
    def masked() -> list[float]:
        T.manual_seed(5)
        return nn.Dropout(0.5)(T.ones(100)).numpy().tolist()

    assert masked() == masked()


def test_dropout_keeps_the_dtype_on_every_device(device: str) -> None:
    for dtype in (np.float32, np.float64):
        y = nn.Dropout(0.5)(T.ones(4, dtype=dtype, device=device))
        assert y.dtype == dtype and y.device.startswith(device)


# BatchNorm2d


def test_batch_norm_moves_its_running_statistics_in_training_only() -> None:
    rng, layer = np.random.default_rng(0), randomized(nn.BatchNorm2d(3, momentum=0.25))
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.normal(2, 3, (4, 3, 2, 5))
        layer(Tensor(x))
        mean += 0.25 * (x.mean((0, 2, 3)) - mean)
        var += 0.25 * (x.var((0, 2, 3), ddof=1) - var)
    layer.eval()(Tensor(x))
    assert_close(layer.running_mean, mean)
    assert_close(layer.running_var, var)


def test_batch_norm_evaluates_each_image_with_the_running_statistics() -> None:
    layer, x = randomized(nn.BatchNorm2d(3, eps=0.1)), normal(np.random.default_rng(1), 4, 3, 2, 2)
    layer.running_mean.copy_([1.0, 2.0, 3.0])
    layer.running_var.copy_([4.0, 5.0, 6.0])
    mean, var, weight, bias = (
        v.numpy().reshape(3, 1, 1)
        for v in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    )
    y = layer.eval()(x)
    assert_close(y, (x.numpy() - mean) / np.sqrt(var + 0.1) * weight + bias)
    assert_close(layer(x[1:2]), y[1:2])


def test_batch_norm_in_evaluation_comes_to_do_what_it_did_in_training() -> None:
    layer, x = (
        randomized(nn.BatchNorm2d(3, momentum=0.5)),
        normal(np.random.default_rng(1), 64, 3, 8, 8),
    )
    for _ in range(60):
        y = layer(x)
    np.testing.assert_allclose(layer.eval()(x).numpy(), y.numpy(), rtol=1e-3, atol=1e-3)


def test_running_statistics_are_kept_and_not_trained() -> None:
    layer = nn.BatchNorm2d(3)
    assert [*layer.state_dict()] == ["weight", "bias", "running_mean", "running_var"]
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


# SelfAttention2d


@given(N=st.integers(0, 3), heads=few, d=few, H=few, W=few, rng=generators)
def test_attention_is_its_definition_at_every_size(
    N, heads, d, H, W, rng: np.random.Generator
) -> None:
    layer, x = randomized(nn.SelfAttention2d(heads * d, heads)), normal(rng, N, heads * d, H, W)
    assert_close(layer(x), attention(x.numpy(), heads, **weights(layer)))


@given(rng=generators)
def test_attention_does_not_know_where_a_pixel_is(rng: np.random.Generator) -> None:
    layer, x = randomized(nn.SelfAttention2d(4, 2)), normal(rng, 2, 4, 3, 3)
    order = rng.permutation(9)

    def shuffled(x: Tensor) -> Tensor:
        return x.reshape(2, 4, 9)[:, :, order].reshape(2, 4, 3, 3)

    assert_close(layer(shuffled(x)), shuffled(layer(x)))


# Memory


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, (2, 5)), nn.ConvTranspose2d(3, 4, (2, 5))], ids=repr
)
def test_kernels_lie_in_memory_as_convolutions_multiply_by_them(layer) -> None:
    def lies_well(layer) -> bool:
        return layer.weight.data.transpose(2, 3, 1, 0).flags.c_contiguous

    layer(T.randn(1, 3, 8, 8)).sum().backward()
    nn.SGD(layer.parameters()).step()
    assert lies_well(layer) and lies_well(deepcopy(layer))
    layer.load_state_dict({name: np.ascontiguousarray(x) for name, x in weights(layer).items()})
    assert lies_well(layer) and lies_well(layer.to("float64"))


# What a wrong call is told

ERRORS: dict[str, tuple[Callable, str]] = {
    "Linear": (
        lambda: nn.Linear(4, 5)(T.ones(2, 3)),
        r"linear: x \(2, 3\) has 3 features, weight \(5, 4\) expects 4",
    ),
    "linear weight": (
        lambda: T.linear(T.ones(2, 3), T.ones(3)),
        r"linear: expected a weight \(out, in\), got \(3,\)",
    ),
    "linear bias": (
        lambda: T.linear(T.ones(2, 3), T.ones(4, 3), T.ones(3)),
        r"linear: bias has shape \(3,\), expected \(4,\)",
    ),
    "Linear inputs": (
        lambda: nn.Linear(0, 3),
        "Linear: in_features must be a positive integer, got 0",
    ),
    "Linear outputs": (
        lambda: nn.Linear(3, 2.0),
        "Linear: out_features must be a positive integer, got 2.0",
    ),  # type: ignore[arg-type]
    "Conv2d": (
        lambda: nn.Conv2d(4, 5, 3)(T.ones(2, 3, 8, 8)),
        r"conv2d: x \(2, 3, 8, 8\) has 3 channels.* expects 4",
    ),
    "Conv2d no inputs": (
        lambda: nn.Conv2d(0, 4, 3),
        "Conv2d: in_channels must be a positive integer, got 0",
    ),
    "Conv2d no groups": (
        lambda: nn.Conv2d(4, 4, 3, groups=0),
        "Conv2d: groups must be a positive integer, got 0",
    ),
    "Conv2d inputs": (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: 3 .*channels.* 2 groups"),
    "Conv2d outputs": (lambda: nn.Conv2d(4, 3, 3, groups=2), "Conv2d: 3 .*channels.* 2 groups"),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 3, 3, groups=2),
        "ConvTranspose2d: 3 .*channels.* 2 groups",
    ),
    "ConvTranspose2d no outputs": (
        lambda: nn.ConvTranspose2d(4, -1, 3),
        "ConvTranspose2d: out_channels must be .* got -1",
    ),
    "GroupNorm": (
        lambda: nn.GroupNorm(2, 3),
        "GroupNorm: 3 channels cannot be split into 2 groups",
    ),
    "GroupNorm no groups": (
        lambda: nn.GroupNorm(0, 8),
        "GroupNorm: num_groups must be a positive integer, got 0",
    ),
    "InstanceNorm2d no channels": (
        lambda: nn.InstanceNorm2d(0),
        "InstanceNorm2d: num_features must be .* got 0",
    ),
    "BatchNorm2d no channels": (
        lambda: nn.BatchNorm2d(0),
        "BatchNorm2d: num_features must be .* got 0",
    ),
    "LayerNorm": (
        lambda: nn.LayerNorm(3)(T.ones(2, 4)),
        r"layer_norm: the last dimensions of \(2, 4\) are not \(3,\)",
    ),
    "LayerNorm no features": (
        lambda: nn.LayerNorm((3, 0)),
        "LayerNorm: normalized_shape must be .* got 0",
    ),
    "Embedding": (
        lambda: nn.Embedding(0, 3),
        "Embedding: num_embeddings must be a positive integer, got 0",
    ),
    "SelfAttention2d": (
        lambda: nn.SelfAttention2d(3, 2),
        "SelfAttention2d: 3 channels cannot be split into 2 heads",
    ),
    "SelfAttention2d no heads": (
        lambda: nn.SelfAttention2d(8, 0),
        "SelfAttention2d: num_heads must be .* got 0",
    ),
    "SelfAttention2d of no image": (
        lambda: nn.SelfAttention2d(4)(T.ones(2, 4, 4)),
        r"SelfAttention2d: expected x \(N, 4, H, W\), got \(2, 4, 4\)",
    ),
    "SelfAttention2d of other channels": (
        lambda: nn.SelfAttention2d(4)(T.ones(2, 3, 4, 4)),
        r"SelfAttention2d: expected x \(N, 4, H, W\), got \(2, 3, 4, 4\)",
    ),
    "Dropout": (lambda: nn.Dropout(1.5), r"Dropout: p must lie in \[0, 1\), got 1.5"),
    "GELU": (lambda: nn.GELU("sigmoid"), "gelu: .*'sigmoid'"),
    "true": (
        lambda: nn.Linear(True, 3),
        "Linear: in_features must be a positive integer, got True",
    ),
    "Conv2d stride": (
        lambda: nn.Conv2d(1, 1, 3, stride=0),
        "Conv2d: stride must be an integer >= 1 .* got 0",
    ),
    "Conv2d padding": (
        lambda: nn.Conv2d(1, 1, 3, padding=-1),
        "Conv2d: padding must be an integer >= 0 .* got -1",
    ),
    "Conv2d dilation": (
        lambda: nn.Conv2d(1, 1, 3, dilation=0),
        "Conv2d: dilation must be an integer >= 1",
    ),
    "Conv2d kernel": (lambda: nn.Conv2d(1, 1, 1.5), "Conv2d: kernel_size must be an integer >= 1"),
    "ConvTranspose2d stride": (
        lambda: nn.ConvTranspose2d(1, 1, 3, 0),
        "ConvTranspose2d: stride must be",
    ),
    "ConvTranspose2d extra": (
        lambda: nn.ConvTranspose2d(1, 1, 3, 2, 0, -1),
        "ConvTranspose2d: output_padding must be .* >= 0",
    ),
    "MaxPool2d": (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size must be an integer >= 1"),
    "MaxPool2d stride": (lambda: nn.MaxPool2d(2, 0), "MaxPool2d: stride must be an integer >= 1"),
    "AvgPool2d": (
        lambda: nn.AvgPool2d(2, padding=-1),
        "AvgPool2d: padding must be an integer >= 0",
    ),
    "Conv2d same with a stride": (
        lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"),
        "Conv2d: padding must be numbers, 'valid', or 'same' with stride 1 and an odd kernel",
    ),
    "Conv2d same with an even kernel": (
        lambda: nn.Conv2d(1, 1, 2, padding="same"),
        "Conv2d: padding must be .* an odd kernel, got 'same'",
    ),
    "Conv2d padded otherwise": (
        lambda: nn.Conv2d(1, 1, 3, padding="full"),
        "Conv2d: padding must be .* an odd kernel, got 'full'",
    ),
    "BatchNorm2d of rows": (
        lambda: nn.BatchNorm2d(3)(T.ones(2, 3)),
        r"BatchNorm2d: expected x \(N, 3, ...\) of 4 dimensions, got \(2, 3\)",
    ),
    "BatchNorm1d of images": (
        lambda: nn.BatchNorm1d(3)(T.ones(2, 3, 4, 4)),
        r"BatchNorm1d: expected x \(N, 3, ...\) of 2 or 3 dimensions, got \(2, 3, 4, 4\)",
    ),
    "InstanceNorm2d of one image": (
        lambda: nn.InstanceNorm2d(3)(T.ones(3, 3, 4)),
        r"InstanceNorm2d: expected x \(N, 3, ...\) of 4 dimensions, got \(3, 3, 4\)",
    ),
    "InstanceNorm2d with running averages": (
        lambda: nn.InstanceNorm2d(3, track_running_stats=True),
        "InstanceNorm2d: track_running_stats=True is not supported, only False",
    ),
    "BatchNorm2d of all batches": (
        lambda: nn.BatchNorm2d(3, momentum=None),
        r"BatchNorm2d: momentum must lie in \[0, inf\), got None",
    ),
    "ReLU in place": (
        lambda: nn.ReLU(inplace=True),
        "ReLU: inplace=True is not supported, only False",
    ),
    "LeakyReLU in place": (
        lambda: nn.LeakyReLU(0.2, True),
        "LeakyReLU: inplace=True is not supported, only False",
    ),
    "SiLU of a tensor": (lambda: nn.SiLU(T.ones(2)), "SiLU: inplace=Tensor.* is not supported"),
    "Dropout in place": (
        lambda: nn.Dropout(0.5, True),
        "Dropout: inplace=True is not supported, only False",
    ),
    "Upsample to a size": (lambda: nn.Upsample(2), "Upsample: size=2 is not supported, only None"),
    "Upsample smoothly": (
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        "Upsample: mode='bilinear' is not supported, only 'nearest'",
    ),
    "Upsample": (
        lambda: nn.Upsample(scale_factor=0),
        "Upsample: scale_factor must be an integer >= 1",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_name_the_layer_and_what_it_expects(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("channels", [1, 8])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("make", [partial(nn.GroupNorm, 2), nn.InstanceNorm2d, nn.BatchNorm2d])
def test_norms_refuse_images_with_other_channels(
    make: Callable, affine: bool, channels: int
) -> None:
    layer = make(4, affine=affine)
    with pytest.raises(
        ValueError,
        match=rf"{type(layer).__name__}: expected x \(N, 4, ...\).*, got \(2, {channels}, 3, 3\)",
    ):
        layer(T.ones(2, channels, 3, 3))


@pytest.mark.parametrize("index", [-1, 4])
def test_embedding_refuses_indices_out_of_range(index: int, device: str) -> None:
    with pytest.raises(IndexError, match=f"embedding: index {index} "):
        nn.Embedding(4, 3).to(device)([0, index])
