"""The command line: `minigen train`, `minigen sample`, `minigen evaluate`."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from minigen import data, pictures
from minigen.checkpoint import CheckpointError, write_atomically
from minigen.experiments.ddpm import DDPM, Config
from minigen.run import MAY_CHANGE, Run, RunError, new_folder
from minigen.training import Diverged, restore, train

SAMPLES_OF_A_RUN = 64
"""How many samples `minigen train` leaves in samples.npz and samples.png."""


class UsageError(Exception):
    """Something that the user asked for and that cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
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


def _setting(name: str) -> Callable[[str], Any]:
    """The type of an option that is a setting: Config says what it may be."""

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = type(getattr(Config(), name))(text)
        try:
            return getattr(Config(**{name: value}), name)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="minigen", description="Train generative models whose every gradient you can read.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    default = Config()

    trainer = commands.add_parser("train", help="train a model, draw samples and pictures")
    trainer.set_defaults(command=_train)
    trainer.add_argument("model", choices=["ddpm"], help="ddpm: a denoising diffusion model (Ho et al. 2020)")
    trainer.add_argument("--data", choices=data.NAMES, help=f"what to learn (default: {default.data})")
    trainer.add_argument("--data-dir", type=_folder, metavar="DIR", help="where the IDX files of MNIST or Fashion-MNIST lie")
    trainer.add_argument("--steps", type=_setting("steps"), metavar="N", help=f"training steps (default: {default.steps})")
    trainer.add_argument("--batch-size", type=_setting("batch_size"), metavar="N", help=f"default: {default.batch_size}")
    trainer.add_argument("--lr", type=_setting("lr"), metavar="RATE", help=f"peak learning rate (default: {default.lr})")
    trainer.add_argument("--seed", type=_setting("seed"), metavar="N", help=f"default: {default.seed}")
    trainer.add_argument("--device", type=_setting("device"), metavar="NAME", help="cpu, cuda or cuda:N (default: cpu)")
    trainer.add_argument("--out", metavar="DIR", help="the run's folder (default: a new one below runs/)")
    trainer.add_argument("--resume", metavar="DIR", help="go on with this run, with its own settings; --steps may extend it")

    sampler = commands.add_parser("sample", help="draw samples from a trained run")
    sampler.set_defaults(command=_sample)
    evaluator = commands.add_parser("evaluate", help="measure samples of a run against real test data")
    evaluator.set_defaults(command=_evaluate)
    for command, n in ((sampler, 64), (evaluator, 500)):
        command.add_argument("run", metavar="DIR", help="a run's folder")
        command.add_argument("-n", type=_count, default=n, metavar="N", help=f"how many samples (default: {n})")
        command.add_argument("--seed", type=_setting("seed"), default=1, metavar="N", help="default: 1")
        command.add_argument("--device", type=_setting("device"), metavar="NAME", help="default: that of the training")
        command.add_argument("--sampler", choices=["ancestral", "ddim"], default="ancestral", help="default: ancestral")
        command.add_argument("--sampler-steps", type=_count, metavar="N", help="steps of ddim (default: all)")
    sampler.add_argument("--out", metavar="DIR", help="where samples.png and samples.npz go (default: DIR/samples-SEED)")
    evaluator.add_argument("--data-dir", type=_folder, metavar="DIR", help="where the IDX files lie now")
    return parser


# Commands


def _train(options: argparse.Namespace) -> int:
    given = {f.name: getattr(options, f.name) for f in fields(Config) if getattr(options, f.name, None) is not None}
    if options.resume is not None:
        run, experiment, done = _reopened(options, given)
    else:
        experiment, done = _experiment(given), 0
        name = f"ddpm-{experiment.config.data}"
        run = Run.create(
            Run.unused(name) if options.out is None else options.out, {"model": "ddpm"} | asdict(experiment.config)
        )
    title = f"DDPM on {experiment.config.data}"
    print(f"{title}: {experiment.size:,} parameters, {experiment.config.steps} steps, in {run.path}")
    if experiment.warning:
        print(f"note: {experiment.warning}")
    if not train(experiment, run, experiment.config.steps, done):
        print(f"stopped; to go on: minigen train ddpm --resume {run.path}")
        return 130
    _write_samples(run.path, experiment.sample(SAMPLES_OF_A_RUN, experiment.config.seed), title)
    experiment.draw(run)
    print(f"samples, pictures and checkpoint are in {run.path}; to measure them: minigen evaluate {run.path}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    run, experiment = _trained(options, with_data=False)
    out = Run.unused(f"samples-{options.seed}", run.path) if options.out is None else options.out
    out = new_folder(out, "choose another --out")
    x = experiment.sample(options.n, options.seed, options.sampler, options.sampler_steps)
    _write_samples(out, x, f"DDPM on {experiment.config.data}, {options.sampler}, seed {options.seed}")
    print(f"{len(x)} samples are in {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    run, experiment = _trained(options)
    most = experiment.most_evaluated
    if options.n > most:
        raise UsageError(f"-n {options.n}: {experiment.config.data} has enough test data for at most {most} samples")
    if options.n < 5:
        raise UsageError(f"-n {options.n}: the measures need at least 5 samples")
    results = experiment.evaluate(options.n, options.seed, options.sampler, options.sampler_steps)
    print(f"{options.n} samples of {run.path} against {options.n} test points; floor: training points in their place")
    print(f"{'':20}{'samples':>12}{'floor':>12}{'ratio':>12}")
    for name, (value, floor) in results.items():
        print(f"{name:20}{value:12.4g}{floor:12.4g}{value / floor if floor else float('nan'):12.4g}")
    return 0


# What commands share


def _experiment(settings: dict, with_data: bool = True) -> DDPM:
    """The experiment of these settings; whatever is wrong with them is a UsageError."""
    try:
        return DDPM(Config(**settings), with_data)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        raise UsageError(str(error)) from error


def _described(run: Run, changes: dict, with_data: bool = True) -> DDPM:
    """The experiment that a run's config.json describes, with some settings changed."""
    settings = {name: value for name, value in run.config.items() if name != "model"}
    if run.config["model"] != "ddpm":
        raise UsageError(f"{run.path} is a run of {run.config['model']!r}: this version knows ddpm")
    try:
        config = Config(**settings)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{run.path / 'config.json'}: {error}") from error
    return _experiment(asdict(config) | changes, with_data)


def _reopened(options: argparse.Namespace, given: dict) -> tuple[Run, DDPM, int]:
    """The run to go on with, its experiment, and the step it is at. Its settings stay as they were, but for MAY_CHANGE."""
    fixed = sorted(given.keys() - set(MAY_CHANGE)) + (["out"] if options.out is not None else [])
    if fixed:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
        raise UsageError(f"{flags} cannot change with --resume: the run keeps its own settings")
    run = Run(options.resume)
    experiment = _described(run, given)
    done = restore(experiment, run)
    if done > experiment.config.steps:
        raise UsageError(f"{run.path} is at step {done} already: --steps {experiment.config.steps} lies behind it")
    run.configure(run.config | given)
    return run, experiment, done


def _trained(options: argparse.Namespace, with_data: bool = True) -> tuple[Run, DDPM]:
    """A run and its experiment, with the weights of the checkpoint."""
    run = Run(options.run)
    changes = {name: getattr(options, name) for name in MAY_CHANGE if getattr(options, name, None) is not None}
    experiment = _described(run, changes, with_data)
    if options.sampler_steps and (options.sampler != "ddim" or options.sampler_steps > experiment.config.timesteps):
        raise UsageError(f"--sampler-steps is for --sampler ddim, and at most {experiment.config.timesteps} for this run")
    if not restore(experiment, run):
        raise UsageError(f"{run.path} has no checkpoint yet: minigen train ddpm --resume {run.path}")
    return run, experiment


def _write_samples(folder: Path, x: np.ndarray, title: str) -> None:
    """samples.npz and samples.png."""
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    write_atomically(folder / "samples.npz", buffer.getvalue())
    pictures.samples(folder / "samples.png", x, title)


if __name__ == "__main__":
    sys.exit(main())
