"""The double of CuPy does what CuPy does. Where there is a GPU, the same claims are made of CuPy
itself, and those that only the double can fulfil are skipped."""

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensor as T
from tensor import Tensor
from tensor.arrays import array_module
from tensor.autodiff import op

Array = Any


@pytest.fixture
def x(cupy: ModuleType) -> Array:
    """[[0, 1, 2], [3, 4, 5]] on the device."""
    return cupy.arange(6, dtype=np.float32).reshape(2, 3)


HOST = np.ones((2, 3), np.float32)
REFUSED: dict[str, tuple[Callable[[ModuleType, Array], Any], type[Exception]]] = {
    "implicit conversion": (lambda cupy, x: np.asarray(x), TypeError),
    "NumPy's function of it and an array": (lambda cupy, x: np.add(HOST, x), TypeError),
    "an array on the host, right": (lambda cupy, x: x * HOST, TypeError),
    "an array on the host, left": (lambda cupy, x: HOST * x, TypeError),
    "comparison with an array on the host": (lambda cupy, x: x == HOST, TypeError),
    "an array on the host, in place": (lambda cupy, x: x.__iadd__(HOST), TypeError),
    "adding in place to an array on the host": (lambda cupy, x: HOST.__iadd__(x), TypeError),
    "maximum of an array on the host": (lambda cupy, x: cupy.maximum(x, HOST), TypeError),
    "writing to the host": (lambda cupy, x: cupy.exp(x, out=HOST.copy()), TypeError),
    "matmul with the host": (lambda cupy, x: x @ HOST.T, TypeError),
    "joining with the host": (lambda cupy, x: cupy.concatenate([x, HOST]), TypeError),
    "where of the host": (lambda cupy, x: cupy.where(x > 0, x, HOST), TypeError),
    "where of a condition on the host": (lambda cupy, x: cupy.where(HOST > 0, x, x), TypeError),
    "where of a bool": (lambda cupy, x: cupy.where(True, x, x), AttributeError),
    "assigning the host's": (lambda cupy, x: x.__setitem__(..., HOST), ValueError),
    "an order that is none": (lambda cupy, x: x.get(order="K"), ValueError),
    "a number on the device as an index": (lambda cupy, x: [1, 2][x[0, 1]], TypeError),
    "a number of one element": (lambda cupy, x: float(x[0, :1]), TypeError),
    "a limit that the dtype lacks": (
        lambda cupy, x: x.astype(np.uint8).clip(-1, None),
        OverflowError,
    ),
    "solving what is not square": (
        lambda cupy, x: cupy.linalg.solve(x, cupy.ones((2, 1))),
        np.linalg.LinAlgError,
    ),
    "a list as operand": (lambda cupy, x: x + [1.0, 2.0, 3.0], TypeError),
    "where=": (lambda cupy, x: cupy.exp(x, where=True), TypeError),
    "casting in astype": (lambda cupy, x: x.astype(np.float64, casting="safe"), TypeError),
    "initial=": (lambda cupy, x: x.max(initial=0), TypeError),
    "dtype of max": (lambda cupy, x: x.max(dtype=np.float64), TypeError),
    "fill with an array": (lambda cupy, x: x.fill(HOST), ValueError),
    "CuPy has no errstate": (lambda cupy, x: cupy.errstate, AttributeError),
    "nothing is read-only": (lambda cupy, x: x.flags.writeable, AttributeError),
    "strings": (lambda cupy, x: cupy.array(["a"]), ValueError),
    "an integer out of range": (lambda cupy, x: x[2], IndexError),
    "more indices than dimensions": (lambda cupy, x: x[0, 0, 0], IndexError),
    "an index of floats": (lambda cupy, x: x[cupy.ones(1)], IndexError),
    "the truth of many": (lambda cupy, x: bool(x), ValueError),
    "one number of many": (lambda cupy, x: x.item(), ValueError),
    "the length of a number": (lambda cupy, x: len(x[0, 0]), TypeError),
    "a shape that does not fit out": (lambda cupy, x: cupy.add(x, x, out=x.T), ValueError),
    "solving batches that differ": (
        lambda cupy, x: cupy.linalg.solve(cupy.ones((3, 2, 2)), cupy.ones((2, 2))),
        ValueError,
    ),
}


FUSED: dict[str, Callable[[ModuleType, Array], Any]] = {
    "the shape": lambda cupy, x: fused(cupy, lambda x: x * x.shape[0], x),
    "reshaping": lambda cupy, x: fused(cupy, lambda x: x.reshape(-1), x),
    "the host's function": lambda cupy, x: fused(cupy, lambda x: np.exp(x), x),
    "an array on the host": lambda cupy, x: fused(cupy, lambda x, y: x + y, x, HOST),
}


def fused(cupy: ModuleType, function: Callable, *args: Any) -> Any:
    return cupy.fuse(kernel_name="tested")(function)(*args)


@pytest.mark.parametrize("name", FUSED)
def test_what_cannot_be_fused(name: str, cupy: ModuleType, x: Array) -> None:
    with pytest.raises((TypeError, AttributeError, NotImplementedError, AssertionError)):
        FUSED[name](cupy, x)


def test_a_fused_function_returns_arrays_or_writes_to_them(cupy: ModuleType, x: Array) -> None:
    def step(x, rate, y):
        y += rate * x
        return cupy.where(x > 1, x, x * rate), (x * rate).astype("float64")

    y = cupy.zeros((2, 3), np.float32)
    first, second = fused(cupy, step, x, 0.1, y)
    np.testing.assert_allclose(y.get(), 0.1 * x.get(), rtol=1e-6)
    np.testing.assert_allclose(second.get(), 0.1 * x.get(), rtol=1e-6)
    assert first.tolist() == [[0, np.float32(0.1), 2], [3, 4, 5]]
    assert (first.dtype, second.dtype, y.dtype) == (np.float32, np.float64, np.float32)
    assert isinstance(first, cupy.ndarray) and fused(cupy, lambda x: x + 1, x.T).flags.c_contiguous


def test_a_kernel_in_cuda_takes_what_it_declares(double: ModuleType, x: Array) -> None:
    """CuPy would hand over memory of any type, and scalars in the place of it."""
    source = "typedef float T; typedef int I; void minigen_total(const T* x, T* y, double d, I* f)"
    kernel = double.RawKernel(source.replace("; ", ";\n"), "minigen_total")
    form = double.array([2, 3, 1, 1, 2, 0, 0, 3, 1, 1, 3, 0, 0, 1, 32], "i")
    y = double.empty((2,), np.float32)
    kernel((1,), (256,), (x, y, 3.0, form))
    assert y.tolist() == [1, 4]
    for wrong in (
        (x.astype("float64"), y, 3.0, form),
        (x, y, 3, form),
        (x, y, 3.0, form.astype("int64")),
        (x, 1.0, 3.0, form),
        (HOST, y, 3.0, form),
    ):
        with pytest.raises(TypeError):
            kernel((1,), (256,), wrong)
    with pytest.raises(ValueError, match="grid"):
        kernel((0,), (256,), (x, y, 3.0, form))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cupy_refuses(name: str, cupy: ModuleType, x: Array) -> None:
    act, error = REFUSED[name]
    with pytest.raises(error):
        act(cupy, x)


FORTRAN: dict[str, Callable[[ModuleType, Array], Array]] = {
    "an operator": lambda cupy, x: x + 1,
    "a function": lambda cupy, x: cupy.exp(x),
    "a comparison": lambda cupy, x: x > 0,
    "where": lambda cupy, x: cupy.where(x > 0, x, 0),
    "clip": lambda cupy, x: x.clip(0, 1),
    "copy": lambda cupy, x: x.copy(),
    "a sum": lambda cupy, x: cupy.broadcast_to(x, (2, 3, 2)).sum(0),
    "indexing": lambda cupy, x: x[cupy.arange(3)],
    "a product of matrices": lambda cupy, x: x @ cupy.ones((2, 2)).T,
}


@pytest.mark.parametrize("name", FORTRAN)
def test_kernels_write_c_order(name: str, cupy: ModuleType, x: Array) -> None:
    assert not x.T.flags.c_contiguous
    assert FORTRAN[name](cupy, x.T).flags.c_contiguous


def test_what_keeps_the_order(cupy: ModuleType, x: Array) -> None:
    kept = [x.T.astype("float64"), x.T.copy("K"), cupy.empty_like(x.T), cupy.zeros_like(x.T)]
    assert [y.flags.f_contiguous for y in kept] == [True] * 4


def test_from_the_host_only_c_and_fortran_order_come_through(cupy: ModuleType) -> None:
    """An image that lies channels-last arrives in C order."""
    images = np.zeros((2, 4, 4, 3), np.float32).transpose(0, 3, 1, 2)
    for host in (images, images.T.copy(), images.copy("F")):
        arrived = cupy.asarray(host, order="K")
        expected = host.copy("F" if host.flags.fnc else "C")
        assert arrived.strides == expected.strides
    there = cupy.zeros((2, 4, 4, 3)).transpose(0, 3, 1, 2)
    assert there.get(order="A").flags.c_contiguous and there.T.get().flags.c_contiguous
    assert there.copy("F").get(order="A").flags.f_contiguous


def test_reductions_and_elements_are_arrays(cupy: ModuleType, x: Array) -> None:
    for y in (x.sum(), x.max(), x.argmax(), x.all(), x[1, 2], x[()].sum((0, 1)), x[0] @ x[1]):
        assert isinstance(y, cupy.ndarray) and y.shape == ()
    assert x.sum().dtype == np.float32 and x.sum((), np.float64).shape == (2, 3)
    assert float(x.sum()) == x.sum().item() == 15 and f"{x[0, 1]:.2f}" == "1.00"


def test_indices_in_arrays_wrap_round(cupy: ModuleType, x: Array) -> None:
    assert x[0][cupy.array([3, -4, 7])].tolist() == [0, 2, 1]
    x[cupy.array([2]), cupy.array([5])] = 9
    assert x.tolist() == [[0, 1, 9], [3, 4, 5]]


def test_views_share_memory(cupy: ModuleType, x: Array) -> None:
    x.T[2, 1], x[:, :1], x.ravel()[1] = 10, -1, 7
    cupy.flip(x, 1)[1, 1] = 8
    assert x.tolist() == [[-1, 7, 2], [-1, 8, 10]]
    assert not cupy.broadcast_to(x, (4, 2, 3)).strides[0]


def test_integers_to_negative_powers_are_no_error(cupy: ModuleType) -> None:
    assert (cupy.array([0, 1, -1, 2, -3]) ** -1).tolist() == [0, 1, -1, 0, 0]


def test_bool_has_a_sign(cupy: ModuleType) -> None:
    sign = cupy.sign(cupy.array([True, False]))
    assert sign.dtype == np.int8 and sign.tolist() == [1, 0]


def test_a_matrix_that_has_no_root_gives_nan_unless_told_to_raise(cupy: ModuleType) -> None:
    import cupyx

    lower = cupy.linalg.cholesky(cupy.array([[4.0, 2.0], [2.0, 2.0]]))
    assert lower.tolist() == [[2, 0], [1, 1]]
    with cupyx.errstate(linalg="raise"), pytest.raises(np.linalg.LinAlgError):
        cupy.linalg.cholesky(-cupy.ones((1, 1)))


def test_nan_is_no_limit(cupy: ModuleType, x: Array) -> None:
    assert x[0].clip(float("nan"), 1).tolist() == [0, 1, 1]


def test_contiguous_arrays_have_dimensions(cupy: ModuleType, x: Array) -> None:
    assert cupy.ascontiguousarray(x[0, 0]).shape == (1,)


def test_the_solution_of_one_system_lies_in_fortran_order(cupy: ModuleType, x: Array) -> None:
    one = cupy.array([[2.0, 1.0], [0.0, 4.0]], np.float32)
    assert cupy.linalg.solve(one, x).flags.f_contiguous
    assert cupy.linalg.solve(one[None], x[None]).flags.c_contiguous


def test_a_singular_matrix_gives_nan_unless_told_to_raise(cupy: ModuleType) -> None:
    import cupyx

    singular = cupy.zeros((2, 2))
    assert np.isnan(cupy.linalg.solve(singular, cupy.ones((2, 1))).get()).all()
    with cupyx.errstate(linalg="raise"), pytest.raises(np.linalg.LinAlgError):
        cupy.linalg.solve(singular, cupy.ones((2, 1)))


def test_scalars_change_no_dtype(cupy: ModuleType, x: Array) -> None:
    """Python's numbers take the dtype of the array, and NumPy's have one: NEP 50."""
    assert (2 * x).dtype == (x > 1).astype(np.float32).dtype == np.float32
    assert (np.float64(2) * x).dtype == (x * np.float64(2)).dtype == np.float64


# What only the double does


def test_numpys_functions_do_not_dispatch(double: ModuleType, x: Array) -> None:
    for act in (np.exp, np.sum, lambda x: np.concatenate([x, x]), np.zeros_like, np.add.reduce):
        with pytest.raises(TypeError):
            act(x)


@pytest.mark.parametrize("index", [np.arange(2), [0, 1], np.array([True, False])])
def test_indices_lie_on_the_device(index: Any, double: ModuleType, x: Array) -> None:
    """CuPy would copy them there at each use."""
    for act in (lambda: x[index], lambda: x[:, :1][index], lambda: x.__setitem__(index, 0)):
        with pytest.raises(TypeError, match="host"):
            act()


def test_what_nobody_wrote_is_nan(double: ModuleType, x: Array) -> None:
    assert np.isnan(double.empty(3).get()).all() and np.isnan(double.empty_like(x).get()).all()


def test_what_cupy_leaves_open_is_an_error(double: ModuleType, x: Array) -> None:
    with pytest.raises(ValueError, match="assigned twice"):
        x[double.array([1, 3])] = 0
    with pytest.raises(ValueError, match="leaves the memory"):
        double.lib.stride_tricks.as_strided(x[1], (2, 3), x.strides)
    with pytest.raises(AttributeError, match="tests/double lacks it"):
        double.einsum  # noqa: B018


def test_devices_do_not_reach_each_others_memory(double: ModuleType, x: Array) -> None:
    assert x.device.id == 0 and double.cuda.runtime.getDeviceCount() == 2
    with double.cuda.Device(1):
        y = double.zeros((2, 3))
        assert double.asarray(x).device.id == (y + 1).device.id == y.T.device.id == 1
        with pytest.raises(ValueError, match=r"resides \(0\) is different .* device \(1\)"):
            y + x
        with pytest.raises(NotImplementedError, match="non-contiguous"):
            x[:, :2].copy()
    with pytest.raises(ValueError, match=r"resides \(1\)"):
        y.sum()
    assert double.zeros(1).device.id == 0


def test_kernels_copies_and_waits_are_counted_where_they_are_caused(double: ModuleType) -> None:
    double.events.clear()
    here, line = __file__, inspect.currentframe().f_lineno  # type: ignore[union-attr]
    x = double.asarray(np.ones(3))
    y = (x * x + 1).sum()
    y.item()
    assert dict(double.events) == {
        ("to device", "array", f"{here}:{line + 1}"): 1,
        ("launch", "multiply", f"{here}:{line + 2}"): 1,
        ("launch", "add", f"{here}:{line + 2}"): 1,
        ("launch", "sum", f"{here}:{line + 2}"): 1,
        ("to host", "get", f"{here}:{line + 3}"): 1,
        ("wait", "get", f"{here}:{line + 3}"): 1,
    }


def test_a_mask_is_waited_for(double: ModuleType, x: Array) -> None:
    mask = x > 2
    double.events.clear()
    assert x[mask].shape == (3,)
    x[mask] = 0
    assert [kind for kind, _, _ in double.events] == ["launch", "wait", "launch"]


def test_a_fused_function_is_one_kernel(double: ModuleType, x: Array) -> None:
    def outer(x):
        return double.fuse(kernel_name="inner")(double.exp)(x) * x + 1

    double.events.clear()
    fused(double, outer, x)
    with pytest.raises(AttributeError):
        fused(double, lambda x: x + x.sum(), x)
    assert [(kind, name) for kind, name, _ in double.events] == [("launch", "tested")]


def test_two_numbers_in_a_fused_function_are_an_error(double: ModuleType, x: Array) -> None:
    """CuPy would compute with them in float16."""
    for function in (lambda x, a: x * (1 - a), lambda x, a: x * (a * 2), lambda x, a: x * -a):
        with pytest.raises(TypeError, match="float16"):
            fused(double, function, x, 0.9)


def test_views_cost_nothing(double: ModuleType, x: Array) -> None:
    double.events.clear()
    x.T[1:, None].transpose(2, 1, 0).swapaxes(0, 1).squeeze(0)
    double.broadcast_to(double.flip(x, 0), (4, 2, 3))
    assert not double.events


def test_an_element_changed_in_place_is_written_once(double: ModuleType, x: Array) -> None:
    double.events.clear()
    x[:, 1] += 1
    x[:, 1] = x[:, 0]
    assert [name for _, name, _ in double.events] == ["add", "setitem"]
    x[0, 1:] = x[0, :2]
    assert len(double.events) == 3 and x.tolist() == [[0, 0, 0], [3, 3, 5]]


# Mistakes that an op could make, planted


@op(x=lambda g, y: g * y)
def names_numpy(x: Any) -> Tensor:
    return np.exp(x)


@op(x=lambda g, y: g * y)
def mixes_in_the_host(x: Any) -> Tensor:
    return array_module(x).exp(x) * np.ones(x.shape, x.dtype)


@op(x=lambda g: g)
def relies_on_the_order(x: Any) -> Tensor:
    """Right where x + 0 lies in memory as x does."""
    xp, y = array_module(x), x + 0
    return xp.lib.stride_tricks.as_strided(y, x.shape, x.strides)


@op(x=lambda g: g)
def indexes_by_the_host(x: Any) -> Tensor:
    return array_module(x).exp(x)[np.arange(len(x))]


MISTAKES = [names_numpy, mixes_in_the_host, relies_on_the_order, indexes_by_the_host]


@pytest.mark.parametrize("mistaken", MISTAKES)
def test_a_planted_mistake_is_caught(mistaken: Callable, double: ModuleType) -> None:
    x = T.randn(3, 2).transpose(0, 1)
    expected = x.numpy() if mistaken is relies_on_the_order else np.exp(x.numpy())
    np.testing.assert_array_equal(mistaken(x).numpy(), expected)
    there = Tensor(x, device="cuda")
    with pytest.raises((TypeError, AssertionError)):
        np.testing.assert_allclose(mistaken(there).numpy(), expected, rtol=1e-6)


def test_what_one_thread_fuses_another_does_not(double: ModuleType, x: Array) -> None:
    sums: list[float] = []

    def step(x):
        other = threading.Thread(target=lambda: sums.append(double.ones(3).sum().item()))
        other.start()
        other.join()
        return x + 1

    fused(double, step, x)
    assert sums == [3]


def test_a_kernel_in_c_writes_what_it_declares(double: ModuleType) -> None:
    inputs = "raw T x, raw int64 order, raw int64 starts"
    kernel = double.ElementwiseKernel(inputs, "T y", "", "minigen_sums_between")
    x, order, starts = double.ones(2), double.arange(2), double.array([0, 2])
    assert kernel(x, order, starts, double.empty(1)).tolist() == [2]
    for out in (double.empty(1, np.float32), np.empty(1)):
        with pytest.raises(TypeError):
            kernel(x, order, starts, out)
    with pytest.raises(ValueError, match="shape"):
        kernel(x, order, starts, double.empty(2))


def test_a_file_beside_a_folder_passed_over_is_not(double: ModuleType) -> None:
    place = str(Path(double.__file__).parent.parent)
    for name, counted in ((f"{place}/file.py", False), (f"{place}_else.py", True)):
        double.events.clear()
        exec(compile("double.ones(1)", name, "exec"), {"double": double})
        assert any(name in where for _, _, where in double.events) == counted


def test_dlpack_shares_an_array_where_it_is(double: ModuleType, x: Array) -> None:
    with double.cuda.Device(1):
        y = double.zeros(2)
    assert double.from_dlpack(y).device.id == 1
    shared = double.from_dlpack(x)
    x[0, 0] = 7
    assert shared[0, 0].item() == 7
