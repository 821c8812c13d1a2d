"""Where PyTorch is installed: weights carry over; layers, losses, optimisers do the same."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from tensor import Tensor
from tensor.strategies import (
    ConvGeometry,
    ConvTransposeGeometry,
    Shape,
    conv_geometries,
    conv_transpose_geometries,
)

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def arrays(module: Any) -> dict[str, np.ndarray]:
    """The state of a module of either package, without PyTorch's count of batches."""
    state = {name: x.detach().numpy().copy() for name, x in module.state_dict().items()}
    return {name: x for name, x in state.items() if not name.endswith("num_batches_tracked")}


def twins(make: Callable[[Any], Any]) -> tuple[nn.Module, Any]:
    """make(nn) and make(torch.nn) in float64, with the same normal random weights."""
    ours, theirs = make(nn).to("float64"), make(torch.nn).double()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(rng.standard_normal(p.shape)))
    ours.load_state_dict(arrays(theirs))
    return ours, theirs


def assert_close(ours: Sequence | dict, theirs: Sequence | dict) -> None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    for a, b in zip(ours, theirs, strict=True):
        a = a.numpy() if isinstance(a, Tensor) else a
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-9, atol=1e-9)


def assert_same_output_and_gradients(ours: nn.Module, theirs: Any, x: np.ndarray) -> None:
    """By the input and by every parameter."""
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    assert_close([y], [z.detach()])
    (y * y).sum().backward()
    (z * z).sum().backward()
    assert_close([mine.grad], [other.grad])
    assert_close(
        {name: p.grad for name, p in ours.named_parameters()},
        {name: p.grad for name, p in theirs.named_parameters()},
    )


# Layers. PyTorch's names and arguments make one definition serve for both packages

PIXELS = (2, 4, 4, 6)

LAYERS: dict[str, tuple[Callable[[Any], Any], Shape]] = {
    "Linear": (lambda nn: nn.Linear(3, 5), (2, 4, 3)),
    "Linear without bias": (lambda nn: nn.Linear(3, 5, bias=False), (3,)),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), PIXELS),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(4, eps=0.1), PIXELS),
    "InstanceNorm2d affine": (lambda nn: nn.InstanceNorm2d(4, affine=True), PIXELS),
    "LayerNorm": (lambda nn: nn.LayerNorm(6), PIXELS),
    "LayerNorm of two axes": (lambda nn: nn.LayerNorm((4, 6), eps=0.1), PIXELS),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(4), PIXELS),
    "BatchNorm2d evaluating": (lambda nn: nn.BatchNorm2d(4).eval(), PIXELS),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(3, 2, 1), PIXELS),
    "AvgPool2d": (lambda nn: nn.AvgPool2d(2), PIXELS),
    "Upsample": (lambda nn: nn.Upsample(scale_factor=2), PIXELS),
    "Flatten": (lambda nn: nn.Flatten(), PIXELS),
    "ReLU": (lambda nn: nn.ReLU(), PIXELS),
    "LeakyReLU": (lambda nn: nn.LeakyReLU(), PIXELS),
    "SiLU": (lambda nn: nn.SiLU(), PIXELS),
    "GELU": (lambda nn: nn.GELU(), PIXELS),
    "GELU by tanh": (lambda nn: nn.GELU("tanh"), PIXELS),
    "Sigmoid": (lambda nn: nn.Sigmoid(), PIXELS),
    "Tanh": (lambda nn: nn.Tanh(), PIXELS),
    "Softplus": (lambda nn: nn.Softplus(), PIXELS),
    "Sequential": (
        lambda nn: nn.Sequential(
            nn.Conv2d(4, 3, 3, stride=2, padding=1),
            nn.BatchNorm2d(3),
            nn.Sequential(nn.SiLU(), nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1)),
            nn.Flatten(),
            nn.Linear(48, 5),
        ),
        PIXELS,
    ),
}


@pytest.mark.parametrize(("make", "x_shape"), LAYERS.values(), ids=LAYERS.keys())
def test_layers_with_torchs_weights_compute_and_differentiate_as_torchs_do(
    make: Callable, x_shape: Shape
) -> None:
    ours, theirs = twins(make)
    assert_same_output_and_gradients(ours, theirs, normal(*x_shape))
    assert_close(arrays(ours), arrays(theirs))


@given(geometry=conv_geometries(), bias=st.booleans())
def test_conv2d(geometry: ConvGeometry, bias: bool) -> None:
    O, C, *kernel = geometry.weight_shape
    channels = C * geometry.groups, O
    ours, theirs = twins(
        lambda nn: nn.Conv2d(*channels, tuple(kernel), bias=bias, **geometry.options)
    )
    assert_same_output_and_gradients(ours, theirs, normal(*geometry.x_shape))


@given(geometry=conv_transpose_geometries(), bias=st.booleans())
def test_conv_transpose2d(geometry: ConvTransposeGeometry, bias: bool) -> None:
    C, O, *kernel = geometry.weight_shape
    channels = C, O * geometry.groups
    ours, theirs = twins(
        lambda nn: nn.ConvTranspose2d(*channels, tuple(kernel), bias=bias, **geometry.options)
    )
    assert_same_output_and_gradients(ours, theirs, normal(*geometry.x_shape))


def test_embedding() -> None:
    ours, theirs = twins(lambda nn: nn.Embedding(5, 3))
    indices = np.array([[0, 4, 4], [2, 0, 4]])
    y, z = ours(indices), theirs(torch.tensor(indices))
    assert_close([y], [z.detach()])
    (y * y).sum().backward()
    (z * z).sum().backward()
    assert_close([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])


def test_weights_carry_over_to_torch() -> None:
    make, x_shape = LAYERS["Sequential"]
    ours, theirs = make(nn).to("float64"), make(torch.nn).double()
    theirs.load_state_dict(
        {name: torch.tensor(x) for name, x in arrays(ours).items()}, strict=False
    )
    assert_same_output_and_gradients(ours, theirs, normal(*x_shape))


@given(
    sizes=st.sampled_from([{}, {"kdim": 3}, {"kdim": 3, "vdim": 5}]),
    options=st.fixed_dictionaries({"bias": st.booleans(), "batch_first": st.booleans()}),
    average=st.booleans(),
    padded=st.booleans(),
    single=st.booleans(),
)
def test_multihead_attention(
    sizes: dict, options: dict, average: bool, padded: bool, single: bool
) -> None:
    ours, theirs = twins(lambda nn: nn.MultiheadAttention(4, 2, **sizes, **options))
    N, L, S = 3, 2, 5
    features = (L, 4), (S, sizes.get("kdim", 4)), (S, sizes.get("vdim", 4))
    arguments = [normal(N, *shape) for shape in features]
    mask = np.arange(S) >= np.array([[1], [3], [5]]) if padded else None
    if single:
        arguments, mask = [x[0] for x in arguments], None if mask is None else mask[0]
    elif not options["batch_first"]:
        arguments = [x.swapaxes(0, 1) for x in arguments]
    mine = [Tensor(x, requires_grad=True) for x in arguments]
    other = [torch.tensor(x, requires_grad=True) for x in arguments]
    y, a = ours(*mine, key_padding_mask=mask, average_attn_weights=average)
    mask = None if mask is None else torch.tensor(mask)
    z, b = theirs(*other, key_padding_mask=mask, average_attn_weights=average)
    assert_close([y, a], [z.detach(), b.detach()])
    ((y * y).sum() + (a * a).sum()).backward()
    ((z * z).sum() + (b * b).sum()).backward()
    assert_close([x.grad for x in mine], [x.grad for x in other])
    assert_close(
        {name: p.grad for name, p in ours.named_parameters()},
        {name: p.grad for name, p in theirs.named_parameters()},
    )


def test_multihead_attention_begins_as_torchs_does() -> None:
    """Uniform up to the same bound, or zero."""
    for sizes in ({}, {"kdim": 48}):
        ours = nn.MultiheadAttention(64, 4, **sizes)
        theirs = arrays(torch.nn.MultiheadAttention(64, 4, **sizes))
        for name, x in arrays(ours).items():
            assert abs(x).max() == pytest.approx(abs(theirs[name]).max(), rel=0.02)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_self_attention_is_torchs_with_pixels_for_tokens(num_heads: int) -> None:
    ours = nn.SelfAttention2d(4, num_heads).to("float64")
    theirs = torch.nn.MultiheadAttention(4, num_heads, batch_first=True).double()
    names = {
        "in_proj_weight": "qkv.weight",
        "in_proj_bias": "qkv.bias",
        "out_proj.weight": "out.weight",
    }
    names["out_proj.bias"] = "out.bias"
    theirs.load_state_dict({name: torch.tensor(arrays(ours)[own]) for name, own in names.items()})
    x = normal(2, 4, 2, 3)
    tokens = torch.tensor(x).flatten(2).transpose(1, 2)
    z = theirs(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
    assert_close([ours(Tensor(x))], [z.detach()])


# Losses

LOSSES = ["mse_loss", "l1_loss", "binary_cross_entropy_with_logits", "cross_entropy"]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_and_their_gradients(name: str, reduction: str) -> None:
    x = 3 * normal(5, 4)
    target = (
        np.arange(5) % 4 if name == "cross_entropy" else np.random.default_rng(1).random(x.shape)
    )
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = getattr(nn, name)(mine, target, reduction=reduction)
    z = getattr(torch.nn.functional, name)(other, torch.tensor(target), reduction=reduction)
    assert_close([y], [z.detach()])
    y.sum().backward()
    z.sum().backward()
    assert_close([mine.grad], [other.grad])


# Optimisers

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "momentum": ("SGD", {"lr": 0.05, "momentum": 0.9}),
    "Nesterov": ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    "Adam": ("Adam", {"lr": 0.05}),
    "Adam with decay": (
        "Adam",
        {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "AdamW": ("AdamW", {"lr": 0.05, "betas": (0.5, 0.9)}),
}


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_ten_steps_of_training(name: str, options: dict[str, Any]) -> None:
    ours, theirs = twins(
        lambda nn: nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2), nn.Sigmoid()
        )
    )
    x = normal(8, 1, 4, 4)
    mine, other = (
        getattr(nn, name)(ours.parameters(), **options),
        getattr(torch.optim, name)(theirs.parameters(), **options),
    )
    before = arrays(ours)
    for _ in range(10):
        for model, optimizer, batch in ((ours, mine, Tensor(x)), (theirs, other, torch.tensor(x))):
            optimizer.zero_grad()
            ((model(batch) - 0.25) ** 2).mean().backward()
            optimizer.step()
    assert_close(arrays(ours), arrays(theirs))
    assert not any(np.allclose(x, before[name], atol=1e-3) for name, x in arrays(ours).items())


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm(max_norm: float) -> None:
    p, q = nn.Parameter(np.ones(4)), torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    p.grad, q.grad = Tensor(normal(4)), torch.tensor(normal(4))
    assert nn.clip_grad_norm_([p], max_norm) == pytest.approx(
        torch.nn.utils.clip_grad_norm_([q], max_norm).item()
    )
    np.testing.assert_allclose(p.grad.numpy(), q.grad, rtol=1e-5)


def test_clipping_by_a_norm_that_is_no_number() -> None:
    p, q = nn.Parameter(np.ones(2)), torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    p.grad, q.grad = Tensor(np.array([1.0, np.nan])), torch.tensor([1.0, np.nan]).double()
    nn.clip_grad_norm_([p], 1.0)
    torch.nn.utils.clip_grad_norm_([q], 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), q.grad)
