"""The command line: `minigen train`, `sample`, `evaluate`, `translate` and `edit`."""

import argparse
import itertools
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from minigen import __version__, api
from minigen.api import SAMPLES_EVALUATED, SAMPLES_OF_A_RUN, TrainedModel, UsageError
from minigen.data.folders import image_files, read_images
from minigen.data.images import adaptations, image_size, read_image, read_opacity, write_png
from minigen.progress import Stream
from minigen.recipes import RECIPES
from minigen.recipes.ddpm import GUIDANCE, SAMPLERS
from minigen.recipes.editing import REPEATS, STRENGTH
from minigen.recipes.translation import DIRECTIONS
from minigen.training import process
from minigen.training.checkpoint import CheckpointError
from minigen.training.loop import Diverged
from minigen.training.run import MAY_CHANGE, RunError, new_folder, unused_folder
from minigen.training.settings import DataSettings, check_setting, types_of
from minigen.words import counted, flag, pasted
from tensor.arrays import gpu_name, is_of_cuda
from tensor.kernels import loops

SAMPLING = ("sampler", "sampler_steps", "eta", "guidance", "label")
"""The options of `sample` and `evaluate` that say how to sample."""

HOLE = np.array([1.0, 0.0, -0.9])[:, None, None]
"""The colour of what is repainted, in the picture of an edit."""
TRAINING = ("steps", "batch_size", "lr", "seed", "device")
DATA = ("data", "data_dir", "data_x", "data_y", "size", "channels")
"""The settings that --help shows together; the others belong to the model."""

RENAMED = {"n", "out", *MAY_CHANGE, *SAMPLING} | {
    f.name for recipe in RECIPES.values() for f in fields(recipe.Settings)
}
"""The keyword arguments that are options here."""


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
    print(f"minigen: error: {_with_options(why)}", file=sys.stderr)
    return status


def _note(what: str) -> None:
    print(f"note: {_with_options(what)}")


def _with_options(message: str) -> str:
    """A message of minigen's in which `batch_size` stands, with --batch-size in its place."""
    return re.sub("`([a-z_]+)`", lambda m: flag(m[1]) if m[1] in RENAMED else m[0], message)


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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    about = _with_help(parser)
    about.add_argument("--version", action="version", version=f"minigen {__version__}")

    trainer = commands.add_parser(
        "train", help="train a model, draw samples and pictures", add_help=False
    )
    models = trainer.add_subparsers(title="models", required=True, metavar="MODEL", dest="model")
    _with_help(trainer)
    for name, recipe in RECIPES.items():
        about = recipe.__doc__
        model = models.add_parser(name, help=recipe.title, description=about, add_help=False)
        model.set_defaults(command=_train)
        _add_settings(model, recipe.Settings)
        run = model.add_argument_group("the run")
        out = "the run's folder (default: a new one below runs/)"
        run.add_argument("--out", metavar="DIR", help=out)
        resume = "go on with this run and its settings; --steps may extend it"
        run.add_argument("--resume", metavar="DIR", help=resume)
        _with_help(model)

    sampler = commands.add_parser("sample", help="draw samples from a trained run")
    sampler.set_defaults(command=_sample)
    _add_sampling(sampler, SAMPLES_OF_A_RUN, "the first of 1, 2, ... without a folder yet")
    label = "the class of all, of a conditional model (default: each in turn)"
    sampler.add_argument("--label", metavar="NAME", help=label)
    out = "where samples.png and samples.npz go (default: DIR/samples-SEED)"
    sampler.add_argument("--out", metavar="DIR", help=out)

    measures = "measure samples of a run against real test data"
    evaluator = commands.add_parser("evaluate", help=measures)
    evaluator.set_defaults(command=_evaluate)
    _add_sampling(evaluator, SAMPLES_EVALUATED, "1")
    evaluator.add_argument("--json", action="store_true", help="print JSON, for other programs")

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

    edits = "repaint a part of an image, redraw all of it, or mix it with another, by a run of ddpm"
    editor = commands.add_parser("edit", help=edits, description=f"{edits[0].upper()}{edits[1:]}.")
    editor.set_defaults(command=_edit)
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
    add("--seed", type=_setting(DataSettings, "seed"), default=1, metavar="N", help="default: 1")
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


# Commands


def _train(options: argparse.Namespace) -> int:
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
    process.prepare()
    if not loops():
        print("without Numba's compiled loops each step takes several times longer")
    if not model.train():
        print(f"stopped; to go on: minigen train {options.model} --resume {pasted(model.path)}")
        return 130
    print(f"samples, pictures and checkpoint are in {model.path}", end="; ")
    print(f"to measure them: minigen evaluate {pasted(model.path)}")
    return 0


def _sample(options: argparse.Namespace) -> int:
    model, how = _trained(options)
    seed = 1 if options.seed is None else options.seed
    if options.seed is None and options.out is None:
        seed = next(k for k in itertools.count(1) if not (model.path / f"samples-{k}").exists())
    out = _out(options, model, f"samples-{seed}")
    x = model.sample(options.n or SAMPLES_OF_A_RUN, seed, **how)
    model.save_samples(out, x, seed, **how)
    print(f"{counted(len(x), 'sample')} of seed {seed}: in {out}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    model, how = _trained(options)
    n, reference = model.how_many(options.n), model.recipe.reference
    seed = 1 if options.seed is None else options.seed
    measures, notes = model.evaluate(n, seed, **how), model.about_samples(n)
    if options.json:
        found = {name: dict(zip(m._fields, map(_json_number, m))) for name, m in measures.items()}
        report = {"run": str(model.path), "n": n, "seed": seed, "reference": reference.name}
        print(json.dumps(report | {"measures": found, "notes": notes}, indent=2))
        return 0
    meaning = f"{reference.name}: {reference.meaning}"
    against = f"against {counted(n, 'test point')}"
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


def _json_number(x: float | None) -> float | None:
    """JSON has no infinities, and nothing that is not a number."""
    return x if x is not None and math.isfinite(x) else None


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
    print(f"{counted(len(y), 'translation')}: in {out}; beside what they were: {sheet}")
    return 0


def _read(source: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """The images that --input names, and names of PNGs for them; what is done to unusual ones is
    printed."""
    with _reading("--input"):
        paths = image_files(source, fewest=1) if source.is_dir() else [source]
        x = read_images(paths, size)
    for what, count in Counter(what for path in paths for what in adaptations(path, size)).items():
        print(f"note: {count} of {counted(len(paths), 'image')}: {what}")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):  # a.png and a.jpg
        names = [path.name for path in paths]
    return x, [f"{name}.png" for name in names]


def _edit(options: argparse.Namespace) -> int:
    model, _ = _trained(options)
    model.check_able("image_to_image")
    size, seed, n = model.recipe.settings.about.shape[-1], options.seed, options.n
    with _reading("--input"):
        x = read_image(options.input, size)[None]
    with _reading("--mix"):
        y = None if options.mix is None else read_image(options.mix, size)[None]
    known = _known(options, size)
    if options.repeats is not None and known is None:
        part = "add --mask, or make a part of the input transparent"
        raise UsageError(f"--repeats is for repainting a part: {part}")
    out = _out(options, model, f"edited-{seed}")
    how: dict[str, Any] = {"strength": options.strength or STRENGTH}
    sets = {"input": x}
    if y is not None:
        mixtures = [model.mix(x, y, w, seed=seed, **how) for w in np.linspace(0, 1, n)]
        results = np.concatenate(mixtures)
        sets |= {"mixed, row by row": results, "other image": y}
    elif known is None:
        results = model.image_to_image(x.repeat(n, 0), seed=seed, **how)
        sets |= {"redrawn": results}
    else:
        how = {"repeats": options.repeats or REPEATS}
        results = model.inpaint(x.repeat(n, 0), known, seed, **how)
        sets |= {"what is kept": np.where(known, x, HOLE), "repainted": results}
    for k, image in enumerate(results, 1):
        write_png(out / f"{Path(options.input).stem}-{k}.png", image)
    model.save_edits(out / "edited.png", sets, seed, **how)
    print(f"{n} results, and a picture of them, are in {out}")
    return 0


def _known(options: argparse.Namespace, size: int) -> np.ndarray | None:
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
    except (ValueError, OSError) as error:
        raise UsageError(f"{option} {error}") from error


def _out(options: argparse.Namespace, model: TrainedModel, name: str) -> Path:
    """A new folder: --out, or else one of this name in the run's."""
    if options.out is None:
        return unused_folder(name, model.path)
    return new_folder(options.out, "choose another `out`")


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
        to_go_on = f"minigen train {model.name} --resume {pasted(model.path)}"
        raise UsageError(f"{model.path} is a run of {model.name!r}: {to_go_on}")
    model.check_can_train()
    return model


def _trained(options: argparse.Namespace) -> tuple[TrainedModel, dict]:
    """The model of a run, and how to sample it."""
    model, how = api.load(options.run, **_given(options, MAY_CHANGE)), _given(options, SAMPLING)
    model.check_can_sample(**how)
    process.prepare()
    return model, how
