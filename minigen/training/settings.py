"""The settings of a run: fields of a dataclass that say their type, what they may be, and what they are for."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any, get_args, get_type_hints


def setting(default: Any, help: str, within: tuple[float, float] | None = None, choices: tuple[str, ...] | None = None) -> Any:
    """A field of a settings dataclass, `within` a closed range or one of `choices`."""
    return field(default=default, metadata={"help": help, "within": within, "choices": choices})


def with_default(config: Any, name: str, default: Any) -> Any:
    """The setting `name` of a settings dataclass, with another default."""
    return field(default=default, metadata=next(f.metadata for f in fields(config) if f.name == name))


def flag(name: str) -> str:
    """The command line's option for a setting: batch_size is --batch-size."""
    return f"--{name.replace('_', '-')}"


def check(settings: Any) -> None:
    """ValueError unless each field of a dataclass has the type that it declares and a value that it allows.

    True is not 1 here; an int may stand where a float is expected.
    """
    hints = get_type_hints(type(settings))
    for f in fields(settings):
        name, value, types = f.name, getattr(settings, f.name), get_args(hints[f.name]) or (hints[f.name],)
        if type(value) not in types and not (type(value) is int and float in types):
            raise ValueError(f"{name} must be of type {' or '.join(t.__name__ for t in types)}, got {value!r:.60}")
        within, choices = f.metadata.get("within"), f.metadata.get("choices")
        if within and not within[0] <= value <= within[1]:
            raise ValueError(f"{name} must lie between {within[0]} and {within[1]}, got {value!r:.60}")
        if choices and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r:.60}")


def idle(config: Any, choice: str, used: dict[str, tuple[str, ...]]) -> str | None:
    """Which settings have another value than their default, but no effect: `used` says for which values of `choice` each is."""
    found = [
        f"{flag(name)} has no effect: it is for {flag(choice)} {' or '.join(values)}"
        for name, values in used.items()
        if getattr(config, choice) not in values and getattr(config, name) != getattr(type(config)(), name)
    ]
    return "; ".join(found) or None
