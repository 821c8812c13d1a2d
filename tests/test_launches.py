"""What a training step costs a GPU is counted on any machine."""

import subprocess
import sys
from pathlib import Path

from tests.launches import CASES

ROOT = Path(__file__).parent.parent


def test_launches_copies_and_waits_of_a_step_are_counted() -> None:
    """A step of the autoencoder brings its images to the device."""
    command = [sys.executable, "-m", "tests.launches", "ae", "--top", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    header, total, *places = done.stdout.splitlines()
    assert header.split("step")[1].replace("to ", "to_").split() == [
        "launch",
        "to_device",
        "to_host",
        "wait",
    ]
    launches, copies = map(float, total.split()[1:3])
    assert launches > 50 and copies >= 1
    counts = [float(line.split()[0]) for line in places if " launch " in line]
    assert counts == sorted(counts, reverse=True) and sum(counts) <= launches
    assert any("minigen/recipes/ae.py" in line for line in places if "to device" in line)


def test_a_step_waits_for_the_device_once() -> None:
    """When what it logs is read: whatever else waited would keep the device from working on."""
    command = [sys.executable, "-m", "tests.launches", "--top", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    waits = {line[:20].strip(): float(line.split()[-1]) for line in done.stdout.splitlines()[1:]}
    assert waits == dict.fromkeys(CASES, 1.0)
