"""The command line: `minigen train`, `minigen sample`, `minigen evaluate`, `minigen translate`."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from minigen.data.files import write_atomically
from minigen.data.folders import png_files
from minigen.data.png import read_png, write_png
from minigen.evaluation import pictures
from minigen.recipes import RECIPES
from minigen.recipes.cyclegan import CycleGANRecipe
from minigen.recipes.ddpm import SAMPLERS, DDPMRecipe
from minigen.recipes.pix2pix import Pix2PixRecipe
from minigen.recipes.translation import DIRECTIONS
from minigen.training import process
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged, restore, train
from minigen.training.run import MAY_CHANGE, Run, RunError, new_folder
from minigen.training.settings import DataSettings, flag
from tensor.kernels import loops

SAMPLES_OF_A_RUN = 64
"""How many samples `minigen train` leaves in samples.npz and samples.png."""

SAMPLES_EVALUATED = 500
"""How many samples `minigen evaluate` measures, unless there are fewer test data."""

SAMPLING = ("sampler", "sampler_steps")
"""The options of `sample` and `evaluate` that say how to sample."""

FOLDERS = ("data_dir", "data_x", "data_y")
"""The settings that are folders of data."""


class UsageError(Exception):
    """Something that the user asked for and that cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # "Fréchet" on a terminal that knows ASCII alone
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (UsageError, RunError, CheckpointError) as error:
        return _failed(str(error), 2)
    except (Diverged, OSError) as error:
        return _failed(str(error), 1)
    except MemoryError as error:
        return _failed(f"not enough memory ({error}): a smaller --batch-size may help", 1)
    except KeyboardInterrupt:
        print("minigen: interrupted", file=sys.stderr)
        return 130


def _failed(why: str, status: int) -> int:
    print(f"minigen: error: {why}", file=sys.stderr)
    return status


# Arguments


def _setting(settings: Callable[..., Any], name: str) -> Callable[[str], Any]:
    """The type of an option that is a setting: the settings' class says what it may be."""

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = type(getattr(settings(), name))(text)
        try:
            return getattr(settings(**{name: value}), name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def _count(text: str) -> int:
    """The type of a number of samples, or of their steps."""
    with suppress(ValueError):
        if 1 <= int(text) <= 10**6:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer from 1 to {10**6}, got {text[:40]!r}")


def _folder(text: str) -> str:
    """The type of a folder that a run remembers, wherever it is used from.

    An empty one stays empty, and a mistake.
    """
    return text and os.path.abspath(text)


def _metavar(field: Field) -> str:
    """What stands for the value of a setting in --help."""
    if field.metadata["choices"]:
        return f"{{{','.join(field.metadata['choices'])}}}"
    return {int: "N", float: "X", str: "NAME"}.get(type(field.default), "DIR")


def _parser() -> argparse.ArgumentParser:
    purpose = "Train generative models whose every gradient you can read."
    parser = argparse.ArgumentParser("minigen", description=purpose)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    trainer = commands.add_parser("train", help="train a model, draw samples and pictures")
    models = trainer.add_subparsers(title="models", required=True, metavar="MODEL", dest="model")
    for name, recipe in RECIPES.items():
        model = models.add_parser(name, help=recipe.title, description=recipe.__doc__)
        model.set_defaults(command=_train)
        _add_settings(model, recipe.Settings)
        out = "the run's folder (default: a new one below runs/)"
        model.add_argument("--out", metavar="DIR", help=out)
        resume = "go on with this run and its settings; --steps may extend it"
        model.add_argument("--resume", metavar="DIR", help=resume)

    sampler = commands.add_parser("sample", help="draw samples from a trained run")
    sampler.set_defaults(command=_sample)
    _add_sampling(sampler, SAMPLES_OF_A_RUN)
    out = "where samples.png and samples.npz go (default: DIR/samples-SEED)"
    sampler.add_argument("--out", metavar="DIR", help=out)

    measures = "measure samples of a run against real test data"
    evaluator = commands.add_parser("evaluate", help=measures)
    evaluator.set_defaults(command=_evaluate)
    _add_sampling(evaluator, SAMPLES_EVALUATED)

    translations = "translate images by a run of cyclegan or pix2pix"
    translator = commands.add_parser("translate", help=translations)
    translator.set_defaults(command=_translate)
    add = translator.add_argument
    add("run", metavar="DIR", help="a run's folder")
    add("--input", required=True, metavar="FILE.png|DIR", help="an image, or a folder of them")
    add("--direction", required=True, choices=DIRECTIONS, help="from X to Y, or from Y to X")
    device = _setting(DataSettings, "device")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    out = "where the translations go (default: DIR/translated-DIRECTION)"
    add("--out", metavar="DIR", help=out)

    all_commands = *models.choices.values(), sampler, evaluator, translator
    parser.epilog = "\n".join(command.format_usage() for command in all_commands)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: Any) -> None:
    """An option for each setting of a recipe."""
    for f in fields(settings):
        words = f.metadata["help"]
        if f.default is False:
            parser.add_argument(flag(f.name), action="store_true", default=None, help=words)
            continue
        kind = _folder if f.name in FOLDERS else _setting(settings, f.name)
        words += "" if f.default is None else f" (default: {f.default})"
        parser.add_argument(flag(f.name), type=kind, metavar=_metavar(f), help=words)


def _add_sampling(parser: argparse.ArgumentParser, n: int) -> None:
    """The options of `sample` and `evaluate`."""
    add = parser.add_argument
    add("run", metavar="DIR", help="a run's folder")
    add("-n", type=_count, metavar="N", help=f"how many samples (default: {n})")
    seed, device = _setting(DataSettings, "seed"), _setting(DataSettings, "device")
    add("--seed", type=seed, default=1, metavar="N", help="default: 1")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    add("--data-dir", type=_folder, metavar="DIR", help="where the IDX files lie now")
    add("--sampler", choices=SAMPLERS, help="of a ddpm (default: ancestral)")
    add("--sampler-steps", type=_count, metavar="N", help="steps of ddim (default: all)")


# Commands


def _train(options: argparse.Namespace) -> int:
    given = _given(options, (f.name for f in fields(RECIPES[options.model].Settings)))
    if options.resume is not None:
        run, recipe, done = _reopened(options, given)
        if not done:
            print(f"note: {run.path} has no checkpoint: its training starts from the beginning")
    else:
        recipe, done = _recipe(options.model, given), 0
        path = options.out
        if path is None:
            path = Run.unused(f"{options.model}-{recipe.settings.data}")
        run = Run.create(path, {"model": options.model} | asdict(recipe.settings))
    size = sum(p.numel() for p in recipe.checkpointed["model"].parameters())
    steps = recipe.settings.steps
    print(f"{recipe.heading}: {size:,} parameters, {steps} steps, in {run.path}")
    if recipe.warning:
        print(f"note: {recipe.warning}")
    process.prepare()
    if not loops():
        print("without Numba's compiled loops each step takes several times longer")
    if not train(recipe, run, steps, done):
        print(f"stopped; to go on: minigen train {options.model} --resume {run.path}")
        return 130
    x = recipe.sample(SAMPLES_OF_A_RUN, recipe.settings.seed)
    _write_samples(run.path, x, recipe.heading)
    recipe.draw(run)
    print(f"samples, pictures and checkpoint are in {run.path}", end="; ")
    print(f"to measure them: minigen evaluate {run.path}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    run, recipe, how = _trained(options, with_data=None)
    out = _out(options, run, f"samples-{options.seed}")
    x = recipe.sample(options.n or SAMPLES_OF_A_RUN, options.seed, **how)
    title = ", ".join([recipe.heading, *map(str, how.values()), f"seed {options.seed}"])
    _write_samples(out, x, title)
    print(f"{len(x)} samples are in {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    run, recipe, how = _trained(options)
    most, reference = recipe.data.most_evaluated, recipe.reference
    n = options.n or min(SAMPLES_EVALUATED, most)
    if n > most:
        name = recipe.settings.data
        raise UsageError(f"-n {n}: {name} has enough test data for at most {most} samples")
    if n < reference.fewest:
        raise UsageError(f"-n {n}: the measures need at least {reference.fewest} samples")
    measures = recipe.evaluate(n, options.seed, **how)
    meaning = f"{reference.name}: {reference.meaning}"
    print(f"{n} samples of {run.path} against {n} test points; {meaning}")
    print(f"{'':20}{'samples':>12}{reference.name:>12}{'ratio':>12}")
    for name, (value, compared) in measures.items():
        line = f"{name:20}{value:12.4g}"
        if compared is not None:
            ratio = value / compared if compared else float("nan")
            line += f"{compared:12.4g}{ratio:12.4g}"
        print(line)
    return 0


def _translate(options: argparse.Namespace) -> int:
    run, recipe, _ = _trained(options, with_data=False)
    if not isinstance(recipe, (CycleGANRecipe, Pix2PixRecipe)):
        model = run.config["model"]
        raise UsageError(f"{run.path} is a run of {model!r}: only cyclegan and pix2pix translate")
    paths = _images(Path(options.input))
    try:
        x = np.stack([read_png(path, recipe.settings.size) for path in paths])
    except ValueError as error:
        raise UsageError(str(error)) from error
    y = recipe.translate(x, options.direction)
    out = _out(options, run, f"translated-{options.direction}")
    for path, image in zip(paths, y):
        write_png(out / path.name, image)
    print(f"{len(y)} translations are in {out}")
    return 0


# What commands share


def _out(options: argparse.Namespace, run: Run, name: str) -> Path:
    """A new folder: --out, or else one of this name in the run's."""
    path = Run.unused(name, run.path) if options.out is None else options.out
    return new_folder(path, "choose another --out")


def _images(path: Path) -> list[Path]:
    """An image, or those in a folder, sorted by name."""
    paths = png_files(path) if path.is_dir() else [path]
    if not paths:
        raise UsageError(f"--input {path}: there are no PNG files (*.png) in this folder")
    return paths


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    found = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _recipe(model: str, settings: dict, with_data: bool = True) -> Any:
    """The recipe of these settings; whatever is wrong with them, or their data, is a UsageError."""
    try:
        recipe = RECIPES[model](RECIPES[model].Settings(**settings))
        if with_data:
            recipe.data  # noqa: B018  loads it
        return recipe
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise UsageError(str(error)) from error


def _described(run: Run, changes: dict, with_data: bool | None = True) -> Any:
    """The recipe that a run's config.json describes, with some settings changed.

    with_data: whether to load the data; None, if samples need them
    """
    given = dict(run.config)
    model = given.pop("model")
    if model not in RECIPES:
        known = ", ".join(RECIPES)
        raise UsageError(f"{run.path} is a run of {model!r}: this version knows {known}")
    try:
        settings = asdict(RECIPES[model].Settings(**given))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{run.path / 'config.json'}: {error}") from error
    if foreign := [flag(name) for name in changes if name not in settings]:
        raise UsageError(f"{', '.join(foreign)}: not for {RECIPES[model].title}")
    if with_data is None:
        with_data = RECIPES[model].samples_need_data
    return _recipe(model, settings | changes, with_data)


def _reopened(options: argparse.Namespace, given: dict) -> tuple[Run, Any, int]:
    """The run to go on with, its recipe, and the step it is at.

    Its settings stay as they were, but for MAY_CHANGE.
    """
    fixed = sorted(given.keys() - set(MAY_CHANGE)) + (["out"] if options.out is not None else [])
    if fixed:
        names = ", ".join(map(flag, fixed))
        raise UsageError(f"{names} cannot change with --resume: the run keeps its own settings")
    run = Run(options.resume)
    model = run.config["model"]
    if model != options.model:
        raise UsageError(f"{run.path} is a run of {model!r}: minigen train {model} --resume")
    recipe = _described(run, given)
    done, steps = restore(recipe, run), recipe.settings.steps
    if done > steps:
        raise UsageError(f"{run.path} is at step {done} already: --steps {steps} lies behind it")
    run.configure(run.config | given)
    return run, recipe, done


def _trained(options: argparse.Namespace, with_data: bool | None = True) -> tuple[Run, Any, dict]:
    """A run, its recipe with the weights of the checkpoint, and how to sample."""
    run = Run(options.run)
    recipe = _described(run, _given(options, MAY_CHANGE), with_data)
    how = _given(options, SAMPLING)
    if isinstance(recipe, DDPMRecipe):
        try:
            recipe.check_sampling(**how)
        except ValueError as error:
            raise UsageError(str(error)) from error
    elif how:
        raise UsageError(f"{', '.join(map(flag, how))}: not for {recipe.title}")
    if not restore(recipe, run):
        resume = f"minigen train {run.config['model']} --resume {run.path}"
        raise UsageError(f"{run.path} has no checkpoint yet: {resume}")
    process.prepare()
    return run, recipe, how


def _write_samples(folder: Path, x: np.ndarray, title: str) -> None:
    """samples.npz and samples.png."""
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    write_atomically(folder / "samples.npz", buffer.getvalue())
    pictures.samples(folder / "samples.png", x, title)
