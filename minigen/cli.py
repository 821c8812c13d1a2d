"""The command line: `minigen train`, `minigen sample`, `minigen evaluate`, `minigen translate`."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minigen import api
from minigen.api import SAMPLES_EVALUATED, SAMPLES_OF_A_RUN, TrainedModel, UsageError
from minigen.data.folders import image_files, read_images
from minigen.data.images import adaptations
from minigen.recipes import RECIPES
from minigen.recipes.ddpm import SAMPLERS
from minigen.recipes.translation import DIRECTIONS
from minigen.training import process
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged
from minigen.training.run import MAY_CHANGE, Run, RunError, new_folder
from minigen.training.settings import DataSettings, check_setting, flag, types_of
from tensor.arrays import gpu_name, is_of_cuda
from tensor.kernels import loops

SAMPLING = ("sampler", "sampler_steps")
"""The options of `sample` and `evaluate` that say how to sample."""


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
    except Exception as error:
        if not is_of_cuda(error):
            raise
        advice = "nvidia-smi shows how the GPU is, and --device cpu does without it"
        return _failed(f"{error}: {advice}", 1)


def _failed(why: str, status: int) -> int:
    print(f"minigen: error: {why}", file=sys.stderr)
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
    image = "an image, or a folder of them (default: the test images of the run)"
    add("--input", metavar="FILE|DIR", help=image)
    add("--direction", required=True, choices=DIRECTIONS, help="from X to Y, or from Y to X")
    device = _setting(DataSettings, "device")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    out = "a folder for the translations, beside a sheet (default: DIR/translated-DIRECTION)"
    add("--out", metavar="DIR", help=out)
    add("--data-x", metavar="DIR", help="where the images of X lie now")
    add("--data-y", metavar="DIR", help="where those of Y lie now")

    all_commands = *models.choices.values(), sampler, evaluator, translator
    parser.epilog = "\n".join(command.format_usage() for command in all_commands)
    return parser


def _add_settings(parser: argparse.ArgumentParser, settings: Any) -> None:
    """An option for each setting of a recipe."""
    for f in fields(settings):
        if f.metadata.get("found"):
            continue
        words = f.metadata["help"]
        if f.default is False:
            parser.add_argument(flag(f.name), action="store_true", default=None, help=words)
            continue
        if f.default is not None:
            other = f", or {f.metadata['points']} for points" if "points" in f.metadata else ""
            words += f" (default: {f.default}{other})"
        kind, metavar = _setting(settings, f.name), _metavar(settings, f)
        parser.add_argument(flag(f.name), type=kind, metavar=metavar, help=words)


def _add_sampling(parser: argparse.ArgumentParser, n: int) -> None:
    """The options of `sample` and `evaluate`."""
    add = parser.add_argument
    add("run", metavar="DIR", help="a run's folder")
    add("-n", type=_count, metavar="N", help=f"how many samples (default: {n})")
    seed, device = _setting(DataSettings, "seed"), _setting(DataSettings, "device")
    add("--seed", type=seed, default=1, metavar="N", help="default: 1")
    add("--device", type=device, metavar="NAME", help="default: that of the training")
    add("--data-dir", metavar="DIR", help="where the IDX files, or your data, lie now")
    add("--data-x", metavar="DIR", help="where the images of X lie now")
    add("--data-y", metavar="DIR", help="where those of Y lie now")
    add("--sampler", choices=SAMPLERS, help="of a ddpm (default: ancestral)")
    add("--sampler-steps", type=_count, metavar="N", help="steps of ddim (default: all)")


# Commands


def _train(options: argparse.Namespace) -> int:
    given = _given(options, (f.name for f in fields(RECIPES[options.model].Settings)))
    if options.resume is not None:
        model = _reopened(options, given)
        if not model.done:
            print(f"note: {model.path} has no checkpoint: its training starts from the beginning")
    else:
        model = api.new(options.model, out=options.out, **given)
    recipe, steps = model.recipe, model.recipe.settings.steps
    size = sum(p.numel() for p in recipe.checkpointed["model"].parameters())
    print(f"{recipe.heading}: {size:,} parameters, {steps} steps, in {model.path}")
    if recipe.settings.device != "cpu":
        print(f"on the GPU {gpu_name()}")
    if recipe.warning:
        print(f"note: {recipe.warning}")
    process.prepare()
    if not loops():
        print("without Numba's compiled loops each step takes several times longer")
    if not model.train():
        print(f"stopped; to go on: minigen train {options.model} --resume {model.path}")
        return 130
    print(f"samples, pictures and checkpoint are in {model.path}", end="; ")
    print(f"to measure them: minigen evaluate {model.path}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    model, how = _trained(options)
    out = _out(options, model, f"samples-{options.seed}")
    x = model.sample(options.n or SAMPLES_OF_A_RUN, options.seed, **how)
    model.save_samples(out, x, options.seed, **how)
    print(f"{len(x)} samples are in {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    model, how = _trained(options)
    n, reference = model.how_many(options.n), model.recipe.reference
    measures = model.evaluate(n, options.seed, **how)
    meaning = f"{reference.name}: {reference.meaning}"
    print(f"{n} samples of {model.path} against {n} test points; {meaning}")
    print(f"{'':20}{'samples':>12}{reference.name:>12}{'ratio':>12}")
    for name, (value, compared) in measures.items():
        line = f"{name:20}{value:12.4g}"
        if compared is not None:
            ratio = value / compared if compared else float("nan")
            line += f"{compared:12.4g}{ratio:12.4g}"
        print(line)
    return 0


def _translate(options: argparse.Namespace) -> int:
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
    print(f"{len(y)} translations are in {out}; {sheet} shows some beside what they were")
    return 0


def _read(source: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """The images that --input names, and names of PNGs for them; what is done to unusual ones is
    printed."""
    try:
        paths = image_files(source, fewest=1) if source.is_dir() else [source]
        x = read_images(paths, size)
    except (ValueError, OSError) as error:
        raise UsageError(f"--input {error}") from error
    for what, count in Counter(what for path in paths for what in adaptations(path, size)).items():
        print(f"note: {count} of {len(paths)} images: {what}")
    return x, [path.name if path.suffix == ".png" else f"{path.name}.png" for path in paths]


# What commands share


def _out(options: argparse.Namespace, model: TrainedModel, name: str) -> Path:
    """A new folder: --out, or else one of this name in the run's."""
    path = Run.unused(name, model.path) if options.out is None else options.out
    return new_folder(path, "choose another --out")


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    found = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _reopened(options: argparse.Namespace, given: dict) -> TrainedModel:
    """The run to go on with. Its settings stay as they were, but for MAY_CHANGE."""
    fixed = sorted(given.keys() - set(MAY_CHANGE)) + (["out"] if options.out is not None else [])
    if fixed:
        names = ", ".join(map(flag, fixed))
        raise UsageError(f"{names} cannot change with --resume: the run keeps its own settings")
    model = api.load(options.resume, **given)
    if model.name != options.model:
        to_go_on = f"minigen train {model.name} --resume"
        raise UsageError(f"{model.path} is a run of {model.name!r}: {to_go_on}")
    model.check_can_train()
    return model


def _trained(options: argparse.Namespace) -> tuple[TrainedModel, dict]:
    """The model of a run, and how to sample it."""
    model, how = api.load(options.run, **_given(options, MAY_CHANGE)), _given(options, SAMPLING)
    model.check_can_sample(**how)
    process.prepare()
    return model, how
