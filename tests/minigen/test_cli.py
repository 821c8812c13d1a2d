"""The command line: what it leaves behind when all goes well, and one clear line and nothing else
when it cannot."""

import errno
import io
import json
import math
import os
import pickle
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest

import nn
from minigen import api, cli
from minigen.evaluation import batches, slides
from minigen.recipes import vae
from minigen.recipes.ae import REGULARISERS, AERecipe, AESettings
from minigen.recipes.ddpm import DDPMRecipe, DDPMSettings
from minigen.recipes.gan import GANRecipe, GANSettings
from minigen.recipes.ncsn import NCSNRecipe, NCSNSettings
from minigen.recipes.vae import VAERecipe, VAESettings
from minigen.training.checkpoint import load_checkpoint, save_checkpoint
from minigen.training.loop import restore, state_of, train
from minigen.training.run import Run
from minigen.training.settings import with_default
from tensor.arrays import gpu_name, import_cupy

FILES = {"config.json", "metrics.jsonl", "checkpoint.npz", "samples.npz"}
PICTURES = {
    "ddpm": {
        "samples.png",
        "loss.png",
        "bound.png",
        "forward.png",
        "trajectory.png",
        "denoising.gif",
    },  # fmt: skip
    "ncsn": {"samples.png", "loss.png", "trajectory.png", "annealing.gif"},
    "ae": {"samples.png", "loss.png", "reconstructions.png", "codes.png"},
    "vae": {"samples.png", "loss.png", "reconstructions.png", "interpolation.png", "traversal.png"},
    "gan": {"samples.png", "loss.png"},
}
OF_POINTS = {"ncsn": {"scores.png", "chains.png"}}
OF_OPTIONS = {("ae", "contractive"): {"sensitivity.png"}, ("vae", "--conditional"): {"labels.png"}}
OF_SAMPLES = ["Fréchet distance", "precision (k = 3)", "recall (k = 3)"]
OF_MODES = ["modes covered", "good samples", "reverse KL, nats"]
MEASURES = {
    "ddpm": ["bound, bits/dim"],
    "ncsn": [],
    "ae": ["test error", "test PSNR, dB"],
    "vae": ["test reconstruction", "test KL", "test ELBO", "test IWAE, S = 2"],
    "gan": [],
}


@dataclass(frozen=True)
class Small(DDPMSettings):
    """The default settings, but of runs that take a moment."""

    data: str = with_default(DDPMSettings, "data", "ring")
    steps: int = with_default(DDPMSettings, "steps", 3)
    batch_size: int = with_default(DDPMSettings, "batch_size", 2)
    timesteps: int = with_default(DDPMSettings, "timesteps", 4)


@dataclass(frozen=True)
class SmallNCSN(NCSNSettings):
    steps: int = with_default(NCSNSettings, "steps", 3)
    batch_size: int = with_default(NCSNSettings, "batch_size", 2)
    levels: int = with_default(NCSNSettings, "levels", 3)
    level_steps: int = with_default(NCSNSettings, "level_steps", 2)


@dataclass(frozen=True)
class SmallAE(AESettings):
    steps: int = with_default(AESettings, "steps", 3)
    latent: int = with_default(AESettings, "latent", 3)


@dataclass(frozen=True)
class SmallVAE(VAESettings):
    steps: int = with_default(VAESettings, "steps", 3)
    latent: int = with_default(VAESettings, "latent", 3)


@dataclass(frozen=True)
class SmallGAN(GANSettings):
    steps: int = with_default(GANSettings, "steps", 3)
    batch_size: int = with_default(GANSettings, "batch_size", 2)
    latent: int = with_default(GANSettings, "latent", 3)


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def minigen(*arguments: object) -> Outcome:
    """`minigen ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Outcome(status, out.getvalue(), err.getvalue())


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders with None."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


save_picture = slides.save


@pytest.fixture(scope="module", autouse=True)
def small_runs() -> Iterator[None]:
    """Runs that take a moment, and pictures that nobody looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "save", lambda figure, path: path.touch())
        patch.setattr(DDPMRecipe, "Settings", Small)
        patch.setattr(NCSNRecipe, "Settings", SmallNCSN)
        patch.setattr(AERecipe, "Settings", SmallAE)
        patch.setattr(VAERecipe, "Settings", SmallVAE)
        patch.setattr(GANRecipe, "Settings", SmallGAN)
        patch.setattr(api, "SAMPLES_OF_A_RUN", 5)
        yield


@pytest.fixture(scope="module")
def finished(small_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of each model, made when it is first asked for: of a DDPM on the ring, of the others on
    the digits."""

    @cache
    def run_of(model: str) -> Path:
        run = tmp_path_factory.mktemp("finished") / "run"
        assert minigen("train", model, "--out", run).status == 0
        return run

    return run_of


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """Whose run lies in `place`."""
    return getattr(request, "param", "ddpm")


every_model = pytest.mark.parametrize("model", list(PICTURES), indirect=True)


@pytest.fixture
def place(
    finished: Callable[[str], Path], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The working folder of a test; a finished run lies in it."""
    shutil.copytree(finished(model), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def idx(*shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + bytes(int(np.prod(shape)))


def write_mnist(folder: Path, images: int = 12) -> Path:
    """A folder of IDX files with so many black images in each split."""
    folder.mkdir()
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(images, 28, 28))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(images))
    return folder


# When all goes well


SHAPES = {
    "ring": (5, 2),
    "grid": (5, 2),
    "moons": (5, 2),
    "digits": (5, 1, 8, 8),
    "mnist": (5, 1, 28, 28),
}


@pytest.mark.parametrize(
    ("kind", "data", "options"),
    [
        ("ddpm", "ring", []),
        ("ddpm", "digits", []),
        ("ddpm", "mnist", []),
        ("ncsn", "grid", []),
        ("ncsn", "moons", ["--level-steps", 1]),
        ("ncsn", "digits", ["--step-size", 0.1]),
        *(("ae", "digits", ["--regulariser", regulariser]) for regulariser in REGULARISERS),
        ("ae", "mnist", ["--latent", 1, "--networks", "conv"]),
        ("vae", "digits", ["--networks", "conv"]),
        ("vae", "digits", ["--conditional", "--decoder", "gaussian", "--beta", 2]),
        ("vae", "mnist", ["--latent", 1]),
        ("gan", "ring", ["--critic-steps", 2]),
        ("gan", "grid", ["--loss", "wgan", "--clip", 0.01]),
        ("gan", "moons", ["--loss", "lsgan"]),
        ("gan", "digits", ["--loss", "wgan-gp", "--penalty", 1]),
        ("gan", "digits", ["--loss", "minimax", "--conditional"]),
        ("gan", "mnist", ["--loss", "hinge", "--latent", 1]),
    ],
)
def test_from_training_to_measures(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: str, data: str, options: list[Any]
) -> None:
    monkeypatch.setattr(slides, "save", save_picture)
    monkeypatch.setattr(vae, "IWAE_SAMPLES", 2)
    options = [*options, *(["--data-dir", write_mnist(place / "mnist")] if data == "mnist" else [])]
    training = minigen("train", kind, "--data", data, "--seed", 3, *options)
    run, shape = Path(f"runs/{kind}-{data}"), SHAPES[data]
    assert training.status == 0 and f"3 steps, in {run}" in training.out
    drawn = PICTURES[kind].union(*(OF_OPTIONS.get((kind, option), ()) for option in options))
    drawn |= OF_POINTS.get(kind, set()) if len(shape) == 2 else set()
    assert {path.name for path in run.iterdir()} == FILES | drawn
    assert len(Run(run).metrics()) == 3 and Run(run).config["seed"] == 3
    check_samples(run, shape)
    for name in drawn:
        assert matplotlib.image.imread(run / name).std() > 0

    ddim = ["--sampler", "ddim", "--sampler-steps", 2] if kind == "ddpm" else []
    sampling = minigen("sample", run, "-n", 7, *ddim, "--out", "more/samples")
    assert sampling.status == 0 and "more/samples" in sampling.out
    check_samples(Path("more/samples"), (7, *shape[1:]))

    measuring = minigen("evaluate", run, "-n", 6)
    assert measuring.status == 0
    lines = measuring.out.splitlines()
    assert lines[1].split() == ["samples", "floor", "ratio"]
    alone = MEASURES[kind] + (["PSNR before, dB"] if "denoising" in options else [])
    for line, name in zip(lines[2 : 2 + len(alone)], alone, strict=True):
        assert math.isfinite(float(line.removeprefix(name)))
    compared = OF_SAMPLES + (OF_MODES if data in ("ring", "grid") else [])
    compared += ["read as asked"] if "--conditional" in options else []
    notes = [line for line in lines if line.startswith("note: too few ")]
    for line, name in zip(lines[2 + len(alone) : len(lines) - len(notes)], compared, strict=True):
        value, floor, ratio = (float(number) for number in line.removeprefix(name).split())
        assert (
            math.isnan(ratio)
            if floor == 0
            else ratio == pytest.approx(value / floor, rel=0.1, abs=0.01)
        )


def check_samples(folder: Path, shape: tuple[int, ...]) -> None:
    """samples.npz and samples.png are there and whole."""
    with np.load(folder / "samples.npz") as file:
        x = file["x"]
    assert x.shape == shape and x.dtype == np.float32 and np.isfinite(x).all()
    assert len(shape) == 2 or abs(x).max() <= 1
    assert matplotlib.image.imread(folder / "samples.png").ndim == 3


AUTOENCODERS: list[Callable[[], Any]] = [
    lambda: AERecipe(SmallAE(regulariser="denoising")),
    lambda: VAERecipe(SmallVAE(decoder="gaussian", conditional=True)),
]


@pytest.mark.parametrize("recipe", AUTOENCODERS)
def test_networks_see_a_batch_at_a_time(
    recipe: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also outside training, however large the data are; samples and measures do not depend on
    it."""
    trained, sizes = recipe(), []
    monkeypatch.setattr(vae, "IWAE_SAMPLES", 2)
    expected = trained.sample(7, seed=0), trained.evaluate(7, seed=0)
    monkeypatch.setattr(batches, "BATCH", 100)
    for network in (trained.model.encoder, trained.model.decoder):
        forward = network.forward
        monkeypatch.setattr(
            network, "forward", lambda x, f=forward: (sizes.append(len(x)), f(x))[1]
        )
    found = trained.sample(7, seed=0), trained.evaluate(7, seed=0)
    assert (
        found[0] == pytest.approx(expected[0], abs=1e-5) and found[1].keys() == expected[1].keys()
    )
    assert max(sizes) == 100 and sum(sizes) >= 500
    for name, (value, floor) in found[1].items():
        assert (value, floor) == (
            pytest.approx(expected[1][name][0], rel=0.01),
            expected[1][name][1],
        )


@pytest.mark.parametrize("recipe", AUTOENCODERS)
def test_an_autoencoder_goes_on_as_if_it_had_never_stopped(
    recipe: Callable[[], Any], tmp_path: Path
) -> None:
    whole, stopped, going_on = (recipe() for _ in range(3))
    losses = [whole.step(k)["loss"].item() for k in (1, 2, 3, 4)]
    for k in (1, 2):
        stopped.step(k)
    run = Run.create(tmp_path / "run", {"model": "any"})
    run.save(state_of(stopped.checkpointed) | {"step": 2})
    assert restore(going_on, run) == 2
    assert [going_on.step(k)["loss"].item() for k in (3, 4)] == losses[2:]
    assert np.array_equal(going_on.sample(3, seed=0), whole.sample(3, seed=0))


@pytest.mark.parametrize("recipe", AUTOENCODERS)
def test_samples_are_images_also_where_a_decoder_leaves_their_range(
    recipe: Callable[[], Any],
) -> None:
    trained = recipe()
    for parameter in trained.model.decoder.parameters():
        parameter.copy_(10 * parameter.numpy())
    trained.learner.average = nn.EMA(trained.model.parameters(), 0.99)
    x = trained.sample(5, seed=0)
    assert (x.min(), x.max()) == (-1, 1) and x.dtype == np.float32


@every_model
def test_a_longer_run_goes_on_from_a_finished_one(place: Path, model: str) -> None:
    before = (place / "run" / "metrics.jsonl").read_bytes()
    assert minigen("train", model, "--resume", "run", "--steps", 5).status == 0
    run = Run("run")
    assert run.config["steps"] == 5 and run.load()["step"] == 5
    assert (place / "run" / "metrics.jsonl").read_bytes().startswith(before) and len(
        run.metrics()
    ) == 5


@every_model
def test_runs_and_samples_never_take_the_place_of_earlier_ones(place: Path, model: str) -> None:
    for arguments in (["train", model], ["sample", "run"]):
        assert minigen(*arguments).status == 0
        before = contents(place)
        assert minigen(*arguments).status == 0
        after = contents(place)
        assert before.items() < after.items()


@every_model
def test_the_seed_decides_the_samples(place: Path, model: str) -> None:
    for name, seed in [("a", 1), ("same", 1), ("other", 2)]:
        assert minigen("sample", "run", "--seed", seed, "--out", name).status == 0
    a, same, other = (
        (place / name / "samples.npz").read_bytes() for name in ("a", "same", "other")
    )
    assert a == same and a != other


def test_a_run_finds_its_data_from_anywhere_and_elsewhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(place / "here")
    training = [
        "train",
        "ddpm",
        "--data",
        "mnist",
        "--data-dir",
        "here",
        "--steps",
        "1",
        "--out",
        "mnist",
    ]
    assert minigen(*training).status == 0
    (place / "below").mkdir()
    monkeypatch.chdir(place / "below")
    assert minigen("evaluate", "../mnist", "-n", 5).status == 0
    assert minigen("train", "ddpm", "--resume", "../mnist", "--steps", 2).status == 0

    (place / "here").rename(place / "there")
    for command in (["evaluate"], ["train", "ddpm", "--resume"]):
        refused(place, [*command, "../mnist"], str(place / "here"), "--data-dir")
    assert minigen("evaluate", "../mnist", "-n", 5, "--data-dir", "../there").status == 0
    assert (
        minigen(
            "train", "ddpm", "--resume", "../mnist", "--steps", 3, "--data-dir", "../there"
        ).status
        == 0
    )
    assert minigen("train", "ddpm", "--resume", "../mnist", "--steps", 4).status == 0

    shutil.rmtree(place / "there")
    assert minigen("sample", "../mnist", "-n", 2).status == 0


def test_samples_go_where_the_help_says(place: Path) -> None:
    assert "DIR/samples-SEED" in minigen("sample", "--help").out
    assert (
        minigen("sample", "run", "--seed", 7).status == 0
        and (place / "run" / "samples-7" / "samples.npz").is_file()
    )


def test_a_date_is_a_seed(place: Path) -> None:
    assert minigen("train", "ddpm", "--seed", 20301231, "--out", "dated").status == 0
    assert minigen("sample", "run", "--seed", 20301231).status == 0


def test_a_schedule_that_leaves_some_of_the_data_is_reported(place: Path) -> None:
    settings = asdict(Small(schedule="linear", timesteps=50))
    Run.create("linear", {"model": "ddpm"} | settings)
    assert (
        "note: linear over 50 steps leaves alpha_bar_T = 0.6"
        in minigen("train", "ddpm", "--resume", "linear").out
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--strength", 0.2], ["--strength has no effect", "--regulariser denoising"]),
        (
            ["--regulariser", "denoising", "--weight", 2],
            ["--weight has no effect", "--regulariser contractive or l1 or kl"],
        ),
        (["--regulariser", "l1", "--corruption", "masking"], ["--corruption has no effect"]),
        (["--regulariser", "l1", "--weight", 2], []),
        (["--regulariser", "denoising", "--strength", 0.2, "--corruption", "masking"], []),
    ],
)
def test_an_option_for_another_regulariser_is_reported(
    place: Path, options: list[Any], words: list[str]
) -> None:
    training = minigen("train", "ae", *options, "--steps", 1, "--out", "new")
    assert training.status == 0 and all(word in training.out for word in words)
    assert ("note:" in training.out) == bool(words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--loss", "hinge", "--penalty", 1],
            ["--penalty has no effect", "--loss gan-gp or wgan-gp"],
        ),
        (
            ["--loss", "wgan-gp", "--penalty", 1, "--clip", 1],
            ["--clip has no effect", "--loss wgan"],
        ),
        (["--loss", "wgan-gp", "--penalty", 1], []),
        (["--loss", "wgan", "--clip", 1], []),
    ],
)
def test_an_option_for_another_loss_is_reported(
    place: Path, options: list[Any], words: list[str]
) -> None:
    training = minigen("train", "gan", "--data", "ring", *options, "--steps", 1, "--out", "new")
    assert training.status == 0 and all(word in training.out for word in words)
    assert ("note:" in training.out) == bool(words)


def test_ctrl_c_leaves_a_run_that_another_process_takes_up_exactly(place: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "minigen",
        "train",
        "ddpm",
        "--data",
        "ring",
        "--batch-size",
        "4",
        "--out",
        "stopped",
    ]
    metrics = place / "stopped" / "metrics.jsonl"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (
        process.returncode == 130
        and "to go on: minigen train ddpm --resume stopped" in out
        and "Traceback" not in err
    )

    stopped = Run("stopped")
    whole, end = Run.create("whole", stopped.config), stopped.load()["step"] + 2
    settings = {name: value for name, value in stopped.config.items() if name != "model"}
    for run in (stopped, whole):
        recipe = DDPMRecipe(DDPMSettings(**settings))
        assert train(recipe, run, end, restore(recipe, run))
    assert contents(stopped.path) == contents(whole.path)


def test_a_loss_that_explodes_is_a_failure_and_keeps_the_checkpoint(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (place / "run" / "checkpoint.npz").read_bytes()
    monkeypatch.setattr(DDPMRecipe, "step", lambda self, k: {"loss": float("nan")})
    status, _, err = minigen("train", "ddpm", "--resume", "run", "--steps", 5)
    assert status == 1 and "loss is nan at step 4" in err and "--lr" in err
    assert (place / "run" / "checkpoint.npz").read_bytes() == before


def test_ctrl_c_outside_training_is_no_traceback(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DDPMRecipe, "sample", lambda *_: signal.raise_signal(signal.SIGINT))
    assert minigen("sample", "run") == (130, "", "minigen: interrupted\n")


@every_model
@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_weights_that_exploded_are_reported_in_one_line(place: Path, command: str) -> None:
    """The last update may do it, when no loss will show it any more."""
    run = Run("run")
    state = run.load()
    state["ema"]["average"][:] = np.nan
    run.save(state)
    status, _, err = minigen(command, "run", "-n", 5)
    assert status == 1 and re.fullmatch(r"minigen: error: .*finite.*", err.splitlines()[-1])


def test_a_lack_of_memory_is_reported_in_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    def allocate(*_: object) -> None:
        if device == "cpu":
            raise MemoryError("Unable to allocate 7 GiB")
        raise import_cupy().cuda.memory.OutOfMemoryError(7 * 2**30, 2**30)

    monkeypatch.setattr(DDPMRecipe, "step", allocate)
    status, _, err = minigen("train", "ddpm", "--device", device)
    message = r"minigen: error: not enough memory .*llocat.*: a smaller --batch-size may help"
    assert status == 1 and re.fullmatch(message, err.splitlines()[-1])


class CompileException(Exception):
    """As CuPy raises it, for a kernel."""

    __module__ = "cupy.cuda.compiler"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mul: cudaErrorIllegalAddress"),
        RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"),
        CompileException("catastrophic error: cannot open source file"),
    ],
)
def test_an_error_of_cuda_is_reported_in_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(DDPMRecipe, "step", fail)
    monkeypatch.setattr(DDPMRecipe, "sample", fail)
    for command in (["train", "ddpm"], ["sample", "run"], ["evaluate", "run"]):
        status, _, err = minigen(*command)
        message = f"minigen: error: .*{error}: nvidia-smi .* --device cpu .*"
        assert status == 1 and re.fullmatch(message, err.splitlines()[-1])
    monkeypatch.setattr(DDPMRecipe, "sample", lambda *_: [].pop())
    with pytest.raises(IndexError):
        minigen("sample", "run")


def test_training_says_what_the_gpu_is_called(place: Path, device: str) -> None:
    _, out, _ = minigen("train", "ddpm", "--steps", 1, "--batch-size", 4, "--device", device)
    assert (f"on the GPU {gpu_name()}" in out.splitlines()) == (device == "cuda")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "ddpm", "--help"], ["sample", "--help"], ["evaluate", "--help"]],
)
def test_help_comes_with_every_command(arguments: list[str]) -> None:
    status, out, _ = minigen(*arguments)
    assert status == 0
    expected = (
        ["usage: minigen train ddpm ", "usage: minigen sample ", "--timesteps"]
        if len(arguments) == 1
        else ["--seed", "--device", "default: "]
    )
    assert all(word in out for word in expected)


def test_python_m_minigen_is_minigen() -> None:
    command = [sys.executable, "-m", "minigen", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert help_text.startswith("usage: minigen ") and all(
        c in help_text for c in ("train", "sample", "evaluate")
    )


# When something is wrong


def refused(
    place: Path, arguments: list[Any], *words: str, statuses: tuple[int, ...] = (2,)
) -> None:
    """Asserts that a call ends with the status for wrong usage and one line that has the words, and
    changes nothing."""
    before = contents(place)
    status, _, err = minigen(*arguments)
    assert status in statuses and "Traceback" not in err
    *usage, last = err.splitlines()
    assert re.match(r"minigen( \w+)*: error: ", last) and all(word in last for word in words), err
    assert not usage or usage[0].startswith("usage: ")
    assert contents(place) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "cats"], ["cats", "digits", "mnist", "ring"]),
        (["--data", ""], ["''", "digits", "folder"]),
        (["--data", "mnist"], ["mnist", "--data-dir"]),
        (["--data", "mnist", "--data-dir", "nowhere"], ["nowhere", "train-images-idx3-ubyte"]),
        (["--data", "mnist", "--data-dir", "run"], ["run", "train-images-idx3-ubyte"]),
        (["--data", "mnist", "--data-dir", "run/config.json"], ["config.json"]),
        (["--data", "mnist", "--data-dir", ""], ["mnist", "--data-dir"]),
        (["--data-dir", "run"], ["ring", "run", "--data-dir"]),
        (["--data-dir", ""], ["ring", "''", "--data-dir"]),
        (["--resume", "run", "--data-dir", "run"], ["ring", "run", "--data-dir"]),
        (["--device", "nonsense"], ["device", "nonsense"]),
        (["--device", "float64"], ["device", "float64"]),
        (["--device", "cuda:x"], ["device", "cuda:x"]),
        (["--out", "run"], ["run", "--resume"]),
        (["--out", "run/config.json"], ["config.json"]),
        (["--out", "run/config.json/below"], ["run/config.json/below"]),
        (["--out", "x" * 300], ["xxx"]),
        (["--resume", "run", "--seed", "1", "--lr", "1"], ["--lr", "--seed", "--resume"]),
        (["--resume", "run", "--out", "new"], ["--out", "--resume"]),
        (["--resume", "run", "--steps", "2"], ["--steps 2", "step 3"]),
        (["--resume", "run", "--device", "nonsense"], ["device", "nonsense"]),
        (["--resume", "nowhere"], ["nowhere", "config.json"]),
        (["--resume", "."], ["config.json"]),
        (["--resume", ""], ["config.json"]),
        (["--resume", "run/config.json"], ["config.json"]),
        (["--batch-size", 10**18], ["batch"]),
        (["--batch-size", 10**30], ["batch"]),
        (["gan"], ["gan"]),
        *(
            ([option, value], [option, value])
            for option in ("--steps", "--batch-size", "--lr")
            for value in ("-1", "0", "many", "nan", "")
        ),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--seed", "1.5"], ["--seed", "1.5"]),
        (["--steps", "9" * 5000], ["--steps"]),
        (["--lr", "inf"], ["--lr", "inf"]),
    ],
)
def test_training_that_cannot_be(place: Path, options: list[Any], words: list[str]) -> None:
    refused(place, ["train", "ddpm", *options], *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ddpm --data ring --size 8", "--size and --channels are for images"),
        ("ddpm --data ring --conditional", "--conditional is for images"),
        ("ddpm --data . --size 9", "--size must be a multiple of 4"),
        ("vae --data ring", "--data must be images"),
        ("ae --corruption masking --strength 2", "--strength is a share of the pixels"),
        ("ncsn --smallest-sigma 3", "--smallest-sigma must be below --largest-sigma"),
        ("cyclegan --data-x .", "--data-x and --data-y go together"),
        ("cyclegan --data-x . --data-y . --size 9", "--size must be even"),
        ("pix2pix --size 32", "--size 32 is for --data-x and --data-y"),
    ],
)
def test_settings_that_do_not_go_together_are_named_as_options(
    place: Path, arguments: str, words: str
) -> None:
    refused(place, ["train", *arguments.split()], words)


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], ["nowhere", "config.json"]),
        (["."], ["config.json"]),
        ([], ["DIR"]),
        (["run", "-n", "0"], ["-n", "0"]),
        (["run", "-n", "few"], ["-n", "few"]),
        (["run", "--seed", "-1"], ["--seed", "-1"]),
        (["run", "--device", "nonsense"], ["device", "nonsense"]),
        (["run", "--device", "float64"], ["device", "float64"]),
        (["run", "--sampler", "euler"], ["euler", "ancestral", "ddim"]),
        (["run", "--sampler-steps", "2"], ["--sampler-steps", "ddim"]),
        (["run", "--sampler", "ddim", "--sampler-steps", "5"], ["--sampler-steps", "4"]),
        (["run", "--sampler", "ddim", "--sampler-steps", "0"], ["--sampler-steps", "0"]),
    ],
)
def test_using_a_run_in_ways_that_cannot_be(
    place: Path, command: str, options: list[str], words: list[str]
) -> None:
    refused(place, [command, *options], *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND"]),
        (["learn"], ["learn"]),
        (["train"], ["MODEL"]),
        (["sample", "run", "--out", "run"], ["run exists", "another --out"]),
        (
            ["sample", "run", "--out", "run/config.json"],
            ["run/config.json exists", "another --out"],
        ),
        (
            ["sample", "run", "--out", "run/config.json/below"],
            ["run/config.json/below", "cannot be written"],
        ),
        (["sample", "run", "--out", "x" * 300], ["xxx", "cannot be written"]),
        (["evaluate", "run", "-n", "2501"], ["-n 2501", "ring", "2500"]),
        (["evaluate", "run", "-n", "4"], ["-n 4", "5"]),
        (["evaluate", "run", "--data-dir", "run"], ["ring", "run", "--data-dir"]),
        (["train", "ae", "--data", "ring"], ["digits, mnist", "ring"]),
        (["train", "ae", "--latent", "0"], ["--latent", "0"]),
        (["train", "ae", "--networks", "rnn"], ["--networks", "mlp", "conv", "rnn"]),
        (["train", "ae", "--regulariser", "l2"], ["--regulariser", "l1", "contractive", "l2"]),
        (["train", "ae", "--weight", "-1"], ["--weight", "-1"]),
        (["train", "ae", "--corruption", "rain"], ["--corruption", "masking", "rain"]),
        (["train", "ae", "--strength", "nan"], ["--strength", "nan"]),
        (
            ["train", "ae", "--corruption", "masking", "--strength", "1.5"],
            ["strength", "share", "masking", "1.5"],
        ),
        (["train", "ae", "--beta", "1"], ["--beta"]),
        (["train", "ae", "--resume", "run"], ["ddpm", "minigen train ddpm --resume"]),
        (["train", "vae", "--data", "ring"], ["digits, mnist", "ring"]),
        (["train", "vae", "--beta", "-1"], ["--beta", "-1"]),
        (["train", "vae", "--beta", "nan"], ["--beta", "nan"]),
        (
            ["train", "vae", "--decoder", "laplace"],
            ["--decoder", "bernoulli", "gaussian", "laplace"],
        ),
        (["train", "vae", "--latent", "2.5"], ["--latent", "2.5"]),
        (["train", "vae", "--conditional", "yes"], ["yes"]),
        (["train", "gan", "--conditional", "--data", "ring"], ["conditional", "labels", "ring"]),
        (["train", "gan", "--loss", "entropy"], ["--loss", "minimax", "wgan-gp", "entropy"]),
        (["train", "gan", "--critic-steps", "0"], ["--critic-steps", "0"]),
        (["train", "gan", "--clip", "0"], ["--clip", "0"]),
        (["train", "gan", "--penalty", "-1"], ["--penalty", "-1"]),
        (["train", "gan", "--latent", "0"], ["--latent", "0"]),
        (["train", "gan", "--timesteps", "4"], ["--timesteps"]),
    ],
)
def test_other_calls_that_cannot_be(place: Path, arguments: list[str], words: list[str]) -> None:
    refused(place, arguments, *words)


@pytest.mark.parametrize("model", ["ae", "vae", "gan"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "run", "--sampler", "ddim"], ["--sampler: not for"]),
        (
            ["evaluate", "run", "--sampler", "ancestral", "--sampler-steps", "2"],
            ["--sampler, --sampler-steps: not for"],
        ),
        (["evaluate", "run", "-n", "501"], ["-n 501", "digits", "500"]),
        (["train", "ddpm", "--resume", "run"], ["--resume"]),
    ],
)
def test_calls_that_cannot_be_with_a_model_of_another_kind(
    place: Path, arguments: list[str], words: list[str]
) -> None:
    refused(place, arguments, *words)


def test_a_gpu_without_cupy_names_the_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    for arguments in (["train", "ddpm"], ["sample", "run"], ["evaluate", "run"]):
        words = "cuda", "CuPy", ".[cuda12]", "--device cpu"
        refused(place, [*arguments, "--device", "cuda"], *words)
    run = Run("run")
    run.configure(run.config | {"device": "cuda"})
    for arguments in (["train", "ddpm", "--resume", "run"], ["sample", "run"]):
        refused(place, arguments, "cuda", "CuPy", "--device cpu")
    assert minigen("sample", "run", "-n", 2, "--device", "cpu").status == 0


@pytest.mark.parametrize(
    "arguments", [["train", "ddpm", "--resume", "run"], ["sample", "run"], ["evaluate", "run"]]
)
def test_a_wrong_option_is_not_blamed_on_the_configuration(
    place: Path, arguments: list[str]
) -> None:
    assert "config.json" not in minigen(*arguments, "--device", "nonsense").err


# Damage: to the data, to the configuration, to the checkpoint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x00\x09\x03" + idx(12, 28, 28)[4:], ["t10k-images-idx3-ubyte", "00 00 08"]),
        (idx(12, 28, 28)[:-1], ["t10k-images-idx3-ubyte", "cut short"]),
        (idx(12, 28, 28)[:7], ["t10k-images-idx3-ubyte", "cut short"]),
        (idx(12, 8, 8), ["mnist", "(12, 8, 8)"]),
        (idx(11, 28, 28), ["mnist", "(11, 28, 28)"]),
        (b"", ["t10k-images-idx3-ubyte"]),
    ],
    ids=["magic", "truncated", "header", "size", "count", "empty"],
)
def test_damaged_idx_files_are_named(place: Path, content: bytes, words: list[str]) -> None:
    (write_mnist(place / "mnist") / "t10k-images-idx3-ubyte").write_bytes(content)
    refused(place, ["train", "ddpm", "--data", "mnist", "--data-dir", "mnist"], *words)


def test_no_images_is_no_data(place: Path) -> None:
    write_mnist(place / "mnist", images=0)
    refused(place, ["train", "ddpm", "--data", "mnist", "--data-dir", "mnist"], "mnist")


def test_few_images_are_enough(place: Path) -> None:
    write_mnist(place / "mnist", images=3)
    assert (
        minigen("train", "ddpm", "--data", "mnist", "--data-dir", "mnist", "--steps", 1).status == 0
    )


def with_setting(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | changes).encode()


COMMANDS = [["train", "ddpm", "--resume"], ["sample"], ["evaluate"]]


DAMAGED_CONFIGURATIONS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-3],
    "another encoding": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[]",
    "nested too deeply": lambda content: b"[" * 100_000,
    "no model": lambda content: b"{}",
    "data": with_setting(data="cats"),
    "data that is no name": with_setting(data=["ring"]),
    "an unknown setting": with_setting(shape="round"),
    "steps": with_setting(steps="many"),
    "batch size": with_setting(batch_size=-2),
    "steps that are a truth value": with_setting(steps=True),
    "steps with a point": with_setting(steps=3.0),
    "rate": with_setting(lr="fast"),
    "rate that is a truth value": with_setting(lr=True),
    "rate without bounds": with_setting(lr=10**400),
    "no rate": with_setting(lr=None),
    "folder": with_setting(data_dir=5),
    "seed": with_setting(seed=-1),
    "device": with_setting(device=3),
    "no timesteps": with_setting(timesteps=0),
    "timesteps that are no number": with_setting(timesteps="all"),
    "too many timesteps": with_setting(timesteps=10**18),
    "schedule": with_setting(schedule="square"),
    "another schedule": with_setting(schedule="linear"),
    "another number of timesteps": with_setting(timesteps=3),
    "other data": with_setting(data="grid"),
    "another seed": with_setting(seed=5),
}


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        *(
            ("ae", change)
            for change in (
                {"latent": 2},
                {"regulariser": "kl"},
                {"weight": 0.2},
                {"strength": "half"},
            )
        ),
        ("ae", {"corruption": "masking", "strength": 2}),
        *(
            ("vae", change)
            for change in (
                {"latent": 2},
                {"beta": 2.0},
                {"beta": -1},
                {"conditional": True},
                {"conditional": 0},
            )
        ),
        *(
            ("vae", change)
            for change in (
                {"decoder": "gaussian"},
                {"networks": "conv"},
                {"data": "ring"},
                {"timesteps": 4},
            )
        ),
        *(
            ("gan", change)
            for change in (
                {"latent": 2},
                {"loss": "hinge"},
                {"critic_steps": 2},
                {"conditional": True},
            )
        ),
        *(
            ("gan", change)
            for change in ({"clip": 0.2}, {"penalty": -1}, {"conditional": 1}, {"data": "ring"})
        ),
        ("gan", {"data": "ring", "conditional": True}),
    ],
    indirect=["model"],
)
def test_a_run_keeps_its_settings(place: Path, model: str, settings: dict[str, Any]) -> None:
    config = place / "run" / "config.json"
    config.write_bytes(with_setting(**settings)(config.read_bytes()))
    for command in (["train", model, "--resume"], ["sample"], ["evaluate"]):
        refused(place, [*command, "run"], "config.json", [*settings][-1])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_run_of_another_model_is_refused(place: Path, command: list[str]) -> None:
    config = place / "run" / "config.json"
    config.write_bytes(with_setting(model="oracle")(config.read_bytes()))
    refused(place, [*command, "run"], "run", "oracle")


def forged(
    change: Callable[[dict[str, np.ndarray], dict[str, Any]], Any],
) -> Callable[[bytes], bytes]:
    """A checkpoint that is whole and sealed, but changed; `change` may return other metadata."""

    def damage(content: bytes) -> bytes:
        Path("forged.npz").write_bytes(content)
        arrays, meta = load_checkpoint("forged.npz")
        other = change(arrays, meta)
        save_checkpoint("forged.npz", arrays, meta if other is None else other)
        content = Path("forged.npz").read_bytes()
        Path("forged.npz").unlink()
        return content

    return damage


def with_array(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[bytes], bytes]:
    return forged(lambda arrays, meta: arrays.update({name: change(arrays.get(name, np.ones(1)))}))


def with_state(value: Any, *path: str) -> Callable[[bytes], bytes]:
    """A checkpoint with this value at a place in its state."""

    def put(arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        place = meta["state"]
        for name in path[:-1]:
            place = place[name]
        assert path[-1] in place
        place[path[-1]] = value

    return forged(put)


DAMAGED_CHECKPOINTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "a flipped bit": lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:],
    "a pickle": lambda content: pickle.dumps({"model": {}}),
    "another shape": with_array("model/stem.weight", lambda w: w[:, :1]),
    "weights that are truth values": with_array("model/stem.weight", lambda w: w > 0),
    "averages that are truth values": with_array("ema/average", lambda w: w > 0),
    "moments that are truth values": with_array("optimizers/model/m", lambda w: w > 0),
    "weights too many": with_array("model/stem", lambda w: w),
    "a name inside a number": with_array("step/a", lambda w: w),
    "names inside a number": with_array("step/a/b", lambda w: w),
    "a weight too few": forged(lambda arrays, meta: arrays.__delitem__("model/stem.weight")),
    "of nothing": forged(lambda arrays, meta: arrays.clear()),
    "another format": forged(lambda arrays, meta: meta["state"]),
    "a list": forged(lambda arrays, meta: ["step"]),
    "a state in words": forged(lambda arrays, meta: meta | {"state": "step"}),
    "settings in words": forged(lambda arrays, meta: meta | {"config": "step"}),
    **{
        f"step {v!r}": with_state(v, "step")
        for v in ("three", None, [], True, 3.0, -1, math.inf, -math.inf, math.nan)
    },
    **{
        f"{v!r:.9} updates": with_state(v, "ema", "updates")
        for v in ("many", False, -1, math.inf, 10**400)
    },
    **{
        f"{v!r:.9} moments": with_state(v, "optimizers", "model", "steps")
        for v in ("many", False, -1, math.inf, 10**400)
    },
    **{f"generator {v!r}": with_state(v, "rng") for v in (-1, None, {})},
    **{f"generator {v!r}": with_state(v, "rng", "bit_generator") for v in ("MT19937", "", 1)},
    **{
        f"generator at {v!r:.9}": with_state(v, "rng", "state", "state")
        for v in (-1, 2**128, math.inf)
    },
    "generator beyond": with_state(2**100, "rng", "uinteger"),
}


DAMAGED = {"config.json": DAMAGED_CONFIGURATIONS, "checkpoint.npz": DAMAGED_CHECKPOINTS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("name", "damage"), [(name, damage) for name, damages in DAMAGED.items() for damage in damages]
)
def test_a_damaged_file_is_refused(place: Path, command: list[str], name: str, damage: str) -> None:
    file = place / "run" / name
    file.write_bytes(DAMAGED[name][damage](file.read_bytes()))
    refused(place, [*command, "run"], name)


def test_a_run_is_restored_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, load = [], Run.load
    monkeypatch.setattr(Run, "load", lambda run: loads.append(run.path) or load(run))
    assert minigen("train", "ddpm", "--resume", "run", "--steps", 5).status == 0
    assert loads == [Path("run")]


def test_a_run_without_a_checkpoint_is_trained_first(place: Path) -> None:
    (place / "run" / "checkpoint.npz").unlink()
    for command in ("sample", "evaluate"):
        refused(place, [command, "run"], "checkpoint", "--resume run")


@pytest.mark.parametrize(
    "line",
    [b"noise\n", b'{"loss": 1.0}\n', b'{"step": "2"}\n', b"\xff\n", b"3\n", b"[" * 10**5 + b"\n"],
)
def test_damaged_metrics_are_named(place: Path, line: bytes) -> None:
    with open(place / "run" / "metrics.jsonl", "ab") as file:
        file.write(line)
    refused(place, ["train", "ddpm", "--resume", "run"], "metrics.jsonl")


@pytest.mark.parametrize(
    "loss", ["", ', "loss": null', ', "loss": [1]', ', "loss": 1e999', f', "loss": {10**400}']
)
def test_curves_are_drawn_of_numbers(place: Path, loss: str) -> None:
    (place / "run" / "metrics.jsonl").write_text(f'{{"step": 1{loss}}}\n')
    status, _, err = minigen("train", "ddpm", "--resume", "run")
    assert status == 2 and re.fullmatch(
        "minigen: error: .*metrics.jsonl is damaged.*step, loss", err.splitlines()[-1]
    )


def test_a_run_without_a_checkpoint_that_goes_on_says_so(place: Path) -> None:
    assert "no checkpoint" not in minigen("train", "ddpm", "--resume", "run").out
    (place / "run" / "checkpoint.npz").unlink()
    out = minigen("train", "ddpm", "--resume", "run").out
    assert out.startswith("note: run has no checkpoint: its training starts from the beginning\n")


def test_a_terminal_that_knows_ascii_alone_shows_the_measures(place: Path) -> None:
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii")) as terminal:
        assert cli.main(["evaluate", "run", "-n", "5"]) == 0
        terminal.flush()
    assert b"Fr?chet distance" in terminal.buffer.getvalue()  # type: ignore[attr-defined]


@every_model
def test_a_run_can_go_on_without_its_metrics(place: Path, model: str) -> None:
    (place / "run" / "metrics.jsonl").unlink()
    assert minigen("train", model, "--resume", "run").status == 0


@pytest.mark.parametrize(
    "arguments", [["train", "ddpm", "--out", "new"], ["sample", "run", "--out", "new"]]
)
def test_a_full_disk_is_reported_in_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = minigen(*arguments)
    assert status in (1, 2) and re.fullmatch(
        r"minigen: error: .*No space left on device.*", err.splitlines()[-1]
    )
    assert not [path for path in place.rglob("new/*") if path.is_file()]
