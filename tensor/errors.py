"""Errors in the name of the op that was called, whatever raised them inside."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)
ERRORS = (IndexError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)


def in_the_name_of(name: str, error: Any, args: Sequence = ()) -> Exception:
    """The error as one of the op `name`; NumPy's words are given the shapes of `args`."""
    message = str(error)
    inner = re.match(r"\w+(: |\(\) )", message)
    error_type = next(known for known in ERRORS if isinstance(error, known))
    if error_type is AttributeError:
        if hasattr(error.obj, "shape"):
            return error  # a mistake in the op
        wrong = next(a for a in [*args, error.obj] if not hasattr(a, "shape"))
        error_type, message = TypeError, f"expected a tensor, got {type(wrong).__name__}"
    elif inner:
        message = message[inner.end() :]
    elif shapes := [a.shape for a in args if hasattr(a, "shape")]:
        message += f" (input shapes: {shapes})"
    return error_type(f"{name}: {message}").with_traceback(error.__traceback__)


def composite(function: F) -> F:
    """A function made of ops, whose errors bear its own name and not theirs."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ERRORS as error:
            raise in_the_name_of(function.__name__, error) from None

    return call  # type: ignore[return-value]
