"""What the settings of a run may be: a dataclass says it by the types of its fields, and here by their ranges."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints


def check(settings: Any, **ranges: tuple[float, float]) -> None:
    """ValueError unless each field of a dataclass has the type that it declares, and those named lie in their ranges.

    True is not 1 here; an int may stand where a float is expected.
    """
    for name, hint in get_type_hints(type(settings)).items():
        value, types = getattr(settings, name), get_args(hint) or (hint,)
        if type(value) not in types and not (type(value) is int and float in types):
            raise ValueError(f"{name} must be of type {' or '.join(t.__name__ for t in types)}, got {value!r:.60}")
    for name, (least, most) in ranges.items():
        if not least <= getattr(settings, name) <= most:
            raise ValueError(f"{name} must lie between {least} and {most}, got {getattr(settings, name)!r:.60}")
