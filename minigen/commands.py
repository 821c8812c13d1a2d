"""The commands of `minigen`: each takes its parsed options, and returns the exit status."""

import itertools
import json
import math
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from minigen import api
from minigen.api import SAMPLES_OF_A_RUN, TrainedModel, UsageError
from minigen.data.folders import image_files, read_images
from minigen.data.images import adaptations, image_size, read_image, read_opacity, write_png
from minigen.evaluation.pictures import HOLE
from minigen.recipes import RECIPES
from minigen.recipes.editing import REPEATS, STRENGTH
from minigen.training import process
from minigen.training.run import MAY_CHANGE, new_folder, unused_folder
from minigen.words import counted, flag, pasted
from tensor.arrays import gpu_name
from tensor.kernels import loops

SAMPLING = ("sampler", "sampler_steps", "eta", "guidance", "label")
"""The options of `sample` and `evaluate` that say how to sample."""

OPTIONS = {"n", "out", *MAY_CHANGE, *SAMPLING} | {
    f.name for recipe in RECIPES.values() for f in fields(recipe.Settings)
}
"""The keyword arguments that are options here."""


def train(options: Namespace) -> int:
    """A new run, or one that goes on; 130 if Ctrl-C ended it early."""
    given = _given(options, (f.name for f in fields(RECIPES[options.model].Settings)))
    if options.resume is not None:
        model = _reopened(options, given)
        if not model.done:
            _note(f"{model.path} has no checkpoint: its training starts from the beginning")
    else:
        model = api.new(options.model, out=options.out, **given)
    recipe, steps = model.recipe, model.recipe.settings.steps
    size = sum(p.numel() for p in recipe.checkpointed["model"].parameters())
    length = counted(steps, "step")
    print(f"{recipe.heading}: {size:,} parameters, {length}, in {model.path}")
    if recipe.settings.device != "cpu":
        print(f"on the GPU {gpu_name()}")
    for note in filter(None, (recipe.warning, model.about_batch)):
        _note(note)
    if model.done == steps:
        _note("it is at its last step: a larger `steps` goes on, this draws its pictures anew")
    process.prepare()
    if not loops():
        print("without Numba's compiled loops each step takes several times longer")
    if not model.train():
        print(f"stopped; to go on: minigen train {options.model} --resume {pasted(model.path)}")
        return 130
    print(f"samples, pictures and checkpoint are in {model.path}", end="; ")
    print(f"to measure them: minigen evaluate {pasted(model.path)}")
    return 0


def sample(options: Namespace) -> int:
    """Samples of a run, in a folder."""
    model, how = _trained(options)
    seed = _seed(options, model, "samples")
    out = _out(options, model, f"samples-{seed}")
    x = model.sample(options.n or SAMPLES_OF_A_RUN, seed, **how)
    model.save_samples(out, x, seed, **how)
    print(f"{counted(len(x), 'sample')} of seed {seed}: in {out}")
    return 0


def evaluate(options: Namespace) -> int:
    """The measures of a run, as a table or as JSON."""
    model, how = _trained(options)
    n, reference = model.how_many(options.n), model.recipe.reference
    seed = 1 if options.seed is None else options.seed
    measures, notes = model.evaluate(n, seed, **how), model.about_samples(n)
    if options.json:
        found = {name: dict(zip(m._fields, map(json_number, m))) for name, m in measures.items()}
        report = {"run": str(model.path), "n": n, "seed": seed, "reference": reference.name} | how
        print(json.dumps(report | {"measures": found, "notes": notes}, indent=2))
        return 0
    meaning = f"{reference.name}: {reference.meaning}"
    against = f"against {counted(n, 'test item')}"
    print(f"{counted(n, 'sample')} of {model.path} {against}; {meaning}")
    print(f"{'':20}{'samples':>12}{reference.name:>12}{'ratio':>12}")
    for name, (value, compared) in measures.items():
        line = f"{name:20}{value:12.4g}"
        if compared is not None:
            ratio = value / compared if compared else float("nan")
            line += f"{compared:12.4g}{ratio:12.4g}"
        print(line)
    for note in notes:
        _note(note)
    return 0


def json_number(x: float | None) -> float | None:
    """JSON has no infinities, and nothing that is not a number."""
    return x if x is not None and math.isfinite(x) else None


def translate(options: Namespace) -> int:
    """Translations, in a folder, and a sheet of before and after."""
    model, _ = _trained(options)
    model.check_able("translate")
    if options.input is None:
        x = model.test_images(options.direction)
        names = [f"{k}.png" for k in range(len(x))]
    else:
        x, names = _read(Path(options.input), model.recipe.settings.size)
    y = model.translate(x, options.direction)
    out = _out(options, model, f"translated-{options.direction}")
    sheet = model.save_translations(out, x, y, names, options.direction)
    print(f"{counted(len(y), 'translation')}: in {out}; beside what they were: {sheet}")
    return 0


def _read(source: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """The images that --input names, and names of PNGs for them; what is done to unusual ones is
    printed."""
    with _reading("--input"):
        paths = image_files(source, fewest=1) if source.is_dir() else [source]
        x = read_images(paths, size)
    _tell_adaptations(paths, size)
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):  # a.png and a.jpg
        names = [path.name for path in paths]
    return x, [f"{name}.png" for name in names]


def _tell_adaptations(paths: Sequence[Path], size: int) -> None:
    for what, count in Counter(what for path in paths for what in adaptations(path, size)).items():
        _note(f"{count} of {counted(len(paths), 'image')}: {what}")


def edit(options: Namespace) -> int:
    """An image repainted in part, redrawn, or mixed with another, as often as asked for."""
    model, _ = _trained(options)
    model.check_able("image_to_image", called="edit")
    size, n = model.recipe.settings.about.shape[-1], options.n
    seed = _seed(options, model, "edited")
    with _reading("--input"):
        x = read_image(options.input, size)[None]
    with _reading("--mix"):
        y = None if options.mix is None else read_image(options.mix, size)[None]
    _tell_adaptations([Path(path) for path in (options.input, options.mix) if path], size)
    if model.class_names:
        _note("a conditional model edits as if it were told no class")
    known = _known(options, size)
    if options.repeats is not None and known is None:
        part = "add --mask, or make a part of the input transparent"
        raise UsageError(f"--repeats is for repainting a part: {part}")
    out = _out(options, model, f"edited-{seed}")
    how: dict[str, Any] = {"strength": options.strength or STRENGTH}
    sets, method = {"input": x}, "SDEdit"
    if y is not None:
        method = "mixed"
        mixtures = [model.mix(x, y, w, seed=seed, **how) for w in np.linspace(0, 1, n)]
        results = np.concatenate(mixtures)
        sets |= {"from the input to the other": results, "other image": y}
    elif known is None:
        results = model.image_to_image(x.repeat(n, 0), seed=seed, **how)
        sets |= {"redrawn": results}
    else:
        method, how = "RePaint", {"repeats": options.repeats or REPEATS}
        results = model.inpaint(x.repeat(n, 0), known, seed, **how)
        sets |= {"what is kept": np.where(known, x, HOLE), "repainted": results}
    for k, image in enumerate(results, 1):
        write_png(out / f"{Path(options.input).stem}-{k}.png", image)
    model.save_edits(out / "edited.png", sets, seed, method=method, **how)
    print(f"{counted(n, 'result')}, beside what was: in {out}")
    return 0


def _known(options: Namespace, size: int) -> np.ndarray | None:
    """Which pixels (size, size) of the input are kept: those that are black in the mask, or opaque.

    None if there is nothing to repaint: the input is opaque, or --strength or --mix are given.
    """
    source, mask = options.input, options.mask
    is_whole = options.strength is not None or options.mix is not None
    if mask is None:
        with _reading("--input"):
            known = read_opacity(source, size) > 0.5
        return None if is_whole or known.all() else known
    if is_whole:
        raise UsageError(
            "--mask goes neither with --strength nor with --mix: leave one of them out"
        )
    with _reading("--mask"):
        (W, H), mask_size, white = image_size(source), image_size(mask), read_image(mask, size)
    if mask_size != (W, H):
        sizes = f"{mask_size[0]} x {mask_size[1]} pixels, --input {source} is {W} x {H}"
        raise UsageError(f"--mask {mask} is {sizes}: make the mask as large as the input")
    known = white.mean(0) < 0
    if known.all():
        raise UsageError(f"--mask {mask} is black: paint white what shall be repainted")
    return known


# What commands share


@contextmanager
def _reading(option: str) -> Iterator[None]:
    """What cannot be read is a UsageError that names the option."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{option} {error.filename}: there is no such file") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{option} {error}") from error


def _out(options: Namespace, model: TrainedModel, name: str) -> Path:
    """A new folder: --out, or else one of this name in the run's."""
    if options.out is None:
        return unused_folder(name, model.path)
    return new_folder(options.out, "choose another `out`")


def _seed(options: Namespace, model: TrainedModel, name: str) -> int:
    """--seed, or the first of 1, 2, ... for which the run has no folder yet."""
    if options.seed is not None:
        return options.seed
    if options.out is not None:
        return 1
    return next(k for k in itertools.count(1) if not (model.path / f"{name}-{k}").exists())


def _given(options: Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    found = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _reopened(options: Namespace, given: dict) -> TrainedModel:
    """The run to go on with. Its settings stay as they were, but for MAY_CHANGE."""
    fixed = sorted(given.keys() - set(MAY_CHANGE)) + (["out"] if options.out is not None else [])
    if fixed:
        names = ", ".join(map(flag, fixed))
        raise UsageError(f"{names} cannot change with --resume: the run keeps its own settings")
    model = api.load(options.resume, **given)
    if model.name != options.model:
        to_go_on = f"minigen train {model.name} --resume {pasted(model.path)}"
        raise UsageError(f"{model.path} is a run of {model.name!r}: {to_go_on}")
    model.check_can_train()
    return model


def _trained(options: Namespace) -> tuple[TrainedModel, dict]:
    """The model of a run, and how to sample it."""
    model, how = api.load(options.run, **_given(options, MAY_CHANGE)), _given(options, SAMPLING)
    model.check_can_sample(**how)
    process.prepare()
    return model, how


def _note(what: str) -> None:
    print(f"note: {with_options(what)}")


def with_options(message: str) -> str:
    """A message of minigen's in which `batch_size` stands, with --batch-size in its place."""
    return re.sub("`([a-z_]+)`", lambda m: flag(m[1]) if m[1] in OPTIONS else m[0], message)
