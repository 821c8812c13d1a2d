"""What an image of the small world shows: its shapes, the scene that they are, and whether that is
what a caption asks for.

Shapes are found as blobs, and each is what comes closest to it when it is drawn again: the reader
is the drawer run backwards.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minigen.data.scenes import PLACES, RELATIONS, Group, Scene, parse
from minigen.data.shapes import COVERAGE, LEVELS, MIDDLES, SIDE, Shape, render

AREAS = {"circle": math.pi, "square": 1.7**2, "triangle": math.sqrt(3), "cross": 20 / 9}
"""Of each kind, at radius 1."""

FEWEST_PIXELS = 6
"""Smaller blobs are specks; the smallest shape has more than 12 pixels."""

CLEAR = 0.05
"""The largest root mean square error, of levels in 0..1, of a clear image."""

Mask = NDArray[np.bool_]


def read(image: NDArray[np.float32]) -> list[Shape]:
    """The shapes in an image (3, 32, 32) in [-1, 1]."""
    levels = (image + 1) / 2
    return [_shape(levels, blob) for blob in _blobs(levels.max(0) > 0.5)]


def _blobs(mask: Mask) -> Iterator[Mask]:
    """The parts of a mask that hang together, but for specks: each pixel takes the largest number
    around it until all pixels of a part have one number."""
    numbers = mask * np.arange(1, mask.size + 1).reshape(mask.shape)
    while True:
        spread = mask * _largest_around(numbers)
        if np.array_equal(spread, numbers):
            break
        numbers = spread
    for number, pixels in zip(*np.unique(numbers[mask], return_counts=True)):
        if pixels >= FEWEST_PIXELS:
            yield numbers == number


def _largest_around(x: np.ndarray) -> np.ndarray:
    """The largest of each 3x3 pixels."""
    x = np.pad(x, 1)
    x = np.maximum(np.maximum(x[:-2], x[1:-1]), x[2:])
    return np.maximum(np.maximum(x[:, :-2], x[:, 1:-1]), x[:, 2:])


def _shape(levels: np.ndarray, blob: Mask) -> Shape:
    """The shape that is most like a blob: it has the same area and the same centre."""
    mean = levels[:, blob].mean(1)
    colour = min(LEVELS, key=lambda name: math.dist(LEVELS[name], mean / mean.max()))
    direction = np.array(LEVELS[colour])
    share = np.tensordot(direction, levels, 1) / (direction @ direction)
    share = share * _largest_around(blob)  # with the pixels at the edge, covered by less than half
    area = share.sum()
    x, y = share.sum(0) @ MIDDLES / area, share.sum(1) @ MIDDLES / area

    def error(kind: str) -> float:
        radius = math.sqrt(area / AREAS[kind])
        redrawn = COVERAGE[kind](MIDDLES - x, MIDDLES[:, None] - y, radius)
        return np.square(redrawn - share).sum()

    kind = min(AREAS, key=error)
    return Shape(kind, colour, math.sqrt(area / AREAS[kind]), x, y)


def scenes_of(shapes: Sequence[Shape]) -> list[Scene]:
    """The scenes, complete, that these shapes are: none, one, or one from each of two groups' point
    of view ("above" and "below")."""
    names = list(dict.fromkeys((shape.colour, shape.kind) for shape in shapes))
    if len(names) not in (1, 2) or len(shapes) > 3:
        return []
    alike = [[s for s in shapes if (s.colour, s.kind) == name] for name in names]
    groups = [_group(members) for members in alike]
    if len(groups) == 1:
        place = _nearest(PLACES, (_centre(shapes) - SIDE / 2) / (SIDE / 4))
        return [Scene((groups[0],), place if len(shapes) == 1 else None)]
    between = (_centre(alike[0]) - _centre(alike[1])) / (SIDE / 2)
    return [
        Scene((groups[0], groups[1]), _nearest(RELATIONS, between)),
        Scene((groups[1], groups[0]), _nearest(RELATIONS, -between)),
    ]


def _group(alike: Sequence[Shape]) -> Group:
    middling = alike[0]._replace(radius=sum(shape.radius for shape in alike) / len(alike))
    return Group(len(alike), middling.size, middling.colour, middling.kind)


def _centre(shapes: Sequence[Shape]) -> np.ndarray:
    return np.mean([(shape.x, shape.y) for shape in shapes], axis=0)


def _nearest(words: dict[str, tuple[int, int]], to: np.ndarray) -> str:
    return min(words, key=lambda word: math.dist(words[word], to))


def agrees(scene: Scene, asked: Scene) -> bool:
    """Whether a complete scene is as asked: what is not said may be anything."""
    found = [*scene.groups, (scene.where,)]
    wanted = [*asked.groups, (asked.where,)]
    return len(found) == len(wanted) and all(
        b is None or a == b for one, other in zip(found, wanted) for a, b in zip(one, other)
    )


def shows(image: NDArray[np.float32], caption: str) -> bool:
    """Whether an image (3, 32, 32) in [-1, 1] shows what a caption asks for, and nothing else.

    ValueError for what is no caption, see `parse`.
    """
    asked = parse(caption)
    return any(agrees(scene, asked) for scene in scenes_of(read(image)))


def clear_scene(image: NDArray[np.float32]) -> Scene | None:
    """The scene of an image (3, 32, 32) in [-1, 1] that hardly differs from what is read of it,
    drawn again; else None."""
    shapes = read(image)
    error = np.sqrt(np.mean(np.square((image + 1) / 2 - render(shapes))))
    scenes = scenes_of(shapes) if error <= CLEAR else []
    return scenes[0] if scenes else None
