"""A run's folder: it never loses what it holds, and gives back what was saved."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.training.run import Run, RunError, State, unused_folder
from tensor import Tensor
from tests.minigen.small_runs import DIGITS, RING, contents, new_run

# The folder


def test_a_line_that_was_cut_short_is_left_out_and_then_dropped(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert run.metrics() == []
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    whole = (run.path / "metrics.jsonl").read_bytes()
    for length in range(len(whole)):
        (run.path / "metrics.jsonl").write_bytes(whole[:length])
        assert run.metrics() == [
            {"step": s, "loss": 1 / s} for s in range(1, whole[:length].count(b"\n") + 1)
        ]
    run.forget_after(2)
    assert (run.path / "metrics.jsonl").read_bytes() == b"".join(
        whole.splitlines(keepends=True)[:2]
    )


def test_metrics_beyond_a_step_are_forgotten(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    for step in (1, 2, 3):
        run.log({"step": step})
    for kept in (3, 1, 0):
        run.forget_after(kept)
        assert run.metrics() == [{"step": s} for s in range(1, kept + 1)]


def test_frames_are_kept_in_order_and_forgotten_beyond_a_step(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert run.frames() == {}
    for step in (10, 9, 100):
        run.keep_frame(step, np.full((2, 2), step, np.float32))
    frames = run.frames()
    assert list(frames) == [9, 10, 100] and all((x == step).all() for step, x in frames.items())
    run.forget_after(10)
    assert list(Run(run.path).frames()) == [9, 10]
    (run.path / "frames" / "notes.npy").write_bytes(b"not mine")
    (run.path / "frames" / "9.npy").write_bytes(b"cut")
    with pytest.raises(RunError, match=r"9\.npy is damaged: delete it"):
        run.frames()
    run.forget_after(0)
    assert run.frames() == {}


def test_a_new_run_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    old = new_run(tmp_path / "folders" / "run")
    before = contents(old)
    for path in (tmp_path / "file", old.path):
        with pytest.raises(RunError, match=rf"{path} exists .*--resume {path}"):
            new_run(path, DIGITS)
    assert contents(old) == before and (tmp_path / "file").read_text() == "a"
    (tmp_path / "empty").mkdir()
    assert new_run(tmp_path / "empty").config == Run(tmp_path / "empty").config == old.config


def test_an_unused_name_is_a_new_one(tmp_path: Path) -> None:
    for expected in ("run", "run-2", "run-3"):
        assert unused_folder("run", tmp_path) == tmp_path / expected
        assert (tmp_path / expected).is_dir()


numbers = hnp.arrays(
    st.sampled_from([np.float32, np.int64]), hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)
)
leaves = (
    numbers
    | numbers.map(Tensor)
    | st.integers()
    | st.text()
    | st.lists(st.booleans(), max_size=2)
    | st.none()
)
names = st.text(st.sampled_from("/%2F.é0") | st.characters(exclude_categories=["Cs"]), max_size=4)
trees = st.dictionaries(
    names, st.recursive(leaves, lambda tree: st.dictionaries(names, tree, max_size=3)), max_size=3
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return new_run(tmp_path_factory.mktemp("state") / "run")


@given(tree=trees)
@example(tree={"a/b": np.zeros(1), "a": {"b": np.ones(1)}, "a%2Fb": Tensor([2.0]), "%": {"/": 3}})
def test_states_come_back_as_they_were_saved(run: Run, tree: State) -> None:
    run.save(tree)
    assert plain(run.load()) == plain(tree)


@pytest.mark.parametrize("name", [0, None, True, 1.5, ("a",)])
@pytest.mark.parametrize("leaf", [np.ones(1), 3, {}])
def test_names_that_would_come_back_as_others_are_refused(run: Run, name: Any, leaf: Any) -> None:
    for tree in ({name: leaf}, {"a": {name: leaf}}, {name: leaf, str(name): leaf}):
        with pytest.raises(ValueError, match="names in a state are str, got"):
            run.save(tree)


def plain(tree: Any) -> Any:
    """The tree with arrays and tensors as their type, shape and bytes."""
    if isinstance(tree, dict):
        return {name: plain(value) for name, value in tree.items()}
    if isinstance(tree, (Tensor, np.ndarray)):
        array = np.asarray(tree)
        return "array", array.dtype, array.shape, array.tobytes()
    return tree


def test_configurations_are_what_was_asked_for(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert json.loads((run.path / "config.json").read_text()) == {"model": "ddpm"} | asdict(RING)
    run.configure({"model": "ddpm", "steps": 7})
    assert Run(run.path).config == run.config == {"model": "ddpm", "steps": 7}


def test_a_run_of_earlier_names_is_read_by_those_of_today(tmp_path: Path) -> None:
    """A setting that was renamed, in config.json and in the checkpoint."""
    (tmp_path / "config.json").write_text('{"model": "ae", "coders": "conv"}')
    old = Run(tmp_path)
    assert old.config == {"model": "ae", "networks": "conv"}
    old.config = {"model": "ae", "coders": "conv"}
    old.save({"step": 3})
    assert Run(tmp_path).load() == {"step": 3}
