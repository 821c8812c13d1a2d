"""The loop: the same bits however often a run is interrupted, and errors that are what they are."""

import math
import re
import signal
import threading
import warnings
from collections import Counter as Counts
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tensor as T
from minigen import api
from minigen.recipes import gan
from minigen.recipes.ddpm import DDPMRecipe
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged, finite_step, restore, state_of, train
from minigen.training.run import Run
from tensor import Tensor
from tensor.arrays import import_cupy
from tests.minigen.small_runs import (
    AE,
    AES,
    CYCLEGAN,
    DIGITS,
    GAN,
    GANS,
    NCSN,
    PIX2PIX,
    POINTS,
    RING,
    VAE,
    VAES,
    contents,
    model_of,
    new,
    new_run,
    trained,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return new_run(tmp_path_factory.mktemp("state") / "run")


def go_on(recipe: Any, run: Run, steps: int) -> bool:
    return train(recipe, run, steps, restore(recipe, run))


class Counter:
    """A recipe that only counts; `at_step` runs at the end of a step and may change what it
    logs."""

    def __init__(self, at_step: Any = lambda k: k):
        self.count = np.zeros(1)
        self.at_step = at_step
        self.checkpointed = {"count": self}

    def step(self, k: int) -> dict[str, float]:
        self.count = self.count + 1
        return {"loss": self.at_step(k)}

    def state_dict(self) -> np.ndarray:
        return self.count

    def load_state_dict(self, state: np.ndarray) -> None:
        self.count = state


# Exact resume


@pytest.mark.parametrize(
    ("settings", "stops"),
    [
        (RING, [1]),
        (RING, [2, 2, 5]),
        (RING, [6]),
        (DIGITS, [2]),
        (AE, [1, 3]),
        (CYCLEGAN, [1, 4]),
        *((settings, [2]) for settings in [*AES, *VAES, *GANS, NCSN, PIX2PIX]),
    ],
)
def test_a_run_in_parts_is_the_run_in_one_go(
    tmp_path: Path, settings: Any, stops: list[int]
) -> None:
    whole, parts = trained(tmp_path / "whole", settings), new_run(tmp_path / "parts", settings)
    for stop in [*stops, settings.steps]:
        recipe = new(settings)
        T.manual_seed(stop)
        assert go_on(recipe, Run(parts.path), stop)
    assert contents(parts) == contents(whole)
    restored = new(settings)
    assert restore(restored, whole) == settings.steps
    assert np.array_equal(restored.sample(3, seed=0), recipe.sample(3, seed=0))


@pytest.mark.parametrize("settings", [NCSN, *AES, *VAES, *GANS, CYCLEGAN], ids=model_of)
def test_a_step_is_the_same_on_every_device(settings: Any, device: str) -> None:
    here, there = (finite_step(new(replace(settings, device=d)), 1) for d in ("cpu", device))
    assert there == pytest.approx(here, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("settings", [RING, NCSN, AE, VAE, GAN, CYCLEGAN, PIX2PIX], ids=model_of)
def test_a_run_of_a_gpu_goes_on_there_and_is_read_on_the_cpu(
    tmp_path: Path, settings: Any, device: str
) -> None:
    """In parts it has the same bits. Its weights draw the samples of those trained on the CPU."""
    there_settings, parts = replace(settings, device=device), tmp_path / "parts"
    new_run(parts, there_settings)
    for stop in (2, settings.steps):
        assert go_on(new(there_settings), Run(parts), stop)
    whole = trained(tmp_path / "whole", there_settings)
    assert contents(Run(parts)) == contents(whole)
    here = api.load(trained(tmp_path / "here", settings).path)
    there, read = api.load(whole.path), api.load(whole.path, device="cpu")
    samples, measures = [], []
    for model in (here, there, read):
        samples.append(model.sample(3))
        measured = model.evaluate(model.recipe.reference.fewest)
        measures.append({name: value for name, (value, _) in measured.items()})
    np.testing.assert_allclose(samples[1:], [samples[0]] * 2, atol=1e-3)
    assert measures[1:] == [pytest.approx(measures[0], rel=0.01)] * 2


def test_a_crash_loses_nothing_but_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    def crash(k: int) -> float:
        if k == 6:
            raise MemoryError
        return k

    whole, crashed = new_run(tmp_path / "whole"), new_run(tmp_path / "crashed")
    assert train(Counter(), whole, 7, save_every=4)
    with pytest.raises(MemoryError):
        train(Counter(crash), crashed, 7, save_every=4)
    assert [line["step"] for line in crashed.metrics()] == [1, 2, 3, 4, 5] and crashed.load()[
        "step"
    ] == 4
    assert go_on(Counter(), crashed, 7)
    assert contents(crashed) == contents(whole)


@pytest.mark.parametrize("settings", [RING, NCSN, AE, VAE, POINTS, CYCLEGAN, PIX2PIX], ids=model_of)
def test_the_seed_decides_every_bit(tmp_path: Path, settings: Any) -> None:
    one, same, other = (
        trained(tmp_path / str(k), replace(settings, seed=seed)) for k, seed in enumerate((0, 0, 1))
    )
    assert contents(one) == contents(same)
    assert not any(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    assert one.load()["rng"] != other.load()["rng"]


def weights(run: Run) -> list[np.ndarray]:
    return list(run.load()["model"].values())


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        (RING, {"sampler": "ddim", "sampler_steps": 2}),
        (AES[3], {}),
        (VAES[1], {}),
        *((settings, {}) for settings in (POINTS, *GANS[-2:], NCSN, CYCLEGAN, PIX2PIX)),
    ],
)
def test_looking_at_a_recipe_does_not_change_it(
    tmp_path: Path, settings: Any, how: dict[str, Any]
) -> None:
    run, recipe = new_run(tmp_path / "run", settings), new(settings)
    train(recipe, run, 3)
    before = contents(run)["checkpoint.npz"]
    recipe.sample(5, seed=0)
    recipe.evaluate(5, seed=0, **how)
    recipe.draw(run)
    run.save(state_of(recipe.checkpointed) | {"step": 3})
    assert contents(run)["checkpoint.npz"] == before


def test_checkpoints_come_at_intervals_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Run, "save", lambda run, state: saved.append(state["step"]))
    train(Counter(), new_run(tmp_path / "run"), 5, save_every=2)
    assert saved == [2, 4, 5]


def test_the_recipe_is_looked_at_before_the_first_step_and_after_each(tmp_path: Path) -> None:
    run, counter, seen = new_run(tmp_path / "run"), Counter(), []
    look = lambda done: seen.append((done, int(counter.count[0])))  # noqa: E731
    assert train(counter, run, 2, watch=look)
    assert train(counter, run, 3, 2, watch=look)
    assert seen == [(0, 0), (1, 1), (2, 2), (2, 2), (3, 3)]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path / "ring")
    with pytest.raises(CheckpointError, match=rf"{run.path}.* of another model"):
        restore(DDPMRecipe(DIGITS), run)


@given(count=st.integers() | st.floats() | st.booleans() | st.none())
@example(count=2**128 - 1)
@example(count=2**128)
def test_what_is_restored_has_the_form_of_what_is_there(run: Run, count: Any) -> None:
    """Counts are integers from 0, of no more than 128 bits; True is not 1."""
    recipe, before = Counter(), {"names": {"a": "b"}, "steps": 0, "step": 1}
    recipe.checkpointed = {"names": Leaf({"a": "b"}), "steps": Leaf(0)}
    run.save(before | {"steps": count})
    if type(count) is int and 0 <= count < 2**128:
        assert restore(recipe, run) == 1
        assert state_of(recipe.checkpointed) == {"names": {"a": "b"}, "steps": count}
    else:
        with pytest.raises(
            CheckpointError,
            match=f"checkpoint.npz .*: steps is {type(count).__name__}, expected count",
        ):
            restore(recipe, run)
    for wrong in (
        {"names": {}},
        {"names": "b"},
        {"names": {"a": "b", "c": "d"}},
        {"names": {"a": ["b"]}},
        {"more": 1},
    ):
        run.save(before | wrong)
        with pytest.raises(CheckpointError, match=r"another model: (names|more)[/ac]* is "):
            restore(recipe, run)


class Leaf:
    """What has a state that is no array."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, ">f8", np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (1, 1)])
def test_arrays_are_restored_as_they_are_or_not_at_all(
    run: Run, dtype: Any, shape: tuple[int, ...]
) -> None:
    run.save({"count": np.ones(shape, dtype), "step": 1})
    if dtype is np.float64 and shape == (1,):
        assert restore(Counter(), run) == 1
        return
    with pytest.raises(
        CheckpointError,
        match=re.escape(f"count is {np.dtype(dtype)} {shape}, expected float64 (1,)"),
    ):
        restore(Counter(), run)


def test_a_checkpoint_knows_its_settings(tmp_path: Path) -> None:
    """But for those that may change: how far the run goes, what it leaves at which steps, where it
    runs, and where the data lie."""
    run = trained(tmp_path / "run")
    for name, value in (asdict(RING) | {"model": "ddpm", "another": 1}).items():
        changed = Run(run.path)
        changed.config[name] = "other"
        if name in ("steps", "save_every", "sample_every", "device", "data_dir"):
            assert changed.load()["step"] == 6
        else:
            was = value if name != "another" else None
            with pytest.raises(
                CheckpointError,
                match=rf"config\.json.* changed .*checkpoint.npz.*: {name} was {was!r};",
            ):
                changed.load()


# Interruptions


def test_ctrl_c_ends_a_run_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    def press_at_3(k: int) -> float:
        if k == 3:
            signal.raise_signal(signal.SIGINT)
        return k

    whole, stopped, before = (
        new_run(tmp_path / "whole"),
        new_run(tmp_path / "stopped"),
        signal.getsignal(signal.SIGINT),
    )
    assert train(Counter(), whole, 5)
    assert not train(Counter(press_at_3), stopped, 5)
    assert stopped.load()["step"] == 3 and signal.getsignal(signal.SIGINT) is before
    assert go_on(Counter(), stopped, 5)
    assert contents(stopped) == contents(whole)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    def press_twice_at_3(k: int) -> float:
        if k == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return k

    run, before = new_run(tmp_path / "run"), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Counter(press_twice_at_3), run, 5, save_every=2)
    assert run.load()["step"] == 2 and signal.getsignal(signal.SIGINT) is before


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    thread = threading.Thread(target=train, args=(Counter(), run, 2))
    thread.start()
    thread.join()
    assert run.load()["step"] == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path: Path, bad: float) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(Diverged, match=f"loss is {bad} at step 5.*`lr`"):
        train(Counter(lambda k: bad if k == 5 else k), run, 9, save_every=2)
    assert run.load() == {"count": np.array([4.0]), "step": 4}
    assert [line["loss"] for line in run.metrics()] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "settings", [RING, *AES[2:7], VAES[1], VAES[4], *GANS[:6], NCSN, CYCLEGAN, PIX2PIX]
)
def test_an_explosion_is_reported_once_and_not_by_numpy(tmp_path: Path, settings: Any) -> None:
    """A GAN's generator sees it at once, but for a critic that is clipped."""
    step = 1 if isinstance(settings, gan.GANSettings) and settings.loss != "wgan" else 2
    recipe = new(replace(settings, lr=1e20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Diverged, match=f"at step {step}: a lower `lr` may help"):
            train(recipe, new_run(tmp_path / "run", settings), settings.steps)
        for weight in (3e38, np.nan):
            recipe.checkpointed["ema"].average[...] = weight
            with pytest.raises(Diverged, match="not finite.* a lower `lr` may help"):
                recipe.evaluate(5, seed=0)
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.parametrize("step", [1, 3])
def test_a_mistake_in_a_step_is_not_blamed_on_the_weights(tmp_path: Path, step: int) -> None:
    """Whichever step it is in: only numbers that are not finite have diverged."""

    def mistaken(k: int) -> float:
        return Tensor([1.0]).reshape(2).item() if k == step else k

    with pytest.raises(ValueError, match="reshape"):
        train(Counter(mistaken), new_run(tmp_path / "run"), 5)


def test_a_mistake_in_drawing_samples_is_not_blamed_on_the_weights() -> None:
    with pytest.raises(ValueError, match="reshape"), DDPMRecipe(RING).learner.using_average():
        Tensor([1.0]).reshape(2)


def test_an_error_of_the_gpu_names_the_step(tmp_path: Path) -> None:
    """By then it may be raised by any call: kernels run later than Python launches them."""
    illegal = "cudaErrorIllegalAddress: an illegal memory access was encountered"

    def fail(k: int) -> float:
        if k == 3:
            raise RuntimeError(f"mul: {illegal}")
        return k

    with pytest.raises(RuntimeError, match=f"the GPU failed at step 3: mul: {illegal}"):
        train(Counter(fail), new_run(tmp_path / "run"), 5)


def test_what_a_step_logs_comes_in_one_transfer(device: str) -> None:
    def log(k: int) -> Any:
        return {"a": Tensor(0.1, device=device), "b": 2.5, "c": T.ones(1, device=device), "d": 3}

    recipe = SimpleNamespace(step=log)
    cupy = import_cupy()
    events = getattr(cupy, "events", Counts())
    before = sum(times for (kind, _, _), times in events.items() if kind == "wait")
    assert finite_step(recipe, 1) == {"a": float(np.float32(0.1)), "b": 2.5, "c": 1.0, "d": 3.0}
    waits = sum(times for (kind, _, _), times in events.items() if kind == "wait") - before
    assert waits == (device == "cuda" and hasattr(cupy, "events"))


def test_numbers_that_are_not_finite_have_diverged_wherever_they_are_found(tmp_path: Path) -> None:
    """A step may find them in the middle, where it cannot go on with them."""

    def found(k: int) -> float:
        if k == 3:
            raise FloatingPointError("a weight is not finite")
        return k

    with pytest.raises(Diverged, match="a weight is not finite, at step 3: a lower `lr` may help"):
        train(Counter(found), new_run(tmp_path / "run"), 5)
