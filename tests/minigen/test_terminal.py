"""What people do around a command: closed pipes, odd terminals and names, signals, full disks."""

import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import minigen
from minigen import cli, commands
from minigen.evaluation import pictures, slides
from minigen.progress import COLUMNS, Bar
from minigen.recipes import RECIPES
from minigen.training import loop
from minigen.training.run import Run, RunError, unused_folder
from minigen.words import counted, pasted, printable
from tests.minigen.small_runs import NCSN, RING, new

TINY = ("train", "ddpm", "--data", "ring", "--steps", 2, "--batch-size", 2, "--timesteps", 3)
AWKWARD = ["two words", "it's", 'a "quote"', "写真", "two\nlines", "-x", "$HOME;ls", "~", "x" * 255]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test; nobody looks at its pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slides, "save", lambda figure, path: path.touch())
    monkeypatch.setattr(pictures, "POINTS", 5)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """`minigen ARGUMENTS`: its status, and what it printed."""
    capsys.readouterr()
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = int(end.code or 0)
    return status, *capsys.readouterr()


def shell(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A line for a shell in which `minigen` is ours."""
    environment = os.environ | {"MINIGEN": f"{shlex.quote(sys.executable)} -m minigen"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    line = command.replace("minigen", "eval $MINIGEN", 1)
    return subprocess.run(
        ["bash", "-c", line], text=True, capture_output=True, env=environment, **options
    )


# Bars


@given(
    losses=st.dictionaries(st.text("abc_", min_size=1, max_size=20), st.floats(), max_size=9),
    total=st.integers(1, 10**9),
    elapsed=st.floats(0, 1e6),
    share=st.floats(0, 1),
)
def test_a_bar_fits_its_line(
    losses: dict[str, float], total: int, elapsed: float, share: float
) -> None:
    bar = Bar(total=total, initial=0, file=io.StringIO())
    bar.n, bar.start_t, bar.losses = int(share * total), bar._time() - elapsed, losses
    line = str(bar)
    bar.close()
    shown = [name for name in losses if f", {name} {losses[name]:.3g}" in line]
    assert len(line) <= COLUMNS and shown == list(losses)[: len(shown)]
    assert len(shown) == len(losses) or len(line) + len(f", {list(losses)[len(shown)]} ") > 60


@pytest.mark.parametrize("name", RECIPES)
def test_the_losses_of_every_model_fit_80_columns(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of them at least are shown, to the end."""
    status, out, err = said(capsys, "train", name, "--steps", 2, "--batch-size", 2, "--out", "run")
    assert status == 0, err
    lines = [
        line.rstrip() for line in re.split("[\r\n]", out + err) if "minigen evaluate" not in line
    ]
    assert max(map(len, lines)) <= COLUMNS
    names = [n for n in Run("run").metrics()[0] if n != "step"]
    last = next(line for line in reversed(lines) if line.startswith("100%") and " 2/2 " in line)
    assert all(f", {n} " in last for n in names[: 2 if len(names) > 3 else len(names)])


def screen(printed: str) -> list[str]:
    """The lines that a terminal shows of what was printed."""
    lines, row, column = [""], 0, 0
    for part in re.findall("\x1b\\[A|[\r\n]|[^\x1b\r\n]+", printed):
        if part == "\x1b[A":
            row -= 1
        elif part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        else:
            end = column + len(part)
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][end:]
            column = end
    return lines


@pytest.mark.parametrize("settings", [RING, NCSN], ids=["ddpm", "ncsn"])
def test_samples_leave_a_bar_on_the_screen_but_not_below_that_of_a_training(
    settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for within, left in ((nullcontext, 1), (lambda: Bar(total=1), 0)):
        with within():
            new(settings).sample(2, seed=0)
        lines = screen(capsys.readouterr().err)
        assert sum("sampling 2 of 2: 100%" in line for line in lines) == left


# Help


def test_help_shows_the_commands_first(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, first in ((["--help"], "commands:"), (["train", "--help"], "models:")):
        _, out, _ = said(capsys, *arguments)
        titles = re.findall(r"^\w[\w ]*:$", out, re.MULTILINE)
        assert titles == [first, "help:"]


def test_minigen_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == (0, f"minigen {minigen.__version__}\n", "")


@pytest.mark.parametrize("name", RECIPES)
def test_options_stand_with_what_they_belong_to(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = said(capsys, "train", name, "--help")
    groups = dict(re.findall(r"^([\w ]+):\n((?:  .*\n?)+)", out, re.MULTILINE))
    assert list(groups) == ["data", "model", "training", "the run", "help"]
    options = {
        title: re.findall(r"^  (--[\w-]+)", text, re.MULTILINE) for title, text in groups.items()
    }
    assert options["training"] == ["--steps", "--batch-size", "--lr", "--seed", "--device"]
    assert options["the run"] == ["--out", "--resume"] and options["model"]
    assert set(options["data"]) >= ({"--data-x", "--data-y"} if "--data-x" in out else {"--data"})
    assert len(sum(options.values(), [])) == len(set(sum(options.values(), [])))


def test_help_names_every_kind_of_image(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = said(capsys, "train", "vae", "--help")
    assert all(kind in out for kind in ("PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF", ".npz"))


# Words


def test_one_is_no_plural(capsys: pytest.CaptureFixture[str]) -> None:
    assert (counted(0, "step"), counted(1, "step"), counted(2, "step")) == (
        "0 steps",
        "1 step",
        "2 steps",
    )
    outs = [said(capsys, *TINY, "--steps", 1, "--out", "run")[1]]
    outs.append(said(capsys, "sample", "run", "-n", 1)[1])
    outs.append(said(capsys, "evaluate", "run", "-n", 1)[2])
    outs.append(said(capsys, "evaluate", "run", "-n", 5)[1])
    outs.append(repr(minigen.load("run")))
    assert not re.search(r"\b1 \w+s\b", " ".join(outs))


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
@example("-x")
@example("it's")
def test_a_pasted_path_is_one_argument(path: str) -> None:
    """For a shell, and for the command that reads it."""
    parser = ArgumentParser()
    parser.add_argument("run", type=Path)
    words = shlex.split(f"minigen evaluate {pasted(path)}")
    assert words[:2] == ["minigen", "evaluate"] and parser.parse_args(words[2:]).run == Path(path)


@given(st.text())
def test_a_printable_name_is_one_line_of_any_terminal(name: str) -> None:
    shown = printable(name)
    assert len(shown) == len(name) and len(shown.splitlines()) <= 1
    shown.encode()


@pytest.mark.parametrize("folder", ["two words", "it's", "-x", "$HOME;ls"])
def test_every_command_that_is_printed_can_be_pasted(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = [said(capsys, *TINY, f"--out={folder}")[1]]
    outs.append(said(capsys, *TINY, f"--out={folder}")[2])
    outs.append(said(capsys, "train", "vae", f"--resume={folder}")[2])
    monkeypatch.setattr(loop, "finite_step", lambda *_: signal.raise_signal(signal.SIGINT) or {})
    outs.append(said(capsys, *TINY, f"--resume={folder}", "--steps", 9)[2])
    outs = [*outs[:3], said(capsys, "train", "ddpm", f"--resume={folder}", "--steps", 9)[1]]
    Path(folder, "checkpoint.npz").unlink()
    outs.append(said(capsys, "sample", "--", folder)[2])
    for out in outs:
        (command,) = re.findall(r"minigen (?:train \w+ --resume|evaluate) .*", out)
        assert Path(shlex.split(command)[-1]) == Path(folder)


# Sampling and measuring


def test_samples_have_a_new_seed_unless_one_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *TINY, "--out", "run")
    for seed in (1, 2, 3):
        assert (
            f"of seed {seed}: in run/samples-{seed}\n" in said(capsys, "sample", "run", "-n", 3)[1]
        )
    drawn = [np.load(f"run/samples-{seed}/samples.npz")["x"] for seed in (1, 2, 3)]
    assert not any(np.array_equal(a, b) for a, b in zip(drawn, drawn[1:]))
    assert (
        "of seed 2: in run/samples-2-2\n" in said(capsys, "sample", "run", "-n", 3, "--seed", 2)[1]
    )
    assert np.array_equal(np.load("run/samples-2-2/samples.npz")["x"], drawn[1])


def test_measures_can_be_read_by_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, *TINY, "--out", "run")
    status, out, _ = said(capsys, "evaluate", "run", "-n", 9, "--json")
    found, expected = json.loads(out), minigen.load("run").evaluate(9)
    assert status == 0 and (found["run"], found["n"], found["seed"]) == ("run", 9, 1)
    assert found["measures"] == {name: m._asdict() for name, m in expected.items()}
    assert found["notes"] == [note for note in found["notes"] if "9 samples" in note] != []


@pytest.mark.parametrize("x", [float("inf"), float("-inf"), float("nan"), None])
def test_json_has_no_number_for_what_is_none(x: float | None) -> None:
    assert commands.json_number(x) is None


@pytest.mark.parametrize(
    ("data", "n", "words"),
    [
        ("digits", 64, ["64 samples of 64 numbers have a singular covariance"]),
        ("digits", 65, []),
        ("ring", 21, ["21 samples, and to draw each of 8 once takes 22 on average"]),
        ("ring", 22, []),
        ("grid", 95, ["95 samples, and to draw each of 25 once takes 96 on average"]),
        ("grid", 96, []),
    ],
)
def test_too_few_samples_are_said_to_be(data: str, n: int, words: list[str]) -> None:
    """A covariance of n points has rank n - 1; K coupons are collected in K H_K draws."""
    notes = minigen.new("gan", data).about_samples(n)
    assert len(notes) == len(words) and all(w in note for w, note in zip(words, notes))


def test_a_batch_larger_than_the_data_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("few.npy", np.random.default_rng(0).random((5, 8, 8)))
    train = ("train", "vae", "--data", "few.npy", "--steps", 1)
    _, out, _ = said(capsys, *train, "--batch-size", 40)
    assert "note: --batch-size 40 is more than 4 training items: each is in a batch 10 times" in out
    assert "note: --batch" not in said(capsys, *train, "--batch-size", 4)[1]


# Streams


class Writer:
    """A stream of another kind: it can be written to, and no more."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def without_reader() -> io.TextIOWrapper:
    """The end of a pipe that `head -1` has left."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


STREAMS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "StringIO": io.StringIO,
    "only write": Writer,
    "latin-1": lambda: io.TextIOWrapper(io.BytesIO(), "latin-1", write_through=True),
    "ascii": lambda: io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True),
    "closed": closed,
    "without a reader": without_reader,
}


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", STREAMS)
def test_a_command_runs_whatever_it_prints_to(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = STREAMS[kind]()
    monkeypatch.setattr(sys, name, stream)
    arguments = [*map(str, TINY), "--out", "写真"]
    assert cli.main(arguments) == 0 and Run("写真").load()["step"] == 2
    assert cli.main(["evaluate", "写真", "-n", "5"]) == 0
    assert getattr(sys, name) is stream
    if kind == "only write":
        assert ("写真" if name == "stdout" else "100%") in stream.text
    assert cli.main(arguments) == 2


@pytest.mark.parametrize("kind", STREAMS)
def test_python_trains_whatever_it_shows_its_bar_on(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", STREAMS[kind]())
    assert minigen.train("ddpm", "ring", steps=2, batch_size=2, timesteps=3).sample(2).shape == (
        2,
        2,
    )


def test_pipes_and_streams_that_a_shell_closes() -> None:
    """No traceback, no complaint of Python's, and the status of success."""
    for line in ("minigen --help | head -1", "minigen train --help | true"):
        result = shell(f"set -o pipefail; {line}")
        assert (result.returncode, result.stderr) == (0, ""), line
    train = f"minigen {shlex.join(map(str, TINY))}"
    for line in (f"{train} --out a 2>&-", f"{train} --out b >&-", f"{train} --out c 2>&1 | true"):
        result = shell(f"set -o pipefail; {line}")
        assert result.returncode == 0 and "Traceback" not in result.stdout + result.stderr, line
    assert [Run(name).load()["step"] for name in "abc"] == [2, 2, 2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_a_failure() -> None:
    cli.main([*map(str, TINY), "--out", "run"])
    result = shell("minigen evaluate run -n 5 > /dev/full")
    assert result.returncode == 1
    assert re.fullmatch("minigen: error: .*No space left on device", result.stderr.splitlines()[-1])


# Signals


class Signalled:
    """A recipe that counts, to which a signal comes in its second step."""

    def __init__(self, number: int):
        self.number, self.checkpointed = number, {"rng": np.random.default_rng(0)}

    def step(self, k: int) -> dict[str, float]:
        if k == 2:
            signal.raise_signal(self.number)
        return {"loss": k}


@pytest.fixture
def run() -> Run:
    return Run.create("run", {"model": "any"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_a_checkpoint(number: int, run: Run) -> None:
    before = signal.getsignal(number)
    assert not loop.train(Signalled(number), run, 5)
    assert run.load()["step"] == 2 and signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_stays_ignored(number: int, run: Run) -> None:
    """As in a script's background job, which Ctrl-C does not mean."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert loop.train(Signalled(number), run, 5)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_that_is_not_pythons_is_left_alone(
    number: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one set from C, before Python began, Python knows no more than None."""
    put: list[int] = []
    getsignal, put_signal = signal.getsignal, signal.signal
    monkeypatch.setattr(signal, "getsignal", lambda n: None if n == number else getsignal(n))
    monkeypatch.setattr(
        signal, "signal", lambda n, handler: (put.append(n), put_signal(n, handler))[1]
    )
    assert loop.train(SimpleNamespace(checkpointed={}, step=lambda k: {"loss": k}), run, 3)
    assert set(put) == {signal.SIGINT, signal.SIGTERM} - {number}


def test_a_run_that_was_killed_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "minigen",
        *map(str, TINY),
        "--steps",
        "100000",
        "--out",
        "run",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        deadline = time.monotonic() + 60
        metrics = Path("run/metrics.jsonl")
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate()
    status, _, err = said(capsys, "sample", "run")
    assert status == 2 and "no checkpoint yet: minigen train ddpm --resume run" in err
    assert said(capsys, "train", "ddpm", "--resume", "run", "--steps", 3)[0] == 0
    assert len(Run("run").metrics()) == 3


# Disks and folders


@pytest.mark.parametrize("limit", [0, 10**3, 10**5, 1_200_000])
def test_where_files_cannot_grow_nothing_is_half_written(limit: int) -> None:
    """A limit on the size of files fails as a full disk does, at another place for each."""
    result = shell(
        f"minigen {shlex.join(map(str, TINY))} --out run",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    last = result.stderr.splitlines()[-1]
    assert result.returncode in (1, 2) and re.fullmatch(
        "minigen: error: .*File too large: 'run/.*'", last
    )
    assert "Traceback" not in result.stderr
    for path in Path("run").iterdir():
        if path.suffix == ".json":
            Run("run")
        elif path.suffix == ".npz":
            np.load(path).close()
        elif path.suffix in (".png", ".gif"):
            matplotlib.image.imread(path)
        else:
            assert path.name == "metrics.jsonl" and Run("run").metrics() is not None


def test_two_never_share_a_folder() -> None:
    """Of eight threads that ask at once each gets a folder of its own; one of them a named one."""
    barrier = threading.Barrier(8)

    def ask(k: int) -> tuple[Path, bool]:
        barrier.wait()
        found = unused_folder("run")
        barrier.wait()
        try:
            Run.create("same", {"model": "any", "k": k})
        except RunError as error:
            assert "same exists" in str(error)
            return found, False
        return found, True

    with ThreadPoolExecutor(8) as pool:
        folders, won = zip(*pool.map(ask, range(8)))
    assert len(set(folders)) == 8 and sum(won) == 1 and Run("same").config["k"] == won.index(True)


def test_a_folder_that_fills_while_it_is_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looked when it was empty."""
    Run.create("run", {"model": "any"})
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))
    with pytest.raises(RunError, match="run exists and is not empty"):
        Run.create("run", {"model": "other"})
    assert Run("run").config == {"model": "any"}


@pytest.mark.parametrize("name", AWKWARD)
def test_folders_may_have_any_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of data, after which runs are named, and those of runs."""
    for domain in ("X", "Y"):
        Path(name, domain).mkdir(parents=True)
        for k in range(3):
            pixels = np.random.default_rng(k).integers(256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(name, domain, f"{str(k) * 250}.png"))
    short = ("--steps", 1, "--batch-size", 2)
    status, out, err = said(capsys, "train", "vae", f"--data={name}", "--size", 8, *short)
    assert status == 0, err
    (run,) = Path("runs").iterdir()
    (said_run,) = re.findall("minigen evaluate (.*)", out)
    assert Path(shlex.split(said_run)[0]) == run
    assert said(capsys, "sample", run, "-n", 2)[0] == 0

    x, y = Path(name, "X"), Path(name, "Y")
    options = (f"--data-x={x}", f"--data-y={y}", "--size", 8, "--width", 2, *short)
    status, _, err = said(capsys, "train", "cyclegan", *options, f"--out={Path(name, 'run')}")
    assert status == 0, err
    translate = ("translate", "--direction", "x2y", f"--input={x}", "--", Path(name, "run"))
    assert said(capsys, *translate)[0] == 0
    files = sorted(path.name for path in Path(name, "run", "translated-x2y").iterdir())
    assert files == [f"{str(k) * 250}.png" for k in range(3)]


def test_translations_of_images_of_one_name_do_not_meet(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "train", "cyclegan", "--steps", 1, "--batch-size", 2, "--width", 2, "--out", "run")
    Path("in").mkdir()
    for name in ("a.png", "a.jpg", "a.jpg.png", "b.gif"):
        Image.new("RGB", (16, 16), (9, 99, 200)).save(Path("in", name))
    translate = ("translate", "run", "--direction", "x2y", "--input", "in", "--out", "out")
    assert said(capsys, *translate)[0] == 0 and len(list(Path("out").iterdir())) == 4


@pytest.mark.parametrize("out", ["/proc/none", "file/run", "file"])
def test_a_folder_that_cannot_be_made_is_named(
    out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    status, _, err = said(capsys, *TINY, "--out", out)
    assert status == 2 and re.fullmatch(f"minigen: error: {out} .*", err.splitlines()[-1])


def test_runs_that_is_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").touch()
    status, _, err = said(capsys, *TINY)
    assert status == 2 and "runs/ddpm-ring cannot be written" in err.splitlines()[-1]
