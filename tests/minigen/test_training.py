"""Training runs: the same bits however often they are interrupted, and folders that never lose what
they hold."""

import json
import math
import re
import signal
import threading
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tensor as T
from minigen.data import Dataset
from minigen.evaluation import batches, pictures
from minigen.models.autoencoder import CORRUPTIONS
from minigen.models.gan import LOSSES, PENALISED
from minigen.networks.coders import ENCODERS
from minigen.recipes import RECIPES, ae, cyclegan, ddpm, gan, pix2pix, vae
from minigen.recipes.ddpm import DDPMRecipe, DDPMSettings
from minigen.recipes.gan import GANRecipe
from minigen.training.checkpoint import CheckpointError
from minigen.training.learner import Learner
from minigen.training.loop import Diverged, restore, state_of, train
from minigen.training.run import Run, RunError, State
from tensor import Tensor

RING = DDPMSettings(data="ring", steps=6, batch_size=8, timesteps=4)
DIGITS = DDPMSettings(data="digits", steps=4, batch_size=2, timesteps=3)
AE = ae.AESettings(steps=4, batch_size=2, latent=3)
VAE = vae.VAESettings(steps=4, batch_size=2, latent=3)
CYCLEGAN = cyclegan.CycleGANSettings(steps=5, batch_size=20, width=2)  # 60 images in three steps: more than the pools hold
PIX2PIX = pix2pix.Pix2PixSettings(steps=4, batch_size=2, width=2)
AES = [replace(AE, coders=coders) for coders in ENCODERS]
AES += [replace(AE, regulariser=regulariser) for regulariser in ae.REGULARISERS]
AES += [replace(AE, regulariser="denoising", corruption=corruption) for corruption in CORRUPTIONS]
VAES = [replace(VAE, coders=coders, conditional=conditional) for coders in ENCODERS for conditional in (False, True)]
VAES += [replace(VAE, decoder="gaussian"), replace(VAE, beta=0.0), replace(VAE, beta=4)]
POINTS = gan.GANSettings(data="ring", steps=4, batch_size=4, latent=3)
GAN = gan.GANSettings(steps=4, batch_size=4, latent=3)
GANS = [replace(POINTS, loss=loss) for loss in LOSSES] + [replace(POINTS, critic_steps=3), replace(GAN, conditional=True)]
GANS += [GAN, replace(GAN, loss="wgan", conditional=True)]


def model_of(settings: Any) -> str:
    return next(name for name, recipe in RECIPES.items() if recipe.Settings is type(settings))


def new_run(path: Path, settings: Any = RING) -> Run:
    return Run.create(path, {"model": model_of(settings)} | asdict(settings))


def new(settings: Any) -> Any:
    return RECIPES[model_of(settings)](settings)


def contents(run: Run) -> dict[str, bytes]:
    """Every file of the run: its settings, metrics, weights, average, optimiser and random state,
    to the last bit."""
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


def trained(path: Path, settings: Any = RING) -> Run:
    run = new_run(path, settings)
    assert train(new(settings), run, settings.steps)
    return run


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
        *((settings, [2]) for settings in [*AES, *VAES, *GANS, PIX2PIX]),
    ],
)
def test_a_run_in_parts_is_the_run_in_one_go(tmp_path: Path, settings: Any, stops: list[int]) -> None:
    whole, parts = trained(tmp_path / "whole", settings), new_run(tmp_path / "parts", settings)
    for stop in [*stops, settings.steps]:
        recipe = new(settings)
        T.manual_seed(stop)
        assert go_on(recipe, Run(parts.path), stop)
    assert contents(parts) == contents(whole)
    restored = new(settings)
    assert restore(restored, whole) == settings.steps
    assert np.array_equal(restored.sample(3, seed=0), recipe.sample(3, seed=0))


def test_a_crash_loses_nothing_but_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    def crash(k: int) -> float:
        if k == 6:
            raise MemoryError
        return k

    whole, crashed = new_run(tmp_path / "whole"), new_run(tmp_path / "crashed")
    assert train(Counter(), whole, 7, save_every=4)
    with pytest.raises(MemoryError):
        train(Counter(crash), crashed, 7, save_every=4)
    assert [line["step"] for line in crashed.metrics()] == [1, 2, 3, 4, 5] and crashed.load()["step"] == 4
    assert go_on(Counter(), crashed, 7)
    assert contents(crashed) == contents(whole)


@pytest.mark.parametrize("settings", [RING, AE, VAE, POINTS, CYCLEGAN, PIX2PIX], ids=model_of)
def test_the_seed_decides_every_bit(tmp_path: Path, settings: Any) -> None:
    one, same, other = (trained(tmp_path / str(k), replace(settings, seed=seed)) for k, seed in enumerate((0, 0, 1)))
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
        *((settings, {}) for settings in (POINTS, *GANS[-2:], CYCLEGAN, PIX2PIX)),
    ],
)
def test_looking_at_a_recipe_does_not_change_it(tmp_path: Path, settings: Any, how: dict[str, Any]) -> None:
    run, recipe = new_run(tmp_path / "run", settings), new(settings)
    train(recipe, run, 3)
    before = contents(run)["checkpoint.npz"]
    recipe.sample(5, seed=0)
    recipe.evaluate(5, seed=0, **how)
    recipe.draw(run)
    run.save(state_of(recipe.checkpointed) | {"step": 3})
    assert contents(run)["checkpoint.npz"] == before


def test_checkpoints_come_at_intervals_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Run, "save", lambda run, state: saved.append(state["step"]))
    train(Counter(), new_run(tmp_path / "run"), 5, save_every=2)
    assert saved == [2, 4, 5]


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
        with pytest.raises(CheckpointError, match=f"checkpoint.npz .*: steps is {type(count).__name__}, expected count"):
            restore(recipe, run)
    for wrong in ({"names": {}}, {"names": "b"}, {"names": {"a": "b", "c": "d"}}, {"names": {"a": ["b"]}}, {"more": 1}):
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
def test_arrays_are_restored_as_they_are_or_not_at_all(run: Run, dtype: Any, shape: tuple[int, ...]) -> None:
    run.save({"count": np.ones(shape, dtype), "step": 1})
    if dtype is np.float64 and shape == (1,):
        assert restore(Counter(), run) == 1
        return
    with pytest.raises(CheckpointError, match=re.escape(f"count is {np.dtype(dtype)} {shape}, expected float64 (1,)")):
        restore(Counter(), run)


def test_a_checkpoint_knows_its_settings(tmp_path: Path) -> None:
    """But for those that may change: how far the run goes, where it runs, and where the data
    lie."""
    run = trained(tmp_path / "run")
    for name, value in (asdict(RING) | {"model": "ddpm", "another": 1}).items():
        changed = Run(run.path)
        changed.config[name] = "other"
        if name in ("steps", "device", "data_dir"):
            assert changed.load()["step"] == 6
        else:
            was = value if name != "another" else None
            with pytest.raises(CheckpointError, match=rf"config\.json.* changed .*checkpoint.npz.*: {name} was {was!r};"):
                changed.load()


# Interruptions


def test_ctrl_c_ends_a_run_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    def press_at_3(k: int) -> float:
        if k == 3:
            signal.raise_signal(signal.SIGINT)
        return k

    whole, stopped, before = new_run(tmp_path / "whole"), new_run(tmp_path / "stopped"), signal.getsignal(signal.SIGINT)
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
    with pytest.raises(Diverged, match=f"loss is {bad} at step 5.*--lr"):
        train(Counter(lambda k: bad if k == 5 else k), run, 9, save_every=2)
    assert run.load() == {"count": np.array([4.0]), "step": 4}
    assert [line["loss"] for line in run.metrics()] == [1, 2, 3, 4]


@pytest.mark.parametrize("settings", [RING, *AES[2:7], VAES[1], VAES[4], *GANS[:6], CYCLEGAN, PIX2PIX])
def test_an_explosion_is_told_once_and_not_by_numpy(tmp_path: Path, settings: Any) -> None:
    """A GAN's generator sees it at once, but for a critic that is clipped."""
    step = 1 if isinstance(settings, gan.GANSettings) and settings.loss != "wgan" else 2
    recipe = new(replace(settings, lr=1e20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Diverged, match=f"at step {step}: a lower --lr may help"):
            train(recipe, new_run(tmp_path / "run", settings), settings.steps)
        for weight in (3e38, np.nan):
            recipe.checkpointed["ema"].average[...] = weight
            with pytest.raises(Diverged, match="not finite.* a lower --lr may help"):
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


def test_numbers_that_are_not_finite_have_diverged_wherever_they_are_found(tmp_path: Path) -> None:
    """A step may find them in the middle, where it cannot go on with them."""

    def found(k: int) -> float:
        if k == 3:
            raise FloatingPointError("a weight is not finite")
        return k

    with pytest.raises(Diverged, match="a weight is not finite, at step 3: a lower --lr may help"):
        train(Counter(found), new_run(tmp_path / "run"), 5)


# The folder


def test_a_line_that_was_cut_short_is_left_out_and_then_dropped(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert run.metrics() == []
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    whole = (run.path / "metrics.jsonl").read_bytes()
    for length in range(len(whole)):
        (run.path / "metrics.jsonl").write_bytes(whole[:length])
        assert run.metrics() == [{"step": s, "loss": 1 / s} for s in range(1, whole[:length].count(b"\n") + 1)]
    run.forget_after(2)
    assert (run.path / "metrics.jsonl").read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])


def test_metrics_beyond_a_step_are_forgotten(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    for step in (1, 2, 3):
        run.log({"step": step})
    for kept in (3, 1, 0):
        run.forget_after(kept)
        assert run.metrics() == [{"step": s} for s in range(1, kept + 1)]


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
        path = Run.unused("run", tmp_path)
        assert path == tmp_path / expected
        path.mkdir()


numbers = hnp.arrays(st.sampled_from([np.float32, np.int64]), hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
leaves = numbers | numbers.map(Tensor) | st.integers() | st.text() | st.lists(st.booleans(), max_size=2) | st.none()
names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), max_size=3)
trees = st.dictionaries(names, st.recursive(leaves, lambda tree: st.dictionaries(names, tree, max_size=3)), max_size=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return new_run(tmp_path_factory.mktemp("state") / "run")


@given(tree=trees)
def test_states_come_back_as_they_were_saved(run: Run, tree: State) -> None:
    run.save(tree)
    assert plain(run.load()) == plain(tree)


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


# DDPM


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", replace(RING, steps=100, batch_size=32, lr=5e-3))
    losses = [line["loss"] for line in run.metrics()]
    assert len(losses) == 100 and np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_every_step_moves_the_weights_the_last_one_too() -> None:
    recipe = DDPMRecipe(RING)
    for k in range(1, RING.steps + 1):
        before = recipe.denoiser.state_dict()
        recipe.step(k)
        after = recipe.denoiser.state_dict()
        assert not any(np.array_equal(before[name].numpy(), after[name].numpy()) for name in before)


def test_training_sees_every_timestep_from_1_to_T() -> None:
    recipe, seen = DDPMRecipe(RING), set()
    loss = recipe.diffusion.loss
    recipe.diffusion.loss = lambda model, x0, t, noise: seen.update(t.tolist()) or loss(model, x0, t, noise)  # type: ignore
    for k in range(1, 7):
        recipe.step(k)
    assert seen == {1, 2, 3, 4}


def test_samples_come_from_the_averaged_weights_and_points_are_not_clipped() -> None:
    """An average of zero sees no noise anywhere, while the weights themselves do."""
    recipe, rng = DDPMRecipe(RING), np.random.default_rng(7)
    recipe.learner.average.average[...] = 0  # type: ignore[union-attr]
    *_, last = recipe.diffusion.ancestral(lambda x, t: 0 * x, T.randn(5, 2, generator=rng), rng, clip_x0=False)
    assert np.array_equal(recipe.sample(5, seed=7), last.x.numpy()) and abs(last.x.numpy()).max() > 1


@pytest.mark.parametrize("n", [1, 3, 7])
def test_many_samples_are_drawn_in_batches(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ddpm, "BATCH_OF_SAMPLES", 3)
    x = DDPMRecipe(RING).sample(n, seed=0)
    assert x.shape == (n, 2) and x.dtype == np.float32 and len(np.unique(x, axis=0)) == n


def test_samplers_take_the_steps_that_were_asked_for() -> None:
    recipe, rng = DDPMRecipe(RING), np.random.default_rng(0)
    times = {
        asked: [state.t for state in recipe.states(1, rng, *asked)]
        for asked in [("ancestral", None), ("ddim", None), ("ddim", 2)]
    }
    assert list(times.values()) == [[4, 3, 2, 1, 0], [4, 3, 2, 1, 0], [4, 2, 0]]


@pytest.mark.parametrize(("timesteps", "expected"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (16, list(range(0, 17, 2)))])
def test_pictures_show_each_timestep_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timesteps: int, expected: list[int]
) -> None:
    drawn: dict[str, list[int]] = {}

    def note(path: Path, states: list[np.ndarray], labels: list[str], title: str) -> None:
        drawn[path.name] = [int(label.split()[2]) for label in labels]

    monkeypatch.setattr(pictures, "sequence", note)
    DDPMRecipe(replace(RING, timesteps=timesteps)).draw(new_run(tmp_path / "run"))
    assert drawn == {"forward.png": expected, "trajectory.png": expected[::-1]}


@pytest.mark.parametrize(
    ("schedule", "timesteps", "left"), [("linear", 50, "0.6"), ("linear", 1000, None), ("cosine", 50, None)]
)
def test_a_schedule_that_leaves_signal_is_reported(schedule: str, timesteps: int, left: str | None) -> None:
    warning = DDPMRecipe(replace(RING, schedule=schedule, timesteps=timesteps)).warning
    if left is None:
        assert warning is None
    else:
        assert warning is not None and f"{schedule} over {timesteps} steps leaves alpha_bar_T = {left}" in warning


# GANs


PLAYERS = ("generator", "discriminator")


def weights_of_players(recipe: Any) -> dict[str, list[np.ndarray]]:
    return {n: [p.numpy() for p in getattr(recipe.model, n).parameters()] for n in PLAYERS}


def test_a_step_of_a_gan_is_k_of_the_discriminator_and_one_of_the_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each on a batch of its own, and with the other player still: it is not even given
    gradients."""
    recipe = GANRecipe(replace(POINTS, critic_steps=3))
    moved: list[str] = []
    batches: list[Tensor] = []
    descend, batch = Learner.descend, Dataset.batch

    def descending(learner: Learner, loss: Tensor, k: int) -> None:
        (moving,) = [name for name in PLAYERS if getattr(recipe, name) is learner]
        (other,) = {*PLAYERS} - {moving}
        before, still = weights_of_players(recipe), list(getattr(recipe.model, other).parameters())
        gradients = [p.grad for p in still]
        descend(learner, loss, k)
        after = weights_of_players(recipe)
        assert all(p.grad is g for p, g in zip(still, gradients, strict=True))
        changed = [n for n in PLAYERS if not all(map(np.array_equal, before[n], after[n]))]
        assert changed == [moving]
        moved.append(moving)

    def batching(data: Dataset, *arguments: Any) -> Any:
        x, labels = batch(data, *arguments)
        batches.append(x)
        return x, labels

    monkeypatch.setattr(Learner, "descend", descending)
    monkeypatch.setattr(Dataset, "batch", batching)
    for k in (1, 2):
        recipe.step(k)
    assert moved == 2 * [*3 * ["discriminator"], "generator"]
    assert len({x.numpy().tobytes() for x in batches}) == 6
    assert (recipe.generator.optimizer.steps, recipe.discriminator.optimizer.steps) == (2, 6)


def test_the_generator_alone_is_averaged() -> None:
    recipe = GANRecipe(POINTS)
    assert recipe.checkpointed["ema"] is recipe.generator.average is not None
    assert recipe.discriminator.average is None


def test_both_players_are_told_the_labels_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Any = GANRecipe(replace(GAN, loss="hinge", conditional=True))
    told, batches = [], []
    judge, generate, batch = recipe.model.judge, recipe.model.generate, recipe.data.batch
    recipe.model.judge = lambda x, labels: told.append(labels) or judge(x, labels)
    recipe.model.generate = lambda n, labels, rng: told.append(labels) or generate(n, labels, rng)
    monkeypatch.setattr(Dataset, "batch", lambda data, *a: batches.append(batch(*a)) or batches[-1])
    recipe.step(1)
    ((_, labels),) = batches
    assert len(told) == 5 and all(np.array_equal(seen, labels) for seen in told)


@pytest.mark.parametrize("loss", LOSSES)
def test_only_the_critic_of_wgan_has_its_weights_clipped(loss: str) -> None:
    recipe: Any = GANRecipe(replace(GAN, loss=loss, clip=1e-3))
    recipe.step(1)
    largest = {n: max(abs(p).max() for p in part) for n, part in weights_of_players(recipe).items()}
    assert (largest["discriminator"] <= 1e-3 * (1 + 1e-6)) == (loss == "wgan") and largest["generator"] > 0.01


def test_only_a_critic_with_a_gradient_penalty_has_no_batch_norm() -> None:
    for loss in LOSSES:
        model: Any = GANRecipe(replace(GAN, loss=loss)).model
        assert "2.running_mean" in model.generator.state_dict()
        assert ("3.running_mean" in model.discriminator.state_dict()) == (loss not in PENALISED)


def test_the_weight_of_the_penalty_is_the_one_asked_for() -> None:
    recipes = [GANRecipe(replace(POINTS, loss="wgan-gp", penalty=p)) for p in (0.0, 1.0, 3.0)]
    first = [recipe.step(1)["discriminator"].item() for recipe in recipes]
    assert first[2] - first[0] == pytest.approx(3 * (first[1] - first[0]), rel=1e-4) and first[1] > first[0]


def test_samples_come_from_the_averaged_generator_and_running_statistics() -> None:
    """What a sample is does not depend on those drawn with it, and in a conditional model the
    classes take turns."""
    recipe: Any = GANRecipe(replace(GAN, conditional=True))
    recipe.step(1)
    model, seen = recipe.model, []
    forward = model.generator.forward
    model.generator.forward = lambda z: seen.append(z.numpy()) or forward(z)
    x = recipe.sample(12, seed=7)
    assert np.array_equal(seen[0][:, GAN.latent :], np.eye(10)[np.arange(12) % 10])
    assert recipe.sample(3, seed=7) == pytest.approx(x[:3], rel=1e-5, abs=1e-6) and len(np.unique(x, axis=0)) == 12
    recipe.generator.average.average[...] = 0
    assert not recipe.sample(3, seed=7).any() and model.generator.training


def test_conditional_games_need_data_with_labels() -> None:
    for name in ("ring", "grid", "moons", "swiss-roll"):
        with pytest.raises(ValueError, match=f"conditional is for images, which have labels: {name} has none"):
            gan.GANSettings(data=name, conditional=True)


@pytest.mark.parametrize("data", ["ring", "grid", "moons", "digits"])
@pytest.mark.parametrize("model", ["gan", "ddpm"])
def test_where_data_have_modes_their_coverage_is_measured(model: str, data: str) -> None:
    """Data in place of samples are the floor."""
    settings = POINTS if model == "gan" else RING
    recipe = new(replace(settings, data=data))
    recipe.sample = lambda n, *_: recipe.data.train[:n]  # type: ignore[method-assign]
    measures = recipe.evaluate(200, seed=0)
    names = ["modes covered", "good samples", "reverse KL, nats"]
    assert [name for name in measures if name in names] == (names if data in ("ring", "grid") else [])
    assert all(value == floor for value, floor in measures.values())
    if data in ("ring", "grid"):
        recipe.sample = lambda n, *_: np.tile(recipe.data.train[:1], (n, 1))  # type: ignore[method-assign]
        modes = {"ring": 8, "grid": 25}[data]
        coverage = [recipe.evaluate(200, seed=0)[name] for name in names]
        assert [value for value, _ in coverage] == pytest.approx([1, 1, math.log(modes)])
        assert coverage[0][1] == modes and 0.9 < (coverage[1][1] or 0) <= 1


def test_digits_asked_for_are_read() -> None:
    """Training digits in place of samples are read as what they are, if they are what was asked
    for."""
    recipe = new(replace(GAN, conditional=True))
    train, labels = recipe.data.train, recipe.data.train_labels
    turns = np.stack([train[labels == label][:5] for label in range(10)], 1).reshape(50, 1, 8, 8)
    for samples, share in ((turns, 1), (np.roll(turns, 1, 0), 0)):
        recipe.sample = lambda n, seed, samples=samples: samples  # type: ignore[method-assign]
        read, best = recipe.evaluate(50, seed=0)["read as asked"]
        assert read == pytest.approx(share, abs=0.05) and best is not None and best > 0.9
    assert "read as asked" not in new(GAN).evaluate(5, seed=0)


def test_samples_are_the_same_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = new(replace(GAN, conditional=True))
    whole = recipe.sample(7, seed=0)
    monkeypatch.setattr(batches, "BATCH", 3)
    assert recipe.sample(7, seed=0) == pytest.approx(whole, abs=1e-6)


def test_large_images_are_computed_fewer_at_once() -> None:
    """So that memory does not grow with their size either."""
    sizes: list[int] = []
    x = np.zeros((3, 3, 800, 800), np.float32)
    y = batches.in_batches(lambda x: (sizes.append(len(x)), x)[1], x)
    assert y.shape == x.shape and sizes == [1, 1, 1]
