"""The command line: the options of `minigen train`, `sample`, `evaluate`, `translate` and `edit`,
and what becomes of their errors; what they do is in `commands`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import Field, fields
from typing import Any

from minigen import __version__, commands
from minigen.api import SAMPLES_EVALUATED, SAMPLES_OF_A_RUN, UsageError
from minigen.commands import with_options
from minigen.progress import Stream
from minigen.recipes import RECIPES
from minigen.recipes.ddpm import GUIDANCE, SAMPLERS
from minigen.recipes.editing import REPEATS, STRENGTH
from minigen.recipes.translation import DIRECTIONS
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged
from minigen.training.run import RunError
from minigen.training.settings import DataSettings, check_setting, types_of
from minigen.words import flag
from tensor.arrays import is_of_cuda

TRAINING = ("steps", "batch_size", "lr", "seed", "device")
DATA = ("data", "data_dir", "data_x", "data_y", "size", "channels")
"""The settings that --help shows together; the others belong to the model."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit status: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C or SIGTERM.
    Nobody needs to read what it prints: a closed terminal or pipe is no failure.
    """
    out, err = Stream(sys.stdout, BrokenPipeError), Stream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            try:
                return _status(_parser().parse_args(arguments))
            finally:
                out.flush()
        except OSError as error:  # what was printed could not be written
            return _failed(str(error), 1)


def _status(options: argparse.Namespace) -> int:
    """The exit status of a command; what is wrong is said in one line."""
    try:
        return options.command(options)
    except (UsageError, RunError, CheckpointError) as error:
        return _failed(str(error), 2)
    except (Diverged, OSError) as error:
        return _failed(str(error), 1)
    except MemoryError as error:
        return _failed(f"not enough memory ({error}): a smaller `batch_size` may help", 1)
    except KeyboardInterrupt:
        print("minigen: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_of_cuda(error):
            raise
        advice = "nvidia-smi shows how the GPU is, and --device cpu does without it"
        return _failed(f"{error}: {advice}", 1)


def _failed(why: str, status: int) -> int:
    print(f"minigen: error: {with_options(why)}", file=sys.stderr)
    return status


# Arguments


def _setting(settings: Any, name: str) -> Callable[[str], Any]:
    """The type of an option that is a setting: the settings' class says what it may be."""

    def parse(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):
            value = types_of(settings, name)[0](text)
        try:
            check_setting(settings, name, value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    return parse


def _count(text: str) -> int:
    """The type of a number of samples, or of their steps."""
    with suppress(ValueError):
        if 1 <= int(text) <= 10**6:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected an integer from 1 to {10**6}, got {text[:40]!r}")


def _strength(text: str) -> float:
    """The type of a share of the way to noise."""
    with suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected more than 0, at most 1, got {text[:40]!r}")


def _metavar(settings: Any, field: Field) -> str:
    """What stands for the value of a setting in --help."""
    if field.metadata["choices"]:
        return f"{{{','.join(field.metadata['choices'])}}}"
    kinds = types_of(settings, field.name)
    if kinds == (str, type(None)):
        return "DIR"
    return {int: "N", float: "X", str: "NAME"}[kinds[0]]


def _parser() -> argparse.ArgumentParser:
    purpose = "Train generative models whose every gradient you can read."
    parser = argparse.ArgumentParser("minigen", description=purpose, add_help=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    about = _with_help(parser)
    about.add_argument("--version", action="version", version=f"minigen {__version__}")

    trainer = subparsers.add_parser(
        "train", help="train a model, draw samples and pictures", add_help=False
    )
    models = trainer.add_subparsers(title="models", required=True, metavar="MODEL", dest="model")
    _with_help(trainer)
    for name, recipe in RECIPES.items():
        about = recipe.__doc__
        model = models.add_parser(name, help=recipe.title, description=about, add_help=False)
        model.set_defaults(command=commands.train)
        _add_settings(model, recipe.Settings)
        run = model.add_argument_group("the run")
        out = "the run's folder (default: a new one below runs/)"
        run.add_argument("--out", metavar="DIR", help=out)
        resume = "go on with this run and its settings; --steps may extend it"
        run.add_argument("--resume", metavar="DIR", help=resume)
        _with_help(model)

    sampler = subparsers.add_parser("sample", help="draw samples from a trained run")
    sampler.set_defaults(command=commands.sample)
    _add_sampling(sampler, SAMPLES_OF_A_RUN, "the first of 1, 2, ... without a folder yet")
    label = "the class of all, of a conditional model (default: each in turn)"
    sampler.add_argument("--label", metavar="NAME", help=label)
    out = "where samples.png and samples.npz go (default: DIR/samples-SEED)"
    sampler.add_argument("--out", metavar="DIR", help=out)

    measures = "measure samples of a run against real test data"
    evaluator = subparsers.add_parser("evaluate", help=measures)
    evaluator.set_defaults(command=commands.evaluate)
    _add_sampling(evaluator, SAMPLES_EVALUATED, "1")
    evaluator.add_argument("--json", action="store_true", help="print JSON, for other programs")

    translations = "translate images by a run of cyclegan or pix2pix"
    translator = subparsers.add_parser("translate", help=translations)
    translator.set_defaults(command=commands.translate)
    add = translator.add_argument
    add("run", metavar="DIR", help="a run's folder")
    image = "an image, or a folder of them (default: the test images of the run)"
    add("--input", metavar="FILE|DIR", help=image)
    add("--direction", required=True, choices=DIRECTIONS, help="from X to Y, or from Y to X")
    device = _setting(DataSettings, "device")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    out = "a folder for the translations, beside a sheet (default: DIR/translated-DIRECTION)"
    add("--out", metavar="DIR", help=out)
    add("--data-x", metavar="DIR", help="where the images of X lie now")
    add("--data-y", metavar="DIR", help="where those of Y lie now")

    edits = "repaint a part of an image, redraw all of it, or mix it with another, by a run of ddpm"
    editor = subparsers.add_parser(
        "edit", help=edits, description=f"{edits[0].upper()}{edits[1:]}."
    )
    editor.set_defaults(command=commands.edit)
    add = editor.add_argument
    add("run", metavar="DIR", help="a run's folder")
    words = "an image; what is transparent in it is repainted, or else all of it is redrawn"
    add("--input", required=True, metavar="FILE", help=words)
    words = "an image of the same size, white where the input is repainted, black where it stays"
    add("--mask", metavar="FILE", help=words)
    words = f"how often each step is taken when a part is repainted (default: {REPEATS})"
    add("--repeats", type=_count, metavar="N", help=words)
    add("--mix", metavar="FILE", help="another image; the results lead from the input to it")
    words = f"redraw all, or mix, after so much of the way to noise (default: {STRENGTH})"
    add("--strength", type=_strength, metavar="X", help=words)
    add("-n", type=_count, default=9, metavar="N", help="how many results (default: 9)")
    first = "default: the first of 1, 2, ... without a folder yet"
    add("--seed", type=_setting(DataSettings, "seed"), metavar="N", help=first)
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    out = "where the results and a picture of them go (default: DIR/edited-SEED)"
    add("--out", metavar="DIR", help=out)

    all_commands = *models.choices.values(), sampler, evaluator, translator, editor
    parser.epilog = "\n".join(command.format_usage() for command in all_commands)
    return parser


def _with_help(parser: argparse.ArgumentParser) -> Any:
    """-h in the last group of --help, which it returns."""
    about = parser.add_argument_group("help")
    about.add_argument("-h", "--help", action="help", help="show this message and exit")
    return about


def _add_settings(parser: argparse.ArgumentParser, settings: Any) -> None:
    """An option for each setting of a recipe, in groups."""
    groups = {title: parser.add_argument_group(title) for title in ("data", "model", "training")}
    for f in fields(settings):
        if f.metadata.get("found"):
            continue
        title = "data" if f.name in DATA else "training" if f.name in TRAINING else "model"
        group, words = groups[title], f.metadata["help"]
        if f.default is False:
            group.add_argument(flag(f.name), action="store_true", default=None, help=words)
            continue
        if f.default is not None:
            other = f", or {f.metadata['points']} for points" if "points" in f.metadata else ""
            words += f" (default: {f.default}{other})"
        kind, metavar = _setting(settings, f.name), _metavar(settings, f)
        group.add_argument(flag(f.name), type=kind, metavar=metavar, help=words)


def _add_sampling(parser: argparse.ArgumentParser, n: int, default_seed: str) -> None:
    """The options of `sample` and `evaluate`."""
    add = parser.add_argument
    add("run", metavar="DIR", help="a run's folder")
    add("-n", type=_count, metavar="N", help=f"how many samples (default: {n})")
    seed, device = _setting(DataSettings, "seed"), _setting(DataSettings, "device")
    add("--seed", type=seed, metavar="N", help=f"default: {default_seed}")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    add("--data-dir", metavar="DIR", help="where the IDX files, or your data, lie now")
    add("--data-x", metavar="DIR", help="where the images of X lie now")
    add("--data-y", metavar="DIR", help="where those of Y lie now")
    add("--sampler", choices=SAMPLERS, help="of a ddpm (default: ancestral)")
    steps = "fewer steps than T; not of ancestral (default: all)"
    add("--sampler-steps", type=_count, metavar="N", help=steps)
    add("--eta", type=float, metavar="X", help="noise of ddim, 1 for all of it (default: 0)")
    guidance = f"of a conditional ddpm, how much (default: {GUIDANCE})"
    add("--guidance", type=float, metavar="W", help=guidance)
