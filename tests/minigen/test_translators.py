"""The networks of image translation: shapes, what an output depends on, initial weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.networks.translators import patch_discriminator, resnet_generator
from tensor import Tensor, grad


def images(n: int, channels: int, height: int, width: int, device: str = "cpu") -> Tensor:
    return T.randn((n, channels, height, width), generator=np.random.default_rng(0), device=device)


@given(
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
)
def test_a_generator_keeps_the_size_and_stays_between_black_and_white(
    channels: tuple[int, int], size: tuple[int, int]
) -> None:
    H, W = 2 * size[0], 2 * size[1]
    y = resnet_generator(*channels, width=2, blocks=1)(images(2, channels[0], H, W)).numpy()
    assert y.shape == (2, channels[1], H, W) and abs(y).max() <= 1


def test_the_networks_treat_each_image_by_itself(device: str) -> None:
    x = images(3, 3, 16, 16, device)
    for network in (resnet_generator(3, 3, 4), patch_discriminator(3, 4)):
        network.to(device)
        assert network(x).numpy()[1:2] == pytest.approx(network(x[1:2]).numpy(), abs=1e-5)


@pytest.mark.parametrize(("layers", "side", "patch"), [(1, 32, 16), (2, 64, 34), (3, 128, 70)])
def test_a_patch_has_the_side_that_is_promised(layers: int, side: int, patch: int) -> None:
    """The pixels on which a number in the middle depends, but for the norms, which see the whole
    image."""
    network = patch_discriminator(1, 2, layers)
    local = nn.Sequential(*(part for part in network if not isinstance(part, nn.InstanceNorm2d)))
    x = images(1, 1, side, side).to("float64").requires_grad_()
    numbers = local.to("float64")(x)
    middle = numbers.shape[2] // 2
    (seen,) = (abs(g.numpy()[0, 0]) for g in grad(numbers[0, 0, middle, middle], x))
    rows, columns = np.nonzero(
        seen > 1e-12 * seen.max()
    )  # beside them, Winograd's convolution leaves roundings
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == patch == 9 * 2**layers - 2
    assert numbers.shape == (1, 1, side // 2**layers - 2, side // 2**layers - 2)


def test_no_pixel_of_a_generated_image_gets_more_products_than_its_neighbours() -> None:
    """The transposed convolution with equal weights makes an even image of an even one, but for the
    border."""
    (doubling,) = (
        part for part in resnet_generator(1, 1, 2) if isinstance(part, nn.ConvTranspose2d)
    )
    nn.init.ones_(doubling.weight)
    assert np.ptp(doubling(T.ones((1, 4, 5, 5))).numpy()[:, :, 1:-1, 1:-1]) == 0


def test_kernels_are_normal_with_a_small_deviation() -> None:
    for network in (resnet_generator(3, 3, 16), patch_discriminator(3, 16)):
        kernels = np.concatenate([p.numpy().ravel() for p in network.parameters() if p.ndim > 1])
        assert kernels.std() == pytest.approx(0.02, rel=0.05) and abs(kernels.mean()) < 1e-3
        assert (abs(kernels) < 0.02).mean() == pytest.approx(0.683, abs=0.02)
