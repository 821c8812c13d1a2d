"""The training loop that every recipe shares: progress, metrics, checkpoints, stops by signals."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, SupportsFloat

import numpy as np

from minigen.progress import Bar
from minigen.training.checkpoint import CheckpointError
from minigen.training.run import Run, State
from tensor import Tensor
from tensor.arrays import as_numbers, is_of_cuda
from tensor.parallel import one_blas_thread


class Trainable(Protocol):
    """What the loop needs of a recipe."""

    checkpointed: dict[str, Any]
    """All that the next steps depend on: a tree of dicts. Its leaves are random generators, or have
    `state_dict` and `load_state_dict`, of tensors and arrays that keep their shapes and dtypes, of
    counts (the integers from 0, below 2**128), and of whatever else keeps its type."""

    def step(self, k: int) -> Mapping[str, SupportsFloat]:
        """Train on one batch, the k-th of the run (from 1), and return what to log."""


class Diverged(Exception):
    """A number became NaN or infinite."""


def train(
    recipe: Trainable, run: Run, steps: int, done: int = 0, save_every: int = 500,
    watch: Callable[[int], None] = lambda done: None,
) -> bool:  # fmt: skip
    """Train from step `done`, to which `restore` has brought the recipe, to step `steps`.

    A checkpoint is written every `save_every` steps, at the end, and on Ctrl-C or SIGTERM.

    watch: called with the number of steps done, at first and after each, to look at the recipe

    Returns False if one of these ended it early.
    Raises Diverged if a number is no longer finite; the last checkpoint stays as it was.
    """
    run.forget_after(done)
    bar = Bar(total=steps, initial=done)
    with bar, _stop_requested() as stopped, np.errstate(all="ignore"), one_blas_thread():
        watch(done)
        while done < steps:
            done += 1
            metrics = finite_step(recipe, done)
            run.log({"step": done} | metrics)
            bar.losses = metrics
            watch(done)
            bar.update()
            ending = done == steps or bool(stopped)
            if ending or done % save_every == 0:
                run.save(state_of(recipe.checkpointed) | {"step": done})
            if ending:
                break
    return done >= steps


def finite_step(recipe: Trainable, k: int) -> dict[str, float]:
    """What step k logs. Diverged if a number is not finite; an error of CUDA's, which may be raised
    by a later call than the one that caused it, names the step; others are what they are."""
    try:
        metrics = _numbers(recipe.step(k))
    except FloatingPointError as error:
        raise Diverged(f"{error}, at step {k}: a lower `lr` may help") from error
    except RuntimeError as error:
        if is_of_cuda(error):
            raise RuntimeError(f"the GPU failed at step {k}: {error}") from error
        raise
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"{name} is {value} at step {k}: a lower `lr` may help")
    return metrics


def _numbers(logged: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """What a step logs as numbers. Tensors come in one transfer: each waits for a GPU."""
    arrays = {name: x.data for name, x in logged.items() if isinstance(x, Tensor)}
    found = dict(logged) | dict(zip(arrays, as_numbers(list(arrays.values()))))
    return {name: float(value) for name, value in found.items()}


# States


def state_of(tree: Any) -> Any:
    """The state of what a recipe has `checkpointed`, or of a part of it: a tree of its form."""
    if isinstance(tree, dict):
        return {name: state_of(child) for name, child in tree.items()}
    if isinstance(tree, np.random.Generator):
        return tree.bit_generator.state
    return tree.state_dict()


def load_state(tree: Any, state: Any) -> None:
    """Go on from a state. KeyError or ValueError if it is of something else."""
    if isinstance(tree, dict):
        for name, child in tree.items():
            load_state(child, state[name])
    elif isinstance(tree, np.random.Generator):
        tree.bit_generator.state = state
    else:
        tree.load_state_dict(state)


def restore(recipe: Trainable, run: Run) -> int:
    """Give the recipe the state of the run's checkpoint.

    Returns the step it was saved at, 0 if there is none.
    Raises CheckpointError unless its names, types, shapes and dtypes are those of the recipe.
    """
    path = run.path / "checkpoint.npz"
    if not path.exists():
        return 0
    state = run.load()
    saved, own = _form(state), _form(state_of(recipe.checkpointed) | {"step": 0})
    names = [name for name in own | saved if saved.get(name) != own.get(name)]
    wrong = [f"{n} is {saved.get(n, 'missing')}, expected {own.get(n, 'nothing')}" for n in names]
    try:
        if not wrong:
            load_state(recipe.checkpointed, state)
            return state["step"]
    except (ArithmeticError, ValueError) as error:
        wrong = [str(error)]
    raise CheckpointError(f"{path} is a checkpoint of another model: {'; '.join(wrong[:3])}")


def _form(state: State, prefix: str = "") -> dict[str, str]:
    """What stands where in a state: {"ema": "dict", "ema/updates": "count", "ema/average": ...}"""
    form = {}
    for name, value in state.items():
        if isinstance(value, (Tensor, np.ndarray)):
            form[prefix + name] = f"{value.dtype} {value.shape}"
        elif type(value) is int and 0 <= value < 2**128:
            form[prefix + name] = "count"
        else:
            form[prefix + name] = type(value).__name__
        if isinstance(value, dict):
            form |= _form(value, f"{prefix}{name}/")
    return form


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C is pressed, or SIGTERM comes; a second one acts at once.

    A signal that is ignored, as in the background of a script, stays so, and one whose handler is
    not Python's is left to it.
    """
    came: list[int] = []

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, before[number])

    stops: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    before = {n: h for n in stops if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)}
    if threading.current_thread() is not threading.main_thread():
        before = {}  # signals are somebody else's business
    try:
        for number in before:
            signal.signal(number, note)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
