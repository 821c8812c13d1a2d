"""Autoencoders: regularisers against their closed forms, and what corruptions do to images."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from minigen.evaluation.metrics import principal_angle
from minigen.models.autoencoder import (
    CORRUPTIONS,
    Autoencoder,
    contraction,
    gaussian_noise,
    jacobian,
    kl_sparsity,
    l1_sparsity,
    masking_noise,
    reconstruction_error,
    salt_and_pepper,
)
from minigen.recipes.ae import AERecipe, AESettings
from tensor import Tensor, grad
from tensor.strategies import tensors
from tensor.testing import gradcheck, gradgradcheck

few = st.integers(1, 3)
rows = st.tuples(few, few)
shares = st.floats(0.05, 0.95)
every_corruption = pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())


def images(n: int = 40, dtype=np.float32) -> np.ndarray:
    """Between black and white, and neither."""
    return np.random.default_rng(0).uniform(-0.9, 0.9, (n, 1, 16, 16)).astype(dtype)


def close(expected) -> object:
    return pytest.approx(expected, rel=1e-9, abs=1e-12)


# The model and its loss


def test_an_autoencoder_decodes_what_it_encodes() -> None:
    encoder, decoder = nn.Linear(3, 2), nn.Linear(2, 3)
    model, x = Autoencoder(encoder, decoder), T.randn(4, 3)
    assert np.array_equal(model(x).numpy(), decoder(encoder(x)).numpy())
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"encoder", "decoder"}


@given(x=tensors(st.tuples(few, few, few, few)))
def test_the_reconstruction_error_is_summed_over_pixels_and_averaged_over_images(x: Tensor) -> None:
    y = Tensor(np.cos(np.arange(x.numel())).reshape(x.shape))
    each = [((a - b) ** 2).sum() for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert reconstruction_error(x, y).item() == close(np.mean(each))
    assert reconstruction_error(T.cat([x, x]), T.cat([y, y])).item() == close(np.mean(each))


@pytest.mark.parametrize("k", [2, 3])
def test_a_linear_autoencoder_finds_the_principal_subspace(k: int) -> None:
    """Of data with 6 dimensions (Baldi & Hornik 1989): the span, that is, for any basis of it will
    do."""
    rng = np.random.default_rng(0)
    data = (
        rng.standard_normal((200, 6))
        * [3, 2.5, 2, 1, 0.7, 0.5]
        @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
    )
    data -= data.mean(0)
    x, (_, _, directions) = Tensor(data), np.linalg.svd(data)
    T.manual_seed(0)
    model = Autoencoder(nn.Linear(6, k, bias=False), nn.Linear(k, 6, bias=False)).to("float64")
    optimizer = nn.Adam(model.parameters(), 0.02)
    untrained = principal_angle(model.decoder.weight.numpy(), directions[:k].T)
    for _ in range(1000):
        optimizer.zero_grad()
        reconstruction_error(model(x), x).backward()
        optimizer.step()
    assert untrained > 0.5
    assert principal_angle(model.decoder.weight.numpy(), directions[:k].T) < 1e-6
    assert principal_angle(model.encoder.weight.numpy().T, directions[:k].T) < 1e-6


# Sparsity


@given(h=tensors(rows))
def test_l1_is_summed_over_features_and_averaged_over_codes(h: Tensor) -> None:
    assert l1_sparsity(h).item() == close(np.mean([abs(code).sum() for code in h.numpy()]))
    assert grad(l1_sparsity(h), h)[0].numpy() == close(np.sign(h.numpy()) / len(h))


codes = tensors(rows, min_value=0.02, max_value=0.98)
rhos = st.floats(0.05, 0.95)


@given(h=codes, rho=rhos)
def test_kl_sparsity_and_its_gradient(h: Tensor, rho: float) -> None:
    """sum_j KL(rho || rho_hat_j), whose derivative by rho_hat_j is (1 - rho) / (1 - rho_hat_j) -
    rho / rho_hat_j."""
    rho_hat = h.numpy().mean(0)
    expected = sum(
        rho * math.log(rho / r) + (1 - rho) * math.log((1 - rho) / (1 - r)) for r in rho_hat
    )
    loss = kl_sparsity(h, rho)
    assert loss.item() == close(expected) and loss.item() >= -1e-12
    slope = (1 - rho) / (1 - rho_hat) - rho / rho_hat
    assert grad(loss, h)[0].numpy() == close(np.tile(slope / len(h), (len(h), 1)))
    gradcheck(lambda h: kl_sparsity(h, rho), h)
    gradgradcheck(lambda h: kl_sparsity(h, rho), h)


@given(rho=rhos, spread=st.floats(0, 0.04), shift=st.sampled_from([0.0, -0.04, 0.04]), features=few)
def test_kl_sparsity_is_zero_where_every_unit_is_active_as_often_as_it_should(
    rho, spread, shift, features
) -> None:
    """On average over the codes, whatever each one does. One unit that differs is enough for more
    than zero."""
    h = np.full((2, features), rho) + spread * np.array([[1.0], [-1.0]])
    h[:, 0] += shift
    loss = kl_sparsity(Tensor(h), rho).item()
    assert abs(loss) < 1e-12 if not shift else loss > 1e-4


@pytest.mark.parametrize("h", [[[-0.5]], [[2.0]]])
def test_kl_sparsity_is_for_units_between_0_and_1(h: list) -> None:
    with pytest.raises(
        ValueError, match=r"kl_sparsity: the mean of each unit must lie in \[0, 1\]"
    ):
        kl_sparsity(Tensor(h))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("h", [0.0, 1.0, math.nan])
def test_kl_sparsity_of_a_unit_that_never_changes_is_not_finite(h: float) -> None:
    """KL(rho || 0) and KL(rho || 1) are infinite."""
    assert not math.isfinite(kl_sparsity(Tensor([[h]])).item())


# Contraction


@st.composite
def sigmoid_layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, d), W (features, d), b (features,)."""
    N, d, features = (draw(few) for _ in range(3))
    return draw(tensors((N, d))), draw(tensors((features, d))), draw(tensors((features,)))


def penalty(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return contraction(T.sigmoid(x @ T.transpose(W, 0, 1) + b), x)


@given(layer=sigmoid_layers())
def test_contraction_of_a_sigmoid_layer_is_that_of_the_paper(layer: tuple) -> None:
    """sum_j (h_j (1 - h_j))^2 |W_j|^2, Rifai et al. 2011; its gradient needs second derivatives."""
    x, W, b = layer
    h = 1 / (1 + np.exp(-(x.numpy() @ W.numpy().T + b.numpy())))
    expected = ((h * (1 - h)) ** 2 * (W.numpy() ** 2).sum(1)).sum(1).mean()
    assert penalty(x, W, b).item() == close(expected)
    gradcheck(penalty, layer)


@given(layer=sigmoid_layers())
def test_jacobian_of_a_sigmoid_layer(layer: tuple) -> None:
    """dh_j/dx_i = h_j (1 - h_j) W_ji, of each item by itself."""
    x, W, b = layer
    h = 1 / (1 + np.exp(-(x.numpy() @ W.numpy().T + b.numpy())))
    found = jacobian(T.sigmoid(x @ T.transpose(W, 0, 1) + b), x)
    assert found.shape == (len(W), *x.shape) and not found.requires_grad
    assert found.numpy() == close((h * (1 - h)).T[:, :, None] * W.numpy()[:, None])


def test_the_gradient_of_the_contraction_differentiates_again() -> None:
    rng = np.random.default_rng(0)
    gradgradcheck(
        penalty,
        [Tensor(rng.standard_normal(size), requires_grad=True) for size in [(2, 2), (2, 2), (2,)]],
    )


def test_contraction_of_a_network_on_images_is_that_of_finite_differences() -> None:
    encoder = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(18, 2)
    ).to("float64")
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 3))
    leaf, eps, total = Tensor(x, requires_grad=True), 1e-5, 0.0
    for k in range(9):
        step = eps * np.eye(9)[k].reshape(1, 1, 3, 3)
        total += (
            ((encoder(Tensor(x + step)) - encoder(Tensor(x - step))).numpy() / (2 * eps)) ** 2
        ).sum()
    assert contraction(encoder(leaf), leaf).item() == pytest.approx(total / 2, rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contraction_keeps_dtype_and_device(dtype: type, device: str) -> None:
    x = Tensor(np.ones((2, 3)), dtype=dtype, device=device, requires_grad=True)
    loss = contraction(T.sigmoid(x), x)
    assert loss.dtype == dtype and loss.device.startswith(device) and loss.shape == ()


def test_contraction_is_for_vectors_of_code_and_inputs_with_gradients() -> None:
    x = T.ones(2, 3, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"jacobian: expected codes \(N, features\), got \(2, 3, 1\)"
    ):
        contraction(T.sigmoid(x)[..., None], x)
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        contraction(T.sigmoid(x), x.detach())


# Corruptions


@every_corruption
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_corruptions_leave_the_clean_image_alone_and_follow_their_seed(
    corrupt: Callable, dtype: type
) -> None:
    x = images(dtype=dtype)
    before = x.copy()
    a, b, other = (corrupt(x, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(x, before) and not np.shares_memory(a, x)
    assert np.array_equal(a, b) and not np.array_equal(a, other) and not np.array_equal(a, x)
    assert a.shape == x.shape and a.dtype == dtype
    assert corrupt(x, np.float64(0.3), np.random.default_rng(1)).dtype == dtype
    assert np.array_equal(corrupt(x, 0.0, np.random.default_rng(1)), x)


@given(share=shares, seed=st.integers(0, 100))
def test_masking_blackens_a_share_of_the_pixels(share: float, seed: int) -> None:
    x = images()
    y = masking_noise(x, share, np.random.default_rng(seed))
    changed = y != x
    assert (y[changed] == -1).all()
    assert changed.mean() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / x.size))


@given(share=shares, seed=st.integers(0, 100))
def test_salt_and_pepper_come_in_equal_parts(share: float, seed: int) -> None:
    x = images()
    y = salt_and_pepper(x, share, np.random.default_rng(seed))
    changed = y != x
    assert set(np.unique(y[changed])) <= {-1, 1}
    assert changed.mean() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / x.size))
    assert (y[changed] == 1).mean() == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / changed.sum()))


@given(sigma=st.floats(0.1, 2), seed=st.integers(0, 100))
def test_gaussian_noise_has_the_deviation_that_was_asked_for(sigma: float, seed: int) -> None:
    x = images()
    noise = gaussian_noise(x, sigma, np.random.default_rng(seed)) - x
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(x.size)
    assert noise.std() == pytest.approx(sigma, rel=5 / math.sqrt(2 * x.size))
    assert abs(np.mean(noise**3)) < 5 * math.sqrt(15 / x.size) * sigma**3
    assert np.mean(noise**4) == pytest.approx(
        3 * sigma**4, abs=5 * math.sqrt(96 / x.size) * sigma**4
    )


def test_a_denoising_autoencoder_takes_four_decibels_of_noise_away() -> None:
    """From test digits, after a fifth of the usual training."""
    run = AERecipe(AESettings(regulariser="denoising", strength=0.5, steps=400))
    for k in range(1, 401):
        run.step(k)
    measures = run.evaluate(5, seed=0)
    assert measures["test PSNR, dB"][0] > measures["PSNR before, dB"][0] + 4
