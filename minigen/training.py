"""The training loop that every model shares: a progress bar, metrics, checkpoints, and a clean stop on Ctrl-C."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from tqdm import tqdm

from minigen.checkpoint import CheckpointError
from minigen.run import Run, State


class Experiment(Protocol):
    """What the loop needs of a model in training. `state_dict` holds all that the next steps depend on."""

    def step(self, k: int) -> dict[str, float]:
        """Train on one batch, the k-th of the run (from 1), and return what to log."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class Diverged(Exception):
    """A loss became NaN or infinite."""


def train(experiment: Experiment, run: Run, steps: int, save_every: int = 500) -> bool:
    """Train up to step `steps`, going on from the run's checkpoint if it has one. False if Ctrl-C ended it early.

    A checkpoint is written every `save_every` steps, at the end, and on Ctrl-C. If a metric is no longer finite, Diverged is
    raised and the last checkpoint stays as it was.
    """
    done = restore(experiment, run)
    run.forget_after(done)
    bar = tqdm(total=steps, initial=done, desc="training", unit="step")
    with bar, _stop_requested() as stopped, np.errstate(all="ignore"):
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
    """Give the experiment the state of the run's checkpoint; returns the step it was saved at, 0 if there is none."""
    if not (run.path / "checkpoint.npz").exists():
        return 0
    try:
        state = run.load()
        done = int(state.pop("step"))
        experiment.load_state_dict(state)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{run.path / 'checkpoint.npz'} is a checkpoint of another model: {error}") from error
    return done


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
