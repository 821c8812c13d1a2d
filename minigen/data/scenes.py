"""A small world in words: scenes of one to three shapes, and the captions that say what is in them.

A caption is a phrase, such as "a small red circle" or "two green triangles", alone, with a place,
or with a relation to a second phrase:

    a large yellow square on the left
    a red circle above two white crosses

What a caption leaves out, a size, a place or a relation, may be anything.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NUMBERS = ("a", "two", "three")
SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "white")
KINDS = ("circle", "square", "triangle", "cross")

PLACES = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the middle": (0, 0),
}
"""Where one shape is: x to the right and y down, from the middle, in quarters of the image."""

RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
"""Where the first group of two is; the second is on the opposite side."""

HELD_OUT = frozenset(
    {("red", "triangle"), ("green", "cross"), ("blue", "circle"), ("yellow", "square")}
)
"""Four of the twenty combinations of colour and kind, for tests of what nobody was trained on."""


class Group(NamedTuple):
    """One to three shapes alike; `size` is None if it is not said."""

    number: int
    size: str | None
    colour: str
    kind: str


@dataclass(frozen=True)
class Scene:
    """One group or two, and where: a place of a single shape, the first group's relation to the
    second, or None if it is not said.

    Raises ValueError for words that captions do not have, for more than three shapes, for two
    groups of one colour and kind, which nobody could tell apart, and for another `where`.
    """

    groups: tuple[Group, ...]
    where: str | None = None

    def __post_init__(self) -> None:
        names = [(group.colour, group.kind) for group in self.groups]
        if len(names) not in (1, 2) or len(set(names)) < len(names):
            raise ValueError(f"a scene has one group, or two of other shapes, got {names}")
        for group in self.groups:
            for word, known in zip(group[1:], ((None, *SIZES), COLOURS, KINDS)):
                if word not in known:
                    raise ValueError(f"unknown word {word!r}; choose from {known}")
        numbers = [group.number for group in self.groups]
        if min(numbers) < 1 or sum(numbers) > 3:
            raise ValueError(f"a scene has one to three shapes, got {numbers}")
        if self.where not in (None, *choices_of_where(self.groups)):
            rule = "a place is for one shape, a relation for two groups"
            raise ValueError(f"{rule}: {self.where!r} is neither here")

    @property
    def held_out(self) -> bool:
        """Whether a group of it is held out of training."""
        return any((group.colour, group.kind) in HELD_OUT for group in self.groups)


def choices_of_where(groups: tuple[Group, ...]) -> tuple[str, ...]:
    """What can be said of where these are."""
    if len(groups) == 2:
        return tuple(RELATIONS)
    return tuple(PLACES) if groups[0].number == 1 else ()


def caption(scene: Scene) -> str:
    """The scene in words; the inverse of `parse`."""
    first, *second = map(_phrase, scene.groups)
    if second:
        return f"{first} {scene.where or 'and'} {second[0]}"
    return f"{first} {scene.where}" if scene.where else first


def _phrase(group: Group) -> str:
    kind = group.kind if group.number == 1 else _plural(group.kind)
    words = NUMBERS[group.number - 1], group.size, group.colour, kind
    return " ".join(word for word in words if word)


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


_NAMES = {kind: kind for kind in KINDS} | {_plural(kind): kind for kind in KINDS}
_PHRASE = re.compile(
    f"({'|'.join(NUMBERS)}) (?:({'|'.join(SIZES)}) )?({'|'.join(COLOURS)}) ({'|'.join(_NAMES)})"
)
_RELATION = re.compile(f" ({'|'.join(RELATIONS)}|and) ")

WORDS = tuple(
    dict.fromkeys(
        " ".join([*NUMBERS, *SIZES, *COLOURS, *_NAMES, *PLACES, *RELATIONS, "and"]).split()
    )
)
"""All words of captions, each once."""


def parse(text: str) -> Scene:
    """The scene that a caption asks for; the inverse of `caption`.

    Raises ValueError for a word that is not in WORDS, for another order, and as Scene does.
    """
    words = text.lower().split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r} in {text!r}; choose from {', '.join(WORDS)}")
    first, *related = _RELATION.split(" ".join(words))  # a relation and the second phrase
    place = next((place for place in PLACES if first.endswith(f" {place}")), None)
    phrases = first.removesuffix(f" {place}"), *related[1:]
    found = [match.groups() for match in map(_PHRASE.fullmatch, phrases) if match]
    if len(found) < len(phrases):
        examples = "'a small red circle', 'two blue squares', 'a red cross above a white circle'"
        raise ValueError(f"{text!r} is no caption; such as {examples} are")
    groups = (
        Group(NUMBERS.index(number) + 1, size, colour, _NAMES[name])
        for number, size, colour, name in found
    )
    where = related[0] if related else place
    scene = Scene(tuple(groups), None if where == "and" else where)
    if caption(scene) != " ".join(words):
        raise ValueError(f"{text!r} is not how captions say it: write {caption(scene)!r}")
    return scene


def random_scene(rng: np.random.Generator, held_out: bool = False) -> Scene:
    """A scene with a combination that is held out of training, or one without.

    A third of the sizes is not said, a sixth of the places, and a fifth of the relations.
    """
    while True:
        numbers = _NUMBERS_OF_SHAPES[rng.integers(len(_NUMBERS_OF_SHAPES))]
        groups = tuple(
            Group(number, *(one_of(words, rng) for words in ((None, *SIZES), COLOURS, KINDS)))
            for number in numbers
        )
        if len({group[2:] for group in groups}) == len(groups):
            scene = Scene(groups, one_of((None, *choices_of_where(groups)), rng))
            if scene.held_out == held_out:
                return scene


_NUMBERS_OF_SHAPES = ((1,), (1,), (2,), (3,), (1, 1), (1, 1), (1, 2), (2, 1))


def one_of(words: tuple, rng: np.random.Generator):
    """Any of them."""
    return words[rng.integers(len(words))]
