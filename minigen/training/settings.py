"""Settings: fields of a dataclass that say their type, what they may be, and what they are for."""

from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

import numpy as np

import tensor as T
from minigen import data
from tensor.arrays import parse_device

Range = tuple[float, float] | None
Choices = tuple[str, ...] | None


def setting(default: Any, help: str, within: Range = None, choices: Choices = None) -> Any:
    """A field of a settings dataclass, `within` a closed range or one of `choices`."""
    return field(default=default, metadata={"help": help, "within": within, "choices": choices})


def with_default(settings: Any, name: str, default: Any) -> Any:
    """The setting `name` of a settings dataclass, with another default."""
    metadata = next(f.metadata for f in fields(settings) if f.name == name)
    return field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """The command line's option for a setting: batch_size is --batch-size."""
    return f"--{name.replace('_', '-')}"


def check(settings: Any) -> None:
    """ValueError unless each field of a dataclass has its declared type and an allowed value.

    True is not 1 here; an int may stand where a float is expected.
    """
    hints = get_type_hints(type(settings))
    for f in fields(settings):
        name, value = f.name, getattr(settings, f.name)
        types = get_args(hints[name]) or (hints[name],)
        if type(value) not in types and not (type(value) is int and float in types):
            expected = " or ".join(t.__name__ for t in types)
            raise ValueError(f"{name} must be of type {expected}, got {value!r:.60}")
        within, choices = f.metadata.get("within"), f.metadata.get("choices")
        if within and not within[0] <= value <= within[1]:
            low, high = within
            raise ValueError(f"{name} must lie between {low} and {high}, got {value!r:.60}")
        if choices and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r:.60}")


def unused_settings(settings: Any, choice: str, used: dict[str, tuple[str, ...]]) -> str | None:
    """Which settings were changed, but have no effect, in words.

    `used` says for which values of the setting `choice` each of them is.
    """
    defaults = {f.name: f.default for f in fields(settings)}
    found = []
    for name, values in used.items():
        if getattr(settings, choice) not in values and getattr(settings, name) != defaults[name]:
            purpose = f"it is for {flag(choice)} {' or '.join(values)}"
            found.append(f"{flag(name)} has no effect: {purpose}")
    return "; ".join(found) or None


@dataclass(frozen=True)
class RunSettings:
    """The settings of every run, as config.json holds them."""

    steps: int = setting(2000, "training steps", within=(1, 10**9))
    batch_size: int = setting(64, "images or points in a batch", within=(1, 10**6))
    lr: float = setting(2e-3, "peak learning rate", within=(1e-30, 1e30))
    seed: int = setting(0, "seed of weights, batches and noise", within=(0, 2**63 - 1))
    device: str = setting("cpu", "cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        check(self)
        parse_device(self.device)


def seeded(settings: RunSettings, expected: type) -> np.random.Generator:
    """Seeds the generator of `tensor`, which draws weights; returns one for batches and noise.

    TypeError unless the settings are of the class expected.
    """
    if not isinstance(settings, expected):
        raise TypeError(f"expected {expected.__name__}, got {type(settings).__name__}")
    T.manual_seed(settings.seed)
    return np.random.default_rng(settings.seed)


@dataclass(frozen=True)
class DataSettings(RunSettings):
    """The settings of a model of one data set."""

    data: str = setting("digits", "what to learn", choices=data.NAMES)
    data_dir: str | None = setting(None, "where the IDX files of MNIST or Fashion-MNIST lie")
