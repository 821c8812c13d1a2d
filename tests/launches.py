"""What a training step costs a GPU, counted on the double of CuPy: `python -m tests.launches`.

A small kernel takes a GPU less time than it takes Python to launch it: while a step is many small
kernels, their number is its time. Each recipe takes its steps with its default settings, and
printed are, a step, the kernels launched, the copies to the device and back, and the waits for it;
then the lines of code that caused most of them.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from minigen.recipes import RECIPES
from minigen.training.loop import finite_step
from tests.cuda import use_double

ROOT = Path(__file__).parent.parent
KINDS = ("launch", "to device", "to host", "wait")
MOVERS = ("arrays.py", "base.py", "tensor.py", "gpu.py")  # they act for whoever asks them to
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in RECIPES}
CASES["ae, contractive"] = "ae", {"regulariser": "contractive"}
CASES["gan, wgan-gp"] = "gan", {"loss": "wgan-gp"}


def count(case: str, steps: int = 2) -> dict[tuple[str, str, str], float]:
    """How often a step of a recipe, and the reading of what it logs, does what: (kind, name,
    "file:line") as in the double's `events`, the mean over `steps`.

    Two steps before them are not counted, in which buffers and constants are made.
    """
    from cupy import events, passed_over

    passed_over.update(str(ROOT / "tensor" / file) for file in MOVERS)
    name, options = CASES[case]
    recipe = RECIPES[name](RECIPES[name].Settings(device="cuda", **options))
    for k in (1, 2):
        finite_step(recipe, k)
    events.clear()
    for k in range(3, 3 + steps):
        finite_step(recipe, k)
    return {event: times / steps for event, times in events.items()}


def totals(counted: dict[tuple[str, str, str], float]) -> Counter[str]:
    """How many there are of each kind."""
    total: Counter[str] = Counter()
    for (kind, _, _), times in counted.items():
        total[kind] += times  # type: ignore[assignment]
    return total


def places(counted: dict[tuple[str, str, str], float], kind: str) -> list[tuple[str, float]]:
    """The lines that caused events of one kind, most of them first."""
    by_place: Counter[str] = Counter()
    for (found, _, place), times in counted.items():
        if found == kind:
            by_place[str(Path(place).relative_to(ROOT))] += times  # type: ignore[assignment]
    return by_place.most_common()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.launches", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="RECIPE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--top", type=int, default=5, help="how many lines of code are named")
    options = parser.parse_args()
    use_double()
    print(f"{'a training step':20}" + "".join(f"{kind:>11}" for kind in KINDS))
    for case in options.cases or CASES:
        counted = count(case)
        total = totals(counted)
        print(f"{case:20}" + "".join(f"{total[kind]:11.1f}" for kind in KINDS), flush=True)
        for kind in KINDS:
            for place, times in places(counted, kind)[: options.top]:
                print(f"    {times:7.1f} {kind:9}  {place}")


if __name__ == "__main__":
    main()
