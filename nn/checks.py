"""What arguments and saved values must be like, and what the errors say of wrong ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array
from tensor.calls import check_only as check_only
from tensor.calls import only, words
from tensor.convolution import as_pair
from tensor.tensor import Tensor

F = TypeVar("F", bound=Callable)


def check_sizes(owner: str, **given: int) -> None:
    """ValueError unless all are positive integers."""
    for name, n in given.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"{owner}: {name} must be a positive integer, got {n!r}")


def check_groups(owner: str, groups: int, *channels: int, name: str = "groups") -> None:
    """ValueError unless all numbers of channels can be split into groups of equal size."""
    for n in channels:
        if n % groups:
            raise ValueError(f"{owner}: {n} channels cannot be split into {groups} {name}")


def check_range(owner: str, below: float = math.inf, **given: float) -> None:
    """ValueError unless all numbers lie in [0, below)."""
    for name, value in given.items():
        if not isinstance(value, Real) or not 0 <= value < below:
            raise ValueError(f"{owner}: {name} must lie in [0, {below}), got {value!r}")


def check_pairs(owner: str, **given: Any) -> None:
    """ValueError unless all are integers or pairs of them, from 0 for a padding, else from 1."""
    for name, value in given.items():
        as_pair(value, f"{owner}: {name}", 0 if "padding" in name else 1)


def accepts(**options: Any) -> Callable[[F], F]:
    """Let a constructor take PyTorch's options that have but this value here: see `calls.only`."""

    def declare(constructor: F) -> F:
        reading = words(only(**options)(constructor))

        @functools.wraps(constructor)
        def call(self, *args, **kwargs):
            args, kwargs = reading.ours(type(self).__name__, (self, *args), kwargs)
            constructor(*args, **kwargs)

        return call  # type: ignore[return-value]

    return declare


def check_names(owner: str, state: Any, names: Sequence[str]) -> None:
    """TypeError unless a saved state is a dict, KeyError unless it holds exactly these names."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{owner}: expected a dict of {names}, got {type(state).__name__}")
    if set(state) != set(names):
        raise KeyError(f"{owner}: expected {names}, got {list(state)}")


def check_probabilities(name: str, given: Any) -> None:
    """ValueError unless all values lie in [0, 1]."""
    values = given.data if isinstance(given, Tensor) else np.asarray(given)
    if not ((values >= 0) & (values <= 1)).all():
        got = f"got values from {values.min()} to {values.max()}"
        raise ValueError(f"{name} must lie in [0, 1], {got}")


def fitting(name: str, value: Any, like: Array) -> Array:
    """The array of a saved value. ValueError unless it has the shape of `like`, and a dtype that
    casts to its own."""
    try:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
    except ValueError:  # a list of rows of different lengths
        array = np.empty((), object)
    except (TypeError, RuntimeError) as error:  # of another library: bfloat16, or on a GPU
        given = f"a {type(value).__name__} that NumPy cannot read ({error})"
        raise ValueError(f"{name}: expected {like.dtype} {like.shape}, got {given}") from error
    if array.shape != like.shape or not np.can_cast(array.dtype, like.dtype, "same_kind"):
        given = type(value).__name__ if array.dtype == object else f"{array.dtype} {array.shape}"
        raise ValueError(f"{name}: expected {like.dtype} {like.shape}, got {given}")
    return array
