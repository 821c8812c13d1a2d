"""What ops do besides computing: record the graph, check for NaN. Each thread has its own modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from tensor.arrays import Array, array_module


class Mode(NamedTuple):
    """Whether ops record the graph, and whether they check what they compute."""

    recording: bool = True
    checking: bool = False


mode: ContextVar[Mode] = ContextVar("mode", default=Mode())  # noqa: B039  a tuple


@contextmanager
def mode_with(**changes: bool) -> Iterator[None]:
    """Context manager and decorator: inside, some of the modes are changed."""
    token = mode.set(mode.get()._replace(**changes))
    try:
        yield
    finally:
        mode.reset(token)


def no_grad():
    """Context manager and decorator: inside, ops record nothing."""
    return mode_with(recording=False)


def enable_grad():
    """Context manager and decorator: inside, ops record, also within `no_grad()`."""
    return mode_with(recording=True)


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
