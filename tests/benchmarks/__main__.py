"""Time, memory and loss curves of minigen and PyTorch, measured in one run: `python -m
tests.benchmarks`.

Every measurement is a fresh process, and the contestants take turns, so that a machine that slows
down slows all of them. Printed is the median over the rounds. Without PyTorch only minigen is
measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from minigen.models.bound import bits_per_dimension
from minigen.recipes.ddpm import DDPMRecipe
from minigen.recipes.vae import VAERecipe
from minigen.training import process
from tensor import Tensor
from tensor.parallel import get_num_threads, one_blas_thread, set_num_threads
from tests.benchmarks.work import RECIPES, Work, new_recipe

OPS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv 3x3, N64 C32 14x14 O64": ("conv", {"N": 64, "C": 32, "size": 14, "O": 64}),
    "conv 3x3, N64 C32 28x28 O32": ("conv", {"N": 64, "C": 32, "size": 28, "O": 32}),
    "conv 3x3, N128 C64 4x4 O64": ("conv", {"N": 128, "C": 64, "size": 4, "O": 64}),
    "conv transpose 4x4 / 2, N64 C64 14x14 O32": (
        "conv_transpose",
        {"N": 64, "C": 64, "size": 14, "O": 32},
    ),
    "group norm + SiLU, N64 C32 28x28": ("norm_silu", {"N": 64, "C": 32, "size": 28}),
    "group norm + SiLU, N128 C32 8x8": ("norm_silu", {"N": 128, "C": 32, "size": 8}),
    "1,000 scalar multiplies by a constant": ("multiplications", {"count": 1000, "both": False}),
    "1,000 scalar multiplies by a parameter": ("multiplications", {"count": 1000, "both": True}),
}
STEPS = {
    "U-Net training step 8x8, batch 128": ((128, 1, 8, 8), (32, 64)),
    "U-Net training step 28x28, batch 64": ((64, 1, 28, 28), (32, 64, 64)),
}
CONTESTANTS = ("minigen", "torch", "torch channels_last")


def draws(batch: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x_0, timesteps and noise of one training step."""
    rng = np.random.default_rng(seed)
    x0, noise = rng.standard_normal((2, *batch), np.float32)
    return x0, rng.integers(1, 201, batch[0]), noise


# One measurement, in a process of its own


def _work(case: str, contestant: str, device: str) -> Work:
    from tests.benchmarks import ours

    options: dict[str, Any] = {"device": device}
    module: Any = ours
    if contestant != "minigen":
        from tests.benchmarks import theirs

        module, options["channels_last"] = theirs, contestant.endswith("channels_last")
    if case in RECIPES:
        run = new_recipe(case, device)
        if contestant != "minigen":
            run = module.twin_of(run, options["channels_last"])
        return lambda: run.step(1)
    if case in OPS:
        function, sizes = OPS[case]
        return getattr(module, function)(**sizes, **options)
    batch, channels = STEPS[case]
    training, inputs = module.Training(batch[1], channels, **options), draws(batch, 0)
    return lambda: training.step(*inputs)


def _synchronize(contestant: str) -> None:
    if contestant == "minigen":
        import cupy

        cupy.cuda.Device().synchronize()
    else:
        import torch

        torch.cuda.synchronize()


def measure(
    case: str, contestant: str, device: str, threads: int, seconds: float
) -> dict[str, float]:
    """Median milliseconds of a call, and by how many MiB the process grew at most above its size
    before the first."""
    if contestant == "minigen":
        process.prepare()
        set_num_threads(threads)
    else:
        import torch

        torch.set_num_threads(threads)
    work = _work(case, contestant, device)
    before = _peak_memory(reset=True)
    for _ in range(3):
        work()
    times = [done for _, done in _times(work, contestant, device, seconds)]
    return {"ms": 1e3 * statistics.median(times), "MiB": _peak_memory() - before}


def _times(work: Work, contestant: str, device: str, seconds: float) -> list[tuple[float, float]]:
    """Of calls, for so many seconds: after how many the call returns, and is done."""
    times: list[tuple[float, float]] = []
    while sum(done for _, done in times) < seconds or len(times) < 5:
        start = time.perf_counter()
        work()
        queued = time.perf_counter() - start
        if device != "cpu":
            _synchronize(contestant)
        times.append((queued, time.perf_counter() - start))
    return times


def _peak_memory(reset: bool = False) -> float:
    """The largest resident size of this process in MiB, on Linux since the last reset."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# All measurements, side by side


def compare(
    case: str, contestants: tuple[str, ...], options: argparse.Namespace, threads: int
) -> dict[str, dict[str, float]]:
    """The medians over the rounds, by contestant."""
    worker = [
        "--device",
        options.device,
        "--threads",
        str(threads),
        "--seconds",
        str(options.seconds),
    ]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name in contestants:
            command = [sys.executable, "-m", "tests.benchmarks", "--worker", case, name, *worker]
            output = subprocess.run(command, check=True, capture_output=True, text=True)
            results[name].append(json.loads(output.stdout))
    return {
        name: {key: statistics.median(r[key] for r in rows) for key in rows[0]}
        for name, rows in results.items()
    }


def table(contestants: tuple[str, ...], options: argparse.Namespace, threads: int) -> None:
    """Print one line a case."""
    print(f"{threads} thread{'s' * (threads > 1)} each")
    titles = [f"{name.removeprefix('torch ') or name:>14}" for name in contestants]
    print(f"{'ms, forward and backward':44}{''.join(titles)}{'ratio':>8}{'best':>8}{'MiB':>16}")
    for case in [*OPS, *STEPS, *RECIPES]:
        results = compare(case, contestants, options, threads)
        ours, *theirs = (result["ms"] for result in results.values())
        line = f"{case:44}" + "".join(f"{ms:14.2f}" for ms in (ours, *theirs))
        if theirs:
            line += f"{ours / theirs[0]:8.2f}{ours / min(theirs):8.2f}"
        print(
            line + f"{' / '.join(format(r['MiB'], '.0f') for r in results.values()):>16}",
            flush=True,
        )
    print("ratio: to torch as it comes; best: to the faster of its two memory orders", end="; ")
    print("MiB: peak growth, in the same order")


def quick_table(contestants: tuple[str, ...], options: argparse.Namespace) -> None:
    """As `table`, but in this process, in a minute or two, and of time alone; `queued` is when a
    GPU has been told all, which Python alone takes."""
    titles = "".join(f"{name.removeprefix('torch ') or name:>14}" for name in contestants)
    print(f"{'ms, forward and backward':44}{'queued':>10}{titles}{'best':>8}")
    process.prepare()
    for case in [*OPS, *STEPS, *RECIPES]:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        works = {name: _work(case, name, options.device) for name in contestants}
        for name in 2 * contestants:
            for _ in range(3):
                works[name]()
            found[name] += _times(works[name], name, options.device, options.seconds / 3)
        queued = 1e3 * statistics.median(time for time, _ in found["minigen"])
        ours, *theirs = (1e3 * statistics.median(t for _, t in found[name]) for name in contestants)
        line = f"{case:44}{queued:10.2f}" + "".join(f"{ms:14.2f}" for ms in (ours, *theirs))
        print(line + (f"{ours / min(theirs):8.2f}" if theirs else ""), flush=True)


def loss_curves(device: str, steps: int = 50) -> None:
    """Train minigen and its twin from the same weights on the same draws and print how far
    their losses differ."""
    from tests.benchmarks import ours, theirs

    for case, (batch, channels) in STEPS.items():
        mine = ours.Training(batch[1], channels, device)
        twin = theirs.Training(batch[1], channels, device, False)
        twin.take_weights({name: x.numpy() for name, x in mine.model.state_dict().items()})
        pairs = [(mine.step(*d), twin.step(*d)) for d in (draws(batch, k) for k in range(steps))]
        apart = max(abs(a - b) / b for a, b in pairs)
        last = f"the last: {pairs[-1][0]:.5f}"
        differ = f"the losses differ by at most {apart:.1e} (relative)"
        print(f"{case}: over {steps} steps {differ}; {last}")


def twins(device: str, steps: int = 20) -> None:
    """Train each run and its twin from the same weights on the same draws and print how far the
    losses of each player differ.

    In double precision: in the game of two players a rounding error about doubles with each step.
    """
    from tests.benchmarks import theirs

    for case in RECIPES:
        mine = new_recipe(case, device, double=True)
        twin = theirs.twin_of(mine)
        pairs = [(mine.step(k), twin.step(k)) for k in range(1, steps + 1)]
        apart = {name: max(abs(a[name].item() - b[name]) for a, b in pairs) for name in pairs[0][1]}
        listed = ", ".join(f"{name} {difference:.1e}" for name, difference in apart.items())
        print(f"{case}: over {steps} steps the losses differ by at most (absolute): {listed}")


def vae_bounds(device: str) -> None:
    """Train the VAE of `minigen train vae` and its twin to the end; print how far the test
    ELBOs differ."""
    from tests.benchmarks import theirs

    mine = VAERecipe(VAERecipe.Settings(device=device))
    twin, steps = theirs.VAETwin(mine), mine.settings.steps
    for k in range(1, steps + 1):
        mine.step(k)
        twin.step(k)
    (a, _), b = mine.evaluate(500, seed=0)["test ELBO"], twin.test_elbo(seed=0)
    apart = f"they differ by {abs(a / b - 1):.2%}"
    print(f"after {steps} steps the test ELBO is {a:.3f}, that of the twin {b:.3f} nats: {apart}")


def ddpm_bounds(steps: int = 300) -> None:
    """Train the network of `minigen train ddpm` for a while; print the bound on the test digits,
    and that of its twin in PyTorch with the same weights and noise."""
    import torch

    from tests.benchmarks import theirs, twin

    mine = DDPMRecipe(DDPMRecipe.Settings(steps=steps))
    for k in range(1, steps + 1):
        mine.step(k)
    x0 = Tensor(mine.data.test)
    terms = mine.bound(x0, np.random.default_rng(0))
    network = twin.UNet(1, (24, 48))
    with mine.learner.using_average():
        state = {name: torch.tensor(x.numpy()) for name, x in mine.network.state_dict().items()}
    network.load_state_dict(state)
    beta, rng = torch.tensor(mine.diffusion.beta[1:]), np.random.default_rng(0)
    x = torch.tensor(mine.data.test, dtype=torch.float64)
    twins_terms = theirs.ddpm_bound(network, x, beta, mine.data.levels, rng).numpy()
    a, b = (bits_per_dimension(found, x0) for found in (terms, twins_terms))
    print(f"the bound after {steps} steps is {a:.5f}, that of the twin {b:.5f} bits a dimension")


def flat_memory(steps: int = 1000) -> None:
    """Print the resident memory over many training steps."""
    from tests.benchmarks import ours

    training = ours.Training(1, (16, 32), "cpu")
    sizes = []
    for k in range(steps + 1):
        training.step(*draws((32, 1, 8, 8), k))
        if k % (steps // 5) == 0:
            sizes.append(
                int(Path("/proc/self/statm").read_text().split()[1])
                * resource.getpagesize()
                / 2**20
            )
    listed = ", ".join(format(size, ".1f") for size in sizes)
    print(f"resident memory over {steps} steps, MiB: {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often the contestants take turns (default: 3)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="how long each measurement runs (default: 1.5)"
    )
    parser.add_argument("--worker", nargs=2, metavar=("CASE", "CONTESTANT"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--threads",
        type=int,
        help="of each contestant (default: a table for one, and one for all cores)",
    )
    quick = "all in one process, which takes a minute or two on a GPU"
    parser.add_argument("--quick", action="store_true", help=quick)
    options = parser.parse_args()
    if options.worker:
        with one_blas_thread():
            print(
                json.dumps(
                    measure(*options.worker, options.device, options.threads, options.seconds)
                )
            )
        return
    has_torch = importlib.util.find_spec("torch") is not None
    if options.quick:
        quick_table(CONTESTANTS if has_torch else CONTESTANTS[:1], options)
        return
    for threads in [options.threads] if options.threads else sorted({1, get_num_threads()}):
        table(CONTESTANTS if has_torch else CONTESTANTS[:1], options, threads)
    flat_memory()
    if has_torch:
        loss_curves(options.device)
        twins(options.device)
        vae_bounds(options.device)
        ddpm_bounds()
    else:
        missing = "PyTorch is not installed (pip install -e '.[bench]')"
        print(f"{missing}: there is nothing to compare with")


if __name__ == "__main__":
    main()
