"""What other libraries read of tensors, and tensors of theirs: NumPy's protocols and DLPack."""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

import tensor
from tensor import Tensor, exp, from_dlpack, grad
from tests.tensor.layouts import DTYPES, layouts, same


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


# NumPy's functions


@given(x=layouts(), dtype=st.sampled_from([None, *DTYPES]), copy=st.sampled_from([None, True]))
def test_numpy_reads_a_tensor_as_it_reads_its_array(x: Tensor, dtype: Any, copy: Any) -> None:
    found, expected = (np.array(y, dtype, copy=copy) for y in (x, x.numpy()))
    assert found.dtype == expected.dtype and np.array_equal(found, expected)
    assert np.shares_memory(found, x.data) == np.shares_memory(expected, x.data)
    assert found.flags.writeable == expected.flags.writeable


def test_numpy_shares_memory_where_it_may_not_copy() -> None:
    x = Tensor([1.0, 2.0])
    shared = np.array(x, copy=False)
    assert np.shares_memory(shared, x.data) and not shared.flags.writeable
    assert x.__array__(np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        np.array(x, np.float64, copy=False)


def test_a_tensor_on_a_gpu_cannot_be_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensor.base.device_of", lambda x: "cuda:1")
    with pytest.raises(ValueError, match="copy=False: NumPy cannot read a tensor on cuda:1"):
        np.array(Tensor([1.0]), copy=False)


READERS: dict[str, Callable[[Tensor], Any]] = {
    "asarray": np.asarray,
    "array": np.array,
    "array of a list": lambda x: np.array([x, x]),
    "concatenate": lambda x: np.concatenate([x, x]),
    "stack": lambda x: np.stack([x, x]),
    "median": np.median,
    "where": lambda x: np.where(x, 1.0, 0.0),
    "dot": lambda x: np.dot(x, np.ones(2)),
    "assignment": lambda x: np.zeros(2).__setitem__(slice(None), x),
}
WANTING: dict[str, Callable[[], Tensor]] = {
    "leaf": lambda: Tensor([1.0, 2.0], requires_grad=True),
    "result": lambda: exp(Tensor([1.0, 2.0], requires_grad=True)),
}


@pytest.mark.parametrize("make", WANTING.values(), ids=WANTING.keys())
@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_numpy_cannot_leave_the_graph_unasked(read: Callable, make: Callable) -> None:
    x = make()
    for context in (tensor.enable_grad(), tensor.no_grad()):
        with context, pytest.raises(RuntimeError, match=r"tensor\.cat.* detach\(\)"):
            read(x)
    read(x.detach())


def test_matplotlib_draws_what_is_detached() -> None:
    axes, x = Figure().subplots(), Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"detach\(\)"):
        axes.plot(x)
    (line,) = axes.plot(x.detach())
    assert line.get_ydata().tolist() == [1, 2]


def test_values_are_read_knowingly() -> None:
    x = exp(Tensor([0.0, 0.0], requires_grad=True))
    assert x.numpy().tolist() == x.tolist() == x.data.tolist() == [1, 1]
    assert np.shape(x) == (2,) and not x.numpy().flags.writeable


# DLPack: to others


@given(x=layouts())
def test_numpy_takes_tensors_over(x: Tensor) -> None:
    taken = np.from_dlpack(x)  # type: ignore[arg-type]
    assert same(x, taken) and not np.shares_memory(taken, x.data)


@given(x=layouts())
def test_torch_takes_tensors_over(torch: Any, x: Tensor) -> None:
    assert same(torch.from_dlpack(x), x.numpy()) and same(torch.tensor(x), x.numpy())


def test_who_takes_a_tensor_over_cannot_change_it(torch: Any) -> None:
    """PyTorch writes into memory that is marked as read-only."""
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    torch.from_dlpack(x.detach()).zero_()
    assert x.tolist() == [1, 2] and grad(y, x)[0].tolist() == [2, 4]


@pytest.mark.parametrize("options", [{}, {"max_version": (1, 0)}, {"copy": True}], ids=str)
def test_a_capsule_for_old_and_new_readers(options: dict[str, Any]) -> None:
    x = Tensor([1.0])
    assert x.__dlpack_device__() == (1, 0)
    assert "dltensor" in repr(x.__dlpack__(dl_device=(1, 0), **options))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (Tensor([1.0]), {"copy": False}, "copy=False: tensors are read-only"),
        (Tensor([1.0]), {"dl_device": (2, 0)}, r"this tensor is on cpu: move it with to\(\)"),
        (Tensor([1.0], requires_grad=True), {}, r"no gradient: detach\(\)"),
        (exp(Tensor([1.0], requires_grad=True)), {}, r"no gradient: detach\(\)"),
    ],
)
def test_what_dlpack_refuses(x: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BufferError, match=message):
        x.__dlpack__(**options)


# DLPack: from others


@given(x=layouts())
def test_what_was_given_away_comes_back(x: Tensor) -> None:
    back = from_dlpack(x)
    assert same(back, x.numpy()) and type(back) is Tensor and not back.requires_grad


@given(x=layouts())
def test_tensors_of_torchs(torch: Any, x: Tensor) -> None:
    theirs = torch.tensor(x.numpy().copy())
    turned = theirs.permute(tuple(range(x.ndim))[::-1])
    assert same(from_dlpack(theirs), x.numpy()) and same(from_dlpack(turned), x.numpy().T)


def test_from_dlpack_copies() -> None:
    array = np.ones(2)
    x = from_dlpack(array)
    array[:] = 5
    assert x.tolist() == [1, 1] and not x.data.flags.writeable


def test_from_dlpack_stays_on_its_device(device: str) -> None:
    x = tensor.ones(2, device=device)
    assert from_dlpack(x).device == x.device


def test_an_array_on_a_gpu_needs_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install -e '\.\[cuda12\]'"):
        from_dlpack(SimpleNamespace(__dlpack_device__=lambda: (2, 0)))


THEIRS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda torch: torch.ones(2).bfloat16(), TypeError, "from_dlpack: .* Unsupported dtype"),
    (lambda torch: torch.ones(2).half(), TypeError, "dtype float16 is not supported"),
    (lambda torch: torch.ones(2, requires_grad=True), BufferError, "detach"),
]


@pytest.mark.parametrize(("make", "error", "message"), THEIRS, ids=[m for *_, m in THEIRS])
def test_what_cannot_be_taken_over(
    torch: ModuleType, make: Callable, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_dlpack(make(torch))


def test_a_list_is_no_array() -> None:
    with pytest.raises(TypeError, match="from_dlpack: expected an array with __dlpack__, got list"):
        from_dlpack([1.0])
