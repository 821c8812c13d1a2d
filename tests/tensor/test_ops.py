"""For every op of the table: derivatives, values, stable dtypes, arguments left unchanged."""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tensor
from tensor import Tensor, grad, parallel
from tensor.base import FLOAT32, FLOAT64
from tensor.elementwise import _gelu
from tensor.normalization import normalize
from tensor.testing import gradcheck, gradgradcheck
from tests.tensor.table import SHAPING, TABLE, Call, group_norm

COMPARISONS: dict[str, Callable] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
NOT_DIFFERENTIABLE = COMPARISONS | {
    "isfinite": np.isfinite,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "argmax": np.argmax,
    "argmin": np.argmin,
    "any": np.any,
    "all": np.all,
}
BITWISE: dict[str, Callable] = {
    "bitwise_not": np.invert,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}
NO_OPS = [
    *["Tensor", "manual_seed", "default_generator", "arange", "linspace", "eye"],
    *["ones", "zeros", "full", "rand", "randint", "randn", "from_dlpack", "tensor"],
    *["allclose", "equal", "Array", "array_module", "floating", "op"],
    *["ones_like", "zeros_like", "full_like", "rand_like", "randn_like"],
    *[
        "grad",
        "no_grad",
        "enable_grad",
        "is_grad_enabled",
        "detect_anomaly",
        "get_num_threads",
        "set_num_threads",
    ],
]

every_op = pytest.mark.parametrize("name", TABLE)
worth_a_thread = st.sampled_from([0, parallel.WORTH_A_THREAD])
"""With 0, kernels run over two blocks even where there is little to do."""


def as_tuple(y) -> tuple:
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)


def leaves(arrays: Sequence[np.ndarray], dtype=FLOAT64, device: str = "cpu") -> list[Tensor]:
    return [Tensor(x, requires_grad=True, dtype=dtype, device=device) for x in arrays]


def as_made(x: Tensor) -> Tensor:
    return x


def last_first(x: Tensor) -> Tensor:
    """The same leaf, with its dimensions in the opposite order in memory."""
    dims = tuple(range(x.ndim))[::-1]
    return Tensor(x.permute(dims).numpy().copy()).to(x.device).permute(dims).requires_grad_()


def backwards(x: Tensor) -> Tensor:
    """The same leaf, with its elements in the opposite order in memory."""
    dims = tuple(range(x.ndim))
    return tensor.flip(
        Tensor(tensor.flip(x, dims).numpy().copy()).to(x.device), dims
    ).requires_grad_()


LAYOUTS = [as_made, last_first, backwards]


def gradients(f: Callable, xs: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """The gradients of the outputs' elements, each times a number of its own."""
    ys = as_tuple(f(*xs))
    gs = [Tensor(np.cos(np.arange(y.numel()).reshape(y.shape)), device=y.device) for y in ys]
    return grad(ys, xs, gs, create_graph=create_graph)


def assert_close(actual: Sequence, expected: Sequence, tolerance: float) -> None:
    for a, e in zip(actual, expected, strict=True):
        a = a.numpy() if isinstance(a, Tensor) else a
        e = e.numpy() if isinstance(e, Tensor) else e
        assert a.shape == e.shape
        np.testing.assert_allclose(
            a, e, rtol=tolerance, atol=tolerance * max(1, abs(e).max(initial=0))
        )


def test_no_op_is_missing_from_the_table() -> None:
    public = [name for name in tensor.__all__ if callable(getattr(tensor, name))]
    tested = {name.split()[0] for name in TABLE}.union(NOT_DIFFERENTIABLE, BITWISE, NO_OPS)
    assert {*public, "repeat"} == tested  # which is a method, as in PyTorch


@every_op
@given(data=st.data())
def test_derivatives_equal_finite_differences(name: str, data: st.DataObject) -> None:
    inputs, options = data.draw(TABLE[name].calls)
    f = partial(TABLE[name].f, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "WORTH_A_THREAD", data.draw(worth_a_thread))
        assert gradcheck(f, inputs) and gradgradcheck(f, inputs)


@every_op
@given(data=st.data())
def test_values_and_gradients(name: str, device: str, data: st.DataObject) -> None:
    """In both dtypes, on each device, as NumPy computes them; both ways to a gradient agree."""
    inputs, options = data.draw(TABLE[name].calls)
    arrays = [x.numpy() for x in inputs]
    f = partial(TABLE[name].f, **options)
    expected = as_tuple(TABLE[name].reference(*arrays, **options))
    expected_gradients = gradients(f, inputs, create_graph=True)
    layout = data.draw(st.sampled_from(LAYOUTS))
    for dtype, tolerance in ((FLOAT64, 1e-12), (FLOAT32, 1e-4)):
        xs = [layout(x) for x in leaves(arrays, dtype, device)]
        ys = as_tuple(f(*xs))
        assert_close(ys, expected, tolerance)
        for create_graph in (False, True):
            gs = gradients(f, xs, create_graph)
            assert_close(gs, expected_gradients, tolerance)
            assert {t.dtype for t in (*ys, *gs)} == {dtype} and {t.device for t in (*ys, *gs)} == {
                xs[0].device
            }


@every_op
@given(data=st.data())
def test_raw_arrays_are_computed_with_and_left_alone(name: str, data: st.DataObject) -> None:
    inputs, options = data.draw(TABLE[name].calls)
    f = partial(TABLE[name].f, **options)
    arrays = [x.numpy().copy() for x in inputs]
    ys = as_tuple(f(*arrays))
    assert not any(isinstance(y, Tensor) for y in ys)
    assert_close(ys, as_tuple(f(*inputs)), 1e-12)
    assert all((array == x.numpy()).all() for array, x in zip(arrays, inputs, strict=True))


INTEGERS_STAY = {
    *[
        "add",
        "sub",
        "mul",
        "neg",
        "floor_divide",
        "pow",
        "pow to the 0",
        "pow to an integer",
        "square",
        "relu",
        "abs",
        "maximum",
        "minimum",
    ],
    *["sign", "floor", "ceil", "round", "remainder", "remainder of another sign"],
    *["clamp to tensors", "prod", "prod of all", "cumsum", "amax", "amin", "max", "min"],
    *["max of all", "min of all", "max of two", "min of two", "mm", "bmm", "dot", "outer"],
    "einsum",
    *["clamp from below", "where", "cast", "sum", "matmul", "linear", "conv2d", "conv_transpose2d"],
    *["max_pool2d", "upsample_nearest", "embedding", *SHAPING],
}


@every_op
@given(data=st.data(), dtype=st.sampled_from([np.int64, np.uint8]))
def test_integers_stay_integers_or_become_float32(
    name: str, device: str, data: st.DataObject, dtype: type
) -> None:
    inputs, options = data.draw(TABLE[name].calls)
    assume(dtype is np.int64 or name not in ("neg", "sub"))
    assume(
        not (name == "pow to an integer" and options["b"] < 0)
        and not (name == "pow of a number" and options["a"] == 1)
    )
    assume(options.get("value") != -1.5)  # what integers are padded with is an integer
    arrays = [np.ceil(abs(x.numpy())).astype(dtype) for x in inputs]
    ys = as_tuple(TABLE[name].f(*[Tensor(x, device=device) for x in arrays], **options))
    assert_close(
        ys, as_tuple(TABLE[name].reference(*[x.astype(float) for x in arrays], **options)), 1e-4
    )
    assert all(y.dtype.kind in "iu" if name in INTEGERS_STAY else y.dtype == FLOAT32 for y in ys)


def test_integers_beside_an_array_of_floats_become_float32() -> None:
    x, weight = np.arange(16).reshape(1, 1, 4, 4), np.full((1, 1, 2, 2), 0.5)
    y = tensor.conv2d(Tensor(x), weight)
    assert y.dtype == FLOAT32 and np.array_equal(y.numpy(), tensor.conv2d(x.astype(float), weight))


def test_a_bound_of_integers_leaves_them_integers() -> None:
    x = Tensor([1, 5])
    for high in (3, np.int64(3), Tensor(3)):
        y = tensor.clamp(x, max=high)
        assert y.dtype == np.int64 and y.numpy().tolist() == [1, 3]


def with_numpys_integers(option: Any) -> Any:
    if isinstance(option, tuple):
        return tuple(with_numpys_integers(part) for part in option)
    return np.int64(option) if type(option) is int else option


@every_op
@given(data=st.data())
def test_options_may_be_numpys_integers(name: str, data: st.DataObject) -> None:
    inputs, options = data.draw(TABLE[name].calls)
    ys = TABLE[name].f(
        *inputs, **{key: with_numpys_integers(option) for key, option in options.items()}
    )
    assert_close(as_tuple(ys), as_tuple(TABLE[name].f(*inputs, **options)), 1e-12)


@pytest.mark.parametrize("name", BITWISE)
@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_logic_of_masks_and_bits(name: str, dtype: type, device: str) -> None:
    xs = [np.array(x, dtype) for x in ([[0, 1], [5, 6]], [3, 0])][
        : 1 if name == "bitwise_not" else 2
    ]
    y = getattr(tensor, name)(*[Tensor(x, device=device) for x in xs])
    assert y.dtype == dtype and np.array_equal(y.numpy(), BITWISE[name](*xs))
    with pytest.raises(TypeError, match=f"^{name}: cannot compute with float32"):
        getattr(tensor, name)(*[Tensor(x, dtype=np.float32) for x in xs])


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
@given(call=TABLE["add"].calls)
def test_the_others_have_values_and_no_gradient(name: str, device: str, call: Call) -> None:
    reference = NOT_DIFFERENTIABLE[name]
    xs = leaves([x.numpy() for x in call.inputs[: 2 if name in COMPARISONS else 1]], device=device)
    y = getattr(tensor, name)(*xs)
    assert_close([y], [np.asarray(reference(*[x.numpy() for x in xs]))], 0)
    assert not y.requires_grad


@pytest.mark.parametrize(
    ("f", "sizes"),
    [
        (tensor.exp, [(0, 3)]),
        (tensor.sigmoid, [(0, 3)]),
        (tensor.silu, [(0, 3)]),
        (tensor.mul, [(0, 3), (1, 3)]),
        (partial(tensor.sum, dim=0), [(0, 3)]),
        (partial(tensor.softmax, dim=1), [(0, 3)]),
        (tensor.matmul, [(0, 3), (3, 2)]),
        (tensor.linear, [(0, 3), (2, 3), (2,)]),
        (tensor.conv2d, [(0, 2, 4, 4), (3, 2, 3, 3), (3,)]),
        (partial(tensor.conv_transpose2d, stride=2), [(0, 2, 4, 4), (2, 3, 3, 3), (3,)]),
        (partial(tensor.max_pool2d, kernel_size=2), [(0, 2, 4, 4)]),
        (partial(tensor.upsample_nearest, scale_factor=2), [(0, 2, 4, 4)]),
        (partial(tensor.avg_pool2d, kernel_size=2), [(0, 2, 4, 4)]),
        (group_norm, [(0, 4, 3), (4,), (4,)]),
        (partial(tensor.layer_norm, normalized_shape=4), [(0, 3, 4)]),
        (partial(tensor.amax, dim=1), [(0, 3)]),
        (lambda x: tensor.max(x, 1).values, [(0, 3)]),
    ],
)
def test_a_batch_of_nothing_has_gradients_of_zeros(
    f: Callable, sizes: list[tuple[int, ...]]
) -> None:
    xs = leaves([np.ones(size) for size in sizes])
    for create_graph in (False, True):
        for x, g in zip(xs, grad(f(*xs).sum(), xs, create_graph=create_graph), strict=True):
            assert g.shape == x.shape and not g.numpy().any()


# Fused ops: kernels on raw arrays, beside a definition made of ops


def normal(*sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    rng = np.random.default_rng(0)
    return tuple(leaves([rng.standard_normal(size) for size in sizes]))


FUSED: dict[Callable, list[Call]] = {
    tensor.silu: [Call(normal(size), {}) for size in ((), (0, 3), (7, 5, 3))],
    _gelu: [Call(normal(size), {}) for size in ((), (0, 3), (7, 5, 3))],
    normalize: [
        Call(normal(size, (4,), (4,)), {"groups": groups, "eps": 0.1, "batch": batch, "silu": silu})
        for size in ((5, 4), (5, 4, 6), (5, 4, 2, 3), (0, 4, 3))
        for groups in (1, 2, 4)
        for batch in (False, True)
        for silu in (False, True)
        if size[0] or not batch
    ],
}


def test_no_fused_op_is_missing() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("tensor.")]
    assert {
        f for module in modules for f in vars(module).values() if hasattr(f, "definition")
    } == set(FUSED)


@pytest.mark.parametrize("worth_a_thread", [0, parallel.WORTH_A_THREAD])
@pytest.mark.parametrize("fused", FUSED)
def test_fused_ops_equal_their_definition(
    fused, worth_a_thread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_THREAD", worth_a_thread)
    for xs, options in FUSED[fused]:
        f, definition = partial(fused, **options), partial(fused.definition, **options)
        assert_close([f(*xs)], [definition(*xs)], 1e-12)
        assert_close(
            gradients(f, xs, create_graph=False),
            gradients(definition, xs, create_graph=False),
            1e-12,
        )


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_the_slope_of_silu_without_an_exponential(dtype: np.dtype) -> None:
    sizes = np.concatenate([[0.0, 0.5, 1.5, 30.0, 80.0, 1e30], 2.0 ** np.arange(-149, 14)]).astype(
        dtype
    )
    x = Tensor(np.concatenate([sizes, -sizes]), requires_grad=True)
    s = 1 / (1 + np.exp(-np.clip(x.numpy().astype(float), -700, None)))
    expected = s + x.numpy() * s * (1 - s)
    (slope,) = grad(tensor.silu(x).sum(), x)
    np.testing.assert_allclose(slope.numpy(), expected, rtol=0, atol=8 * np.finfo(dtype).eps)


# dtypes beside numbers

NUMBERS: dict[str, Any] = {
    "float": 1.5,
    "int": 2,
    "np.float64": np.float64(1.5),
    "np.float32": np.float32(1.5),
    "np.int64": np.int64(2),
    "float64 0-d array": np.array(1.5),
    "float64 0-d tensor": Tensor(np.array(1.5)),
    "float64 0-d leaf": Tensor(np.array(1.5), requires_grad=True),
    "float32 0-d leaf": Tensor(1.5, requires_grad=True),
}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "where"])
@pytest.mark.parametrize("create_graph", [False, True])
def test_numbers_take_the_dtype_of_tensors(
    name: str, dtype: np.dtype, number: str, create_graph: bool
) -> None:
    f = (
        partial(TABLE[name].f, condition=np.array([True, False]))
        if name == "where"
        else TABLE[name].f
    )
    x, n = Tensor([0.5, 2.5], requires_grad=True, dtype=dtype), NUMBERS[number]
    for args, swapped in (((x, n), (x.numpy(), float(n))), ((n, x), (float(n), x.numpy()))):
        y = f(*args)
        assert y.dtype == dtype and np.array_equal(y.numpy(), f(*swapped))
        wanted = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        for leaf, g in zip(wanted, grad(y.sum(), wanted, create_graph=create_graph), strict=True):
            assert (g.dtype, g.shape) == (leaf.dtype, leaf.shape)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, n: tensor.clamp(x, n),
        lambda x, n: tensor.leaky_relu(x, n),
        lambda x, n: tensor.pad(x, (1, 1), value=n),
        lambda x, n: tensor.group_norm(x, 2, eps=n),
        lambda x, n: tensor.layer_norm(x, 2, eps=n),
        lambda x, n: tensor.batch_norm(
            x, tensor.zeros(2), tensor.ones(2), training=True, momentum=n, eps=n
        ),
        lambda x, n: tensor.batch_norm(x, np.zeros(2), np.ones(2), eps=n),
    ],
)
def test_options_take_the_dtype_of_tensors(f: Callable) -> None:
    for create_graph in (False, True):
        x = Tensor([[0.5, 1.5], [2.5, -1.0]], requires_grad=True)
        y = f(x, np.float64(0.25))
        (g,) = grad(y.sum(), x, create_graph=create_graph)
        assert y.dtype == g.dtype == FLOAT32
        assert_close([y], [f(x, 0.25)], 1e-6)


@pytest.mark.parametrize("there", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("here", [FLOAT32, FLOAT64])
def test_cast_goes_there_and_its_gradients_come_back(here: np.dtype, there: np.dtype) -> None:
    x = Tensor([1.5, -0.25], requires_grad=True, dtype=here)
    y = x.to(there)
    assert y.dtype == there and np.array_equal(y.numpy(), x.numpy())
    (g,) = grad((y * y * y).sum(), x, create_graph=True)
    (gg,) = grad(g.sum(), x)
    assert g.dtype == gg.dtype == here
    assert_close([g, gg], [3 * x.numpy() ** 2, 6 * x.numpy()], 0)


def test_a_cast_to_integers_has_no_gradient() -> None:
    assert not Tensor([1.5], requires_grad=True).to(np.int64).requires_grad


@pytest.mark.parametrize("there", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("here", [bool, np.uint8, np.int64])
def test_integers_become_the_floats_that_were_asked_for(here: type, there: np.dtype) -> None:
    y = Tensor(np.array([0, 1]), dtype=here).to(there)
    assert y.dtype == there and y.numpy().tolist() == [0, 1] and not y.requires_grad


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("b", [-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_powers_at_zero(b: float, as_tensor: bool) -> None:
    """0^0 = 1; b 0^(b - 1) is 0 for b = 0, else its limit from above; by b the slope is 0."""
    x, e = Tensor([0.0, 2.0], requires_grad=True), Tensor([b, b], requires_grad=True)
    y = x**e if as_tensor else x**b
    assert y.numpy() == pytest.approx([math.inf if b < 0 else float(b == 0), 2**b])
    by_x, by_b = tensor.grad(y.sum(), [x, e], allow_unused=True)
    slope = 0.0 if b == 0 or b > 1 else 1.0 if b == 1 else math.copysign(math.inf, b)
    assert by_x.numpy() == pytest.approx([slope, b * 2 ** (b - 1)])
    assert not as_tensor or by_b.numpy() == pytest.approx([0, math.log(2) * 2**b])
