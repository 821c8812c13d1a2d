"""Errors in the name of the op that was called, whatever raised them inside."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from tensor.calls import words

F = TypeVar("F", bound=Callable)
ERRORS = (IndexError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)


def described(value) -> str:
    """What was given in the place of a tensor: None or a text as it is, of all else the type."""
    return repr(value) if value is None or isinstance(value, str) else type(value).__name__


def in_the_name_of(name: str, error: Any, given: dict[str, Any]) -> Exception:
    """The error as one of the op `name`, called with the arguments `given`.

    NumPy's words are given the shapes; where None or a text was given, ours stand for them.
    """
    message = str(error)
    inner = re.match(r"(\w+)(: |\(\) )", message)
    error_type = next(known for known in ERRORS if isinstance(error, known))
    if error_type is AttributeError and (
        hasattr(error.obj, "shape") or isinstance(error.obj, ModuleType)
    ):
        return error  # a mistake in the op
    if error_type is AttributeError:
        places = [f" as {key!r}" for key, value in given.items() if value is error.obj]
        error_type, message = TypeError, f"expected a tensor{''.join(places[:1])}"
        message += f", got {described(error.obj)}"
    elif kind := re.search("'(NoneType|str)'", message):
        wrong = [key for key, value in given.items() if type(value).__name__ == kind[1]]
        message = f"cannot compute with {'None' if kind[1] == 'NoneType' else 'a text'}"
        message += f" as {' or '.join(map(repr, wrong))}" if wrong else ""
    elif message.startswith("ufunc"):
        kinds = [str(getattr(value, "dtype", described(value))) for value in given.values()]
        message = f"cannot compute with {', '.join(kinds)}"
    elif inner:
        message = message[inner.end() :]
        if inner[1] != name:
            message = re.sub(r" as '\w+'", "", message)  # an argument of the inner op
    elif shapes := [a.shape for a in given.values() if hasattr(a, "shape")]:
        message += f" (input shapes: {shapes})"
    return error_type(f"{name}: {message}").with_traceback(error.__traceback__)


def _arguments(function: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """What was given, by name; nothing where it does not fit the function."""
    try:
        return inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except TypeError:
        return {}


def composite(function: F) -> F:
    """A function made of ops, whose errors bear its own name and not theirs.

    It may be called in PyTorch's words: see `tensor/calls.py`.
    """
    name, reading = function.__name__, words(function)
    known, places = reading.known, reading.places

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            if (kwargs and not known.issuperset(kwargs)) or len(args) > places:
                args, kwargs = reading.ours(name, args, kwargs)
            return function(*args, **kwargs)
        except ERRORS as error:
            raise in_the_name_of(name, error, _arguments(function, args, kwargs)) from None

    return call  # type: ignore[return-value]
