"""Checkpoints: exact round trips, and damaged, foreign or hostile files that are refused, always in
the same way."""

import contextlib
import hashlib
import io
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
names = st.text(st.characters(), max_size=12)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)

AWKWARD_NAMES = ["", "meta.json", "a.npy", "a", "../b", "\\", "\0", "%41", "\ud800"]
SMALL = {"layer.weight": np.array([[1.5, -2.0]], np.float32), "step": np.array(7)}
META = {"epoch": 3, "rng": np.random.default_rng(0).bit_generator.state}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def small(folder: Path) -> bytes:
    save_checkpoint(folder / "small.npz", SMALL, META)
    return (folder / "small.npz").read_bytes()


def assert_same(loaded: dict[str, np.ndarray], saved: dict[str, np.ndarray]) -> None:
    assert list(loaded) == list(saved)
    for name, array in saved.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def refused(path: Path, content: bytes) -> str:
    """Asserts that a file of these bytes raises CheckpointError, and returns its message."""
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def forged(members: dict[str, bytes]) -> bytes:
    """An archive with a valid seal, whatever it holds: what a mischievous writer would make."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = b"minigen checkpoint, sha256 " + b"0" * 64
        for name, content in members.items():
            archive.writestr(name, content)
    return resealed(file.getvalue())


def resealed(content: bytes) -> bytes:
    seal = b"minigen checkpoint, sha256 "
    body = content[: -len(seal) - 64]
    return body + seal + hashlib.sha256(body).hexdigest().encode()


@given(
    saved=st.dictionaries(names, arrays, max_size=4),
    meta=st.dictionaries(st.text(), json_values, max_size=4),
)
@example(saved={}, meta={})
@example(saved={name: np.ones(1) for name in AWKWARD_NAMES}, meta={"n": 2**200})
def test_round_trip_is_exact(folder: Path, saved: dict[str, np.ndarray], meta: dict) -> None:
    save_checkpoint(folder / "round-trip", saved, meta)
    loaded, loaded_meta = load_checkpoint(folder / "round-trip")
    assert_same(loaded, saved)
    assert repr(loaded_meta) == repr(meta)
    assert all(array.flags.writeable for array in loaded.values())


def test_random_generators_resume(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rng.random(3, dtype=np.float32)
    save_checkpoint(tmp_path / "c.npz", {}, {"rng": rng.bit_generator.state})
    restored = np.random.default_rng()
    restored.bit_generator.state = load_checkpoint(tmp_path / "c.npz")[1]["rng"]
    assert (
        restored.random(5, dtype=np.float32).tobytes() == rng.random(5, dtype=np.float32).tobytes()
    )


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        np.transpose,
        lambda a: a[::-2, 1:],
        lambda a: np.broadcast_to(a, (2, 3, 4)),
    ],
)
def test_views_are_saved_by_value(tmp_path: Path, view) -> None:
    array = view(np.arange(12.0).reshape(3, 4))
    save_checkpoint(tmp_path / "c.npz", {"a": array}, {})
    assert_same(load_checkpoint(tmp_path / "c.npz")[0], {"a": array})


def test_equal_contents_make_equal_files(
    folder: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    save_checkpoint(folder / "again.npz", SMALL, META)
    assert (folder / "again.npz").read_bytes() == small


def test_numpy_opens_a_checkpoint(folder: Path, small: bytes) -> None:
    with np.load(folder / "small.npz") as file:
        assert (
            np.array_equal(file["layer.weight"], SMALL["layer.weight"])
            and b'"epoch": 3' in file["meta.json"]
        )


def test_every_truncation_is_refused(folder: Path, small: bytes) -> None:
    for length in range(len(small)):
        message = refused(folder / "cut.npz", small[:length])
        assert "cut short" in message or length < 2


def test_every_flipped_bit_is_refused(folder: Path, small: bytes) -> None:
    for position in range(len(small)):
        for flip in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(small)
            damaged[position] ^= flip
            refused(folder / "flipped.npz", bytes(damaged))


def test_no_damage_under_a_valid_seal_raises_anything_else(folder: Path, small: bytes) -> None:
    for position in range(len(small)):
        for flip in (1, 8, 255):
            damaged = bytearray(small)
            damaged[position] ^= flip
            (folder / "forged.npz").write_bytes(resealed(bytes(damaged)))
            with contextlib.suppress(CheckpointError):
                load_checkpoint(folder / "forged.npz")


@given(content=st.binary() | st.binary().map(lambda tail: b"PK\x03\x04" + tail))
def test_other_bytes_are_refused(folder: Path, content: bytes) -> None:
    refused(folder / "bytes.npz", content)
    refused(folder / "bytes.npz", resealed(b"PK" + content + bytes(91)))


@pytest.mark.parametrize("extra", [b"\0", b"PK\x05\x06" + bytes(18)])
def test_bytes_added_at_the_end_are_refused(folder: Path, small: bytes, extra: bytes) -> None:
    refused(folder / "long.npz", small + extra)


class Bomb:
    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


def test_pickles_are_never_executed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bomb, "exploded", False)
    bomb, array_of_bombs = pickle.dumps(Bomb()), npy(np.array([Bomb()], dtype=object))
    for content in (
        bomb,
        forged({"meta.json": bomb}),
        forged({"meta.json": b"{}", "a.npy": bomb}),
        forged({"meta.json": b"{}", "a.npy": array_of_bombs}),
    ):
        refused(folder / "hostile.npz", content)
        assert not Bomb.exploded
    pickle.loads(bomb)
    assert Bomb.exploded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npz file"),
        (b"\x80\x04K\x01.", "not an .npz file"),
        (forged({"a.npy": npy(np.zeros(2))}), "meta.json"),
        (
            forged({"meta.json": b"{", "a.npy": npy(np.zeros(2))}),
            "sealed, but not by save_checkpoint",
        ),
        (forged({"meta.json": b"[" * 100_000}), "sealed, but not by save_checkpoint"),
        (forged({"meta.json": b"{}", "a.npy": b"no array"}), "sealed, but not by save_checkpoint"),
        (
            forged({"meta.json": b"{}", "a.npy": npy(np.zeros(9))[:-8]}),
            "sealed, but not by save_checkpoint",
        ),
    ],
)
def test_errors_say_what_is_wrong(folder: Path, content: bytes, message: str) -> None:
    assert message in refused(folder / "wrong.npz", content)


def test_files_of_numpy_are_recognised(folder: Path) -> None:
    np.savez(folder / "numpy.npz", a=np.zeros(2))
    assert "no seal" in refused(folder / "numpy.npz", (folder / "numpy.npz").read_bytes())


def test_a_changed_file_is_distinguished_from_a_short_one(folder: Path, small: bytes) -> None:
    assert "altered" in refused(folder / "x.npz", small.replace(b'"epoch": 3', b'"epoch": 4'))


@pytest.mark.parametrize("path", ["missing.npz", "."])
def test_missing_files_and_folders_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder / path)


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    save_checkpoint(tmp_path / "c.npz", SMALL, META)
    before = (tmp_path / "c.npz").read_bytes()
    monkeypatch.setattr(os, stage, fail)
    with pytest.raises(type(failure)):
        save_checkpoint(tmp_path / "c.npz", {"step": np.array(8)}, META)
    assert os.listdir(tmp_path) == ["c.npz"] and (tmp_path / "c.npz").read_bytes() == before


def test_a_save_goes_through_a_synced_file_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, int, Path | None]] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(file: int) -> None:
        events.append(("fsync", os.fstat(file).st_size, None))
        fsync(file)

    def logged_replace(source: Path, target: Path) -> None:
        events.append(("replace", os.path.getsize(source), source.parent))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    save_checkpoint(tmp_path / "c.npz", SMALL, META)
    size = os.path.getsize(tmp_path / "c.npz")
    assert events == [("fsync", size, None), ("replace", size, tmp_path)] and os.listdir(
        tmp_path
    ) == ["c.npz"]


@pytest.mark.parametrize(
    "meta",
    [
        {"a": (1, 2)},
        {1: "a"},
        {"a": np.float64(1)},
        {"a": np.float32(1)},
        {"a": {1}},
        {"a": [{2: 3}]},
        {"\ud83d\ude00": 1},
    ],
)
def test_meta_that_json_would_change_is_refused(tmp_path: Path, meta: dict) -> None:
    with pytest.raises(ValueError, match=r"save_checkpoint.*meta"):
        save_checkpoint(tmp_path / "c.npz", SMALL, meta)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, complex),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "f,i"),
    ],
)
def test_arrays_of_other_dtypes_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="'weight' has dtype"):
        save_checkpoint(tmp_path / "c.npz", {"weight": array}, {})
    assert os.listdir(tmp_path) == []
