"""Weights travel: to PyTorch and back by name, and through safetensors files."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn.safetensors import load_file, save_file
from tensor import Tensor
from tests.tensor.layouts import DTYPES, layouts, same

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


# To PyTorch and back, by name

PIXELS = np.random.default_rng(0).standard_normal((3, 4, 6, 6)).astype(np.float32)

NETWORKS: dict[str, tuple[Callable[[Any], Any], np.ndarray]] = {
    "Linear": (lambda nn: nn.Linear(6, 5), PIXELS),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, (3, 2), groups=2), PIXELS),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, (3, 4), 2, groups=2), PIXELS),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), PIXELS),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(4), PIXELS),
    "LayerNorm": (lambda nn: nn.LayerNorm((6, 6)), PIXELS),
    "InstanceNorm2d": (lambda nn: nn.InstanceNorm2d(4, affine=True), PIXELS),
    "Embedding": (lambda nn: nn.Embedding(5, 3), np.array([[0, 4, 4], [2, 0, 1]])),
    "nested": (
        lambda nn: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1),
            nn.Sequential(nn.BatchNorm2d(8), nn.SiLU()),
            nn.ConvTranspose2d(8, 2, 2, 2),
            nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(288, 3)),
        ),
        PIXELS,
    ),
}
every_network = pytest.mark.parametrize(("make", "x"), NETWORKS.values(), ids=NETWORKS.keys())


def altered(torch: Any, theirs: Any, x: np.ndarray) -> Any:
    """PyTorch's network with no weight left at 0 or 1, and running statistics of two batches."""
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.tensor(rng.normal(0, 0.1, p.shape)))
        for _ in range(2):
            theirs(torch.tensor(x))
    return theirs


def assert_same_outputs(torch: Any, ours: nn.Module, theirs: Any, x: np.ndarray) -> None:
    for mode in (False, True, False):  # the second moves the running statistics
        y, z = (
            ours.train(mode)(x if x.dtype == int else Tensor(x)),
            theirs.train(mode)(torch.tensor(x)),
        )
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-4, atol=1e-5)


@every_network
def test_torchs_state_is_taken_as_it_is(torch: Any, make: Callable, x: np.ndarray) -> None:
    ours, theirs = make(nn), altered(torch, make(torch.nn), x)
    ours.load_state_dict(theirs.state_dict())
    assert_same_outputs(torch, ours, theirs, x)


def documented(line: str) -> str:
    """The only line of code in the docstring that starts so."""
    (code,) = re.findall(f"`({re.escape(line)}.*)`", str(nn.Module.state_dict.__doc__))
    return code


@pytest.mark.filterwarnings("error")
@every_network
def test_torch_takes_our_state_by_the_documented_line(
    torch: Any, make: Callable, x: np.ndarray
) -> None:
    ours, theirs = make(nn), make(torch.nn)
    ours.load_state_dict(altered(torch, make(torch.nn), x).state_dict())
    exec(documented("theirs.load_state_dict"), {"torch": torch, "theirs": theirs, "ours": ours})
    assert_same_outputs(torch, ours, theirs, x)


def test_weights_that_were_carried_over_are_not_shared(torch: Any) -> None:
    ours, theirs, twin = nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    state = {name: torch.from_dlpack(x) for name, x in ours.state_dict().items()}
    twin.load_state_dict(state, assign=True)
    before = ours.weight.tolist()
    with torch.no_grad():
        twin.weight.zero_()
    assert ours.weight.tolist() == before
    ours.load_state_dict(theirs.state_dict())
    before = ours.weight.tolist()
    with torch.no_grad():
        theirs.weight.zero_()
    assert ours.weight.tolist() == before


def test_half_is_taken_exactly_and_bfloat16_when_it_was_converted(torch: Any) -> None:
    ours, theirs = nn.Linear(2, 3), torch.nn.Linear(2, 3)
    for converted in (theirs.half(), theirs.bfloat16().float().cpu()):
        ours.load_state_dict(converted.state_dict())
        assert ours.weight.dtype == np.float32
        assert ours.weight.tolist() == converted.weight.tolist()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (lambda theirs: theirs.bfloat16().state_dict(), "BFloat16"),
        (lambda theirs: dict(theirs.named_parameters()), "detach"),
    ],
)
def test_what_numpy_cannot_read_is_listed_and_nothing_taken(
    torch: Any, state: Callable, reason: str
) -> None:
    ours = nn.Linear(2, 3)
    before = ours.weight.tolist()
    cause = r"float32 \({}\), got a \w+ that NumPy cannot read \(.*{}.*\)"
    weight, bias = cause.format("3, 2", reason), cause.format("3,", reason)
    with pytest.raises(ValueError, match=f"^Linear: weight: expected {weight}; bias: .*{bias}"):
        ours.load_state_dict(state(torch.nn.Linear(2, 3)))
    assert ours.weight.tolist() == before


# safetensors: as the format is specified, 8 bytes for the length of a JSON header, header, numbers


def file_of(dtype: str, shape: tuple[int, ...], content: bytes) -> bytes:
    """A file with one tensor, x."""
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]}
    header = json.dumps({"x": entry}).encode()
    return len(header).to_bytes(8, "little") + header + content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.safetensors"


@given(state=st.dictionaries(st.text(max_size=5), layouts(), max_size=3))
def test_what_is_saved_is_loaded_here_and_by_the_library(
    state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save_file(state, path)
    ours, theirs = load_file(path), safetensors.numpy.load_file(path)
    assert ours.keys() == theirs.keys() == state.keys()
    for name, x in state.items():
        assert same(x, ours[name].numpy()) and same(x, theirs[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_is_read(path: Path, dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    code = "BOOL" if dtype == "?" else f"{dtype[0].upper()}{8 * int(dtype[1])}"
    path.write_bytes(file_of(code, (2, 3), array.tobytes()))
    assert same(load_file(path)["x"], array)


def brain_floats() -> np.ndarray:
    """All bfloat16 by definition: a sign, 8 bits of exponent and 7 of fraction."""
    bits = np.arange(2**16)
    sign, exponent, fraction = (-1.0) ** (bits >> 15), bits >> 7 & 255, (bits & 127) / 128
    normal = (1 + fraction) * 2.0 ** (exponent - 127)
    values = np.where(exponent == 0, fraction * 2.0**-126, normal)
    values[(exponent == 255) & (fraction == 0)] = np.inf
    values[(exponent == 255) & (fraction > 0)] = np.nan
    return sign * values


@pytest.mark.parametrize(
    ("code", "values"),
    [("F16", lambda: np.arange(2**16, dtype="<u2").view(np.float16)), ("BF16", brain_floats)],
)
def test_all_short_floats_become_float32_exactly(
    path: Path, code: str, values: Callable[[], np.ndarray]
) -> None:
    path.write_bytes(file_of(code, (2, 2**15), np.arange(2**16, dtype="<u2").tobytes()))
    x = load_file(path)["x"]
    assert x.dtype == np.float32 and x.shape == (2, 2**15)
    assert np.array_equal(x.numpy().ravel(), values().astype(np.float64), equal_nan=True)


def test_a_single_short_float_keeps_its_shape(path: Path) -> None:
    path.write_bytes(file_of("BF16", (), b"\xc0\x3f"))
    assert load_file(path)["x"].shape == () and load_file(path)["x"].item() == 1.5


@every_network
def test_files_go_to_torch_and_come_back(
    torch: Any, path: Path, make: Callable, x: np.ndarray
) -> None:
    from safetensors.torch import load_file as torchs_load
    from safetensors.torch import save_file as torchs_save

    ours, theirs = make(nn), altered(torch, make(torch.nn), x)
    torchs_save(theirs.state_dict(), path)
    ours.load_state_dict(load_file(path))
    assert_same_outputs(torch, ours, theirs, x)
    twin = make(torch.nn)
    save_file(ours.state_dict(), path)
    twin.load_state_dict(torchs_load(path))
    assert_same_outputs(torch, ours, twin, x)


def test_metadata_is_kept(path: Path) -> None:
    save_file(nn.Linear(1, 2).state_dict(), path, {"epoch": "3"})
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"epoch": "3"}


def test_weights_that_want_a_gradient_are_saved(path: Path) -> None:
    net = nn.Linear(1, 2)
    save_file(dict(net.named_parameters()), path)
    assert {name: x.tolist() for name, x in load_file(path).items()} == {
        name: p.tolist() for name, p in net.named_parameters()
    }


def test_a_file_is_replaced_and_never_written_into(path: Path, tmp_path: Path) -> None:
    save_file({"x": Tensor([1.0])}, path)
    os.link(path, tmp_path / "old")
    with pytest.raises(TypeError):
        save_file({"x": Tensor([2.0])}, path, {"epoch": 3})  # type: ignore[dict-item]
    assert load_file(path)["x"].tolist() == [1]
    save_file({"x": Tensor([2.0])}, path)
    assert load_file(path)["x"].tolist() == [2] and load_file(tmp_path / "old")["x"].tolist() == [1]
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors", "old"]


WHOLE = file_of("F32", (2,), np.ones(2, "<f4").tobytes())


@pytest.mark.parametrize(
    "content", [*(WHOLE[:n] for n in range(len(WHOLE))), WHOLE + b"x", b"PK" + WHOLE], ids=len
)
def test_a_damaged_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match="net.safetensors: damaged, or not a safetensors file"):
        load_file(path)


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="net.safetensors"):
        load_file(path)


def test_dtypes_that_tensors_cannot_have_are_refused(path: Path) -> None:
    path.write_bytes(file_of("F8_E4M3", (2,), bytes(2)))
    with pytest.raises(TypeError, match="net.safetensors: x: F8_E4M3 is not supported"):
        load_file(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Linear(1, 2), r"a dict of tensors by name, such as net.state_dict\(\), got Linear"),
        ({"x": np.ones(2)}, "'x' is no tensor, but ndarray"),
    ],
)
def test_only_tensors_by_name_are_saved(path: Path, given: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^save_file: .*{message}"):
        save_file(given, path)
    assert not path.exists()


@pytest.mark.parametrize(
    "call", [lambda path: save_file({}, path), lambda path: load_file(path)], ids=["save", "load"]
)
def test_without_the_library_the_error_names_the_extra(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[safetensors\]'"):
        call(path)


def test_the_library_is_imported_only_for_a_file() -> None:
    code = "import sys, nn; print('safetensors' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert process.stdout == "False\n", process.stderr
