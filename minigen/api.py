"""minigen from Python: train a model, open a run, sample, measure, encode, translate and edit.

    model = minigen.train("ddpm", "photos", size=32)
    images = model.sample(64)

The command line is thin over it. Nothing here changes the state of NumPy, of `tensor`'s default
generator, or of the process.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import tensor as T
from minigen.data import NAMES, from_arrays
from minigen.data.domains import Domains
from minigen.data.files import write_atomically
from minigen.data.images import write_png
from minigen.data.own import as_array, as_images, as_labels
from minigen.evaluation import pictures
from minigen.evaluation.report import Measure, too_few
from minigen.recipes import RECIPES
from minigen.recipes.editing import REPEATS, STRENGTH
from minigen.training import loop
from minigen.training.run import MAY_CHANGE, Run, unused_folder
from minigen.training.settings import defaults_for_points
from minigen.words import counted, pasted
from tensor.arrays import import_cupy

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

    model: "ae", "vae", "gan", "ddpm", "ncsn", "cyclegan" or "pix2pix"
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
    if in_memory and settings.get("data_dir"):
        raise UsageError("data_dir is for data in files, not for an array")
    if data is not None:
        settings["data"] = ARRAY if in_memory else os.fspath(data)
    arrays = {}
    if in_memory:
        with _as_usage_errors():
            arrays["images"] = as_array(data)
            if labels is not None:
                arrays["labels"] = as_labels(labels)
    recipe = _recipe(model, _with_places(_plain(settings)), arrays)
    if out is None:
        out = unused_folder(f"{model}-{recipe.settings.data_name}")
    run = Run.create(out, {"model": model} | asdict(recipe.settings))
    if arrays:
        write_atomically(run.path / ARRAY_FILE, _npz(arrays))
    return TrainedModel(run, recipe, done=0)


def _recipe(model: str, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """A new recipe with its data, which are looked into first if nobody knows what they are."""
    with _as_usage_errors(), _default_generator_kept():
        chosen, loaded = RECIPES[model].Settings(**settings), None
        _check_device(chosen.device)
        if arrays:
            images, labels = arrays["images"], arrays.get("labels")
            loaded = from_arrays(ARRAY, images, labels, chosen.size, chosen.channels)
        elif not chosen.is_known:
            loaded = chosen.load()
        if loaded is not None:
            chosen = chosen.fitted(loaded)
        if len(chosen.about.shape) == 1:
            chosen = replace(chosen, **defaults_for_points(chosen) | settings)
        recipe = RECIPES[model](chosen)
        if loaded is None:
            recipe.data  # noqa: B018  loads it
        else:
            recipe.data = loaded
        return recipe


def load(path: str | os.PathLike[str], **changes: Any) -> "TrainedModel":
    """The model of a run, as its last checkpoint has it; untrained, if there is none yet.

    changes: `device`, where to compute; `data_dir`, or `data_x` and `data_y`, where the data lie
        now; `steps`, how far `train` shall go; `save_every` and `sample_every`, what it leaves when

    Raises RunError for what is no run, CheckpointError for a damaged one, UsageError for the rest.
    """
    run = Run(path)
    settings = _settings_of(run)
    recipe = RECIPES[run.config["model"]]
    if foreign := [name for name in changes if name not in settings]:
        raise UsageError(f"{_keywords(foreign)}: not for {recipe.title}")
    if fixed := sorted(changes.keys() - set(MAY_CHANGE)):
        raise UsageError(f"{_keywords(fixed)} cannot change: the run keeps its settings")
    settings = _with_places(settings | _plain(changes))
    kept = {name: settings[name] for name in changes}
    if settings.get("data") == ARRAY:
        settings["data_dir"] = os.path.abspath(settings["data_dir"] or run.path / ARRAY_FILE)
    with _as_usage_errors(), _default_generator_kept():
        chosen = recipe.Settings(**settings)
        _check_device(chosen.device)
        made = recipe(chosen)
    return TrainedModel(run, made, loop.restore(made, run), kept)


def _settings_of(run: Run) -> dict[str, Any]:
    """The settings in config.json. UsageError for a model, data or values that there are not."""
    model, given = run.config["model"], {k: v for k, v in run.config.items() if k != "model"}
    if model not in RECIPES:
        known = ", ".join(RECIPES)
        raise UsageError(f"{run.path} is a run of {model!r}: this version knows {known}")
    declared = fields(RECIPES[model].Settings)
    before = {f.name: f.metadata["before"] for f in declared if "before" in f.metadata}
    try:
        settings = RECIPES[model].Settings(**before | given)
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
        steps = f"{self.done} of {counted(self.recipe.settings.steps, 'step')}"
        return f"TrainedModel({self.recipe.heading!r}, {steps}, {str(self.path)!r})"

    def train(self) -> bool:
        """Train up to the settings' `steps`, then leave samples and pictures in the run's folder.

        Returns False if Ctrl-C ended it early. Raises UsageError if it is beyond `steps`, Diverged
        if a number is no longer finite; the last checkpoint stays as it was.
        """
        self.check_can_train()
        if self._changes:
            self.run.configure(self.run.config | self._changes)
        settings, finished = self.recipe.settings, False
        try:
            steps, every = settings.steps, settings.save_every
            finished = loop.train(self.recipe, self.run, steps, self.done, every, self._keep_frame)
        finally:
            self.done = settings.steps if finished else self._back_to_checkpoint()
        if finished:
            x = self.recipe.sample(SAMPLES_OF_A_RUN, settings.seed)
            self.save_samples(self.path, x, settings.seed)
            self.recipe.draw(self.run)
            self._draw_training()
        return finished

    def _keep_frame(self, done: int) -> None:
        """Keep samples, of the same noise each time, where the film of the training has a frame."""
        settings = self.recipe.settings
        every = settings.sample_every
        if every and (done % every == 0 or done == settings.steps):
            n = pictures.POINTS if len(settings.about.shape) == 1 else SAMPLES_OF_A_RUN
            self.run.keep_frame(done, self.recipe.sample(n, settings.seed))

    def _draw_training(self) -> None:
        """training.gif, if frames were kept: the samples in the course of the training."""
        if frames := self.run.frames():
            path, labels = self.path / "training.gif", [f"samples at step {k}" for k in frames]
            data, classes = getattr(self.recipe.data, "train", None), len(self.class_names)
            states = list(frames.values())
            pictures.film(path, states, labels, self.recipe.heading, classes, data)

    def _back_to_checkpoint(self) -> int:
        """The step of the last checkpoint, whose weights the model takes, or else its first."""
        data = self.recipe.data
        with _default_generator_kept():
            self.recipe = type(self.recipe)(self.recipe.settings)
        self.recipe.data = data
        return loop.restore(self.recipe, self.run)

    def sample(self, n: int = SAMPLES_OF_A_RUN, seed: int = 1, **how: Any) -> np.ndarray:
        """n samples, float32 (n, ...): images in [-1, 1], or points.

        how: of a conditional model, `label`, the class of all; of a ddpm, `sampler`, "ancestral",
            "ddim", "heun" or "dpm-solver", `sampler_steps`, `eta`, the noise of ddim, and
            `guidance`, of a conditional one: see `minigen.recipes.ddpm.DDPMRecipe.sample`
        """
        self.check_can_sample(**how)
        if n < 1:
            raise UsageError(f"`n` must be 1 or more, got {n}")
        if self.recipe.samples_need_data:
            self._load_data()
        if "label" in how:
            (how["label"],) = self._classes([how["label"]])[0].tolist()
        return self.recipe.sample(n, seed, **how)

    def save_samples(self, folder: Path, x: np.ndarray, seed: int, **how: Any) -> None:
        """samples.npz and samples.png of samples x: see `sample`.

        The picture of points has more of them, drawn alike, if x are fewer than a cloud.
        """
        recipe = self.recipe
        write_atomically(folder / "samples.npz", _npz({"x": x}))
        title, label = self._title(seed, how), how.pop("label", None)
        if x.ndim == 2 and len(x) < pictures.POINTS:
            x = recipe.sample(pictures.POINTS, seed, **how)
        names = self.class_names if label is None else []
        data = self._data_to_compare(names, label)
        pictures.samples(folder / "samples.png", x, title, data, names)

    def _title(self, seed: int, how: dict[str, Any]) -> str:
        """Of a picture of what was drawn by a seed, and how."""
        named = [f"{name.replace('_', ' ')} {value}" for name, value in how.items()]
        return ", ".join([self.recipe.heading, *named, f"seed {seed}"])

    def _data_to_compare(self, class_names: list[str], label: Any) -> np.ndarray | None:
        """The data that samples shall look like, of one label if it is given; for columns of
        classes, an image of each.

        None if they would have to be read from files for it.
        """
        recipe, settings = self.recipe, self.recipe.settings
        is_loaded = "data" in vars(recipe)
        if not is_loaded and (settings.data not in NAMES or settings.data_dir):
            return None
        data = recipe.data
        if isinstance(data, Domains):
            return data.train_y
        if label is not None:
            return data.train[data.train_labels == self._classes([label])[0]]
        if not class_names:
            return data.train
        labels, first = np.unique(data.train_labels, return_index=True)
        x = np.zeros((len(class_names), *data.train.shape[1:]), np.float32)
        x[labels] = data.train[first]
        return x

    def evaluate(self, n: int | None = None, seed: int = 1, **how: Any) -> dict[str, Measure]:
        """The measures of `how_many(n)` samples; `how` is that of `sample`, but for `label`."""
        if "label" in how:
            rule = "samples of all classes are measured, as the test data are of all"
            raise UsageError(f"`label` is for samples alone: {rule}")
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
        if most < fewest:
            rule = f"the measures need at least {fewest}"
            raise UsageError(f"{data.name} holds out {most} to be measured against: {rule}")
        n = min(SAMPLES_EVALUATED, most) if n is None else n
        if n > most:
            enough = f"has enough test data for at most {counted(most, 'sample')}"
            raise UsageError(f"`n` {n}: {data.name} {enough}")
        if n < fewest:
            raise UsageError(f"`n` {n}: the measures need at least {counted(fewest, 'sample')}")
        return n

    def about_samples(self, n: int) -> list[str]:
        """Of which measures n samples say little, and why."""
        data = self.recipe.data
        return [] if isinstance(data, Domains) else too_few(n, data)

    @property
    def about_batch(self) -> str | None:
        """That a batch has more items than there are; None if it has not."""
        data, size = self.recipe.data, self.recipe.settings.batch_size
        sets = (data.train_x, data.train_y) if isinstance(data, Domains) else (data.train,)
        n = min(map(len, sets))
        if size <= n:
            return None
        often = f"each is in a batch {size / n:.3g} times on average"
        return f"`batch_size` {size} is more than {counted(n, 'training item')}: {often}"

    def encode(self, x: Any, labels: Any = None) -> np.ndarray:
        """The codes (N, latent) of images, of an ae or a vae.

        x: of any layout that `train` takes; but floats lie in [-1, 1], as in samples
        labels: (N,), of a conditional vae: those that it was trained with
        """
        self.check_able("encode")
        return self.recipe.encode(self._images(x), *self._classes(labels))

    def decode(self, z: Any, labels: Any = None) -> np.ndarray:
        """The images (N, C, H, W) of codes (N, latent); labels as in `encode`."""
        self.check_able("decode")
        return self.recipe.decode(np.asarray(z, np.float32), *self._classes(labels))

    def interpolate(self, a: Any, b: Any, n: int = 9, label: Any = None) -> np.ndarray:
        """n images (n, C, H, W) from image a (C, H, W) to image b, by the codes between theirs."""
        self.check_able("interpolate")
        ends = self.encode(np.stack([a, b]), None if label is None else 2 * [label])
        codes = self.recipe.interpolate(*ends, n)
        return self.decode(codes, None if label is None else n * [label])

    def translate(self, x: Any, direction: str) -> np.ndarray:
        """Images (N, 3, H, W) of one domain as images of the other: "x2y" or "y2x"."""
        self.check_able("translate")
        return self.recipe.translate(self._images(x), direction)

    def inpaint(self, x: Any, known: Any, seed: int = 1, repeats: int = REPEATS) -> np.ndarray:
        """Images (N, C, H, W) that are x where it is known, and fit it elsewhere, of a ddpm.

        x: as in `encode`; what it holds where it is not known counts for nothing
        known: bool (H, W), or (N, H, W), at the size of the model's images: True where x is kept
        repeats: how often each step is taken; 1 is the quickest, more fit better
        """
        self.check_able("inpaint")
        x, known = self._images(x), np.asarray(known)
        N, _, H, W = x.shape
        if known.shape not in ((H, W), (N, H, W)):
            expected = f"{(H, W)} or {(N, H, W)}"
            raise UsageError(f"known must be of shape {expected}, got {known.shape}")
        known = known.reshape(-1, 1, H, W)
        return self.recipe.inpaint(x, np.broadcast_to(known, x.shape), seed, repeats)

    def image_to_image(self, x: Any, strength: float = STRENGTH, seed: int = 1) -> np.ndarray:
        """Images (N, C, H, W) like x, which may be a sketch, of a ddpm.

        x: as in `encode`
        strength: how much of the way to noise x goes, and back: more than 0, at most 1
        """
        self.check_able("image_to_image")
        return self.recipe.image_to_image(self._images(x), seed, strength)

    def mix(
        self, x: Any, y: Any, weight: float = 0.5, strength: float = STRENGTH, seed: int = 1
    ) -> np.ndarray:
        """Images (N, C, H, W) between x and y, as in `encode`, of a ddpm.

        weight: that of y, from 0 to 1; whatever it is, a seed gives the same noise
        strength: as in `image_to_image`
        """
        self.check_able("mix")
        x, y = self._images(x), self._images(y)
        if len(x) != len(y):
            raise UsageError(f"x and y must be as many images, got {len(x)} and {len(y)}")
        return self.recipe.mix(x, y, weight, seed, strength)

    def save_edits(self, path: Path, sets: dict[str, np.ndarray], seed: int, **how: Any) -> None:
        """A picture of sets of images (N, C, H, W), before and after an edit: see `inpaint`."""
        pictures.edits(path, sets, self._title(seed, how))

    def test_images(self, direction: str) -> np.ndarray:
        """Held-out images (N, 3, H, W) to translate, of X for "x2y", of Y for "y2x". UsageError
        where none of Y were held out."""
        self.check_able("translate")
        self._load_data()
        data = self.recipe.data
        x = data.test_x if direction == "x2y" else data.test_y
        if x is None:
            raise UsageError(f"{self.path} holds out no images of Y, which has no pairs: pass some")
        return x

    def save_translations(
        self, folder: Path, x: np.ndarray, y: np.ndarray, names: Sequence[str], direction: str
    ) -> Path:
        """Images y (N, 3, H, W), translations of x, as PNGs of these names in a folder, and beside
        it a sheet of both, as many as it holds; returns the sheet's path, which is a new one."""
        for name, image in zip(names, y):
            write_png(folder / name, image)
        sheet = folder.parent / f"{folder.resolve().name}.png"
        while sheet.exists():
            sheet = sheet.with_name(f"_{sheet.name}")
        title = f"{self.recipe.heading}: {direction[0].upper()} to {direction[-1].upper()}"
        pictures.sequence(sheet, [x, y], ["before", "after"], title)
        return sheet

    def check_can_train(self) -> None:
        """UsageError if the run is beyond the settings' `steps`, or its data cannot be read."""
        steps = self.recipe.settings.steps
        if self.done > steps:
            behind = f"`steps` {steps} lies behind it"
            raise UsageError(f"{self.path} is at step {self.done} already: {behind}")
        self._load_data()

    def check_can_sample(self, **how: Any) -> None:
        """UsageError for a run that has no checkpoint, and for a `how` that `sample` has not."""
        if "label" in how:
            self._classes([how.pop("label")])
        if hasattr(self.recipe, "check_sampling"):
            with _as_usage_errors():
                self.recipe.check_sampling(**how)
        elif how:
            raise UsageError(f"{_keywords(how)}: not for {self.recipe.title}")
        if not self.done:
            resume = f"minigen train {self.name} --resume {pasted(self.path)}"
            raise UsageError(f"{self.path} has no checkpoint yet: {resume}")

    def check_able(self, method: str, called: str | None = None) -> None:
        """UsageError for a run that has no checkpoint, and for a model without such a method, or
        of points; in the message it may be `called` something else."""
        name = called or method
        if not hasattr(self.recipe, method):
            able = " and ".join(n for n, recipe in RECIPES.items() if hasattr(recipe, method))
            raise UsageError(f"{self.path} is a run of {self.name!r}: {name} is for {able}")
        if len(self.recipe.settings.about.shape) == 1:
            raise UsageError(f"{self.path} is a run of points: {name} is for images")
        self.check_can_sample()

    @property
    def class_names(self) -> list[str]:
        """What the classes of a conditional model are called; none of another."""
        settings = self.recipe.settings
        if not getattr(settings, "conditional", False):
            return []
        return settings.names_of_classes

    def _images(self, x: Any) -> np.ndarray:
        with _as_usage_errors():
            return as_images(x, self.recipe.settings.about.shape)

    def _classes(self, labels: Any) -> list[np.ndarray]:
        """Labels as the numbers of their classes, for a model that is conditional; else none."""
        names = self.class_names
        if not names:
            if labels is not None:
                raise UsageError(f"{self.path} is not conditional: it takes no labels")
            return []
        given = [] if labels is None else [str(label) for label in labels]
        if not given or not set(given) <= set(names):
            got = "none" if labels is None else ", ".join(sorted(set(given) - set(names)))
            raise UsageError(f"labels must be of {', '.join(names)}; got {got}")
        return [np.array([names.index(label) for label in given])]

    def _load_data(self) -> None:
        with _as_usage_errors():
            self.recipe.data  # noqa: B018


def _check_device(device: str) -> None:
    """RuntimeError if it is a GPU and there is none."""
    try:
        if device != "cpu":
            import_cupy()
    except RuntimeError as error:
        instead = "without a GPU take `device` cpu"
        raise RuntimeError(f"{error}; {instead}") from error


def _keywords(names: Iterable[str]) -> str:
    """Keyword arguments, as a message names them; the command line makes options of them."""
    return ", ".join(f"`{name}`" for name in names)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with Python's numbers for NumPy's."""
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in settings.items()}


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
