"""The command line: `minigen train`, `minigen sample`, `minigen evaluate`, `minigen translate`."""

from __future__ import annotations

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

from minigen.data.folders import png_files
from minigen.data.png import read_png
from minigen.evaluation import pictures
from minigen.recipes import MODELS, Experiment
from minigen.recipes.base import Config
from minigen.recipes.translation import DIRECTIONS, Translation
from minigen.training import process
from minigen.training.checkpoint import CheckpointError
from minigen.training.files import write_atomically
from minigen.training.loop import Diverged, restore, train
from minigen.training.run import MAY_CHANGE, Run, RunError, new_folder
from minigen.training.settings import flag
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
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # "Fréchet" on a terminal that knows ASCII alone
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (UsageError, RunError, CheckpointError) as error:
        print(f"minigen: error: {error}", file=sys.stderr)
        return 2
    except (Diverged, OSError) as error:
        print(f"minigen: error: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"minigen: error: not enough memory ({error}): a smaller --batch-size may help", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minigen: interrupted", file=sys.stderr)
        return 130


# Arguments


def _setting(config: Callable[..., Any], name: str) -> Callable[[str], Any]:
    """The type of an option that is a setting: the model's Config says what it may be."""

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = type(getattr(config(), name))(text)
        try:
            return getattr(config(**{name: value}), name)
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
    """The type of a folder that a run remembers, wherever it is used from. An empty one stays empty, and a mistake."""
    return text and os.path.abspath(text)


def _metavar(field: Field) -> str:
    """What stands for the value of a setting in --help."""
    if field.metadata["choices"]:
        return f"{{{','.join(field.metadata['choices'])}}}"
    return {int: "N", float: "X", str: "NAME"}.get(type(field.default), "DIR")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minigen",
        description="Train generative models whose every gradient you can read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    models = commands.add_parser("train", help="train a model, draw samples and pictures").add_subparsers(
        title="models", required=True, metavar="MODEL", dest="model"
    )
    for name, experiment in MODELS.items():
        trainer = models.add_parser(name, help=experiment.title, description=experiment.__doc__)
        trainer.set_defaults(command=_train)
        for f in fields(experiment.Config):
            default = "" if f.default is None else f" (default: {f.default})"
            if f.default is False:
                trainer.add_argument(flag(f.name), action="store_true", default=None, help=f.metadata["help"])
                continue
            kind = _folder if f.name in FOLDERS else _setting(experiment.Config, f.name)
            trainer.add_argument(flag(f.name), type=kind, metavar=_metavar(f), help=f.metadata["help"] + default)
        trainer.add_argument("--out", metavar="DIR", help="the run's folder (default: a new one below runs/)")
        trainer.add_argument("--resume", metavar="DIR", help="go on with this run and its settings; --steps may extend it")

    sampler = commands.add_parser("sample", help="draw samples from a trained run")
    sampler.set_defaults(command=_sample)
    evaluator = commands.add_parser("evaluate", help="measure samples of a run against real test data")
    evaluator.set_defaults(command=_evaluate)
    for command, n in ((sampler, SAMPLES_OF_A_RUN), (evaluator, SAMPLES_EVALUATED)):
        command.add_argument("run", metavar="DIR", help="a run's folder")
        command.add_argument("-n", type=_count, metavar="N", help=f"how many samples (default: {n})")
        command.add_argument("--seed", type=_setting(Config, "seed"), default=1, metavar="N", help="default: 1")
        command.add_argument("--device", type=_setting(Config, "device"), metavar="NAME", help="default: that of the training")
        command.add_argument("--data-dir", type=_folder, metavar="DIR", help="where the IDX files lie now")
        command.add_argument("--sampler", choices=["ancestral", "ddim"], help="of a ddpm (default: ancestral)")
        command.add_argument("--sampler-steps", type=_count, metavar="N", help="steps of ddim (default: all)")
    sampler.add_argument("--out", metavar="DIR", help="where samples.png and samples.npz go (default: DIR/samples-SEED)")
    translator = commands.add_parser("translate", help="translate images by a run of cyclegan or pix2pix")
    translator.set_defaults(command=_translate)
    translator.add_argument("run", metavar="DIR", help="a run's folder")
    translator.add_argument("--input", required=True, metavar="FILE.png|DIR", help="an image, or a folder of them")
    translator.add_argument("--direction", required=True, choices=DIRECTIONS, help="from X to Y, or from Y to X")
    translator.add_argument("--device", type=_setting(Config, "device"), metavar="NAME", help="default: that of the training")
    translator.add_argument("--out", metavar="DIR", help="where the translations go (default: DIR/translated-DIRECTION)")
    parser.epilog = "\n".join(command.format_usage() for command in (*models.choices.values(), sampler, evaluator, translator))
    return parser


# Commands


def _train(options: argparse.Namespace) -> int:
    given = _given(options, (f.name for f in fields(MODELS[options.model].Config)))
    if options.resume is not None:
        run, experiment, done = _reopened(options, given)
        if not done:
            print(f"note: {run.path} has no checkpoint: its training starts from the beginning")
    else:
        experiment, done = _experiment(options.model, given), 0
        path = Run.unused(f"{options.model}-{experiment.config.data}") if options.out is None else options.out
        run = Run.create(path, {"model": options.model} | asdict(experiment.config))
    print(f"{experiment.heading}: {experiment.size:,} parameters, {experiment.config.steps} steps, in {run.path}")
    if experiment.warning:
        print(f"note: {experiment.warning}")
    process.prepare()
    if not loops():
        print("without Numba's compiled loops each step takes several times longer")
    if not train(experiment, run, experiment.config.steps, done):
        print(f"stopped; to go on: minigen train {options.model} --resume {run.path}")
        return 130
    _write_samples(run.path, experiment.sample(SAMPLES_OF_A_RUN, experiment.config.seed), experiment.heading)
    experiment.draw(run)
    print(f"samples, pictures and checkpoint are in {run.path}; to measure them: minigen evaluate {run.path}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    run, experiment, how = _trained(options, with_data=None)
    out = Run.unused(f"samples-{options.seed}", run.path) if options.out is None else options.out
    out = new_folder(out, "choose another --out")
    x = experiment.sample(options.n or SAMPLES_OF_A_RUN, options.seed, **how)
    words = ", ".join([experiment.heading, *map(str, how.values()), f"seed {options.seed}"])
    _write_samples(out, x, words)
    print(f"{len(x)} samples are in {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    run, experiment, how = _trained(options)
    most = experiment.most_evaluated
    n = options.n or min(SAMPLES_EVALUATED, most)
    if n > most:
        raise UsageError(f"-n {n}: {experiment.config.data} has enough test data for at most {most} samples")
    if n < experiment.fewest_evaluated:
        raise UsageError(f"-n {n}: the measures need at least {experiment.fewest_evaluated} samples")
    results = experiment.evaluate(n, options.seed, **how)
    reference, meaning = experiment.beside
    print(f"{n} samples of {run.path} against {n} test points; {reference}: {meaning}")
    print(f"{'':20}{'samples':>12}{reference:>12}{'ratio':>12}")
    for name, (value, floor) in results.items():
        beside = "" if floor is None else f"{floor:12.4g}{value / floor if floor else float('nan'):12.4g}"
        print(f"{name:20}{value:12.4g}{beside}")
    return 0


def _translate(options: argparse.Namespace) -> int:
    run, experiment, _ = _trained(options, with_data=False)
    if not isinstance(experiment, Translation):
        raise UsageError(f"{run.path} is a run of {run.config['model']!r}: only cyclegan and pix2pix translate")
    paths = _images(Path(options.input))
    try:
        x = np.stack([read_png(path, experiment.config.size) for path in paths])
    except ValueError as error:
        raise UsageError(str(error)) from error
    y = experiment.translate(x, options.direction)
    out = Run.unused(f"translated-{options.direction}", run.path) if options.out is None else options.out
    out = new_folder(out, "choose another --out")
    for path, image in zip(paths, y):
        pictures.write_png(out / path.name, image)
    print(f"{len(y)} translations are in {out}")
    return 0


# What commands share


def _images(path: Path) -> list[Path]:
    """An image, or those in a folder, sorted by name."""
    paths = png_files(path) if path.is_dir() else [path]
    if not paths:
        raise UsageError(f"--input {path}: there are no PNG files (*.png) in this folder")
    return paths


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    return {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}


def _experiment(model: str, settings: dict, with_data: bool = True) -> Experiment:
    """The experiment of these settings; whatever is wrong with them is a UsageError."""
    try:
        return MODELS[model](MODELS[model].Config(**settings), with_data)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise UsageError(str(error)) from error


def _described(run: Run, changes: dict, with_data: bool | None = True) -> Experiment:
    """The experiment that a run's config.json describes, with some settings changed. None: with data if samples need them."""
    settings = dict(run.config)
    model = settings.pop("model")
    if model not in MODELS:
        raise UsageError(f"{run.path} is a run of {model!r}: this version knows {', '.join(MODELS)}")
    try:
        config = MODELS[model].Config(**settings)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{run.path / 'config.json'}: {error}") from error
    if foreign := [flag(name) for name in changes if name not in asdict(config)]:
        raise UsageError(f"{', '.join(foreign)}: not for {MODELS[model].title}")
    with_data = MODELS[model].samples_need_data if with_data is None else with_data
    return _experiment(model, asdict(config) | changes, with_data)


def _reopened(options: argparse.Namespace, given: dict) -> tuple[Run, Experiment, int]:
    """The run to go on with, its experiment, and the step it is at. Its settings stay as they were, but for MAY_CHANGE."""
    fixed = sorted(given.keys() - set(MAY_CHANGE)) + (["out"] if options.out is not None else [])
    if fixed:
        raise UsageError(f"{', '.join(map(flag, fixed))} cannot change with --resume: the run keeps its own settings")
    run = Run(options.resume)
    if run.config["model"] != options.model:
        raise UsageError(f"{run.path} is a run of {run.config['model']!r}: minigen train {run.config['model']} --resume")
    experiment = _described(run, given)
    done = restore(experiment, run)
    if done > experiment.config.steps:
        raise UsageError(f"{run.path} is at step {done} already: --steps {experiment.config.steps} lies behind it")
    run.configure(run.config | given)
    return run, experiment, done


def _trained(options: argparse.Namespace, with_data: bool | None = True) -> tuple[Run, Experiment, dict[str, Any]]:
    """A run, its experiment with the weights of the checkpoint, and how to sample."""
    run = Run(options.run)
    experiment = _described(run, _given(options, MAY_CHANGE), with_data)
    how = _given(options, SAMPLING)
    try:
        experiment.check_sampling(**how)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not restore(experiment, run):
        raise UsageError(f"{run.path} has no checkpoint yet: minigen train {run.config['model']} --resume {run.path}")
    process.prepare()
    return run, experiment, how


def _write_samples(folder: Path, x: np.ndarray, title: str) -> None:
    """samples.npz and samples.png."""
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    write_atomically(folder / "samples.npz", buffer.getvalue())
    pictures.samples(folder / "samples.png", x, title)


if __name__ == "__main__":
    sys.exit(main())
