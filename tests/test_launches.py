"""What a training step costs a GPU is counted on any machine, and stays low."""

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
    assert launches > 30 and copies >= 1
    counts = [float(line.split()[0]) for line in places if " launch " in line]
    assert counts == sorted(counts, reverse=True) and sum(counts) <= launches
    assert any("minigen/recipes/ae.py" in line for line in places if "to device" in line)


BARS = {
    "ae": 40,
    "vae": 70,
    "ddpm": 200,
    "ncsn": 205,
    "gan": 125,
    "cyclegan": 380,
    "pix2pix": 255,
    "ae, contractive": 1060,
    "gan, wgan-gp": 145,
}
"""The most kernels that a step may launch."""


def test_a_step_launches_few_kernels_and_waits_once() -> None:
    """When what it logs is read: whatever else waited would keep the device from working on."""
    command = [sys.executable, "-m", "tests.launches", *BARS, "--top", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    rows = {row[:20].strip(): row[20:].split() for row in done.stdout.splitlines()[1:]}
    assert rows.keys() == BARS.keys() == CASES.keys()
    assert not {case: row for case, row in rows.items() if float(row[0]) > BARS[case]}
    assert {case: float(row[-1]) for case, row in rows.items()} == dict.fromkeys(CASES, 1.0)
