"""minigen from Python: train a model, open a run, draw samples, measure them, encode and translate.

    model = minigen.train("ddpm", "photos", size=32)
    images = model.sample(64)

The command line is thin over it. Nothing here changes the state of NumPy, of `tensor`'s default
generator, or of the process.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import tensor as T
from minigen.data import NAMES, from_arrays
from minigen.data.files import write_atomically
from minigen.data.own import as_images, as_labels
from minigen.evaluation import pictures
from minigen.evaluation.report import Measure
from minigen.recipes import RECIPES
from minigen.training import loop
from minigen.training.run import MAY_CHANGE, Run
from minigen.training.settings import flag

SAMPLES_OF_A_RUN = 64
"""How many samples a training leaves in samples.npz and samples.png."""

SAMPLES_EVALUATED = 500
"""How many samples `evaluate` measures, unless there are fewer test data."""

ARRAY = "array"
"""What data in memory are called. A run keeps them in its own file."""

ARRAY_FILE = "data.npz"
FOLDERS = ("data_dir", "data_x", "data_y")
"""The settings that are always paths; `data` may be one. A run remembers where they lead."""


class UsageError(ValueError):
    """Something that was asked for and that cannot be done; the message says why."""


def train(
    model: str, data: Any = None, labels: Any = None, *, out: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> "TrainedModel":  # fmt: skip
    """Train a model; samples, pictures and the checkpoint are in its `path`.

    model: "ae", "vae", "gan", "ddpm", "cyclegan" or "pix2pix"
    data: the name of a data set, a folder of images, a .npy or .npz file, or an array: see
        `minigen.data.own`. The translators take two folders, as `data_x` and `data_y`
    labels: (N,), of an array
    out: the run's folder, a new or empty one; by default one below runs/
    settings: those of `minigen train MODEL --help`, with _ for -: steps, batch_size, size, ...

    Ctrl-C ends it early: `load(path).train()` goes on. Raises UsageError for what cannot be,
    RunError if `out` cannot be the run's folder, Diverged if a number is no longer finite.
    """
    trained = new(model, data, labels, out=out, **settings)
    trained.train()
    return trained


def new(
    model: str, data: Any = None, labels: Any = None, *, out: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> "TrainedModel":  # fmt: skip
    """What `train` trains, before its first step: same arguments, same errors."""
    if model not in RECIPES:
        raise UsageError(f"unknown model {model!r}; choose from {', '.join(RECIPES)}")
    known = [f.name for f in fields(RECIPES[model].Settings) if not f.metadata.get("found")]
    if unknown := sorted(settings.keys() - set(known)):
        raise UsageError(f"{model} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    if data is not None and "data" not in known:
        raise UsageError(f"{model} learns from two folders of images: pass data_x= and data_y=")
    in_memory = data is not None and not isinstance(data, (str, os.PathLike))
    if labels is not None and not in_memory:
        raise UsageError("labels go with an array; a folder or file has its own")
    if data is not None:
        settings["data"] = ARRAY if in_memory else os.fspath(data)
    array = (data, labels) if in_memory else None
    recipe = _recipe(model, _with_places(settings), array)
    chosen = recipe.settings
    if out is None:
        out = Run.unused(f"{model}-{getattr(chosen, 'data_name', chosen.data)}")
    run = Run.create(out, {"model": model} | asdict(chosen))
    if in_memory:
        arrays = {"images": np.asarray(data)}
        if labels is not None:
            arrays["labels"] = as_labels(labels)
        write_atomically(run.path / ARRAY_FILE, _npz(arrays))
    return TrainedModel(run, recipe, done=0)


def _recipe(model: str, settings: dict[str, Any], array: tuple[Any, Any] | None) -> Any:
    """A new recipe with its data, which are looked into first if nobody knows what they are."""
    with _as_usage_errors(), _default_generator_kept():
        chosen, loaded = RECIPES[model].Settings(**settings), None
        if array:
            loaded = from_arrays(ARRAY, *array, chosen.size, chosen.channels)
        elif hasattr(chosen, "is_known") and not chosen.is_known:
            loaded = chosen.load()
        if loaded is None:
            recipe = RECIPES[model](chosen)
            recipe.data  # noqa: B018  loads it
        else:
            recipe = RECIPES[model](chosen.fitted(loaded))
            recipe.data = loaded
        return recipe


def load(path: str | os.PathLike[str], **changes: Any) -> "TrainedModel":
    """The model of a run, as its last checkpoint has it; untrained, if there is none yet.

    changes: `device`, where to compute; `data_dir`, where the data lie now; `steps`, how far
        `train` shall go

    Raises RunError for what is no run, CheckpointError for a damaged one, UsageError for the rest.
    """
    run = Run(path)
    settings = _settings_of(run)
    recipe = RECIPES[run.config["model"]]
    if foreign := [flag(name) for name in changes if name not in settings]:
        raise UsageError(f"{', '.join(foreign)}: not for {recipe.title}")
    if fixed := sorted(changes.keys() - set(MAY_CHANGE)):
        raise UsageError(f"{', '.join(map(flag, fixed))} cannot change: the run keeps its settings")
    settings = _with_places(settings | changes)
    if settings.get("data") == ARRAY and not settings["data_dir"]:
        settings["data_dir"] = str(run.path / ARRAY_FILE)
    with _as_usage_errors(), _default_generator_kept():
        made = recipe(recipe.Settings(**settings))
    return TrainedModel(run, made, loop.restore(made, run), changes)


def _settings_of(run: Run) -> dict[str, Any]:
    """The settings in config.json. UsageError for a model, data or values that there are not."""
    model, given = run.config["model"], {k: v for k, v in run.config.items() if k != "model"}
    if model not in RECIPES:
        known = ", ".join(RECIPES)
        raise UsageError(f"{run.path} is a run of {model!r}: this version knows {known}")
    try:
        settings = RECIPES[model].Settings(**given)
        settings.about  # noqa: B018  raises ValueError if nobody knows what the data are
    except (ValueError, TypeError) as error:
        raise UsageError(f"{run.path / 'config.json'}: {error}") from error
    return asdict(settings)


class TrainedModel:
    """A model, its data, and the folder of its run. `train` and `load` make one.

    name: "ddpm", ...
    path: the run's folder
    recipe: how it is trained; `recipe.settings` are the settings, `recipe.data` the data
    done: how many steps it has been trained
    """

    def __init__(self, run: Run, recipe: Any, done: int, changes: dict[str, Any] | None = None):
        self.run, self.recipe, self.done = run, recipe, done
        self.name, self.path = run.config["model"], run.path
        self._changes = changes or {}

    def __repr__(self) -> str:
        steps = f"{self.done} of {self.recipe.settings.steps} steps"
        return f"TrainedModel({self.recipe.heading!r}, {steps}, {str(self.path)!r})"

    def train(self) -> bool:
        """Train up to the settings' `steps`, then leave samples and pictures in the run's folder.

        Returns False if Ctrl-C ended it early. Raises UsageError if it is beyond `steps`, Diverged
        if a number is no longer finite; the last checkpoint stays as it was.
        """
        self.check_can_train()
        if self._changes:
            self.run.configure(self.run.config | self._changes)
        settings = self.recipe.settings
        finished = loop.train(self.recipe, self.run, settings.steps, self.done)
        self.done = settings.steps if finished else loop.restore(self.recipe, self.run)
        if finished:
            x = self.recipe.sample(SAMPLES_OF_A_RUN, settings.seed)
            save_samples(self.path, x, self.recipe.heading)
            self.recipe.draw(self.run)
        return finished

    def sample(self, n: int = SAMPLES_OF_A_RUN, seed: int = 1, **how: Any) -> np.ndarray:
        """n samples, float32 (n, ...): images in [-1, 1], or points.

        how: of a ddpm, `sampler` and `sampler_steps`
        """
        self.check_can_sample(**how)
        if self.recipe.samples_need_data:
            self._load_data()
        return self.recipe.sample(n, seed, **how)

    def evaluate(self, n: int | None = None, seed: int = 1, **how: Any) -> dict[str, Measure]:
        """The measures of `how_many(n)` samples; `how` is that of `sample`."""
        self.check_can_sample(**how)
        measures = self.recipe.evaluate(self.how_many(n), seed, **how)
        return {name: Measure(float(x), y and float(y)) for name, (x, y) in measures.items()}

    def how_many(self, n: int | None = None) -> int:
        """How many samples are evaluated: n, or 500, or as many as there are test data for.

        UsageError if n is more than that, or too few for the measures.
        """
        self._load_data()
        data, fewest = self.recipe.data, self.recipe.reference.fewest
        most = data.most_evaluated
        n = min(SAMPLES_EVALUATED, most) if n is None else n
        if n > most:
            raise UsageError(f"-n {n}: {data.name} has enough test data for at most {most} samples")
        if n < fewest:
            has = f"{data.name} has test data for {most}"
            raise UsageError(f"-n {n}: the measures need at least {fewest} samples; {has}")
        return n

    def encode(self, x: Any, labels: Any = None) -> np.ndarray:
        """The codes (N, latent) of images, of an ae or a vae.

        x: (N, C, H, W) or (N, H, W, C): floats in [-1, 1], or integers from 0 to full scale
        labels: (N,), of a conditional vae
        """
        self.check_able("encode")
        return self.recipe.encode(self._images(x), *_if_given(labels))

    def decode(self, z: Any, labels: Any = None) -> np.ndarray:
        """The images (N, C, H, W) of codes (N, latent); labels as in `encode`."""
        self.check_able("decode")
        return self.recipe.decode(np.asarray(z, np.float32), *_if_given(labels))

    def interpolate(self, a: Any, b: Any, n: int = 9, label: int | None = None) -> np.ndarray:
        """n images (n, C, H, W) from image a (C, H, W) to image b, by the codes between theirs."""
        self.check_able("between")
        labels = None if label is None else np.full(max(n, 2), label)
        ends = self.encode(np.stack([a, b]), None if labels is None else labels[:2])
        return self.decode(self.recipe.between(*ends, n), None if labels is None else labels[:n])

    def translate(self, x: Any, direction: str) -> np.ndarray:
        """Images (N, 3, H, W) of one domain as images of the other: "x2y" or "y2x"."""
        self.check_able("translate")
        return self.recipe.translate(self._images(x), direction)

    def check_can_train(self) -> None:
        """UsageError if the run is beyond the settings' `steps`, or its data cannot be read."""
        steps = self.recipe.settings.steps
        if self.done > steps:
            behind = f"--steps {steps} lies behind it"
            raise UsageError(f"{self.path} is at step {self.done} already: {behind}")
        self._load_data()

    def check_can_sample(self, **how: Any) -> None:
        """UsageError for a run that has no checkpoint, and for a `how` that `sample` has not."""
        if hasattr(self.recipe, "check_sampling"):
            with _as_usage_errors():
                self.recipe.check_sampling(**how)
        elif how:
            raise UsageError(f"{', '.join(map(flag, how))}: not for {self.recipe.title}")
        if not self.done:
            resume = f"minigen train {self.name} --resume {self.path}"
            raise UsageError(f"{self.path} has no checkpoint yet: {resume}")

    def check_able(self, method: str) -> None:
        """UsageError for a run that has no checkpoint, and for a model without such a method."""
        if not hasattr(self.recipe, method):
            able = " and ".join(n for n, recipe in RECIPES.items() if hasattr(recipe, method))
            does = "interpolate" if method == "between" else method
            raise UsageError(f"{self.path} is a run of {self.name!r}: only {able} {does}")
        self.check_can_sample()

    def _images(self, x: Any) -> np.ndarray:
        with _as_usage_errors():
            return as_images(x, self.recipe.settings.about.shape)

    def _load_data(self) -> None:
        with _as_usage_errors():
            self.recipe.data  # noqa: B018


def _if_given(labels: Any) -> list[np.ndarray]:
    return [] if labels is None else [np.asarray(labels)]


def save_samples(folder: Path, x: np.ndarray, title: str) -> None:
    """samples.npz and samples.png."""
    write_atomically(folder / "samples.npz", _npz({"x": x}))
    pictures.samples(folder / "samples.png", x, title)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _with_places(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with absolute paths; the name of a data set, and data not found, stay so."""
    placed = {name: os.path.abspath(settings[name]) for name in FOLDERS if settings.get(name)}
    data = settings.get("data")
    if data is not None and data not in (*NAMES, ARRAY) and os.path.exists(data):
        placed["data"] = os.path.abspath(data)
    return settings | placed


@contextmanager
def _as_usage_errors() -> Iterator[None]:
    """Whatever is wrong with settings or data is a UsageError."""
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise UsageError(str(error)) from error


@contextmanager
def _default_generator_kept() -> Iterator[None]:
    """Recipes draw their first weights by the default generator: it is as it was afterwards."""
    generator = T.default_generator()
    state = generator.bit_generator.state
    try:
        yield
    finally:
        generator.bit_generator.state = state
