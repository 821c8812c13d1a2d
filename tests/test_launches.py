"""What a training step costs a GPU is counted on any machine, and stays low."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_launches_copies_and_waits_of_a_step_are_counted() -> None:
    """A step of the denoising autoencoder brings its images to the device, and fetches them."""
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
    assert any("minigen/data/dataset.py" in line for line in places if "to device" in line)


BARS = {
    "ae": 55,
    "vae": 90,
    "ddpm": 450,
    "gan": 300,
    "cyclegan": 850,
    "pix2pix": 600,
    "ae, contractive": 1100,
    "gan, wgan-gp": 300,
}
"""The most kernels that a step may launch."""


def test_a_step_launches_few_kernels() -> None:
    command = [sys.executable, "-m", "tests.launches", *BARS, "--top", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    launches = {
        row[:20].strip(): float(row[20:].split()[0]) for row in done.stdout.splitlines()[1:]
    }
    assert launches.keys() == BARS.keys()
    assert not {case: n for case, n in launches.items() if n > BARS[case]}
