"""The denoisers: shapes, what they depend on, and their derivatives as a whole."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.networks.points import MLPDenoiser
from minigen.networks.unet import ResBlock, TimeMLP, UNet, norm, timestep_embedding
from tensor import Tensor, grad

seeds = st.integers(0, 2**32 - 1)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64 with normal weights: the zeros at which training starts would hide what
    depends on what."""
    rng = np.random.default_rng(seed)
    model.to(np.float64)
    for p in model.parameters():
        p.copy_(rng.normal(scale=0.5, size=p.shape))
    return model


def normal(*shape: int, seed: int = 1, device: str = "cpu") -> Tensor:
    return T.randn(shape, generator=np.random.default_rng(seed), dtype=np.float64, device=device)


def differ(x: Tensor, y: Tensor) -> bool:
    """Whether every element does."""
    return bool((abs(x.numpy() - y.numpy()) > 1e-9).all())


def unreached(model: nn.Module) -> list[str]:
    """The names of the parameters that got no gradient, or one of rounding errors."""
    return [
        name
        for name, p in model.named_parameters()
        if p.grad is None or abs(p.grad.numpy()).max() < 1e-12
    ]


# Time


@given(t=st.lists(st.integers(0, 1000), min_size=1, max_size=4), half=st.integers(1, 20))
def test_the_embedding_is_sines_then_cosines_of_falling_frequencies(
    t: list[int], half: int
) -> None:
    embedding = timestep_embedding(np.array(t), 2 * half)
    assert embedding.shape == (len(t), 2 * half) and embedding.dtype == np.float32
    for n, time in enumerate(t):
        for k in range(half):
            angle = time / 10_000 ** (k / half)
            assert embedding[n, k] == pytest.approx(np.sin(angle), abs=1e-6)
            assert embedding[n, half + k] == pytest.approx(np.cos(angle), abs=1e-6)


def test_a_thousand_timesteps_have_a_thousand_embeddings() -> None:
    assert len(np.unique(timestep_embedding(np.arange(1, 1001), 32), axis=0)) == 1000


@pytest.mark.parametrize("dim", [0, 1, 7])
def test_half_a_sine_is_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=f"even number of dimensions, got {dim}"):
        TimeMLP(dim, 8)


# U-Net


def test_groups_divide_the_channels_and_have_four_of_them_or_all() -> None:
    for channels in range(2, 129):
        groups = norm(channels).num_groups
        assert channels % groups == 0 and groups <= 8
        assert channels // groups >= min(4, channels)


def test_the_groups_of_some_widths() -> None:
    """24 and 48 are the widths for digits, 32 and 64 for larger images."""
    groups = {2: 1, 3: 1, 8: 2, 12: 1, 16: 4, 20: 1, 24: 2, 28: 1, 32: 8, 40: 2, 48: 4, 64: 8}
    assert {channels: norm(channels).num_groups for channels in groups} == groups


@st.composite
def unets(draw: st.DrawFn) -> tuple[UNet, Tensor]:
    """A U-Net of one to three levels, and a batch of images for it."""
    N, C, h, w, heads = (draw(st.integers(1, 2)) for _ in range(5))
    channels = draw(st.lists(st.integers(2, 9), min_size=1, max_size=3))
    scale = 2 ** len(channels)
    return draw(st.builds(UNet, st.just(C), st.just(channels), st.just(heads))), normal(
        N, C, h * scale, w * scale
    )


@given(drawn=unets())
def test_noise_has_the_shape_of_the_images_and_is_flat_at_first(
    device: str, drawn: tuple[UNet, Tensor]
) -> None:
    unet, x = drawn
    noise = unet.to(device)(Tensor(x, dtype=np.float32, device=device), np.ones(len(x), int))
    assert noise.shape == x.shape and noise.dtype == np.float32
    assert not np.ptp(noise.numpy(), axis=(2, 3)).any()


@given(drawn=unets(), seed=seeds)
def test_the_noise_depends_on_the_timestep_at_every_level(
    drawn: tuple[UNet, Tensor], seed: int
) -> None:
    """Also where group norm could take each channel's share of time away again."""
    unet, x = drawn
    randomised(unet, seed)
    N = len(x)
    for time in [block.time for block in (*unet.down, unet.middle, *unet.up)]:
        with_time, weight = unet(x, np.full(N, 1)), time.weight.detach()
        time.weight.copy_(np.zeros(weight.shape))
        assert differ(unet(x, np.full(N, 1)), with_time)
        time.weight.copy_(weight)
    assert differ(unet(x, np.full(N, 1)), unet(x, np.full(N, 2)))


@given(drawn=unets(), seed=seeds)
def test_each_image_has_its_own_noise_and_time(drawn: tuple[UNet, Tensor], seed: int) -> None:
    unet, x = drawn
    randomised(unet, seed)
    times = np.arange(3, 3 + len(x))
    together = unet(x, times).numpy()
    alone = np.concatenate([unet(x[n : n + 1], times[n : n + 1]).numpy() for n in range(len(x))])
    assert together == pytest.approx(alone, rel=1e-9, abs=1e-9)


@given(drawn=unets(), seed=seeds)
def test_labels_change_the_noise_each_that_of_its_own_image(
    drawn: tuple[UNet, Tensor], seed: int
) -> None:
    _, x = drawn
    unet = randomised(UNet(x.shape[1], (4,), classes=3), seed)
    times, labels = np.full(len(x), 2), np.arange(len(x))
    told = unet(x, times, labels)
    assert differ(told, unet(x, times, labels + 1)) and differ(told, unet(x, times, labels * 0 + 3))
    alone = unet(x[:1], times[:1], labels[:1])
    assert told[:1].numpy() == pytest.approx(alone.numpy(), rel=1e-9, abs=1e-9)
    (told * normal(*x.shape, seed=2)).sum().backward()
    assert unreached(unet) == []


@pytest.mark.parametrize(("classes", "labels"), [(0, [1, 2]), (3, None)])
def test_labels_are_for_a_network_with_classes_which_needs_them(
    classes: int, labels: list[int] | None
) -> None:
    given = None if labels is None else np.array(labels)
    with pytest.raises(ValueError, match="labels are for a U-Net with classes"):
        UNet(1, (4,), classes=classes)(normal(2, 1, 4, 4), np.array([1, 1]), given)
    with pytest.raises(IndexError, match="-1|4"):
        UNet(1, (4,), classes=3)(normal(2, 1, 4, 4), np.array([1, 1]), np.array([-1, 4]))


def test_a_level_coming_up_sees_what_the_level_going_down_had() -> None:
    """With nothing coming from below, the image still shows."""
    unet, x, t = randomised(UNet(1, (4, 6))), normal(1, 1, 4, 4), np.array([5])
    for name, p in unet.named_parameters():
        if name.startswith("grow"):
            p.copy_(np.zeros(p.shape))
    assert differ(unet(x, t), unet(2 * x, t))


@given(drawn=unets(), seed=seeds)
def test_the_gradient_reaches_every_parameter(drawn: tuple[UNet, Tensor], seed: int) -> None:
    unet, x = drawn
    randomised(unet, seed)
    (unet(x, np.full(len(x), 3)) * normal(*x.shape, seed=2)).sum().backward()
    assert unreached(unet) == []


@pytest.mark.parametrize("channels", [(), (1,), (4, 1), (0, 4), (-4, 4)])
def test_widths_at_which_time_could_not_be_seen_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"UNet: .*at least 2, got {re.escape(str(channels))}"):
        UNet(1, channels)


@pytest.mark.parametrize("size", [(8, 6), (6, 8), (7, 7)])
def test_images_that_cannot_be_halved_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=rf"UNet: with 3 levels.*{size[0]}, {size[1]}.*multiples of 4"
    ):
        UNet(1, (4, 4, 4))(normal(1, 1, *size), np.array([1]))


@pytest.mark.parametrize("create_graph", [False, True])
def test_derivatives_of_the_whole_network_are_right(device: str, create_graph: bool) -> None:
    """d/de of the loss, and of its slope along u, at (x, parameters) + e v: by reverse mode and by
    differences."""
    unet = randomised(UNet(1, (4, 6))).to(device)
    x, g = (normal(2, 1, 4, 4, seed=seed, device=device) for seed in (1, 2))
    leaves, t = [x.requires_grad_(), *unet.parameters()], np.array([1, 40])
    u, v = (
        [normal(*leaf.shape, seed=100 * k + n, device=device) for n, leaf in enumerate(leaves)]
        for k in (1, 2)
    )
    start = [leaf.detach() for leaf in leaves]

    def along(loss: Tensor, direction: list[Tensor], create_graph: bool = False) -> Tensor:
        gradient = grad(loss, leaves, create_graph=create_graph, allow_unused=True)
        terms = [(a * b).sum() for a, b in zip(gradient, direction, strict=True) if a is not None]
        return T.stack(terms, 0).sum()

    def f() -> Tensor:
        loss = (unet(x, t) * g).sum()
        return along(loss, u, create_graph=True) if create_graph else loss

    def moved(e: float) -> float:
        for leaf, value, direction in zip(leaves, start, v, strict=True):
            leaf.copy_(value + e * direction)
        return f().item()

    h = 1e-4
    numeric = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    moved(0)
    assert along(f(), v).item() == pytest.approx(numeric, rel=1e-6)


def test_names_of_parameters_are_those_of_saved_checkpoints() -> None:
    block = ["conv1", "conv2", "norm1", "norm2", "time"]
    expected = [
        "attention.attention.out",
        "attention.attention.qkv",
        "attention.norm",
        "grow.0",
        "head",
        "norm",
    ]
    expected += [
        "shrink.0",
        "stem",
        "time.inner",
        "time.outer",
        "down.1.skip",
        "up.0.skip",
        "up.1.skip",
    ]
    expected += [
        f"{stage}.{layer}"
        for stage in ("down.0", "down.1", "middle", "up.0", "up.1")
        for layer in block
    ]
    names = {name: p.shape for name, p in UNet(1, (32, 64)).named_parameters()}
    assert sorted(names) == sorted(
        f"{layer}.{kind}" for layer in expected for kind in ("weight", "bias")
    )
    assert names["up.0.conv1.weight"] == (64, 128, 3, 3) and names["grow.0.weight"] == (
        64,
        32,
        4,
        4,
    )


# Points in the plane


@given(dim=st.integers(1, 3), depth=st.integers(0, 3), N=st.integers(1, 3), seed=seeds)
def test_the_mlp_depends_on_points_and_times_through_every_parameter(
    dim: int, depth: int, N: int, seed: int
) -> None:
    mlp = randomised(MLPDenoiser(dim, width=8, depth=depth), seed)
    x = normal(N, dim)
    y = mlp(x, np.full(N, 3))
    assert y.shape == x.shape
    assert differ(y, mlp(x + 1, np.full(N, 3))) and (
        not depth or differ(y, mlp(x, np.full(N, 300)))
    )
    y.sum().backward()
    assert not depth or unreached(mlp) == []


# Both


@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda: UNet(1, (4, 6)), (2, 1, 4, 4)), (lambda: MLPDenoiser(2, 8), (2, 2))],
)
def test_state_dicts_carry_the_whole_network(
    make: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    x, t = normal(*shape), np.array([1, 2])
    trained, fresh = randomised(make(), seed=1), randomised(make(), seed=2)
    assert differ(trained(x, t), fresh(x, t))
    fresh.load_state_dict({name: values.numpy() for name, values in trained.state_dict().items()})
    assert np.array_equal(trained(x, t).numpy(), fresh(x, t).numpy())


@pytest.mark.parametrize("t", [1, [1], [1, 2, 3], [[1, 2]]])
def test_every_image_and_point_has_a_timestep(t: list) -> None:
    for denoiser, x in [
        (UNet(1, (4, 6)), T.randn((2, 1, 4, 4))),
        (MLPDenoiser(2, 8), T.randn((2, 2))),
    ]:
        with pytest.raises(
            ValueError, match=rf"got 2 items and timesteps {re.escape(str(np.shape(t)))}"
        ):
            denoiser(x, np.array(t))
        with pytest.raises(ValueError, match="got 0 items"):
            denoiser(x[:0], np.ones(0, int))


def test_one_timestep_is_not_dealt_out_among_the_images() -> None:
    block, x, time = ResBlock(4, 4, 4), T.randn((4, 4, 2, 2)), T.randn((1, 4))
    nn.init.kaiming_uniform_(block.conv2.weight)
    np.testing.assert_allclose(
        block(x, time).numpy(), block(x, time.expand((4, 4))).numpy(), atol=1e-6
    )
