"""What tensors on a GPU do as those on the CPU do, and what each is told of the other."""

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensor as T
from tensor import Tensor, grad
from tensor.arrays import array_module, device_of, to_device
from tests.tensor.table import TABLE
from tests.tensor.test_ops import as_tuple, every_op

MASK = np.array([True, False, True])
BESIDE: dict[str, Callable[[Tensor], Any]] = {
    "a number to the power": lambda x: 2.0**x,
    "where of True": lambda x: T.where(True, x, 0),
    "where of False": lambda x: T.where(False, 1.0, x),
    "where of a mask": lambda x: T.where(MASK, x, 0),
    "where of a list": lambda x: T.where([True, False, True], x, np.arange(3)),
    "array": lambda x: x * np.arange(3, dtype=np.float32),
    "number of NumPy": lambda x: np.float64(2) * x,
    "clamp to arrays": lambda x: T.clamp(x, np.zeros(3), np.float64(0.5)),
    "clamp of a number": lambda x: T.clamp(0.5, x, None),
    "NaN as lower limit": lambda x: T.clamp(x, float("nan"), 1),
    "NaN as upper limit": lambda x: T.clamp(x, max=float("nan")),
    "running statistics": lambda x: T.batch_norm(x[:, None], np.ones(1), np.full(1, 2.0)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_numbers_and_arrays_come_to_the_tensor(name: str, device: str) -> None:
    """With the value, the dtype and the gradient that they have beside a tensor on the CPU."""
    f, values = BESIDE[name], np.array([1.0, -2.0, 3.0], np.float32)
    here, there = (Tensor(values, True, device=where) for where in ("cpu", device))
    expected, y = f(here), f(there)
    assert (y.dtype, y.device) == (expected.dtype, there.device)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-6)
    (slope,), (expected,) = grad(y.sum(), there), grad(expected.sum(), here)
    assert slope.device == there.device
    np.testing.assert_allclose(slope.numpy(), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("other", [np.array([1, 2, 3]), [1.0, 2.0, 3.0], np.float64(2), 2])
def test_tensors_are_compared_with_the_host(name: str, other: Any, device: str) -> None:
    x = Tensor([3.0, 2.0, 1.0], device=device)
    y = getattr(T, name)(x, other)
    assert y.device == x.device and y.dtype == bool
    assert y.numpy().tolist() == getattr(T, name)(x.numpy(), np.asarray(other)).tolist()


APART: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda x, y: x + y,
    "gt": lambda x, y: x > y,
    "gt of a number": lambda x, y: T.gt(x[0], y),
    "where": lambda x, y: T.where(x > 0, y, 0),
    "clamp": lambda x, y: T.clamp(x, y),
    "cat": lambda x, y: T.cat([x, y]),
    "backward": lambda x, y: (x.requires_grad_() * 2).backward(y),
    "add an array": lambda x, y: x + y.data,
}


@pytest.mark.parametrize("name", APART)
def test_tensors_on_two_devices_are_told_to_move(name: str, cupy: ModuleType) -> None:
    here, there = T.ones(3), T.ones(3, device="cuda")
    for x, y in ((here, there), (there, here)):
        if name == "add an array" and y is here:
            continue  # an array on the host follows
        with pytest.raises(RuntimeError, match=r"different devices, cpu and cuda:0: move them"):
            APART[name](x, y)


def test_gradients_given_as_arrays_come_to_the_graph(device: str) -> None:
    for given_gradient in (np.arange(3), [0, 1, 2]):
        x = T.ones(3, device=device, requires_grad=True)
        (x * 2).backward(given_gradient)
        assert x.grad.device == x.device and x.grad.numpy().tolist() == [0, 2, 4]


def test_the_module_of_a_number_is_numpy_also_after_cupy_was_imported(cupy: ModuleType) -> None:
    assert array_module(2.0) is array_module(None) is array_module(MASK) is np
    assert array_module(cupy.ones(1)) is cupy


# Integers and bool


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint64])
@given(data=st.data())
def test_integers_are_clamped_to_any_integers(
    dtype: type, device: str, data: st.DataObject
) -> None:
    """Also to those that their dtype cannot hold."""
    info, bounds = np.iinfo(dtype), st.none() | st.integers(-(2**70), 2**70) | st.integers(-3, 300)
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=4))
    low, high = data.draw(st.tuples(bounds, bounds).filter(lambda pair: pair != (None, None)))
    y = T.clamp(Tensor(np.array(values, dtype), device=device), low, high)
    limited = [v if low is None else max(v, low) for v in values]
    limited = [v if high is None else min(v, high) for v in limited]
    assert y.dtype == dtype
    assert y.numpy().tolist() == [max(info.min, min(info.max, v)) for v in limited]


def test_a_product_of_small_integers_may_be_large(device: str) -> None:
    y = T.prod(Tensor(np.array([16, 16, 2], np.uint8), device=device))
    assert y.dtype == np.int64 and y.item() == 512


def test_bool_is_clamped_as_in_pytorch(device: str) -> None:
    y = T.clamp(Tensor([True, False], device=device), 0, 1)
    assert y.dtype == np.int64 and y.numpy().tolist() == [1, 0]


REFUSED: dict[str, tuple[Callable[[str], Any], type[Exception], str]] = {
    "power": (lambda d: Tensor([1, 2], device=d) ** -1, ValueError, "negative integer powers"),
    "powers": (
        lambda d: Tensor([1, 2], device=d) ** Tensor([1, -1], device=d),
        ValueError,
        "negative integer powers",
    ),
    "power of a number": (
        lambda d: 2 ** Tensor([1, -1], device=d), ValueError, "negative integer powers",
    ),
    "sign": (lambda d: T.sign(Tensor([True], device=d)), TypeError, "^sign: .* bool"),
    "text beside": (
        lambda d: T.ones(1, device=d) + np.array(["a"]), TypeError, "^add: expected real numbers",
    ),
    "compared with text": (
        lambda d: T.ones(1, device=d) == np.array(["a"]), TypeError, "^eq: expected real numbers",
    ),
    "text": (lambda d: Tensor(np.array(["a"]), device=d), TypeError, "dtype <U1 is not supported"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_cpu_refuses_every_device_refuses(name: str, device: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(device)


def test_a_number_on_the_device_frames_an_image(device: str) -> None:
    value = Tensor(2.0, device=device)
    y = T.pad(T.ones(1, device=device), (1, 1), value=value)
    assert y.numpy().tolist() == [2, 1, 2]


# From one device to another


@given(order=st.permutations(range(4)), turned=st.booleans())
def test_the_order_in_memory_survives_a_journey(device: str, order: list, turned: bool) -> None:
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5).transpose(order)
    x = x[:, ::-1] if turned else x
    there = to_device(x, device)
    back = to_device(there, "cpu")
    assert np.array_equal(back, x)
    if device == "cpu":
        assert back is there is x
    else:
        assert back.strides == there.strides == x.copy("K").strides


def test_a_number_stays_one_on_every_device(device: str) -> None:
    for x in (np.float32(2), np.array(2.0)):
        there = to_device(x, device)
        assert there.shape == () and device_of(there).startswith(device) and float(there) == 2


def test_a_second_gpu_is_refused_in_words(cupy: ModuleType) -> None:
    for make in (lambda: T.ones(1).to("cuda:1"), lambda: T.ones(1, device="cuda:1")):
        with pytest.raises(ValueError, match="only the first GPU.*CUDA_VISIBLE_DEVICES=1.*'cuda'"):
            make()
    assert T.ones(1, device="cuda:0").to("cuda").device == "cuda:0"


def test_data_of_another_device_are_named(cupy: ModuleType) -> None:
    here, there = T.ones(2, requires_grad=True), T.ones(2, device="cuda", requires_grad=True)
    for x, array in ((here, cupy.ones(2, np.float32)), (there, np.ones(2, np.float32))):
        message = f"expected float32 on {x.device}, .* got float32 on {device_of(array)}"
        with pytest.raises(TypeError, match=message):
            x.data = array


def test_indices_on_the_host_are_checked_there(double: ModuleType) -> None:
    """A check of them on the device would wait for it."""
    x = T.ones(3, device="cuda")
    double.events.clear()
    assert x[[0, 2]].shape == (2,)
    with pytest.raises(IndexError, match="index 3 is out of range"):
        x[np.array([0, 3])]
    assert "wait" not in {kind for kind, _, _ in double.events}


def on_cuda(option: Any) -> Any:
    """An option of an op with its arrays on the device."""
    if isinstance(option, tuple):
        return tuple(map(on_cuda, option))
    return Tensor(option, device="cuda") if isinstance(option, np.ndarray) else option


WAITS = {"gather": 1, "embedding": 1, "solve": 3, "cholesky": 3}
"""For what is checked: that indices are in range, that matrices have an inverse, a root."""


@every_op
@given(data=st.data())
def test_what_lies_on_cuda_stays_there(name: str, double: ModuleType, data: st.DataObject) -> None:
    """In an op and its derivatives: nothing comes from the host, and hardly one waits."""
    inputs, options = data.draw(TABLE[name].calls)
    options = {key: on_cuda(option) for key, option in options.items()}
    xs = [Tensor(x.detach(), requires_grad=True, device="cuda") for x in inputs]
    for _ in range(2):  # constants that an op needs may come in the first call
        double.events.clear()
        ys = as_tuple(TABLE[name].f(*xs, **options))
        grad(ys, xs, [y.detach() for y in ys])
    found: Counter[str] = Counter()
    for (kind, _, _), times in double.events.items():
        found[kind] += times
    arrays = [x for x in as_tuple(options.get("index")) if isinstance(x, Tensor)]
    waits = 2 * len(arrays) if name == "getitem" else WAITS.get(name, 0)
    assert not found["to device"] and found["wait"] <= waits


MADE: dict[str, Callable[..., Tensor]] = {
    "tensor": lambda **how: T.tensor([1.5, 2.0], **how),
    "zeros": lambda **how: T.zeros(2, 3, **how),
    "ones": lambda **how: T.ones((2, 3), **how),
    "full": lambda **how: T.full((2,), 7, **how),
    "eye": lambda **how: T.eye(2, 3, **how),
    "arange": lambda **how: T.arange(1, 6, 2, **how),
    "linspace": lambda **how: T.linspace(0, 1, 3, **how),
    "randint": lambda **how: T.randint(9, (4,), generator=np.random.default_rng(0), **how),
    "zeros_like": lambda **how: T.zeros_like(T.ones(2, **how)),
    "ones_like": lambda **how: T.ones_like(T.arange(2, **how)),
    "full_like": lambda **how: T.full_like(T.ones(2, **how), 3),
    "rand_like": lambda **how: T.rand_like(T.ones(2, **how), generator=np.random.default_rng(0)),
    "randn_like": lambda **how: T.randn_like(T.ones(2, **how), generator=np.random.default_rng(0)),
}


@pytest.mark.parametrize("name", MADE)
def test_new_tensors_are_the_same_on_every_device(name: str, device: str) -> None:
    here, there = MADE[name](), MADE[name](device=device)
    assert there.device.startswith(device) and there.dtype == here.dtype
    assert there.tolist() == there.cpu().tolist() == here.tolist()
    assert getattr(here, device)().tolist() == here.tolist()


def test_arrays_of_another_gpu_are_refused_in_words(double: ModuleType) -> None:
    with double.cuda.Device(1):
        array = double.ones(2)
    x = T.ones(2, device="cuda")
    for use in (Tensor, T.tensor, T.from_dlpack, lambda array: x * array, x.copy_):
        with pytest.raises(ValueError, match="'cuda:1': only the first GPU .*_DEVICES=1"):
            use(array)
