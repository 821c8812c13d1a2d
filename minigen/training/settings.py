"""Settings: fields of a dataclass that say their type, what they may be, and what they are for."""

import functools
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

import tensor as T
from minigen import data
from minigen.data import About, Dataset
from minigen.data.images import KINDS
from minigen.words import printable
from tensor.arrays import parse_device

D = TypeVar("D", bound="DataSettings")
Range = tuple[float, float] | None
Choices = tuple[str, ...] | None

OWN = f"a folder of images ({KINDS}), or a .npy or .npz file"
LABELS = "images all in folders named after their classes, or an array of labels, would do"


def setting(
    default: Any, help: str, within: Range = None, choices: Choices = None, **more: Any
) -> Any:
    """A field of a settings dataclass, `within` a closed range or one of `choices`.

    more: `points`, its default where the data are points; `before`, its value in runs of the time
        when there was no such setting
    """
    metadata = {"help": help, "within": within, "choices": choices} | more
    return field(default=default, metadata=metadata)


def found(default: Any) -> Any:
    """A field of a settings dataclass that is no option: it is found out."""
    return field(default=default, metadata={"found": True})


def with_default(settings: Any, name: str, default: Any, **more: Any) -> Any:
    """The setting `name` of a settings dataclass, with another default; `more` as in `setting`."""
    metadata = dict(next(f.metadata for f in fields(settings) if f.name == name))
    metadata.pop("points", None)
    return field(default=default, metadata=metadata | more)


def defaults_for_points(settings: Any) -> dict[str, Any]:
    """The settings of a dataclass that have another default where the data are points."""
    return {f.name: f.metadata["points"] for f in fields(settings) if "points" in f.metadata}


def heading(title: str, data_name: str, *variants: str) -> str:
    """What a model of data is called: "GAN on digits, hinge, conditional"."""
    return ", ".join((f"{title} on {data_name}", *filter(None, variants)))


def check(settings: Any) -> None:
    """ValueError unless each field of a dataclass has its declared type and an allowed value."""
    for f in fields(settings):
        check_setting(type(settings), f.name, getattr(settings, f.name))


def check_setting(settings: Any, name: str, value: Any) -> None:
    """ValueError unless the field `name` of a settings dataclass may have this value by itself.

    True is not 1 here; an int may stand where a float is expected.
    """
    metadata = next(f.metadata for f in fields(settings) if f.name == name)
    types = types_of(settings, name)
    if type(value) not in types and not (type(value) is int and float in types):
        expected = " or ".join("None" if t is type(None) else t.__name__ for t in types)
        raise ValueError(f"{name} must be of type {expected}, got {value!r:.60}")
    within, choices = metadata.get("within"), metadata.get("choices")
    if within and value is not None and not within[0] <= value <= within[1]:
        low, high = within
        raise ValueError(f"{name} must lie between {low} and {high}, got {value!r:.60}")
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r:.60}")


_hints = functools.cache(get_type_hints)


def types_of(settings: Any, name: str) -> tuple[type, ...]:
    """The types that the field `name` of a settings dataclass may have: (int,) or (str, None's)."""
    declared = _hints(settings)[name]
    return tuple(get_origin(t) or t for t in get_args(declared) or (declared,))


def unused_settings(settings: Any, choice: str, used: dict[str, tuple[str, ...]]) -> str | None:
    """Which settings were changed, but have no effect, in words.

    `used` says for which values of the setting `choice` each of them is.
    """
    defaults = {f.name: (f.default, f.metadata.get("points")) for f in fields(settings)}
    found = []
    for name, values in used.items():
        is_default = getattr(settings, name) in defaults[name]
        if getattr(settings, choice) not in values and not is_default:
            purpose = f"it is for `{choice}` {' or '.join(values)}"
            found.append(f"`{name}` has no effect: {purpose}")
    return "; ".join(found) or None


@dataclass(frozen=True)
class RunSettings:
    """The settings of every run, as config.json holds them."""

    steps: int = setting(2000, "training steps", within=(1, 10**9))
    batch_size: int = setting(64, "images or points in a batch", within=(1, 10**6))
    lr: float = setting(2e-3, "peak learning rate", within=(1e-30, 1e30))
    seed: int = setting(0, "seed of weights, batches and noise", within=(0, 2**63 - 1))
    device: str = setting("cpu", "cpu or cuda")
    save_every: int = setting(500, "steps from a checkpoint to the next", within=(1, 10**9))
    sample_every: int = setting(
        0, "steps from a frame of training.gif to the next; 0: no such film", within=(0, 10**9)
    )

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
    """The settings of a model of one data set.

    `size`, `channels`, `class_names`, `items`, their number, and `limit`, the largest coordinate of
    points, belong to the user's own data, and are found in them: see `fitted`. Those of the data
    sets that have names are known.
    """

    data: str = setting("digits", f"what to learn: {', '.join(data.NAMES)}, or {OWN}")
    data_dir: str | None = setting(None, "where the IDX files of MNIST, or your data, lie now")
    size: int | None = setting(None, "height and width for your own images", within=(4, 512))
    channels: int | None = setting(None, "1, grey, or 3, colour, of your own images", within=(1, 3))
    class_names: list[str] | None = found(None)
    items: int = found(0)
    limit: float | None = found(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data in data.NAMES and (self.size or self.channels):
            raise ValueError(
                f"`size` and `channels` are for images of your own, not for {self.data}"
            )
        if self.size and self.size % 4:
            rule = f"must be a multiple of 4, such as {self.size + -self.size % 4}"
            raise ValueError(f"`size` {rule}, for networks halve images twice: got {self.size}")

    @property
    def is_known(self) -> bool:
        """Whether it is known what the data are."""
        return self.data in data.NAMES or self.channels is not None

    @property
    def about(self) -> About:
        """The shape of an image or point, and the number of classes. ValueError if not known."""
        if self.data in data.NAMES:
            return data.ABOUT[self.data]
        if self.channels is None:
            look = "settings.fitted(settings.load()) finds out"
            raise ValueError(f"it is not known what {self.data!r} is: {look}")
        sides = (self.size, self.size) if self.size else ()
        return About((self.channels, *sides), len(self.class_names or ()))

    @property
    def names_of_classes(self) -> list[str]:
        """What the classes of the data are called."""
        return self.class_names or [str(k) for k in range(self.about.classes)]

    @property
    def largest(self) -> float:
        """The magnitude that no coordinate of the data exceeds: 1 for images."""
        return self.limit or data.LIMITS.get(self.data, 1.0)

    @property
    def data_name(self) -> str:
        """What the data are called, in at most 60 letters: a run's folder is named after it."""
        return self.data if self.data in data.NAMES else printable(Path(self.data).stem)[:60]

    def load(self) -> Dataset:
        """The data. OSError and ValueError where that cannot be, or they are of another kind."""
        loaded = data.load(self.data, self.data_dir, self.size, self.channels)
        fitted = self.fitted(loaded)
        if self.is_known and fitted != self:
            now, then = (f"{s.items} of {s.about.shape}, {s.class_names}" for s in (fitted, self))
            raise ValueError(f"{self.data_name} is another data set now: {now}; it was {then}")
        return loaded

    def fitted(self: D, loaded: Dataset) -> D:
        """The settings for data that are as those loaded."""
        if self.data in data.NAMES:
            return self
        channels, *sides = loaded.about.shape
        return replace(
            self,
            channels=channels,
            size=sides[0] if sides else None,
            class_names=list(loaded.class_names) or None,
            items=len(loaded.train) + len(loaded.test),
            limit=None if sides else float(np.abs(loaded.train).max()),
        )

    def check_conditional(self) -> None:
        """ValueError for a conditional model of data that are known to have no labels."""
        if self.is_known and not self.about.classes:
            rule = "`conditional` is for images, which have labels"
            raise ValueError(f"{rule}: {self.data_name} has none; {LABELS}")


@dataclass(frozen=True)
class ImageSettings(DataSettings):
    """The settings of a model of images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.is_known and len(self.about.shape) == 1:
            images = ", ".join(name for name in data.NAMES if len(data.ABOUT[name].shape) == 3)
            raise ValueError(f"`data` must be images, {images} or your own: {self.data} are points")
