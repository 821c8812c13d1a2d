"""The moving average of weights: its closed form, its loan to the parameters, and its state."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from nn import EMA, Parameter
from tensor.autodiff import grad

decays = st.sampled_from([0.0, 0.15, 0.2, 0.5, 0.999])


def values(parameters: list[Parameter]) -> list[np.ndarray]:
    return [p.numpy().copy() for p in parameters]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def averages(ema: EMA) -> list[np.ndarray]:
    with ema.applied():
        return values(ema.view.parameters)


def moved(parameters: list[Parameter], rng: np.random.Generator) -> None:
    for p in parameters:
        p.copy_(rng.standard_normal(p.shape))


@pytest.fixture
def network() -> list[Parameter]:
    """Parameters of several shapes, one of them a kernel, which does not lie in C order."""
    return [*nn.Conv2d(2, 3, 2).to("float64").parameters(), Parameter(np.array(1.5))]


@given(decay=decays, updates=st.integers(0, 5), seed=st.integers(0, 2**16))
def test_an_average_weighs_all_weights_there_were(decay: float, updates: int, seed: int) -> None:
    """w_0 d_1 ... d_n + sum over k of w_k (1 - d_k) d_{k+1} ... d_n, where d_k = min(decay, (1 + k)
    / (10 + k))"""
    rng = np.random.default_rng(seed)
    history = rng.standard_normal((updates + 1, 2, 3))
    p = Parameter(history[0])
    ema = EMA([p], decay)
    for w in history[1:]:
        p.copy_(w)
        ema.update()
    d = [0, *(min(decay, (1 + k) / (10 + k)) for k in range(1, updates + 1))]
    expected = sum((1 - d[k]) * prod(d[k + 1 :]) * w for k, w in enumerate(history))
    np.testing.assert_allclose(averages(ema)[0], expected, rtol=1e-12, atol=1e-14)


@given(decay=decays)
def test_an_average_of_equal_weights_is_that_weight(decay: float) -> None:
    p = Parameter(np.full(3, 0.7))
    ema = EMA([p], decay)
    for _ in range(10):
        ema.update()
    np.testing.assert_allclose(averages(ema)[0], 0.7, rtol=1e-14)


def test_applied_lends_the_average_and_gives_the_weights_back(network: list[Parameter]) -> None:
    ema, before = EMA(network, 0.5), values(network)
    moved(network, np.random.default_rng(0))
    own = values(network)
    with ema.applied():
        assert same(values(network), before)
    assert same(values(network), own)


def test_applied_gives_the_weights_back_after_an_exception(network: list[Parameter]) -> None:
    ema = EMA(network, 0.5)
    moved(network, np.random.default_rng(0))
    own = values(network)
    with pytest.raises(KeyboardInterrupt), ema.applied():
        raise KeyboardInterrupt
    assert same(values(network), own)


def test_applied_may_be_nested(network: list[Parameter]) -> None:
    ema, before = EMA(network, 0.5), values(network)
    moved(network, np.random.default_rng(0))
    own = values(network)
    with ema.applied():
        with ema.applied():
            assert same(values(network), before)
        assert same(values(network), before)
    assert same(values(network), own)


def test_training_goes_on_after_the_loan_as_if_there_had_been_none(
    network: list[Parameter],
) -> None:
    ema = EMA(network, 0.5)
    moved(network, np.random.default_rng(0))
    loss = sum(((p * p).sum() for p in network), start=T.zeros(()))
    lent = averages(ema)
    gradients = [np.asarray(g) for g in grad(loss, network)]
    assert same(gradients, [2 * p for p in values(network)])
    ema.update()
    assert not same(averages(ema), lent)


def test_updates_do_not_reach_what_applied_lent(network: list[Parameter]) -> None:
    ema = EMA(network, 0.5)
    with ema.applied():
        lent = [p.detach() for p in network]
        before = [x.numpy().copy() for x in lent]
    moved(network, np.random.default_rng(0))
    ema.update()
    assert same([x.numpy() for x in lent], before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_average_keeps_dtype_and_device(dtype: type, device: str) -> None:
    p = Parameter(T.ones(3, dtype=dtype, device=device))
    ema = EMA([p], 0.5)
    p.copy_(np.full(3, 4.0))
    ema.update()
    with ema.applied():
        assert p.dtype == dtype and p.device.startswith(device)
        np.testing.assert_allclose(p.numpy(), (2 + 9 * 4) / 11, rtol=1e-6)


# State


def test_a_loaded_average_continues_exactly(network: list[Parameter]) -> None:
    ema, rng = EMA(network, 0.25), np.random.default_rng(0)
    for _ in range(3):
        moved(network, rng)
        ema.update()
    state, other = ema.state_dict(), EMA(network, 0.25)
    for _ in range(2):
        moved(network, rng)
        ema.update()
        other.load_state_dict(state)
        other.update()
        assert same(averages(other), averages(ema))
        state = other.state_dict()


def test_a_state_is_a_snapshot(network: list[Parameter]) -> None:
    ema = EMA(network, 0.5)
    state = ema.state_dict()
    before = state["average"].numpy().copy()
    moved(network, np.random.default_rng(0))
    ema.update()
    assert np.array_equal(state["average"].numpy(), before) and state["updates"] == 0
    other = EMA(network, 0.5)
    other.load_state_dict(state)
    other.update()
    assert np.array_equal(state["average"].numpy(), before)


def test_a_state_of_other_parameters_is_refused_and_not_taken() -> None:
    ema = EMA([Parameter(np.ones(3))])
    state = EMA([Parameter(np.zeros(4))]).state_dict() | {"updates": 5}
    with pytest.raises(
        ValueError, match=r"EMA: average: expected float64 \(3,\), got float64 \(4,\)"
    ):
        ema.load_state_dict(state)
    with pytest.raises(ValueError, match=r"EMA: updates: expected int64 \(\), got NoneType"):
        ema.load_state_dict({"updates": None, "average": np.zeros(3)})
    with pytest.raises(KeyError, match=r"EMA: expected \['updates', 'average'\], got \[\]"):
        ema.load_state_dict({})
    assert ema.updates == 0 and averages(ema)[0].tolist() == [1, 1, 1]


def test_a_state_does_not_depend_on_the_order_in_memory(network: list[Parameter]) -> None:
    twins = [Parameter(p.numpy().copy("C")) for p in network]
    ema, other = EMA(network), EMA(twins)
    moved(network, np.random.default_rng(0))
    ema.update()
    other.load_state_dict(ema.state_dict())
    assert same(averages(ema), averages(other)) and network[0].data.strides != twins[0].data.strides


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_average_goes_on_after_the_network_is_cast(dtype: str) -> None:
    net = nn.Linear(1, 1).to("float64" if dtype == "float32" else "float32")
    ema = EMA(net.parameters())
    net.to(dtype)
    own = values(ema.view.parameters)
    ema.update()
    with ema.applied():
        assert {p.dtype for p in net.parameters()} == {np.dtype(dtype)} and net(
            T.ones(1, 1).to(dtype)
        ).dtype == dtype
    assert same(values(ema.view.parameters), own)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_lies_between_0_and_1(decay: float) -> None:
    with pytest.raises(ValueError, match=rf"EMA: decay must lie in \[0, 1\), got {decay}"):
        EMA([Parameter(np.ones(3))], decay)
