"""The autodiff engine: gradients of any order, graphs of any shape, memory, modes, new ops."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensor
from tensor import (
    Tensor,
    detect_anomaly,
    enable_grad,
    exp,
    grad,
    is_grad_enabled,
    kernels,
    log,
    no_grad,
    tanh,
)
from tensor.autodiff import op
from tensor.base import raw
from tensor.fused import Way, fused
from tensor.strategies import tensors
from tensor.testing import gradcheck, gradgradcheck


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def scalar(value: float) -> Tensor:
    return Tensor(np.array(value, float), requires_grad=True)


def accumulated(x: Tensor) -> np.ndarray:
    assert x.grad is not None
    return x.grad.numpy()


# grad and backward


@given(x=tensors((3,)), y=tensors((2, 3)))
def test_backward_puts_into_grad_what_grad_returns(x: Tensor, y: Tensor) -> None:
    def f() -> Tensor:
        return (tanh(x) * y).sum()

    expected = grad(f(), [x, y])
    assert x.grad is None and y.grad is None
    f().backward()
    assert all(
        np.array_equal(accumulated(leaf), g.numpy())
        for leaf, g in zip((x, y), expected, strict=True)
    )


def test_gradients_accumulate_until_they_are_cleared() -> None:
    x = leaf(1, 2)
    (x * x).sum().backward()
    (3 * x).sum().backward()
    assert accumulated(x).tolist() == [5, 7]
    x.grad = None
    (3 * x).sum().backward()
    assert accumulated(x).tolist() == [3, 3]


def test_only_leaves_hold_a_gradient() -> None:
    x = leaf(1, 2)
    y = x * x
    y.sum().backward()
    assert y.grad is None and not y.is_leaf and x.is_leaf
    with pytest.raises(RuntimeError, match="only leaves"):
        y.grad = x


@given(x=tensors(()), k=st.integers(2, 5))
def test_derivatives_of_any_order(x: Tensor, k: int) -> None:
    """d^n/dx^n sin(k x) = k^n sin(k x + n pi/2)"""
    y = tensor.sin(k * x)
    for n in range(1, 5):
        (y,) = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(k**n * np.sin(k * x.item() + n * np.pi / 2), abs=1e-9)


def test_create_graph_lets_backward_through_a_gradient() -> None:
    """The gradient penalty: d/dw |d(w x^2)/dx|^2 = d/dw (2 w x)^2 = 8 w x^2"""
    w, x = scalar(3), scalar(0.5)
    (g,) = grad(w * x * x, x, create_graph=True)
    (g * g).backward()
    assert accumulated(w) == pytest.approx(6) and accumulated(x) == pytest.approx(8 * 9 * 0.5)


def test_without_create_graph_gradients_are_constants() -> None:
    x = scalar(2)
    assert not grad(x * x * x, x)[0].requires_grad


def test_grad_of_a_tensor_in_the_middle() -> None:
    x = leaf(1, 2)
    y = x * x
    z = (y * y).sum()
    assert [g.numpy().tolist() for g in grad(z, [y, x])] == [[2, 8], [4, 32]]


def test_what_lies_behind_the_inputs_is_neither_used_nor_freed() -> None:
    x = leaf(1, 2)
    y = exp(x)
    grad(exp(y).sum(), y)
    assert np.array_equal(grad(y.sum(), x)[0].numpy(), y.numpy())
    assert grad(exp(y).sum(), y)[0].shape == (2,)


def test_an_output_may_be_an_input() -> None:
    x = leaf(1, 2)
    assert grad(x, x, leaf(3, 4))[0].numpy().tolist() == [3, 4]
    assert [g.numpy().tolist() for g in grad((x * x).sum(), [x, x])] == [[2, 4]] * 2


def test_grad_outputs_weigh_several_outputs() -> None:
    x = leaf(1, 2)
    (g,) = grad([x * x, x.sum()], x, [np.array([1.0, 10.0]), None])
    assert g.numpy().tolist() == [3, 41]


def test_grad_outputs_are_copied_and_cast() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    weights = np.array([1.0, 10.0])
    (g,) = grad(x, x, weights)
    weights[:] = 0
    assert g.dtype == np.float32 and g.numpy().tolist() == [1, 10]


def test_derivatives_by_grad_outputs() -> None:
    """Differentiating a VJP by g gives the Jacobian-vector product."""
    x, g, v = leaf(0.5, -1), leaf(1, 1), np.array([3.0, 4.0])
    (vjp,) = grad(tanh(x), x, g, create_graph=True)
    (jvp,) = grad(vjp, g, v)
    np.testing.assert_allclose(jvp.numpy(), (1 - np.tanh(x.numpy()) ** 2) * v, rtol=1e-12)


def test_unused_inputs() -> None:
    x, unused = leaf(1), leaf(2)
    with pytest.raises(RuntimeError, match="no output depends on input 1; allow_unused=True"):
        grad((x * x).sum(), [x, unused])
    assert grad((x * x).sum(), [x, unused], allow_unused=True)[1] is None


def test_a_graph_is_freed_by_backward_unless_retained() -> None:
    x = leaf(1, 2)
    y = exp(x).sum()
    grad(y, x, retain_graph=True)
    y.backward()
    with pytest.raises(
        RuntimeError, match=r"the graph behind '(sum|exp)' was freed .* retain_graph=True keeps it"
    ):
        y.backward()


# backward for chosen leaves


@given(
    x=tensors((3,)),
    y=tensors((2, 3)),
    w=tensors((3,)),
    asked=st.sets(st.integers(0, 2), min_size=1),
)
def test_only_the_inputs_of_backward_get_gradients(
    x: Tensor, y: Tensor, w: Tensor, asked: set[int]
) -> None:
    leaves = [x, y, w]

    def f() -> Tensor:
        return (tanh(x) * y + x * w).sum()

    expected = grad(f(), leaves)
    f().backward(inputs=(leaves[k] for k in asked))
    for k, leaf in enumerate(leaves):
        assert (
            np.array_equal(accumulated(leaf), expected[k].numpy())
            if k in asked
            else leaf.grad is None
        )
    f().backward(inputs=leaves)
    for k, leaf in enumerate(leaves):
        np.testing.assert_allclose(
            accumulated(leaf), (1 + (k in asked)) * expected[k].numpy(), rtol=1e-12
        )


def test_backward_computes_and_frees_nothing_but_the_way_to_its_inputs() -> None:
    asked: list[str] = []

    @op(a=lambda g: asked.append("a") or 2 * g, b=lambda g: asked.append("b") or 3 * g)
    def combined(a, b):
        return 2 * a + 3 * b

    x, y = leaf(1, 2), leaf(3, 4)
    y.grad = leaf(5, 6).detach()
    aside = exp(y)
    combined(x, aside).sum().backward(inputs=x)
    assert (
        asked == ["a"] and accumulated(x).tolist() == [2, 2] and accumulated(y).tolist() == [5, 6]
    )
    aside.sum().backward()
    assert np.array_equal(accumulated(y), [5, 6] + np.exp([3, 4]))


def test_an_input_of_backward_may_be_unused_or_given_twice() -> None:
    x, unused = leaf(1, 2), leaf(3)
    (x * x).sum().backward(inputs=[x, unused, x])
    assert accumulated(x).tolist() == [2, 4] and unused.grad is None


def test_backward_for_its_inputs_can_be_differentiated() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    (x * x * y).sum().backward(inputs=[x], create_graph=True)
    assert x.grad is not None and grad(x.grad.sum(), y)[0].numpy().tolist() == [2, 4]
    x.grad = None


def test_inputs_of_backward_are_leaves_that_want_a_gradient() -> None:
    x = leaf(1, 2)
    y = exp(x)
    for inputs, message in (
        (
            [x, y],
            r"backward: input 1 is no leaf, and only leaves hold a gradient: grad\(x, inputs\) "
            "returns it",
        ),
        (
            [x, x.detach()],
            "backward: input 1 does not require a gradient: make it with requires_grad=True",
        ),
        ([], "backward: inputs is empty"),
        (iter(()), "backward: inputs is empty"),
    ):
        with pytest.raises(RuntimeError, match=message):
            y.sum().backward(inputs=inputs)
    assert x.grad is None


# Shapes of graphs


def test_diamonds_take_linear_time() -> None:
    """Sixty times x = x + x: 2^60 paths, 60 nodes."""
    x = y = scalar(1)
    for _ in range(60):
        y = y + y
    start = time.perf_counter()
    assert grad(y, x, create_graph=True)[0].item() == grad(y, x)[0].item() == 2.0**60
    assert time.perf_counter() - start < 1


def test_gradients_are_complete_before_they_are_passed_on() -> None:
    """y reaches the output by a short way and by a long one, in either order."""
    for order in (1, -1):
        x = scalar(0.5)
        y = x * x
        z = y
        for _ in range(5):
            z = 2 * z
        a, b = (y, z)[::order]
        assert grad(a * b, x)[0].item() == pytest.approx(32 * 4 * 0.5**3)


def test_a_long_chain_needs_no_recursion() -> None:
    x = y = Tensor(1.0, requires_grad=True)
    for _ in range(100_000):
        y = y + 1.0
    assert y.item() == 100_001
    y.backward(retain_graph=True)
    assert accumulated(x) == 1
    (g,) = grad(y, x, create_graph=True)
    del y, g


# Memory


@contextmanager
def no_garbage() -> Iterator[None]:
    """Fails if the block leaves behind anything that only the cycle collector can free."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()


GRAPHS: dict[str, Callable[[Tensor], object]] = {
    "forward": lambda x: tanh(x).sum(),
    "grad": lambda x: grad(tanh(x).sum(), x),
    "backward": lambda x: tanh(x).sum().backward(),
    "second order": lambda x: grad(grad(tanh(x).sum(), x, create_graph=True)[0].sum(), x),
    "conv2d": lambda x: grad(tensor.conv2d(x, x).sum(), x, create_graph=True),
    "group_norm": lambda x: grad(tensor.group_norm(x, 1).sum(), x, create_graph=True),
    "indexing": lambda x: grad(x[:, [0, 0]].sum(), x, create_graph=True),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_graphs_hold_no_reference_cycles(graph: Callable) -> None:
    graph(Tensor(np.ones((2, 2, 2, 2)), requires_grad=True))  # whatever is cached is cached now
    with no_garbage():
        x = Tensor(np.ones((2, 2, 2, 2)), requires_grad=True)
        y = graph(x)
        alive = weakref.ref(x)
        del x, y
        assert alive() is None


def test_a_graph_dies_with_its_last_user() -> None:
    with no_garbage():
        x = leaf(1, 2)
        y = exp(x)
        saved = weakref.ref(y.data)
        z = y * y
        del y
        assert saved() is not None
        del z
        assert saved() is None


def test_backward_frees_what_was_saved() -> None:
    x = leaf(1, 2)
    y = exp(x)
    saved = weakref.ref(y.data)
    z = (y * y).sum()
    del y
    z.backward()
    assert saved() is None


def test_what_no_vjp_names_is_not_kept() -> None:
    x = leaf(1, 2)
    y = x * 2.0
    value = weakref.ref(y.data)
    z = (y + y).sum()
    del y
    assert value() is None and z.requires_grad


# No gradient is lost without a word

UNDIFFERENTIABLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "'negative_slope'": lambda x, n: tensor.leaky_relu(x, n),
    "'value'": lambda x, n: tensor.pad(x, (1, 1), value=n),
    "'eps'": lambda x, n: tensor.group_norm(x.reshape(1, 2), 1, eps=n),
}


@pytest.mark.parametrize("name", UNDIFFERENTIABLE)
def test_what_has_no_derivative_may_not_require_one(name: str) -> None:
    f, n = UNDIFFERENTIABLE[name], scalar(0.25)
    for x in (leaf(1, 2), leaf(1, 2).detach()):
        with pytest.raises(
            RuntimeError,
            match=f"not differentiable with respect to {name}, which requires a gradient",
        ):
            f(x, n)
        with no_grad():
            assert not f(x, n).requires_grad
        assert f(x, n.detach()).requires_grad == x.requires_grad


def test_ops_that_are_constant_by_nature_take_tensors_that_require_a_gradient() -> None:
    x = leaf(1, -2)
    constants = [x > 0, x == x, tensor.isfinite(x), x.argmax(), x.any()]
    assert not any(y.requires_grad for y in constants)


# No silent mutation


def test_tensors_copy_what_they_are_made_of() -> None:
    array = np.ones(3)
    x = Tensor(array, requires_grad=True)
    y = (x * x).sum()
    array[:] = 5
    assert x.numpy().tolist() == [1, 1, 1] and grad(y, x)[0].numpy().tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.data,
        lambda x: x.numpy(),
        lambda x: np.asarray(x.detach()),
        lambda x: x.reshape(-1).data[:1],
    ],
)
@pytest.mark.parametrize(
    "make", [lambda x: x, exp, lambda x: x[1:], lambda x: x.sum(), lambda x: grad(exp(x), x, x)[0]]
)
def test_arrays_inside_tensors_are_read_only(view: Callable, make: Callable) -> None:
    array = view(make(leaf(1, 2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0


def test_gradients_of_numbers_are_read_only() -> None:
    x = scalar(1)
    with pytest.raises(ValueError, match="read-only"):
        grad(exp(x), x)[0].data[...] = 0


def test_elements_cannot_be_assigned() -> None:
    with pytest.raises(TypeError, match=r"read-only.*where, cat or pad"):
        leaf(1, 2)[0] = 3


CONSTANTS: dict[str, tuple[Callable, np.ndarray]] = {
    "a factor": (lambda x, a: x * a, np.array([2.0, 3.0])),
    "a number": (lambda x, a: x * a, np.array(2.0)),
    "a condition": (lambda x, a: tensor.where(a, x, 0.0), np.array([True, False])),
    "an index": (lambda x, a: x[a], np.array([1, 0, 1])),
    "a mask": (lambda x, a: x[a], np.array([True, False])),
    "rows": (lambda x, a: tensor.embedding(a, x.reshape(2, 1)), np.array([1, 1])),
    "a kernel": (lambda x, a: tensor.conv2d(x.reshape(1, 1, 1, 2), a), np.full((1, 1, 1, 2), 3.0)),
    "a gradient": (lambda x, a: grad(x * x * x, x, a, create_graph=True)[0], np.array([2.0, 3.0])),
}


@pytest.mark.parametrize(("f", "original"), CONSTANTS.values(), ids=CONSTANTS.keys())
def test_writing_to_an_array_beside_a_tensor_changes_no_pending_gradient(
    f: Callable, original: np.ndarray
) -> None:
    x, array = leaf(1, 2), original.copy()
    y = f(x, array).sum()
    try:
        array[...] = array.dtype.type(0)
    except ValueError as error:
        assert "read-only" in str(error)
    (g,) = grad(y, x)
    assert np.array_equal(g.numpy(), grad(f(x, original).sum(), x)[0].numpy())


def test_copy_leaves_pending_gradients_as_they_were() -> None:
    x = leaf(1, 2)
    y = (x * x * x).sum()
    x.copy_([5, 5])
    assert x.numpy().tolist() == [5, 5]
    (g,) = grad(y, x, create_graph=True)
    assert g.numpy().tolist() == [3, 12] and grad(g.sum(), x)[0].numpy().tolist() == [6, 12]
    assert grad((x * x * x).sum(), x)[0].numpy().tolist() == [75, 75]


def test_copy_takes_values_and_nothing_else() -> None:
    x, values = Tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])
    assert x.copy_(values) is x
    values[:] = 0
    assert x.numpy().tolist() == [3, 4] and x.dtype == np.float32 and x.is_leaf and x.requires_grad
    with pytest.raises(ValueError, match=r"copy_: values have shape \(3,\), the tensor \(2,\)"):
        x.copy_([1, 2, 3])
    with pytest.raises(RuntimeError, match="copy_: only leaves"):
        exp(x).copy_([1, 2])


def test_an_array_assigned_to_data_is_nobody_elses() -> None:
    x, array = leaf(1, 2), np.array([3.0, 4.0])
    y = (x * x).sum()
    x.data = array
    array[:] = 0
    assert x.numpy().tolist() == [3, 4] and grad(y, x)[0].numpy().tolist() == [2, 4]
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 5
    array.flags.writeable = False
    x.data = array
    assert not np.shares_memory(x.data, array)


def test_subclasses_of_arrays_become_plain_and_read_only(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "numbers", np.float32, "w+", shape=(1, 2))
    for array in (mapped, np.ma.masked_array([[1.0, 2.0]], dtype=np.float32)):
        x = Tensor(array)
        x.data = array
        for made in (x, Tensor(array), x.copy_(array)):
            assert type(made.data) is np.ndarray and not made.data.flags.writeable


@pytest.mark.parametrize(
    "values", [[1j, 2j], np.ones(2, "M8[s]"), np.ones(2, "i4,f4"), ["1", "2"], [None, 1.0]], ids=str
)
def test_copy_takes_only_what_casts(values) -> None:
    with pytest.raises(TypeError, match="^copy_: values are .*, the tensor float64"):
        leaf(1, 2).copy_(values)
    with pytest.raises(TypeError, match="^copy_: values are float64, the tensor int64"):
        Tensor([1, 2]).copy_([1.5, 2.5])


# Freezing


def test_a_frozen_leaf_keeps_its_gradient_and_its_pending_graphs() -> None:
    x = leaf(1, 2)
    (x * 2).sum().backward()
    y = (x * 3).sum()
    x.requires_grad_(False)
    assert x.grad is None and not (x * 2).requires_grad
    x.copy_([5, 6])
    x.requires_grad_()
    y.backward()
    assert accumulated(x).tolist() == [5, 5]


def test_a_frozen_leaf_can_forget_its_gradient() -> None:
    x = leaf(1, 2)
    (x * 2).sum().backward()
    x.requires_grad_(False).grad = None
    with pytest.raises(RuntimeError, match="only leaves"):
        x.grad = x.detach()
    assert x.requires_grad_().grad is None


def test_a_leaf_that_changed_its_dtype_while_frozen_is_a_new_one() -> None:
    x = leaf(1, 2)
    (x * 2).sum().backward()
    x.requires_grad_(False).data = np.ones(2, np.float32)
    assert x.requires_grad_().grad is None
    (x * 2).sum().backward()
    assert accumulated(x).dtype == np.float32


def test_an_output_that_was_cut_off_is_a_leaf() -> None:
    x = leaf(1, 2)
    y = exp(x).requires_grad_(False)
    assert y.requires_grad_().is_leaf and grad(y.sum(), y)[0].numpy().tolist() == [1, 1]


# Modes


def test_no_grad_records_nothing_and_ends() -> None:
    x = leaf(1)
    with no_grad():
        assert not is_grad_enabled() and not exp(x).requires_grad
        with enable_grad():
            assert is_grad_enabled() and exp(x).requires_grad
        assert not exp(x).requires_grad
    assert is_grad_enabled() and exp(x).requires_grad


def test_modes_end_with_an_exception() -> None:
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_grad_enabled()


def test_modes_are_decorators() -> None:
    @no_grad()
    def f(depth: int) -> list[bool]:
        return [is_grad_enabled(), *(f(depth - 1) if depth else g())]

    @enable_grad()
    def g() -> list[bool]:
        return [is_grad_enabled()]

    assert f(2) == f(2) == [False, False, False, True] and is_grad_enabled()


def test_modes_decorate_without_brackets() -> None:
    @no_grad
    def f() -> tuple[bool, bool]:
        return is_grad_enabled(), g()

    @enable_grad
    def g() -> bool:
        return is_grad_enabled()

    assert f() == (False, True) and is_grad_enabled() and f.__name__ == "f"


@pytest.mark.parametrize("decorate", [no_grad, no_grad()])
def test_modes_hold_in_every_part_of_a_generator_and_not_between(decorate: Callable) -> None:
    seen = []

    @decorate
    def f():
        try:
            try:
                seen.append((yield is_grad_enabled()))
            except KeyError:
                yield is_grad_enabled()
            return "end"
        finally:
            seen.append(is_grad_enabled())

    sent = f()
    assert next(sent) is False and is_grad_enabled()
    with pytest.raises(StopIteration, match="end"):
        sent.send("given")
    thrown, closed = f(), f()
    assert next(thrown) is False and thrown.throw(KeyError()) is False and is_grad_enabled()
    next(closed)
    closed.close()
    thrown.close()
    assert seen == ["given", False, False, False] and is_grad_enabled()


def test_every_thread_has_a_mode_of_its_own() -> None:
    seen: list[bool] = []
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        seen.append(exp(leaf(1)).requires_grad)
        with no_grad():
            inside.set()
            done.wait(10)

    with no_grad():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    assert exp(leaf(1)).requires_grad
    done.set()
    thread.join()
    assert seen == [True]


def test_gradients_are_recorded_on_request_only() -> None:
    x = leaf(1, 2)
    y = (x * x * x).sum()
    with no_grad():
        (g,) = grad(y, x, create_graph=True)
    assert g.requires_grad and grad(g.sum(), x)[0].numpy().tolist() == [6, 12]


def test_several_threads_differentiate_at_once() -> None:
    x = leaf(*np.linspace(-1, 1, 50))
    expected = grad(tanh(x).sum(), x)[0].numpy()
    results: list[bool] = []

    def work() -> None:
        for _ in range(50):
            results.append(np.array_equal(grad(tanh(x).sum(), x)[0].numpy(), expected))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 200 and all(results)


# Anomalies


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_detect_anomaly_names_the_op_that_made_a_nan() -> None:
    x = leaf(-1, 1)
    assert np.isnan(exp(log(x)).numpy()[0])
    with (
        detect_anomaly(),
        pytest.raises(FloatingPointError, match="the output of 'log' is the first"),
    ):
        exp(log(x))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("create_graph", [False, True])
def test_detect_anomaly_names_the_op_whose_gradient_is_infinite(create_graph: bool) -> None:
    x = leaf(0, 1)
    y = exp(tensor.sqrt(x)).sum()
    assert np.isinf(grad(y, x, retain_graph=True)[0].numpy()[0])
    with (
        detect_anomaly(),
        pytest.raises(FloatingPointError, match="a gradient of 'sqrt' is the first"),
    ):
        grad(y, x, create_graph=create_graph)


def test_detect_anomaly_lets_finite_numbers_pass() -> None:
    x = leaf(0.5, 1)
    with detect_anomaly():
        assert grad(log(x).sum(), x)[0].numpy().tolist() == [2, 1]


# Declarations


def test_a_vjp_may_name_only_what_the_op_has() -> None:
    with pytest.raises(
        TypeError,
        match=r"twice: a VJP names \['z'\], but the op has only \['x', 'y', 'kept', 'x_shape'\]",
    ):

        @op(x=lambda g, z: 2 * g)
        def twice(x):
            return 2 * x

    with pytest.raises(TypeError, match=r"thrice: a VJP names \['w'\]"):

        @op(w=lambda g: 3 * g)
        def thrice(x):
            return 3 * x


def test_names_that_mean_something_to_a_vjp_are_no_arguments() -> None:
    with pytest.raises(TypeError, match="first: 'y' has a meaning of its own in a VJP"):

        @op(x=lambda g, y: g)
        def first(x, y):
            return x

    with pytest.raises(TypeError, match="second: 'kept' has a meaning of its own in a VJP"):

        @op(x=lambda g: g)
        def second(x, kept):
            return x


def test_a_vjp_is_called_only_for_what_is_needed() -> None:
    asked: list[str] = []

    @op(a=lambda g, b: asked.append("a") or g * b, b=lambda g, a: asked.append("b") or g * a)
    def product(a, b):
        return a * b

    x, y = leaf(1, 2), leaf(3, 4)
    grad(product(x, y).sum(), x)
    grad(product(2.0, y).sum(), y)
    assert asked == ["a", "b"]


def test_a_vjp_that_returns_none_stops_the_gradient() -> None:
    @op(x=lambda g: None)
    def stop(x):
        return 2 * x

    x = leaf(1, 2)
    assert grad((stop(x) + x).sum(), x)[0].tolist() == [1, 1]
    assert grad(stop(x).sum(), x, allow_unused=True) == (None,)


def fused_sine(calls: list[str]) -> Callable:
    """An op that takes note of what computes it. Its kernel keeps the derivative."""

    def forward(x):
        calls.append("forward")
        return np.sin(x), np.cos(x)

    def vjp(g, y, kept, x):
        calls.append("vjp")
        assert np.array_equal(y, np.sin(x)) and np.array_equal(kept, np.cos(x))
        return (g * kept,)

    @fused("x", Way(forward, vjp), Way(forward, vjp))
    def sine(x):
        calls.append("definition")
        return tensor.sin(x)

    return sine


def test_a_fused_op_takes_its_kernel_where_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tensor.fused.loops_for", lambda x: True)
    calls: list[str] = []
    sine, x = fused_sine(calls), leaf(1)
    y = sine(x)
    grad(y, x, retain_graph=True)
    assert calls == ["forward", "vjp"]
    grad(y, x, create_graph=True)
    assert calls == ["forward", "vjp", "definition"]
    assert np.array_equal(sine(np.ones(2)), np.sin(np.ones(2))) and calls[3:] == ["forward"]
    assert gradcheck(sine, x) and gradgradcheck(sine, x)


@pytest.mark.parametrize(
    "x", [1.0, np.float32(1), np.ones(2, int), scalar(1), Tensor([1, 2])], ids=repr
)
def test_without_a_loop_for_its_argument_the_definition_of_a_fused_op_serves(x) -> None:
    calls: list[str] = []
    y = fused_sine(calls)(x)
    assert calls == ["definition"] and np.array_equal(raw(y), raw(tensor.sin(x)))


def test_with_kernels_switched_off_the_definition_of_a_fused_op_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "loops", lambda: None)
    calls: list[str] = []
    sine, x = fused_sine(calls), leaf(1, 2)
    assert np.array_equal(grad(sine(x).sum(), x)[0].numpy(), np.cos([1, 2])) and calls == [
        "definition"
    ]
    assert gradcheck(sine, x) and gradgradcheck(sine, x)


def test_a_list_of_dimensions_may_change_before_the_gradients_flow() -> None:
    x, dims = Tensor(np.zeros((2, 2, 2)), requires_grad=True), [1, 2, 0]
    y = tensor.permute(x, dims)
    dims[:] = [0, 1, 2]
    g = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(grad(y, x, g)[0].numpy(), g.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "x",
    [leaf(3.0), leaf(3.0)[0], scalar(3.0), Tensor(3.0)],
    ids=["1-d", "element", "leaf", "constant"],
)
def test_what_numpy_returns_stays_read_only(x: Tensor) -> None:
    assert not x.data.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        x.numpy().setflags(write=True)
