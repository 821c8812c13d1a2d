"""Indices as CuPy reads them: integers are checked, but those in arrays wrap round."""

import math

import numpy as np

from cupy._memory import on_current_device


def prepared(index, shape: tuple[int, ...]) -> tuple:
    """An index for NumPy that does what `index` does on a GPU."""
    parts = [_part(part) for part in (index if isinstance(index, tuple) else (index,))]
    taken = [0 if p is None or p is Ellipsis else p.ndim if is_mask(p) else 1 for p in parts]
    if sum(taken) > len(shape):
        dims = f"array is {len(shape)}-dimensional, but {sum(taken)} were indexed"
        raise IndexError(f"too many indices for array: {dims}")
    start = 0
    for k, part in enumerate(parts):
        if isinstance(part, int) and not -shape[start] <= part < shape[start]:
            raise IndexError(f"Index {part} is out of bounds for axis {start}")
        if isinstance(part, np.ndarray) and not is_mask(part):
            parts[k] = part % shape[start] if shape[start] else part
        start += len(shape) - sum(taken) if part is Ellipsis else taken[k]
    return tuple(parts)


def _part(part):
    """One entry of an index: arrays as NumPy's. TypeError for what lies on the host."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part)
    if not hasattr(part, "_values"):
        raise TypeError("double of CuPy: an index on the host would be copied each time")
    array = on_current_device(part)
    if array.dtype.kind not in "biu":
        raise IndexError("arrays used as indices must be of integer or boolean type.")
    return array


def is_mask(part) -> bool:
    """Whether an entry is an array of bool."""
    return isinstance(part, np.ndarray) and part.dtype == bool


def check_distinct(parts: tuple, shape: tuple[int, ...]) -> None:
    """ValueError if an index names an element twice: of two values, any may stay."""
    places = np.arange(math.prod(shape)).reshape(shape)[parts]
    if len(np.unique(places)) < places.size:
        raise ValueError("double of CuPy: an element is assigned twice, in an open order")


def without_leading_ones(values):
    """What is assigned may have more dimensions than its place, if they have length 1."""
    while np.ndim(values) and len(values) == 1:
        values = values[0]
    return values
