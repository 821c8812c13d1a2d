"""Losses: definitions, identities, gradients, logits at which the textbook formula overflows."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from tensor import Tensor, grad
from tensor.strategies import dtypes, shapes, tensors
from tensor.testing import gradcheck

bce = nn.binary_cross_entropy_with_logits

rows = st.tuples(st.integers(1, 4), st.integers(2, 4))
seeds = st.integers(0, 2**16)


def labels_for(x: Tensor, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(x.shape[1], size=x.shape[0])


def probabilities(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


# Definitions

ELEMENTWISE: dict[str, tuple[Callable, Callable]] = {
    "mse_loss": (nn.mse_loss, lambda x, t: (x - t) ** 2),
    "l1_loss": (nn.l1_loss, lambda x, t: abs(x - t)),
    "binary_cross_entropy_with_logits": (
        bce,
        lambda x, t: -t * np.log(1 / (1 + np.exp(-x))) - (1 - t) * np.log(1 / (1 + np.exp(x))),
    ),
}
every_elementwise = pytest.mark.parametrize(
    ("loss", "definition"), ELEMENTWISE.values(), ids=ELEMENTWISE.keys()
)


@every_elementwise
@given(x=tensors(), seed=seeds)
def test_elementwise_losses_are_their_definitions(
    loss: Callable, definition: Callable, x: Tensor, seed: int
) -> None:
    target = np.random.default_rng(seed).random(x.shape)
    expected = definition(x.numpy(), target)
    for reduction, reduce in (("none", np.asarray), ("sum", np.sum), ("mean", np.mean)):
        for t in (target, Tensor(target)):
            np.testing.assert_allclose(
                loss(x, t, reduction=reduction).numpy(), reduce(expected), rtol=1e-12
            )
    assert loss(x, target).item() == loss(x, target, reduction="mean").item()


@given(x=tensors(rows), seed=seeds)
def test_cross_entropy_is_minus_the_log_of_the_probability_of_the_class(
    x: Tensor, seed: int
) -> None:
    labels = labels_for(x, seed)
    expected = -np.log(probabilities(x.numpy())[np.arange(len(labels)), labels])
    for reduction, reduce in (("none", np.asarray), ("sum", np.sum), ("mean", np.mean)):
        for t in (labels, labels.tolist(), Tensor(labels), labels.astype(np.uint8)):
            np.testing.assert_allclose(
                nn.cross_entropy(x, t, reduction=reduction).numpy(), reduce(expected), rtol=1e-10
            )
    assert (
        nn.cross_entropy(x, labels).item() == nn.cross_entropy(x, labels, reduction="mean").item()
    )


MODULES = {
    nn.MSELoss: nn.mse_loss,
    nn.L1Loss: nn.l1_loss,
    nn.BCEWithLogitsLoss: bce,
    nn.CrossEntropyLoss: nn.cross_entropy,
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("module", "loss"), MODULES.items(), ids=repr)
def test_losses_are_modules_too(module: Callable, loss: Callable, reduction: str) -> None:
    x = Tensor([[0.5, -2.0], [3.0, 1.0]])
    target = [1, 0] if loss is nn.cross_entropy else Tensor([[0.0, 1.0], [0.25, 1.0]])
    expected = loss(x, target, reduction=reduction).numpy()
    assert np.array_equal(module(reduction=reduction)(x, target).numpy(), expected)


# Identities


@given(x=tensors(rows), shift=st.floats(-100, 100), seed=seeds)
def test_cross_entropy_does_not_see_a_shift_of_all_logits(
    x: Tensor, shift: float, seed: int
) -> None:
    labels = labels_for(x, seed)
    moved, here = nn.cross_entropy(x + shift, labels), nn.cross_entropy(x, labels)
    assert moved.item() == pytest.approx(here.item(), abs=1e-12)


@given(x=tensors(st.tuples(st.integers(1, 4), st.just(2))), seed=seeds)
def test_cross_entropy_of_two_classes_is_binary_cross_entropy_of_their_difference(
    x: Tensor, seed: int
) -> None:
    labels = labels_for(x, seed)
    binary = bce(x[:, 1] - x[:, 0], Tensor(labels, dtype=np.float64), reduction="none")
    np.testing.assert_allclose(
        nn.cross_entropy(x, labels, reduction="none").numpy(), binary.numpy(), rtol=1e-12
    )


@given(x=tensors(), seed=seeds)
def test_binary_cross_entropy_does_not_care_which_class_is_called_1(x: Tensor, seed: int) -> None:
    t = np.random.default_rng(seed).random(x.shape)
    np.testing.assert_allclose(
        bce(x, t, reduction="none").numpy(), bce(-x, 1 - t, reduction="none").numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("classes", [2, 10])
def test_equal_logits_cost_log_classes(classes: int) -> None:
    assert nn.cross_entropy(T.zeros(3, classes), [0, 1, 1]).item() == pytest.approx(np.log(classes))


# Gradients


@every_elementwise
@given(d=tensors(kinks=(0.0,)), seed=seeds)
def test_gradients_by_prediction_and_target(
    loss: Callable, definition: Callable, d: Tensor, seed: int
) -> None:
    """The difference of the two, not the prediction, is drawn: |x - t| has its kink there."""
    target = Tensor(np.random.default_rng(seed).random(d.shape), requires_grad=True)
    x = Tensor(target + d, requires_grad=True)
    gradcheck(lambda x, t: loss(x, t, reduction="none"), [x, target])


@given(x=tensors(), seed=seeds)
def test_the_gradient_of_binary_cross_entropy_is_probability_minus_target(
    x: Tensor, seed: int
) -> None:
    t = np.random.default_rng(seed).random(x.shape)
    np.testing.assert_allclose(
        np.asarray(grad(bce(x, t, reduction="sum"), x)[0]),
        1 / (1 + np.exp(-x.numpy())) - t,
        atol=1e-12,
    )


@given(x=tensors(rows), seed=seeds)
def test_the_gradient_of_cross_entropy_is_probabilities_minus_one_hot(x: Tensor, seed: int) -> None:
    labels = labels_for(x, seed)
    expected = probabilities(x.numpy()) - np.eye(x.shape[1])[labels]
    np.testing.assert_allclose(
        np.asarray(grad(nn.cross_entropy(x, labels, reduction="sum"), x)[0]), expected, atol=1e-12
    )
    gradcheck(lambda x: nn.cross_entropy(x, labels), x)


# Stability


@given(dtype=dtypes(), sign=st.sampled_from([-1, 1]), t=st.sampled_from([0.0, 0.25, 1.0]))
def test_binary_cross_entropy_of_huge_logits(dtype: np.dtype, sign: int, t: float) -> None:
    x = Tensor([sign * 1e4], dtype=dtype, requires_grad=True)
    loss = bce(x, Tensor([t], dtype=dtype))
    assert loss.dtype == dtype and loss.item() == pytest.approx(1e4 * (1 - t if sign > 0 else t))
    assert np.asarray(grad(loss, x)[0]) == (sign > 0) - t


@given(dtype=dtypes(), sign=st.sampled_from([-1, 1]), t=st.sampled_from([0.0, 0.25, 1.0]))
def test_binary_cross_entropy_of_infinite_logits(dtype: np.dtype, sign: int, t: float) -> None:
    """A sure answer costs nothing where it is right, and infinitely much where it is not."""
    x = Tensor([sign * np.inf], dtype=dtype, requires_grad=True)
    loss = bce(x, Tensor([t], dtype=dtype))
    assert loss.item() == (0 if t == (sign > 0) else np.inf)
    assert np.asarray(grad(loss, x)[0]) == (sign > 0) - t


@given(dtype=dtypes(), label=st.integers(0, 2))
def test_cross_entropy_of_huge_logits(dtype: np.dtype, label: int) -> None:
    x = Tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    loss = nn.cross_entropy(x, [label])
    assert loss.dtype == dtype and loss.item() == pytest.approx([0, 2e4, 1e4][label])
    assert np.array_equal(np.asarray(grad(loss, x)[0]), np.eye(3)[:1] - np.eye(3)[label])


@given(x=st.integers(1, 80), t=st.sampled_from([0.0, 1.0]))
def test_the_cost_of_a_confident_right_answer_does_not_cancel(x: int, t: float) -> None:
    """In float32, log(1 + exp(20)) and 20 are the same number; their difference is 2e-9."""
    loss = bce(Tensor([float(x if t else -x)]), Tensor([t]))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-x)), rel=1e-5, abs=0)


# Devices


def test_losses_compute_the_same_on_every_device(device: str) -> None:
    rng = np.random.default_rng(0)
    x, t, labels = rng.standard_normal((5, 3)), rng.random((5, 3)), rng.integers(3, size=5)
    there, target = Tensor(x, device=device), Tensor(t, device=device)
    for loss in (nn.mse_loss, nn.l1_loss, bce):
        assert loss(there, target).item() == pytest.approx(
            loss(Tensor(x), Tensor(t)).item(), rel=1e-12
        )
    for classes in (labels, Tensor(labels, device=device)):
        here = nn.cross_entropy(Tensor(x), labels)
        assert nn.cross_entropy(there, classes).item() == pytest.approx(here.item(), rel=1e-12)


# What a wrong call is told


@every_elementwise
@given(a=shapes(), b=shapes())
def test_shapes_are_not_broadcast(loss: Callable, definition: Callable, a, b) -> None:
    if a == b:
        assert loss(T.ones(a), T.ones(b), reduction="none").shape == a
    else:
        with pytest.raises(ValueError) as caught:
            loss(T.ones(a), T.ones(b))
        assert f": input {a} and target {b} differ in shape" in str(caught.value)


every_loss = pytest.mark.parametrize("loss", [nn.mse_loss, nn.l1_loss, bce, nn.cross_entropy])


@every_loss
def test_an_empty_batch_has_a_sum_and_no_mean(loss: Callable) -> None:
    x = T.ones(0, 3)
    target = np.zeros(0, int) if loss is nn.cross_entropy else x
    assert (
        loss(x, target, reduction="sum").item() == 0
        and loss(x, target, reduction="none").numel() == 0
    )
    with pytest.raises(ValueError, match=f"{loss.__name__}: an empty batch has no mean"):
        loss(x, target)


@every_loss
def test_lists_are_no_predictions(loss: Callable) -> None:
    with pytest.raises(
        TypeError, match=f"{loss.__name__}: input must be a tensor or an array, got list"
    ):
        loss([[1.0]], T.ones(1, 1))


@every_elementwise
def test_lists_are_no_elementwise_targets(loss: Callable, definition: Callable) -> None:
    with pytest.raises(
        TypeError, match=f"{loss.__name__}: target must be a tensor or an array, got list"
    ):
        loss(T.ones(1), [1.0])


@pytest.mark.parametrize("target", [[-0.5, 1.0], [0.0, 1.5], [0.0, np.nan]], ids=repr)
def test_targets_of_binary_cross_entropy_are_probabilities(
    target: list[float], device: str
) -> None:
    with pytest.raises(ValueError, match=r"target must lie in \[0, 1\], got values from"):
        bce(T.ones(2, device=device), Tensor(target, device=device))


@every_loss
def test_reductions_have_three_names(loss: Callable) -> None:
    target = [0] if loss is nn.cross_entropy else T.ones(1, 2)
    with pytest.raises(
        ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'average'"
    ):
        loss(T.ones(1, 2), target, reduction="average")


@pytest.mark.parametrize("labels", [[0], [[0, 1]], [0.0, 1.0], [True, False]], ids=repr)
def test_cross_entropy_wants_one_integer_for_each_row(labels: list) -> None:
    with pytest.raises(
        ValueError,
        match=r"cross_entropy: expected logits \(N, classes\) and N integer classes.*\(2, 3\)",
    ):
        nn.cross_entropy(T.ones(2, 3), labels)


@pytest.mark.parametrize("label", [-1, 3])
def test_cross_entropy_refuses_classes_out_of_range(label: int, device: str) -> None:
    with pytest.raises(IndexError, match=f"cross_entropy: class {label} "):
        nn.cross_entropy(T.ones(2, 3, device=device), [0, label])


def test_cross_entropy_waits_only_for_labels_on_cuda(double: ModuleType) -> None:
    """Which are checked there; others are checked where they are. Its gradient waits for none."""
    x, labels = T.ones(3, 2, device="cuda", requires_grad=True), np.array([0, 1, 1])
    for target, waits in ((labels, 0), (Tensor(labels), 0), (Tensor(labels, device="cuda"), 1)):
        double.events.clear()
        nn.cross_entropy(x, target).backward()
        assert sum(n for (kind, _, _), n in double.events.items() if kind == "wait") == waits
