"""The small world in pictures: scenes drawn as 32x32 images in colour, on black."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minigen.data.scenes import PLACES, RELATIONS, SIZES, Scene, caption, one_of, random_scene

Images = NDArray[np.float32]
Rng = np.random.Generator

SIDE = 32
"""Height and width of an image in pixels."""

MIDDLES = np.arange(SIDE, dtype=np.float32) + 0.5
"""Of the pixels of a row or column, from the top left corner."""

JITTER = 1.0
"""How far from its place a shape may be, down and across, in pixels."""

RADII = {"small": (3.0, 3.6), "large": (5.0, 5.5)}
"""From the smallest to the largest, in pixels."""

LEVELS = {
    "red": (1.0, 0.15, 0.15),
    "green": (0.1, 1.0, 0.2),
    "blue": (0.15, 0.35, 1.0),
    "yellow": (1.0, 0.9, 0.0),
    "white": (1.0, 1.0, 1.0),
}
"""Red, green and blue in 0..1. One of them is 1: the largest in a pixel is its share of shape."""

Coverage = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _behind(distance: np.ndarray) -> np.ndarray:
    """The share of each pixel that lies behind a straight edge, for pixels whose middles are at
    this distance before it: exact for an edge along the pixels, near for others."""
    return np.clip(0.5 - distance, 0, 1)


def circle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """The share of each pixel that a circle of radius r covers, for pixels whose middles are (x, y)
    from its centre."""
    return _behind(np.hypot(x, y) - r)


def square(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """As above, of a square with sides of 1.7 r."""
    return _behind(abs(x) - 0.85 * r) * _behind(abs(y) - 0.85 * r)


def triangle(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """As above, of an equilateral triangle on its base, with sides of 2 r, all r / sqrt(3) away."""
    left, right = (_behind((side * x - y) / 2 - r / math.sqrt(3)) for side in (-(3**0.5), 3**0.5))
    return _behind(y - r / math.sqrt(3)) * left * right


def cross(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """As above, of a cross of two bars, each 2 r long and a third as wide."""
    long_x, wide_x = _behind(abs(x) - r), _behind(abs(x) - r / 3)
    long_y, wide_y = _behind(abs(y) - r), _behind(abs(y) - r / 3)
    return long_x * wide_y + wide_x * long_y - wide_x * wide_y


COVERAGE: dict[str, Coverage] = {
    "circle": circle,
    "square": square,
    "triangle": triangle,
    "cross": cross,
}
"""By kind."""


class Shape(NamedTuple):
    """A shape in an image: its radius, and its centre, x to the right and y down from the top left
    corner, in pixels."""

    kind: str
    colour: str
    radius: float
    x: float
    y: float

    @property
    def size(self) -> str:
        """Small or large."""
        return SIZES[self.radius > (RADII["small"][1] + RADII["large"][0]) / 2]


def lay_out(scene: Scene, rng: Rng) -> list[Shape]:
    """The shapes of a scene; what it does not say is drawn at random, sizes and places jittered."""
    shapes = []
    for group, centres in zip(scene.groups, _centres(scene, rng)):
        radius = rng.uniform(*RADII[group.size or one_of(SIZES, rng)])
        for x, y in centres:
            dx, dy = rng.uniform(-JITTER, JITTER, 2)
            at = SIDE * (2 + x) / 4 + dx, SIDE * (2 + y) / 4 + dy
            shapes.append(Shape(group.kind, group.colour, radius, *at))
    return shapes


def _centres(scene: Scene, rng: Rng) -> list[list[tuple[int, int]]]:
    """Those of each group, from the middle of the image, in quarters of it."""
    first, *second = scene.groups
    if second:
        x, y = RELATIONS[scene.where or one_of(tuple(RELATIONS), rng)]
        return [_in_half(x, y, first.number), _in_half(-x, -y, second[0].number)]
    if first.number == 1:
        return [[PLACES[scene.where or one_of(tuple(PLACES), rng)]]]
    return [[_CORNERS[k] for k in rng.permutation(4)[: first.number]]]


_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))


def _in_half(x: int, y: int, number: int) -> list[tuple[int, int]]:
    """The middle of one half of the image, or the two corners of it."""
    return [(x, y)] if number == 1 else [(x - y, y - x), (x + y, y + x)]


def render(shapes: Sequence[Shape]) -> Images:
    """A picture of shapes that do not overlap: (3, 32, 32) in 0..1."""
    image = np.zeros((3, SIDE, SIDE), np.float32)
    for kind, colour, radius, x, y in shapes:
        share = COVERAGE[kind](MIDDLES - x, MIDDLES[:, None] - y, radius)
        image += np.array(LEVELS[colour], np.float32)[:, None, None] * share
    return image


def draw(scene: Scene, rng: Rng) -> Images:
    """A picture of a scene: (3, 32, 32) in [-1, 1], at the 256 levels of a byte."""
    return _as_bytes(render(lay_out(scene, rng)))


def _as_bytes(levels: Images) -> Images:
    return (np.rint(255 * levels) / 127.5 - 1).astype(np.float32)


def load_shapes(n: int, seed: int, held_out: bool = False) -> tuple[Images, tuple[str, ...]]:
    """n images of random scenes, float32 (n, 3, 32, 32) in [-1, 1], and their captions.

    None has a combination of colour and kind of HELD_OUT or, if `held_out`, each has one.
    """
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng, held_out) for _ in range(n)]
    levels = np.stack([render(lay_out(scene, rng)) for scene in scenes])
    return _as_bytes(levels), tuple(map(caption, scenes))
