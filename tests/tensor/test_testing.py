"""The gradient checkers find what is wrong and say where; the strategies draw what they promise."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import tensor
from tensor import Tensor, testing
from tensor.autodiff import op
from tensor.fused import Way, fused
from tensor.strategies import (
    ConvGeometry,
    ConvTransposeGeometry,
    NormGeometry,
    PoolGeometry,
    broadcastable_shapes,
    conv_geometries,
    conv_transpose_geometries,
    dtypes,
    indices,
    norm_geometries,
    pool_geometries,
    shapes,
    tensors,
)
from tensor.testing import gradcheck, gradgradcheck


def leaf(values) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


X = [[0.25, -1.5, 0.75], [1.25, 0.5, -0.5]]
ALMOST_1 = np.array([[1, 1, 1], [1, 1, 1 + 1e-5]])


# Deliberately wrong, each in its own way


@op(x=lambda g, y: g * (1 - y))
def wrong_everywhere(x):
    return np.tanh(x)


@op(x=lambda g, x: 2 * g * x * ALMOST_1)
def wrong_in_one_element(x):
    return x * x


@op(x=lambda g, x: g * tensor.cos(tensor.flip(x, 0)))
def wrong_order(x):
    return np.sin(x)


@op(x=lambda g, x: tensor.flip(g, 0) * tensor.cos(x))
def wrong_transpose(x):
    return np.sin(x)


@op(a=lambda g, b: g * b, b=lambda g, b: g * b)
def wrong_argument(a, b):
    return a * b


@op(x=lambda g, x: tensor.cos(x) if isinstance(g, Tensor) else g * np.cos(x))
def forgets_g_when_recording(x):
    return np.sin(x)


WRONG = Way(lambda x: (np.sin(x), None), lambda g, y, kept, x: (g * np.cos(x) * ALMOST_1,))
RIGHT = Way(lambda x: (np.sin(x), None), lambda g, y, kept, x: (g * np.cos(x),))


@fused("x", WRONG, WRONG)
def wrong_twin(x):
    return tensor.sin(x)


@fused("x", RIGHT, RIGHT)
def wrong_definition(x):
    return tensor.sin(x) * ALMOST_1


@op(x=lambda g: g * np.nan)
def not_a_number(x):
    return x * 1


@op()
def constant(x):
    return x * 1


@op(x=lambda g, x: g * constant(3 * x * x))
def no_second_derivative(x):
    return x**3


@op(g=lambda h, x: h * 3 * x * x, x=lambda h, g, x: h * g * 5 * x)
def _wrong_slope(g, x):
    return g * 3 * x * x


@op(x=lambda g, x: _wrong_slope(g, x))
def wrong_second_derivative(x):
    return x**3


@op(g=lambda h: h * 0.0, x=lambda h, g, x: h * g * 6 * x)
def _slope_of_constant_g(g, x):
    return g * 3 * x * x


@op(x=lambda g, x: _slope_of_constant_g(g, x))
def no_derivative_by_g(x):
    return x**3


WRONG_FIRST = [
    *[
        wrong_everywhere,
        wrong_in_one_element,
        wrong_order,
        wrong_transpose,
        wrong_argument,
        forgets_g_when_recording,
    ],
    not_a_number,
]
WRONG_FUSED = [wrong_twin, wrong_definition]
WRONG_SECOND = [no_second_derivative, wrong_second_derivative, no_derivative_by_g]


def arguments(f: Callable) -> list[Tensor]:
    return (
        [leaf(X), leaf(X)[:, ::-1].detach().requires_grad_()] if f is wrong_argument else [leaf(X)]
    )


@pytest.mark.parametrize("f", WRONG_FIRST)
def test_a_wrong_derivative_is_found(f: Callable) -> None:
    with pytest.raises(
        AssertionError, match=f"^gradcheck of {f.__name__}: .* derivatives by input [01] are wrong"
    ):
        gradcheck(f, arguments(f))


@pytest.mark.parametrize("f", WRONG_FUSED)
def test_a_wrong_derivative_of_a_kernel_is_found(loops: ModuleType, f: Callable) -> None:
    test_a_wrong_derivative_is_found(f)


@pytest.mark.parametrize("f", WRONG_SECOND)
def test_a_wrong_second_derivative_is_found(f: Callable) -> None:
    assert gradcheck(f, arguments(f))
    with pytest.raises(
        AssertionError, match=f"^gradgradcheck of {f.__name__}: .* derivatives by .* are wrong"
    ):
        gradgradcheck(f, arguments(f))


# What is right


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x * tensor.sin(y),
        lambda x, y: 3 * x,  # linear, and y unused
        lambda x, y: Tensor(np.ones(4)),  # constant
        lambda x, y: (x, tensor.exp(y), x * y, Tensor(np.ones(4))),
    ],
)
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((), (2,)), ((0, 2), (2,))])
def test_what_is_right_passes(f: Callable, shapes: tuple) -> None:
    xs = [leaf(np.full(shape, 0.5)) for shape in shapes]
    assert gradcheck(f, xs) and gradgradcheck(f, xs)


@given(x=tensors(kinks=(0,)))
def test_two_millionths_are_a_mistake(x: Tensor, device: str) -> None:
    """The tolerances leave room for rounding and for nothing else."""
    x = Tensor(x.detach(), requires_grad=True, device=device)
    assert gradcheck(tensor.square, x)
    with pytest.raises(AssertionError):
        gradcheck(almost_square, x)


@op(x=lambda g, x: 2 * g * x * (1 + 2e-6))
def almost_square(x):
    return x * x


def test_differences_are_of_fourth_order() -> None:
    """Here the usual (f(x + h) - f(x - h)) / 2h would be off by h^2 f''' / 6 = 4e-6 f'."""
    assert gradcheck(lambda x: tensor.sin(50 * x), leaf(X))


def test_inputs_are_left_alone() -> None:
    x = leaf(X)
    gradcheck(tensor.tanh, x)
    gradgradcheck(tensor.tanh, x)
    assert x.numpy().tolist() == X and x.grad is None


# What a failure says


def failure(check: Callable, *args) -> str:
    with pytest.raises(AssertionError) as caught:
        check(*args)
    return str(caught.value)


def test_a_failure_names_the_element_and_both_numbers() -> None:
    message = failure(gradcheck, wrong_in_one_element, leaf(X))
    assert "1 of 36 derivatives by input 0 are wrong (create_graph=False)" in message
    assert "d output 0[1, 2] / d input 0[1, 2]: analytic -1.00001, numeric -" in message
    message = failure(gradcheck, lambda x, y: (x, wrong_scale(y, 2)), [leaf([0.5, 1]), leaf(0.5)])
    assert "d output 1 / d input 1: analytic 1.0, numeric " in message
    message = failure(gradgradcheck, no_second_derivative, leaf([0.5]))
    assert "d gradient of input 0[0] / d input 0[0]: analytic 0.0, numeric 0.37" in message
    message = failure(gradgradcheck, no_derivative_by_g, leaf([0.5]))
    assert (
        "d gradient of input 0[0] / d incoming gradient 0[0]: analytic 0.0, numeric 0.7" in message
    )


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_one_tensor_may_be_several_inputs(check: Callable) -> None:
    x = leaf(X)
    assert check(tensor.mul, [x, x]) and check(lambda a, b: a * b * x, [x, x])


@pytest.mark.parametrize(
    ("check", "wrong"), [(gradcheck, wrong_everywhere), (gradgradcheck, wrong_second_derivative)]
)
def test_checks_record_also_where_nothing_else_does(check: Callable, wrong: Callable) -> None:
    with tensor.no_grad():
        assert check(tensor.sin, leaf(X))
        with pytest.raises(AssertionError, match="are wrong"):
            check(wrong, leaf(X))


@op(x=lambda g: g)
def wrong_scale(x, factor):
    return x * factor


@pytest.mark.parametrize(
    ("check", "f"),
    [
        (gradcheck, wrong_everywhere),
        (gradcheck, partial(wrong_scale, factor=np.array([2.5, 3.0, -1.0]))),
        (gradgradcheck, wrong_second_derivative),
    ],
)
def test_a_failure_is_reproduced_by_copy_and_paste(check: Callable, f: Callable) -> None:
    message = failure(check, f, leaf(np.array(X) / 3))
    assert failure(exec, message.split("To reproduce it:")[1], {}) == message


def test_a_function_without_a_name_is_located() -> None:
    assert "f = ...  # <lambda>, test_testing.py line" in failure(
        gradcheck, lambda x: wrong_scale(x, 2), leaf(1)
    )


def test_large_inputs_are_not_written_out() -> None:
    message = failure(gradcheck, wrong_everywhere, leaf(np.ones(testing.MAX_PRINTED + 1)))
    assert "...  # 101 numbers of shape (101,)" in message and len(message) < 1000


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            Tensor([1.0], requires_grad=True),
            TypeError,
            "input 0 must be a float64 tensor, not float32",
        ),
        ([leaf(1), np.ones(2)], TypeError, "input 1 must be a float64 tensor, not ndarray"),
        ([leaf(1), Tensor(np.ones(2))], ValueError, "input 1 must have requires_grad=True"),
    ],
)
def test_inputs_must_be_float64_leaves(check: Callable, inputs, error: type, message: str) -> None:
    with pytest.raises(error, match=f"^{check.__name__}: {message}"):
        check(lambda *xs: xs[0], inputs)


@pytest.mark.parametrize("f", [lambda x: x > 0, lambda x: x.to(np.float32), lambda x: x.numpy()])
def test_functions_must_return_float64_tensors(f: Callable) -> None:
    with pytest.raises(
        TypeError,
        match=r"<lambda> must return float64 tensors to be checked, not (bool|float32|ndarray)",
    ):
        gradcheck(f, leaf([1, 2]))


def test_gradients_must_have_the_shape_and_dtype_of_their_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wrong in (Tensor([[1.0, 1.0]], dtype=np.float64), Tensor([1.0, 1.0])):
        monkeypatch.setattr(testing, "grad", lambda *args, wrong=wrong, **options: (wrong,))
        with pytest.raises(
            AssertionError, match=r"input 0 is float64 \(2,\), but its gradient float"
        ):
            gradcheck(tensor.exp, leaf([1, 2]))


# Strategies


def drawn(strategy: st.SearchStrategy, *conditions: Callable) -> bool:
    """Whether the strategy draws an example of each condition."""
    patient = settings(max_examples=2000, derandomize=True, phases=[Phase.generate])
    return all(find(strategy, condition, settings=patient) is not None for condition in conditions)


def test_shapes_are_varied() -> None:
    assert drawn(shapes(), lambda s: s == (), lambda s: len(s) == 3 and 1 in s and 3 in s)
    assert drawn(dtypes(), lambda d: d == np.float32, lambda d: d == np.float64)
    pairs = broadcastable_shapes(2)
    assert drawn(
        pairs,
        lambda p: p[0] == () != p[1],
        lambda p: len(p[0]) < len(p[1]),
        lambda p: (1, 3) == p[0] != p[1],
    )


@given(drawn_shapes=broadcastable_shapes(3))
def test_broadcastable_shapes_broadcast(drawn_shapes: tuple) -> None:
    assert len(drawn_shapes) == 3
    np.broadcast_shapes(*drawn_shapes)


@given(
    x=tensors((5,), min_value=-1, max_value=1, kinks=(0, 0.5), distinct=True),
    y=tensors(dtype=dtypes()),
)
def test_tensors_keep_to_their_domain(x: Tensor, y: Tensor) -> None:
    values = x.numpy()
    assert abs(values).max() <= 1 and abs(values).min() >= 0.05 and abs(values - 0.5).min() >= 0.05
    assert np.diff(np.sort(values)).min() > 0.003
    assert x.requires_grad and y.requires_grad and y.dtype in (np.float32, np.float64)


def test_indices_are_varied() -> None:
    def holds(predicate: Callable) -> Callable:
        return lambda index: any(
            predicate(part) for part in (index if isinstance(index, tuple) else (index,))
        )

    assert drawn(
        indices((3, 2)),
        holds(lambda part: part is None),
        holds(lambda part: part is Ellipsis),
        holds(lambda part: isinstance(part, slice) and (part.step or 1) < 0),
        lambda index: (
            isinstance(index, tuple) and {type(part) for part in index} == {slice, np.ndarray}
        ),
        holds(lambda part: isinstance(part, np.ndarray) and part.dtype == bool),
        holds(
            lambda part: (
                isinstance(part, np.ndarray)
                and part.dtype != bool
                and len(set(part.tolist())) < len(part)
            )
        ),
    )


def options_vary(geometry) -> bool:
    return (
        isinstance(geometry.stride, tuple)
        and isinstance(geometry.padding, int)
        and max(geometry.x_shape) > 2
    )


def test_geometries_are_varied() -> None:
    assert drawn(
        conv_geometries(),
        options_vary,
        lambda g: g.groups == 2 and g.dilation == 2 and g.stride == 3,
    )
    assert drawn(
        conv_transpose_geometries(),
        options_vary,
        lambda g: g.output_padding == 2,
        lambda g: g.groups == 2,
    )
    assert drawn(
        conv_transpose_geometries(),
        lambda g: g.stride == 1 and g.dilation == 2 and g.output_padding == 1,
    )
    assert drawn(pool_geometries(), options_vary, lambda g: g.stride is None and g.padding != 0)
    assert drawn(
        norm_geometries(), lambda g: g.num_groups == 2 and g.x_shape[1] == 4 and len(g.x_shape) == 4
    )


@given(
    st.one_of(conv_geometries(), conv_transpose_geometries(), pool_geometries(), norm_geometries())
)
def test_geometries_read_as_python(
    geometry: ConvGeometry | ConvTransposeGeometry | PoolGeometry | NormGeometry,
) -> None:
    assert eval(repr(geometry)) == geometry
    assert geometry.options == {
        name: value for name, value in vars(geometry).items() if "shape" not in name
    }


# What importing needs


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_tensor_imports_numpy_and_nothing_else() -> None:
    names = "('hypothesis', 'cupy', 'torch')"
    code = f"import sys, tensor; print([name for name in {names} if name in sys.modules])"
    assert run(code) == "[]\n"


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["hypothesis"] = None
import tensor.testing
try:
    import tensor.strategies
except ImportError as error:
    print(error)
"""
    assert "pip install -e '.[test]'" in run(code)
