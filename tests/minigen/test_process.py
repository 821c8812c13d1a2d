"""What a command does about its own process, and what it tells the user about it."""

import ctypes
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from minigen import cli, commands
from minigen.training import process

ROOT = Path(__file__).parents[2]
COMPILING = """
import time
from numba.core import event
from minigen.training import process
now = 0.0
time.perf_counter = lambda: now
for _ in range({commands}):
    process.prepare()
for seconds, inside in {loops}:
    with event.trigger_event("numba:compile"):
        with event.trigger_event("numba:compile"):
            now += inside
        now += seconds - inside
"""
"""Commands in a process whose clock says that each loop takes so many seconds, and another inside
it some of them."""


def said_while_compiling(loops: list[tuple[float, float]], commands: int = 1) -> list[str]:
    command = [sys.executable, "-c", COMPILING.format(loops=loops, commands=commands)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True
    ).stderr.splitlines()


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [
        ([(0.9, 0.8)], 0),
        ([(1.5, 0.0)], 1),
        ([(0.3, 0.2)] * 4, 1),
        ([(0.6, 0.0)] * 10, 1),
        ([(5, 4), (5, 4)], 1),
        ([], 0),
    ],
)
def test_who_waits_for_more_than_a_second_is_told_why_once(
    loops: ModuleType, seconds: list[tuple[float, float]], lines: int
) -> None:
    expected = ["minigen: compiling loops, which takes some seconds the first time"] * lines
    assert said_while_compiling(seconds) == expected


def test_who_gives_several_commands_in_one_process_is_told_once_too(loops: ModuleType) -> None:
    assert len(said_while_compiling([(0.6, 0.0)] * 10, commands=3)) == 1


def test_without_the_loops_training_says_that_it_is_slow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "loops", lambda: None)
    assert (
        cli.main(
            ["train", "vae", "--steps", "1", "--batch-size", "2", "--out", str(tmp_path / "run")]
        )
        == 0
    )
    assert (
        "without Numba's compiled loops each step takes several times longer\n"
        in capsys.readouterr().out
    )


def test_with_the_loops_a_command_says_nothing(
    loops: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    process.prepare()
    assert capsys.readouterr() == ("", "")


def test_libraries_that_cannot_be_opened_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str | None) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    process.prepare()
