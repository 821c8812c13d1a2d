"""Optimisers: each follows its algorithm, written for one parameter; memory, state, clipping."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
import tensor as T
from nn import SGD, Adam, AdamW, Parameter
from nn.flat import FlatView
from nn.optim import Optimizer
from tensor import Tensor, grad
from tensor.strategies import dtypes, shapes

# The algorithms, given the gradient of each step


def sgd(p, gradients, lr, momentum=0.0, weight_decay=0.0, nesterov=False) -> np.ndarray:
    velocity = 0.0
    for g in gradients:
        g = g + weight_decay * p
        velocity = momentum * velocity + g
        p = p - lr * (g + momentum * velocity if nesterov else velocity)
    return p


def adam(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0) -> np.ndarray:
    (b1, b2), m, v = betas, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        g = g + weight_decay * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return p


def adamw(p, gradients, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01) -> np.ndarray:
    (b1, b2), m, v = betas, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * weight_decay * p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    return p


class Algorithm(NamedTuple):
    """An optimiser, its reference (p, gradients) -> p, strategies of options, and good ones."""

    optimizer: Callable[..., Optimizer]
    reference: Callable[..., np.ndarray]
    options: st.SearchStrategy[dict[str, Any]]
    example: dict[str, Any]

    def on(self, parameters: Sequence[Parameter]) -> Optimizer:
        return self.optimizer(parameters, **self.example)


shares = st.floats(0.1, 0.95)
decay = {"weight_decay": st.just(0.0) | shares}
momenta = st.fixed_dictionaries({"lr": shares, "momentum": shares}, optional=decay)
moments = st.fixed_dictionaries(
    {"lr": shares},
    optional=decay
    | {"betas": st.tuples(st.just(0.0) | shares, shares), "eps": st.sampled_from([1e-8, 1e-2])},
)

ALGORITHMS: dict[str, Algorithm] = {
    "SGD": Algorithm(SGD, sgd, st.fixed_dictionaries({"lr": shares}, optional=decay), {"lr": 0.5}),
    "momentum": Algorithm(SGD, sgd, momenta, {"lr": 0.1, "momentum": 0.8}),
    "Nesterov": Algorithm(
        partial(SGD, nesterov=True),
        partial(sgd, nesterov=True),
        momenta,
        {"lr": 0.1, "momentum": 0.8},
    ),
    "Adam": Algorithm(Adam, adam, moments, {"lr": 0.1, "betas": (0.8, 0.9)}),
    "AdamW": Algorithm(
        AdamW, adamw, moments, {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 1e-3}
    ),
}
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS.keys())


# The same as the papers write them, on f(theta) = curvature theta^2 / 2


def sutskever(
    theta: float, curvature: float, rates: Sequence[float], mu: float, nesterov: bool
) -> tuple[float, float]:
    """theta and v after steps with these rates epsilon: Sutskever et al. 2013, eqs. 1-2, with
    Nesterov eqs. 3-4."""
    v = 0.0
    for epsilon in rates:
        ahead = theta + mu * v if nesterov else theta
        v = mu * v - epsilon * curvature * ahead
        theta = theta + v
    return theta, v


def descended(optimizer: Optimizer, curvature: float, rates: Sequence[float]) -> float:
    """The one parameter after steps with these rates."""
    (p,) = optimizer.view.parameters
    for rate in rates:
        p.grad = Tensor(curvature * p.data)
        optimizer.lr = rate
        optimizer.step()
    return p.item()


@pytest.mark.parametrize("nesterov", [False, True])
@given(st.floats(-2, 2), shares, shares, shares, st.integers(1, 6))
def test_momentum_is_that_of_the_paper_while_the_rate_is_constant(
    nesterov, start, curvature, lr, mu, steps
) -> None:
    p = Parameter(np.float64(start))
    found = descended(SGD([p], lr, mu, nesterov=nesterov), curvature, [lr] * steps)
    theta, v = sutskever(start, curvature, [lr] * steps, mu, nesterov)
    assert found == pytest.approx(theta + mu * v if nesterov else theta, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_not_that_of_the_paper_once_the_rate_changes(nesterov: bool) -> None:
    rates = [0.5, 0.5, 0.05]
    found = descended(SGD([Parameter(np.float64(1.0))], 0.5, 0.9, nesterov=nesterov), 1.0, rates)
    theta, v = sutskever(1.0, 1.0, rates, 0.9, nesterov)
    assert abs(found - (theta + 0.9 * v if nesterov else theta)) > 0.1


@given(st.lists(st.floats(0.1, 1), min_size=1, max_size=6), shares, shares)
def test_decoupled_decay_is_that_of_the_paper(
    etas: list[float], alpha: float, decay: float
) -> None:
    """Loshchilov & Hutter 2019, Algorithm 2, lines 7-12, with a schedule multiplier eta_t and the
    step size alpha apart."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((len(etas), 3))
    theta, m, v, b1, b2 = rng.standard_normal(3), 0.0, 0.0, 0.9, 0.999
    p = Parameter(theta)
    optimizer = AdamW([p], weight_decay=decay / alpha)
    for t, (eta, g) in enumerate(zip(etas, gradients), 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        theta = theta - eta * (alpha * m_hat / (np.sqrt(v_hat) + 1e-8) + decay * theta)
        p.grad = Tensor(g)
        optimizer.lr = eta * alpha
        optimizer.step()
    np.testing.assert_allclose(p.numpy(), theta, rtol=1e-9, atol=1e-12)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Normal random numbers that lie in memory in any order of the dimensions, as kernels do."""
    shape = draw(shapes(max_dims=4))
    order = draw(st.permutations(range(len(shape))))
    stored = np.random.default_rng(draw(st.integers(0, 2**16))).standard_normal(
        [shape[k] for k in order]
    )
    return stored.transpose(np.argsort(order))


networks = st.lists(arrays(), min_size=1, max_size=4)


def normal_gradients(starts: Sequence[np.ndarray], steps: int) -> list[list[np.ndarray]]:
    """For each step a row: a gradient for each parameter."""
    rng = np.random.default_rng(0)
    return [[rng.standard_normal(x.shape) for x in starts] for _ in range(steps)]


def walk(optimizer: Optimizer, gradients: Sequence[Sequence[np.ndarray | None]]) -> None:
    """One step for each row of gradients."""
    for row in gradients:
        for p, g in zip(optimizer.view.parameters, row, strict=True):
            p.grad = None if g is None else Tensor(g, dtype=p.dtype, device=p.device)
        optimizer.step()


def values(parameters: Sequence[Tensor]) -> list[np.ndarray]:
    return [p.numpy() for p in parameters]


def assert_close(
    parameters: Sequence[Any], expected: Sequence[np.ndarray], tolerance: float = 1e-9
) -> None:
    for p, x in zip(values(parameters), expected, strict=True):
        np.testing.assert_allclose(p, x, rtol=tolerance, atol=tolerance)


def assert_same(parameters: Sequence[Any], expected: Sequence[np.ndarray]) -> None:
    for p, x in zip(values(parameters), expected, strict=True):
        assert np.array_equal(p, x)


@every_algorithm
@given(starts=networks, steps=st.integers(1, 4), dtype=dtypes(), data=st.data())
def test_an_optimizer_follows_its_algorithm(
    algorithm: Algorithm, starts, steps: int, dtype, data
) -> None:
    options, gradients = data.draw(algorithm.options), normal_gradients(starts, steps)
    parameters = [Parameter(x.astype(dtype)) for x in starts]
    walk(algorithm.optimizer(parameters, **options), gradients)
    assert all(p.dtype == dtype and p.requires_grad for p in parameters)
    expected = [algorithm.reference(x, gs, **options) for x, gs in zip(starts, zip(*gradients))]
    assert_close(parameters, expected, 1e-9 if dtype == np.float64 else 1e-4)


@every_algorithm
def test_long_vectors_are_updated_block_by_block(algorithm: Algorithm) -> None:
    """So many elements that threads share them, beside a parameter that has no gradient."""
    starts = [np.ones(shape) for shape in (100_000, 7, (300, 700))]
    parameters, (gradients,) = [Parameter(x) for x in starts], normal_gradients(starts, 1)
    walk(algorithm.on(parameters), [[gradients[0], None, gradients[2]]] * 2)
    expected = [
        algorithm.reference(x, [g, g], **algorithm.example) for x, g in zip(starts, gradients)
    ]
    assert_close(parameters, [expected[0], starts[1], expected[2]])


@every_algorithm
def test_optimizers_step_the_same_on_every_device(algorithm: Algorithm, device: str) -> None:
    starts = [np.linspace(-1, 1, 6).reshape(2, 3), np.ones(())]
    here, there = (
        [Parameter(Tensor(x, device=where)) for x in starts] for where in ("cpu", device)
    )
    for parameters in (here, there):
        walk(algorithm.on(parameters), normal_gradients(starts, 3))
    assert all(p.device.startswith(device) for p in there)
    assert_close(there, values(here), 1e-12)


# What they come to


@every_algorithm
def test_optimizers_find_the_minimum_of_a_quadratic(algorithm: Algorithm) -> None:
    A, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0])
    x = Parameter(np.array([3.0, 2.0]))
    optimizer, lr = algorithm.on([x]), algorithm.example["lr"]
    for k in range(200):
        optimizer.zero_grad()
        (0.5 * x @ A @ x - x @ b).backward()
        optimizer.lr = lr * nn.schedules.cosine(k, 200)
        optimizer.step()
    np.testing.assert_allclose(x.numpy(), np.linalg.solve(A, b), atol=1e-4)


@given(lr=st.floats(0.01, 0.9), steps=st.integers(1, 5))
def test_gradient_descent_on_a_quadratic_shrinks_the_distance_by_a_matrix(
    lr: float, steps: int
) -> None:
    """x_t - x* = (1 - lr A)^t (x_0 - x*)"""
    A, start, minimum = (
        np.array([[2.0, 0.5], [0.5, 1.0]]),
        np.array([3.0, 2.0]),
        np.array([1.0, -1.0]),
    )
    x = Parameter(start)
    optimizer = SGD([x], lr)
    for _ in range(steps):
        x.grad = Tensor(A @ (x.numpy() - minimum))
        optimizer.step()
    shrunk = np.linalg.matrix_power(np.eye(2) - lr * A, steps) @ (start - minimum)
    np.testing.assert_allclose(x.numpy() - minimum, shrunk, atol=1e-10)


@given(scale=st.floats(1e-3, 1e3), starts=networks)
def test_adam_does_not_see_the_scale_of_the_loss(scale: float, starts) -> None:
    plain, scaled = ([Parameter(x) for x in starts] for _ in range(2))
    gradients = normal_gradients(starts, 3)
    walk(Adam(plain, eps=0.0), gradients)
    walk(Adam(scaled, eps=0.0), [[scale * g for g in row] for row in gradients])
    assert_close(scaled, values(plain))


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate() -> None:
    p = Parameter(np.zeros(3))
    walk(Adam([p], lr=0.25), [[np.array([5.0, -0.01, 300.0])]])
    np.testing.assert_allclose(p.numpy(), [-0.25, 0.25, -0.25], rtol=1e-5)


# Parameters without a gradient


@every_algorithm
@given(starts=networks, data=st.data())
def test_parameters_without_a_gradient_are_left_alone(algorithm: Algorithm, starts, data) -> None:
    parameters = [Parameter(x) for x in starts]
    optimizer, gradients = algorithm.on(parameters), normal_gradients(starts, 2)
    walk(optimizer, gradients[:1])
    before = values(parameters)
    absent = data.draw(st.sets(st.sampled_from(range(len(starts))), max_size=len(starts) - 1))
    walk(optimizer, [[None if k in absent else g for k, g in enumerate(gradients[1])]])
    for k, (p, x) in enumerate(zip(parameters, before)):
        assert np.array_equal(p.numpy(), x) == (k in absent)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if "Adam" not in name])
def test_a_step_without_a_gradient_is_no_step_for_a_parameter(name: str) -> None:
    """What it remembers is as if there had been only the others (Adam's bias correction counts all
    steps)."""
    algorithm = ALGORITHMS[name]
    starts = [np.array([1.0, 2.0]), np.array([3.0])]
    parameters, gradients = [Parameter(x) for x in starts], normal_gradients(starts, 4)
    walk(
        algorithm.on(parameters), [[g if k % 2 else None, h] for k, (g, h) in enumerate(gradients)]
    )
    first, second = ([row[k] for row in gradients] for k in (0, 1))
    expected = [
        algorithm.reference(x, gs, **algorithm.example)
        for x, gs in zip(starts, (first[1::2], second))
    ]
    assert_close(parameters, expected)


def test_frozen_parameters_neither_move_nor_stop_the_others() -> None:
    frozen, p = Parameter(np.ones(2), requires_grad=False), Parameter(np.ones(2))
    optimizer = SGD([frozen, p], lr=0.5)
    optimizer.zero_grad()
    (frozen * p).sum().backward()
    optimizer.step()
    assert frozen.numpy().tolist() == [1, 1] and p.numpy().tolist() == [0.5, 0.5]


@every_algorithm
def test_a_step_without_any_gradient_is_an_error(algorithm: Algorithm) -> None:
    optimizer = algorithm.on([Parameter(np.ones(2))])
    with pytest.raises(
        RuntimeError,
        match=f"{type(optimizer).__name__}: no parameter has a gradient: call backward",
    ):
        optimizer.step()
    assert optimizer.steps == 0


def test_zero_grad_forgets_the_gradients() -> None:
    p = Parameter(np.ones(2))
    p.grad = T.ones(2, dtype=np.float64)
    SGD([p]).zero_grad(set_to_none=True)
    assert p.grad is None
    with pytest.raises(ValueError, match="zero_grad: set_to_none=False is not supported"):
        SGD([p]).zero_grad(set_to_none=False)


@every_algorithm
def test_the_one_group_of_parameters_is_the_optimizer(algorithm: Algorithm) -> None:
    p = Parameter(np.ones(2))
    optimizer = algorithm.on([p])
    (group,) = optimizer.param_groups
    assert all(q is p for q in group["params"]) and group["lr"] == algorithm.example["lr"]
    group["lr"] = 0.0
    walk(optimizer, [[np.ones(2)]])
    assert optimizer.lr == 0 and p.numpy().tolist() == [1, 1]


# Memory


@every_algorithm
def test_a_graph_recorded_before_a_step_keeps_the_old_values(algorithm: Algorithm) -> None:
    p = Parameter(np.array([1.0, 2.0]))
    before = (p * p).sum()
    walk(algorithm.on([p]), [[np.ones(2)]])
    (old,), (new,) = grad(before, p), grad((p * p).sum(), p)
    assert (
        np.asarray(old).tolist() == [2, 4] != np.asarray(new).tolist() == (2 * p.numpy()).tolist()
    )


def test_parameters_are_read_only_after_a_step() -> None:
    p = Parameter(np.ones((2, 3)))
    walk(SGD([p]), [[np.ones((2, 3))]])
    with pytest.raises(ValueError, match="read-only"):
        p.data[...] = 0


@given(starts=networks)
def test_a_flat_view_gives_parameters_back_as_they_were(starts) -> None:
    parameters = [Parameter(x) for x in starts]
    view, strides = FlatView(parameters), [p.data.strides for p in parameters]
    flat = view.values()
    assert flat.shape == (sum(x.size for x in starts),)
    assert all(np.array_equal(part, x) for part, x in zip(view.split(flat), starts, strict=True))
    view.bind(2 * flat)
    assert_same(parameters, [2 * x for x in starts])
    several = [
        [s for s, n in zip(steps, p.shape) if n > 1] for steps, p in zip(strides, parameters)
    ]
    assert several == [[s for s, n in zip(p.data.strides, p.shape) if n > 1] for p in parameters]


def test_parameters_of_two_dtypes_do_not_make_one_vector() -> None:
    with pytest.raises(ValueError, match=r"float32.*float64"):
        SGD([Parameter(np.ones(2, np.float32)), Parameter(np.ones(2))])


# State


@every_algorithm
@given(starts=networks, dtype=dtypes())
def test_an_optimizer_with_a_loaded_state_continues_exactly(
    algorithm: Algorithm, starts, dtype
) -> None:
    parameters, gradients = (
        [Parameter(x.astype(dtype)) for x in starts],
        normal_gradients(starts, 4),
    )
    optimizer = algorithm.on(parameters)
    walk(optimizer, gradients[:2])
    state, twins = optimizer.state_dict(), [Parameter(p.numpy()) for p in parameters]
    walk(optimizer, gradients[2:])
    successor = algorithm.on(twins)
    successor.load_state_dict(state)
    walk(successor, gradients[2:])
    assert_same(twins, values(parameters))
    assert state["steps"] == 2 and successor.steps == 4


@every_algorithm
def test_a_state_may_be_plain_arrays(algorithm: Algorithm) -> None:
    optimizer, successor = (algorithm.on([Parameter(np.ones(3))]) for _ in range(2))
    walk(optimizer, [[np.arange(3.0)]])
    state = {name: np.asarray(value) for name, value in optimizer.state_dict().items()}
    successor.load_state_dict(state)
    successor.view.bind(optimizer.view.values())
    for each in (optimizer, successor):
        walk(each, [[np.ones(3)]])
    assert_same(successor.view.parameters, values(optimizer.view.parameters))


def test_a_state_of_another_optimizer_or_network_is_refused() -> None:
    optimizer = Adam([Parameter(np.ones(3))])
    with pytest.raises(
        KeyError, match=r"Adam: expected \['steps', 'm', 'v'\], got \['steps', 'velocity'\]"
    ):
        optimizer.load_state_dict(SGD([Parameter(np.ones(3))]).state_dict())
    with pytest.raises(ValueError, match=r"Adam: m: expected float64 \(3,\), got float64 \(4,\)"):
        optimizer.load_state_dict(Adam([Parameter(np.ones(4))]).state_dict())
    with pytest.raises(
        TypeError, match=r"Adam: expected a dict of \['steps', 'm', 'v'\], got NoneType"
    ):
        optimizer.load_state_dict(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"v": np.ones(3) + 1j}, {"v": None}, {"steps": None}, {"steps": 1.5}], ids=str
)
def test_a_state_that_does_not_fit_is_refused_and_not_taken(wrong: dict[str, Any]) -> None:
    optimizer = Adam([Parameter(np.ones(3))])
    (name,) = wrong
    with pytest.raises(ValueError, match=f"Adam: {name}: expected "):
        optimizer.load_state_dict({"steps": 1, "m": np.ones(3), "v": np.ones(3)} | wrong)
    assert optimizer.steps == 0 and not optimizer.m.any() and not optimizer.v.any()


@every_algorithm
@given(starts=networks, turned=st.booleans())
def test_a_state_does_not_depend_on_the_order_in_memory(
    algorithm: Algorithm, starts, turned: bool
) -> None:
    orders, gradients = [starts, [x.copy("C") for x in starts]], normal_gradients(starts, 4)
    parameters, twins = (
        [Parameter(x) for x in order] for order in (orders[::-1] if turned else orders)
    )
    optimizer, successor = algorithm.on(parameters), algorithm.on(twins)
    walk(optimizer, gradients[:2])
    successor.load_state_dict(optimizer.state_dict())
    for p, twin in zip(parameters, twins):
        twin.copy_(p)
    for each in (optimizer, successor):
        walk(each, gradients[2:])
    assert_same(twins, values(parameters))


ERRORS: dict[str, tuple[Callable, str]] = {
    "learning rate": (lambda p: AdamW(p, lr=-1.0), r"AdamW: lr must lie in \[0, inf\), got -1.0"),
    "text": (
        lambda p: Adam(p, lr="a"),  # type: ignore[arg-type]
        r"Adam: lr must lie in \[0, inf\), got 'a'",
    ),
    "no number": (lambda p: SGD(p, lr=math.nan), r"SGD: lr must lie in \[0, inf\), got nan"),
    "weight decay": (
        lambda p: SGD(p, weight_decay=-1.0),
        r"SGD: weight_decay must lie in \[0, inf\), got -1.0",
    ),
    "momentum": (
        lambda p: SGD(p, momentum=-0.9),
        r"SGD: momentum must lie in \[0, inf\), got -0.9",
    ),
    "dampening": (lambda p: SGD(p, 0.1, 0.9, 0.5), "SGD: dampening=0.5 is not supported, only 0"),
    "Nesterov": (lambda p: SGD(p, nesterov=True), "SGD: Nesterov needs momentum > 0"),
    "betas": (
        lambda p: Adam(p, betas=(0.9, 1.0)),
        r"Adam: betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)",
    ),
    "one beta": (
        lambda p: Adam(p, betas=(0.9,)),
        r"Adam: betas must be two numbers in \[0, 1\), got \(0.9,\)",
    ),
    "no pair": (
        lambda p: Adam(p, betas=0.9),
        r"Adam: betas must be two numbers in \[0, 1\), got 0.9",
    ),
    "eps": (lambda p: Adam(p, eps=-1e-8), r"Adam: eps must lie in \[0, inf\), got -1e-08"),
    "parameters": (lambda p: SGD([]), "there are no parameters"),
    "twice": (lambda p: SGD([*p, *p]), "a parameter is given twice"),
    "norm": (
        lambda p: nn.clip_grad_norm_(p, -1.0),
        "clip_grad_norm_: max_norm must not be negative, got -1.0",
    ),
    "value": (
        lambda p: nn.clip_grad_value_(p, -1.0),
        r"clip_grad_value_: clip_value must lie in \[0, inf\), got -1.0",
    ),
}


@pytest.mark.parametrize(("make", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_options_out_of_range_are_refused(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([Parameter(np.ones(2))])


wanted = Tensor(np.ones(2), requires_grad=True)
NO_PARAMETERS: dict[str, tuple[Any, str]] = {
    "module": (
        nn.Linear(1, 1),
        r"expected a list of parameters, such as model.parameters\(\), got one Linear",
    ),
    "parameter": (Parameter(np.ones(2)), "expected a list of parameters, .* got one Parameter"),
    "groups": (
        [{"params": [Parameter(np.ones(2))], "lr": 0.1}],
        "there are no groups of parameters: make an optimiser for each",
    ),
    "modules": ([nn.Linear(1, 1)], "parameter 0: .* this Linear is none"),
    "names": (list(nn.Linear(1, 1).named_parameters()), "parameter 0: .* this tuple is none"),
    "constant": (
        [wanted, T.ones(2)],
        "parameter 1: expected a leaf with requires_grad=True, but this Tensor is none",
    ),
    "result": (
        [wanted * 2],
        "parameter 0: expected a leaf with requires_grad=True, but this Tensor is none",
    ),
}


USES = [
    SGD,
    nn.EMA,
    partial(nn.clip_grad_norm_, max_norm=1.0),
    partial(nn.clip_grad_value_, clip_value=1.0),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("given", "message"), NO_PARAMETERS.values(), ids=NO_PARAMETERS.keys())
def test_what_is_no_parameter_is_refused(use: Callable, given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        use(given)


def test_a_tensor_that_wants_a_gradient_can_be_optimized() -> None:
    x = Tensor([1.0], requires_grad=True)
    x.square().sum().backward()
    SGD([x], lr=0.25).step()  # type: ignore[list-item]
    assert x.item() == 0.5


# Clipping


def with_gradients(starts: Sequence[np.ndarray]) -> list[Parameter]:
    """Parameters whose gradients are `starts`, and one that has none."""
    parameters = [Parameter(x) for x in starts]
    for p, x in zip(parameters, starts):
        p.grad = Tensor(x)
    return [*parameters, Parameter(np.ones(2))]


@given(starts=networks, share=st.floats(0.01, 2))
def test_clipping_by_norm_shortens_all_gradients_together(starts, share: float) -> None:
    parameters = with_gradients(starts)
    norm = math.sqrt(sum((x**2).sum() for x in starts))
    assert nn.clip_grad_norm_(iter(parameters), share * norm) == pytest.approx(norm)
    *clipped, none = (p.grad for p in parameters)
    assert_close(clipped, [min(1, share) * x for x in starts], 1e-12)
    assert none is None


def test_clipping_by_norm_leaves_short_gradients_alone() -> None:
    p, other = with_gradients([np.array([0.3, 0.4])])
    before = p.grad
    assert nn.clip_grad_norm_([p, other], 0.51) == pytest.approx(0.5) and p.grad is before


def test_clipping_by_norm_survives_gradients_whose_squares_overflow() -> None:
    p = Parameter(np.ones(2, np.float32))
    p.grad = Tensor([3e30, 4e30])
    assert nn.clip_grad_norm_([p], 1.0) == pytest.approx(5e30)
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)
    assert p.grad.dtype == np.float32


def test_clipping_counts_a_shared_parameter_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.weight = self.again = Parameter(np.ones(1))

    net = Tied()
    net.weight.grad = Tensor(np.array([4.0]))
    assert nn.clip_grad_norm_(net.parameters(), 2.0) == 4 and net.weight.grad.item() == 2


@given(starts=networks, limit=st.floats(0.01, 3))
def test_clipping_by_value_limits_each_element(starts, limit: float) -> None:
    parameters = with_gradients(starts)
    nn.clip_grad_value_(iter(parameters), limit)
    *clipped, none = (p.grad for p in parameters)
    assert_same(clipped, [np.clip(x, -limit, limit) for x in starts])
    assert none is None


def test_clipping_is_the_same_on_every_device(device: str) -> None:
    p, q = (Parameter(np.ones(2)), Parameter(np.ones(1)))
    net = nn.Module()
    net.p, net.q = p, q
    net.to(device)
    p.grad, q.grad = (Tensor(np.array(g), device=device) for g in ([3.0, 0.0], [4.0]))
    nn.clip_grad_value_(net.parameters(), 3.5)
    assert (p.grad.tolist(), q.grad.tolist()) == ([3, 0], [3.5])
    assert nn.clip_grad_norm_(net.parameters(), 1.0) == pytest.approx(math.hypot(3, 3.5))
    assert p.grad.device.startswith(device)
    assert [*p.grad.tolist(), *q.grad.tolist()] == pytest.approx(
        [3 / math.hypot(3, 3.5), 0, 3.5 / math.hypot(3, 3.5)]
    )


def test_clipping_by_norm_waits_once_on_cuda(double: ModuleType) -> None:
    parameters = list(nn.Linear(2, 2).to("cuda").parameters())
    for p in parameters:
        p.grad = T.ones(*p.shape, device="cuda")
    double.events.clear()
    nn.clip_grad_norm_(parameters, 1.0)
    assert sum(n for (kind, _, _), n in double.events.items() if kind == "wait") == 1
