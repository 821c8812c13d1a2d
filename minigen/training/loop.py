"""The training loop that every model shares: a progress bar, metrics, checkpoints, and a clean stop on Ctrl-C."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from tqdm import tqdm

from minigen.training.checkpoint import CheckpointError
from minigen.training.run import Run, State
from tensor import Tensor
from tensor.parallel import one_blas_thread


class Experiment(Protocol):
    """What the loop needs of a model in training.

    `state_dict` holds all that the next steps depend on: tensors and arrays that keep their shapes and dtypes, counts (the
    integers from 0, below 2**128 as those of a random generator are), and whatever else keeps its type.
    """

    def step(self, k: int) -> dict[str, float]:
        """Train on one batch, the k-th of the run (from 1), and return what to log."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Diverged(Exception):
    """A loss became NaN or infinite."""


def train(experiment: Experiment, run: Run, steps: int, done: int = 0, save_every: int = 500) -> bool:
    """Train from step `done`, to which `restore` has brought the experiment, to step `steps`. False if Ctrl-C ended it early.

    A checkpoint is written every `save_every` steps, at the end, and on Ctrl-C. If a metric is no longer finite, Diverged is
    raised and the last checkpoint stays as it was.
    """
    run.forget_after(done)
    bar = tqdm(total=steps, initial=done, desc="training", unit="step")
    with bar, _stop_requested() as stopped, np.errstate(all="ignore"), one_blas_thread():
        while done < steps:
            done += 1
            metrics = experiment.step(done)
            bad = [name for name, value in metrics.items() if not math.isfinite(value)]
            if bad:
                raise Diverged(f"{bad[0]} is {metrics[bad[0]]} at step {done}: a lower --lr may help")
            run.log({"step": done} | metrics)
            bar.set_postfix({name: f"{value:.4f}" for name, value in metrics.items()}, refresh=False)
            bar.update()
            ending = done == steps or bool(stopped)
            if ending or done % save_every == 0:
                run.save(experiment.state_dict() | {"step": done})
            if ending:
                break
    return done >= steps


def restore(experiment: Experiment, run: Run) -> int:
    """Give the experiment the state of the run's checkpoint; returns the step it was saved at, 0 if there is none.

    CheckpointError unless the state has the form of the experiment's own: names, types, shapes and dtypes.
    """
    path = run.path / "checkpoint.npz"
    if not path.exists():
        return 0
    state = run.load()
    saved, own = _form(state), _form(experiment.state_dict() | {"step": 0})
    differing = [name for name in own | saved if saved.get(name) != own.get(name)]
    wrong = [f"{name} is {saved.get(name, 'missing')}, expected {own.get(name, 'nothing')}" for name in differing]
    try:
        if not wrong:
            done = state.pop("step")
            experiment.load_state_dict(state)
            return done
    except (ArithmeticError, ValueError) as error:
        wrong = [str(error)]
    raise CheckpointError(f"{path} is a checkpoint of another model: {'; '.join(wrong[:3])}")


def _form(state: State, prefix: str = "") -> dict[str, str]:
    """What stands where in a state: {"ema": "dict", "ema/updates": "count", "ema/average": "float32 (4,)", ...}"""
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
    """A list that is empty until Ctrl-C is pressed; a second Ctrl-C interrupts at once."""
    pressed: list[int] = []

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    try:
        before = signal.signal(signal.SIGINT, note)
    except ValueError:  # not in the main thread: Ctrl-C is somebody else's business
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
