"""Learners: who moves, how far, and what the average of the weights is used for."""

from typing import Any

import numpy as np
import pytest

import nn
import tensor as T
from minigen.evaluation.batches import finite, in_batches
from minigen.training.learner import Learner, constant, cosine, to_checkpoint
from minigen.training.loop import Diverged, load_state, state_of
from tensor import Tensor


def networks() -> tuple[nn.Linear, nn.Linear]:
    T.manual_seed(0)
    return nn.Linear(2, 2), nn.Linear(2, 2)


def weights(network: nn.Module) -> list[np.ndarray]:
    return [p.numpy() for p in network.parameters()]


def loss_of(*path: nn.Module) -> Tensor:
    return nn.Sequential(*path)(T.ones(3, 2)).sum()


def test_a_step_moves_its_own_network_alone() -> None:
    first, second = networks()
    learner, before = Learner(second, lr=0.1), (weights(first), weights(second))
    learner.descend(loss_of(first, second), 1)
    assert all(map(np.array_equal, weights(first), before[0]))
    assert not any(map(np.array_equal, weights(second), before[1]))
    assert all(p.grad is None for p in first.parameters())


def test_a_loss_of_another_network_is_refused() -> None:
    """And nothing moves."""
    first, second = networks()
    learner, before = Learner(second, lr=0.1, ema=0.9), weights(second)
    with pytest.raises(RuntimeError, match="the loss does not depend on the network of this learn"):
        learner.descend(loss_of(first), 1)
    assert all(map(np.array_equal, weights(second), before)) and learner.optimizer.steps == 0


@pytest.mark.parametrize("loss", [1.0, np.float32(1), None, [T.ones()]])
def test_a_loss_is_a_tensor(loss: Any) -> None:
    network, _ = networks()
    expected = f"the loss must be a tensor, got {type(loss).__name__}"
    with pytest.raises(TypeError, match=expected):
        Learner(network, lr=0.1).descend(loss, 1)


def test_steps_are_those_of_adam_at_the_scheduled_rate() -> None:
    network, same = networks()
    same.load_state_dict(network.state_dict())
    learner = Learner(network, 0.1, (0.5, 0.9), schedule=lambda k: 1 / k)
    adam = nn.Adam(same.parameters(), 0.1, (0.5, 0.9))
    for k in (1, 2, 3):
        learner.descend(loss_of(network), k)
        adam.lr = 0.1 / k
        adam.zero_grad()
        loss_of(same).backward()
        adam.step()
        assert all(map(np.array_equal, weights(network), weights(same)))


def test_schedules() -> None:
    assert [constant(k) for k in (1, 5)] == [1, 1]
    halfway = cosine(4)
    assert [halfway(k) for k in (1, 3)] == pytest.approx([1, 0.5])
    warm = cosine(1000, warmup_steps=4)
    assert [warm(k) for k in (1, 2, 4)] == pytest.approx([0.25, 0.5, 1], rel=1e-4)


def test_the_average_follows_each_step_and_is_used_only_inside() -> None:
    network, _ = networks()
    learner = Learner(network, lr=0.1, ema=0.9)
    reference = nn.EMA(network.parameters(), 0.9)
    for k in (1, 2):
        learner.descend(loss_of(network), k)
        reference.update()
    own = weights(network)
    with learner.using_average():
        inside = weights(network)
        assert not network.training and not loss_of(network).requires_grad
    assert network.training and all(map(np.array_equal, weights(network), own))
    with reference.applied():
        assert all(map(np.array_equal, weights(network), inside))
    assert not any(map(np.array_equal, own, inside))


def test_without_an_average_the_weights_are_as_they_are() -> None:
    network, _ = networks()
    own = weights(network)
    with Learner(network, lr=0.1).using_average():
        assert all(map(np.array_equal, weights(network), own)) and not network.training


def test_errors_inside_are_what_they_are() -> None:
    network, _ = networks()
    learner = Learner(network, lr=0.1, ema=0.9)
    own = weights(network)
    with pytest.raises(ValueError, match="reshape"), learner.using_average():
        Tensor([1.0]).reshape(2)
    with pytest.raises(Diverged, match="the outputs are not finite.*a lower `lr` may help"):
        with learner.using_average():
            finite(np.array([1.0, np.nan]))
    assert network.training and all(map(np.array_equal, weights(network), own))


def test_outputs_in_batches_are_finite_or_an_error() -> None:
    x = np.arange(4.0)
    assert np.array_equal(in_batches(lambda x: 2 * x, x), 2 * x)
    with pytest.raises(FloatingPointError, match="not finite"):
        in_batches(lambda x: x + np.inf, x)


def test_what_is_checkpointed_comes_back() -> None:
    def new() -> tuple[nn.Module, dict[str, Learner], dict]:
        first, second = networks()
        model = nn.Sequential(first, second)
        learners = {"a": Learner(first, 0.1, ema=0.9), "b": Learner(second, 0.1)}
        return model, learners, to_checkpoint(model, np.random.default_rng(0), learners)

    model, learners, kept = new()
    for learner in learners.values():
        learner.descend(loss_of(*model), 1)
    kept["rng"].random()
    state = state_of(kept)
    assert list(state) == ["model", "ema", "optimizers", "rng"]
    assert list(state["optimizers"]) == ["a", "b"]
    again, learners_again, kept_again = new()
    load_state(kept_again, state)
    assert kept_again["rng"].random() == kept["rng"].random()
    for pair in ((model, learners), (again, learners_again)):
        for learner in pair[1].values():
            learner.descend(loss_of(*pair[0]), 2)
    assert all(map(np.array_equal, weights(model), weights(again)))
