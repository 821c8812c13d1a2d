"""Calls in PyTorch's words: its names of operands, and options of which only one value is here."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable)

OURS = {
    "input": ("x", "a", "A", "indices"),
    "other": ("b", "B", "dim"),
    "exponent": ("b",),
    "mat2": ("b",),
    "tensor": ("b", "x"),
    "vec2": ("b",),
    "size": ("shape",),
}
"""Names that PyTorch knows, and what may stand for them in a function that has no such name."""


def only(**options: Any) -> Callable[[F], F]:
    """Declare PyTorch's options that have but this value here: it is accepted, others are refused.

    They come after the function's own arguments, in this order. `composite` and `op` heed them.
    """

    def declare(function: F) -> F:
        function.only = options  # type: ignore[attr-defined]
        return function

    return declare


def check_only(owner: str, only: Any, **given: Any) -> None:
    """ValueError unless all options of PyTorch's have the one value that is supported here."""
    for name, value in given.items():
        if not (value is only or (isinstance(value, (int, float, str)) and value == only)):
            got = type(value).__name__ if hasattr(value, "shape") else repr(value)
            raise ValueError(f"{owner}: {name}={got} is not supported, only {only!r}")


class Words:
    """What a function calls its arguments: `known` by name, `places` by position, or `several`."""

    def __init__(self, function: Callable):
        parameters = inspect.signature(function).parameters.values()
        variadic = [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]
        by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.several = variadic[0] if variadic else None
        self.known = frozenset(p.name for p in parameters) - {self.several}
        self.places: Any = math.inf if variadic else len(by_place)
        self.only: dict[str, Any] = getattr(function, "only", {})

    def ours(self, owner: str, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments of a call without the options of `only`, and others by our names.

        ValueError in the name of `owner` for an option that has another value.
        """
        if 0 < len(args) - self.places <= len(self.only):
            args, kwargs = args[: self.places], dict(zip(self.only, args[self.places :])) | kwargs
        found = {}
        for name, value in kwargs.items():
            if name in self.known:
                found[name] = value
            elif name in self.only:
                check_only(owner, self.only[name], **{name: value})
            elif self.several in (names := (name, *OURS.get(name, ()))):
                args = (*args, value)
            else:
                free = (mine for mine in names if mine in self.known and mine not in kwargs)
                found[next(free, name)] = value
        return args, found


@functools.cache
def words(function: Callable) -> Words:
    """The `Words` of a function, looked up once."""
    return Words(function)
