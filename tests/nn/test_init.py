"""Initial weights: their bounds and moments, the seed they follow, what the layers begin with."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from nn import Parameter, init
from tensor.strategies import Shape

SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9

VARIANCES: dict[str, tuple[Callable, float]] = {
    "normal_": (init.normal_, 1),
    "normal_ of DCGAN": (lambda x, **options: init.normal_(x, std=0.02, **options), 0.02**2),
    "uniform_": (lambda x, **options: init.uniform_(x, -0.5, 0.5, **options), 1 / 12),
    "kaiming_uniform_": (init.kaiming_uniform_, 2 / FAN_IN),
    "kaiming_uniform_ leaky": (
        lambda x, **options: init.kaiming_uniform_(x, 2.0, **options),
        2 / (5 * FAN_IN),
    ),
    "kaiming_normal_": (init.kaiming_normal_, 2 / FAN_IN),
    "kaiming_normal_ leaky": (
        lambda x, **options: init.kaiming_normal_(x, 2.0, **options),
        2 / (5 * FAN_IN),
    ),
    "kaiming_uniform_ by outputs": (
        lambda x, **options: init.kaiming_uniform_(x, mode="fan_out", **options),
        2 / FAN_OUT,
    ),
    "kaiming_normal_ before tanh": (
        lambda x, **options: init.kaiming_normal_(x, nonlinearity="tanh", **options),
        25 / 9 / FAN_IN,
    ),
    "xavier_uniform_": (init.xavier_uniform_, 2 / (FAN_IN + FAN_OUT)),
    "xavier_uniform_ with gain": (
        lambda x, **o: init.xavier_uniform_(x, 3.0, **o),
        18 / (FAN_IN + FAN_OUT),
    ),
    "xavier_normal_": (init.xavier_normal_, 2 / (FAN_IN + FAN_OUT)),
    "xavier_normal_ with gain": (
        lambda x, **o: init.xavier_normal_(x, 3.0, **o),
        18 / (FAN_IN + FAN_OUT),
    ),
}
every_one = pytest.mark.parametrize("name", VARIANCES)


def parameter(shape: Shape = SHAPE) -> Parameter:
    return Parameter(np.full(shape, 7, np.float32))


def assert_distribution(x: np.ndarray, uniform: bool, variance: float) -> None:
    """Mean 0, the variance, and uniform or normal tails, each within 6 standard errors."""
    n, std, kurtosis = x.size, math.sqrt(variance), 1.8 if uniform else 3
    assert abs(x.mean()) < 6 * std / math.sqrt(n)
    assert abs(x.var() / variance - 1) < 6 * math.sqrt((kurtosis - 1) / n)
    if uniform:
        bound = math.sqrt(3) * std
        assert (1 - 20 / n) * bound < abs(x).max() <= bound * (1 + 1e-6)
    else:
        assert 3 * std < abs(x).max() < 7 * std


@every_one
def test_weights_have_the_variance_of_their_source(name: str) -> None:
    function, variance = VARIANCES[name]
    x = function(parameter(), generator=np.random.default_rng(0)).numpy()
    assert_distribution(x, "uniform" in name, variance)


def test_normal_and_uniform_have_a_place() -> None:
    rng = np.random.default_rng(0)
    assert abs(init.normal_(parameter(), 5.0, 0.1, rng).numpy().mean() - 5) < 1e-2
    x = init.uniform_(parameter(), 2.0, 3.0, rng).numpy()
    assert 2 <= x.min() < 2.01 and 2.99 < x.max() <= 3


@given(slope=st.floats(-2, 2))
def test_the_gain_of_a_rectifier_keeps_the_mean_square(slope: float) -> None:
    """E[f(x)^2] = (1 + slope^2) / 2 for x ~ N(0, 1)."""
    assert init.calculate_gain("leaky_relu", slope) ** -2 == pytest.approx((1 + slope**2) / 2)
    assert init.calculate_gain("relu", slope) == init.calculate_gain("leaky_relu", 0.0)
    assert init.calculate_gain("leaky_relu") == init.calculate_gain("leaky_relu", 0.01)


WRONG_INIT: dict[str, tuple[Callable, type[Exception], str]] = {
    "nonlinearity": (
        lambda: init.kaiming_normal_(parameter(), nonlinearity="sine"),
        ValueError,
        "nonlinearity must be one of .*'relu'.*, got 'sine'",
    ),
    "mode": (
        lambda: init.kaiming_uniform_(parameter(), 0, "out"),
        ValueError,
        "mode must be 'fan_in' or 'fan_out', got 'out'",
    ),
    "data": (
        lambda: init.normal_(parameter().data, 0.0, 0.02),
        TypeError,
        "expected a tensor, such as layer.weight, got ndarray",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG_INIT.values(), ids=WRONG_INIT.keys())
def test_wrong_calls_are_told_what_is_expected(call: Callable, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_constants() -> None:
    assert np.array_equal(init.constant_(parameter(), 0.5).numpy(), np.full(SHAPE, 0.5))
    assert np.array_equal(init.zeros_(parameter()).numpy(), np.zeros(SHAPE))
    assert np.array_equal(init.ones_(parameter()).numpy(), np.ones(SHAPE))


@every_one
@given(seed=st.integers(0, 2**16))
def test_the_same_seed_gives_the_same_weights(name: str, seed: int) -> None:
    function, _ = VARIANCES[name]

    def drawn(seed: int) -> np.ndarray:
        return function(parameter((4, 3)), generator=np.random.default_rng(seed)).numpy()

    T.manual_seed(seed)
    assert np.array_equal(drawn(seed), function(parameter((4, 3))).numpy())
    assert not np.array_equal(drawn(seed), drawn(seed + 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_given_in_place_with_dtype_and_device(dtype: type, device: str) -> None:
    x = T.zeros(4, 3, dtype=dtype, device=device, requires_grad=True)
    assert (
        init.normal_(x) is x
        and x.dtype == dtype
        and x.device.startswith(device)
        and x.requires_grad
    )
    assert np.count_nonzero(x.numpy()) == 12


@pytest.mark.parametrize("function", [init.kaiming_normal_, init.xavier_uniform_])
def test_weights_need_inputs_and_outputs(function: Callable) -> None:
    with pytest.raises(ValueError, match=r"\(5,\)"):
        function(parameter((5,)))


# What the layers begin with: PyTorch's choices

WEIGHTED: dict[str, tuple[Callable, int]] = {
    "Linear": (lambda: nn.Linear(100, 200), 100),
    "Conv2d": (lambda: nn.Conv2d(20, 300, 3), 20 * 9),
    "Conv2d in groups": (lambda: nn.Conv2d(20, 300, 3, groups=4), 5 * 9),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(20, 300, 3), 300 * 9),
}


@pytest.mark.parametrize(("layer", "fan_in"), WEIGHTED.values(), ids=WEIGHTED.keys())
def test_weights_and_biases_begin_uniform_with_variance_one_third_of_fan_in(
    layer: Callable, fan_in: int
) -> None:
    T.manual_seed(0)
    for p in layer().parameters():
        assert_distribution(p.numpy(), True, 1 / (3 * fan_in))


def test_embeddings_begin_normal() -> None:
    T.manual_seed(0)
    assert_distribution(nn.Embedding(100, 200).weight.numpy(), False, 1)


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(1, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm(4), nn.BatchNorm2d(4)],
    ids=repr,
)
def test_norms_begin_as_plain_norms(norm) -> None:
    assert norm.weight.numpy().tolist() == [1] * 4 and norm.bias.numpy().tolist() == [0] * 4


def test_the_same_seed_gives_the_same_network() -> None:
    def net() -> dict[str, list]:
        T.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 3), nn.Embedding(4, 5))
        return {name: x.numpy().tolist() for name, x in model.state_dict().items()}

    assert net() == net()
