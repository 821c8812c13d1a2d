"""What ops do besides computing: record the graph, check for NaN. Each thread has its own modes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from tensor.arrays import Array, array_module


class Mode(NamedTuple):
    """Whether ops record the graph, and whether they check what they compute."""

    recording: bool = True
    checking: bool = False


mode: ContextVar[Mode] = ContextVar("mode", default=Mode())  # noqa: B039  a tuple


class mode_with:
    """Context manager and decorator: inside, some of the modes are changed."""

    def __init__(self, **changes: bool):
        self.changes = changes
        self.tokens: list[Token] = []

    def __enter__(self) -> None:
        self.tokens.append(mode.set(mode.get()._replace(**self.changes)))

    def __exit__(self, *error) -> None:
        mode.reset(self.tokens.pop())

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args, **kwargs):
            with mode_with(**self.changes):
                return function(*args, **kwargs)

        @functools.wraps(function)
        def resume(*args, **kwargs):
            return (yield from _resumed(function(*args, **kwargs), self.changes))

        return resume if inspect.isgeneratorfunction(function) else call


def _resumed(generator: Any, changes: dict[str, bool]) -> Iterator:
    """The generator, which runs in the changed modes; its caller, between two values, does not."""
    resume, given = generator.send, None
    while True:
        try:
            with mode_with(**changes):
                value = resume(given)
        except StopIteration as end:
            return end.value
        try:
            resume, given = generator.send, (yield value)
        except BaseException as error:  # GeneratorExit, by which it is closed, included
            resume, given = generator.throw, error


def no_grad(function: Callable | None = None) -> Any:
    """Context manager and decorator, `@no_grad()` or `@no_grad`: inside, ops record nothing."""
    changed = mode_with(recording=False)
    return changed if function is None else changed(function)


def enable_grad(function: Callable | None = None) -> Any:
    """Context manager and decorator: inside, ops record, also within `no_grad()`."""
    changed = mode_with(recording=True)
    return changed if function is None else changed(function)


def detect_anomaly():
    """Context manager: FloatingPointError names the first op, or gradient, to make a NaN or Inf."""
    return mode_with(checking=True)


def is_grad_enabled() -> bool:
    """Whether ops record what they do (see `no_grad`)."""
    return mode.get().recording


def check_finite(x: Array, what: str) -> None:
    """FloatingPointError if `x`, which is `what`, holds a NaN or an Inf."""
    if x.dtype.kind == "f" and not bool(array_module(x).isfinite(x).all()):
        raise FloatingPointError(f"detect_anomaly: {what} is the first to hold a NaN or an Inf")
