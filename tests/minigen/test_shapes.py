"""The generated world: captions say what scenes are, pictures show it, and the reader sees it."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.data import load
from minigen.data.scenes import (
    COLOURS,
    HELD_OUT,
    KINDS,
    PLACES,
    RELATIONS,
    SIZES,
    WORDS,
    Group,
    Scene,
    caption,
    parse,
    random_scene,
)
from minigen.data.shapes import LEVELS, RADII, Shape, draw, lay_out, load_shapes, render
from minigen.evaluation.reading import agrees, clear_scene, read, scenes_of, shows
from minigen.evaluation.report import caption_measures, sample_measures

LOOKS = list(product((None, *SIZES), COLOURS, KINDS))

ONE_GROUP = [
    Scene((Group(number, *look),), where)
    for look, number in product(LOOKS, (1, 2, 3))
    for where in ((None, *PLACES) if number == 1 else (None,))
]
TWO_GROUPS = [
    Scene((Group(m, *first), Group(n, *second)), where)
    for first, second in permutations(LOOKS, 2)
    if first[1:] != second[1:]
    for (m, n), where in product([(1, 1), (1, 2), (2, 1)], (None, *RELATIONS))
]
SCENES = ONE_GROUP + TWO_GROUPS
COMPLETE = [
    scene
    for scene in SCENES
    if all(group.size for group in scene.groups)
    and (scene.where or (len(scene.groups) == 1 and scene.groups[0].number > 1))
]

scenes = st.sampled_from(ONE_GROUP) | st.sampled_from(TWO_GROUPS)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


# Captions


@pytest.mark.parametrize(
    ("text", "scene"),
    [
        (
            "a small red circle above a blue square",
            Scene((Group(1, "small", "red", "circle"), Group(1, None, "blue", "square")), "above"),
        ),
        ("two green triangles", Scene((Group(2, None, "green", "triangle"),))),
        (
            "a large yellow square on the left",
            Scene((Group(1, "large", "yellow", "square"),), "on the left"),
        ),
        (
            "a white circle and two small white crosses",
            Scene((Group(1, None, "white", "circle"), Group(2, "small", "white", "cross"))),
        ),
    ],
)
def test_captions_are_english(text: str, scene: Scene) -> None:
    assert caption(scene) == text and parse(f" {text.upper()} ") == scene


def test_every_caption_says_its_scene_and_no_other() -> None:
    assert all(parse(caption(scene)) == scene for scene in SCENES)


def test_captions_use_all_words_and_no_other() -> None:
    assert {word for scene in SCENES for word in caption(scene).split()} == set(WORDS)
    assert len(set(WORDS)) == len(WORDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a purple circle", "unknown word 'purple' in .*red, green, blue, yellow, white"),
        ("", "'' is no caption; such as 'a small red circle'"),
        ("circle red", "'circle red' is no caption; such as 'a small red circle'"),
        ("a red circle above", "is no caption"),
        ("a red circle above a blue cross above a white cross", "is no caption"),
        ("a red circle above a blue cross on the left", "is no caption"),
        ("a red circle on the left above a blue cross", "write 'a red circle above a blue cross'"),
        ("two red circle", "write 'two red circles'"),
        ("a red circles", "write 'a red circle'"),
        ("two red circles and two blue crosses", r"one to three shapes, got \[2, 2\]"),
        ("a small red circle and a large red circle", "of other shapes"),
        ("two red circles on the left", "'on the left' is neither"),
    ],
)
def test_what_is_no_caption_is_told_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("groups", "where", "message"),
    [
        ((), None, "one group, or two"),
        ((Group(1, None, "pink", "circle"),), None, "unknown word 'pink'.*red"),
        ((Group(0, None, "red", "circle"),), None, "one to three shapes"),
        ((Group(4, None, "red", "circle"),), None, "one to three shapes"),
        ((Group(1, None, "red", "circle"),), "above", "'above' is neither"),
    ],
)
def test_scenes_that_cannot_be_are_refused(groups: tuple, where: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene(groups, where)


# Pictures


def test_every_scene_is_laid_out_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for scene in COMPLETE:
        assert any(agrees(found, scene) for found in scenes_of(lay_out(scene, rng)))


@given(rng=generators)
def test_shapes_keep_apart_and_within_the_image(rng: np.random.Generator) -> None:
    """No pixel has a part of two shapes, and nothing of a shape is cut off."""
    for _ in range(50):
        shapes = lay_out(random_scene(rng), rng)
        pictures = [render([shape]) for shape in shapes]
        for shape, picture in zip(shapes, pictures):
            in_the_middle = shape._replace(x=16 + shape.x % 1, y=16 + shape.y % 1)
            assert picture.sum() == pytest.approx(render([in_the_middle]).sum(), rel=1e-5)
        assert np.sum([picture.max(0) > 0 for picture in pictures], 0).max() == 1


@given(kind=st.sampled_from(KINDS), r=st.floats(3, 5.5), x=st.floats(15, 17), y=st.floats(15, 17))
def test_a_shape_covers_its_area_about_its_centre(kind: str, r: float, x: float, y: float) -> None:
    """Areas by elementary geometry: of a circle, a square with sides of 1.7 r, an equilateral
    triangle with sides of 2 r, and two bars of 2 r by 2 r / 3."""
    area = {
        "circle": math.pi * r**2,
        "square": (1.7 * r) ** 2,
        "triangle": math.sqrt(3) * r**2,
        "cross": 2 * (2 * r) * (2 * r / 3) - (2 * r / 3) ** 2,
    }[kind]
    share = render([Shape(kind, "white", r, x, y)])[0].astype(np.float64)
    middles = np.arange(32) + 0.5
    straight = kind in ("square", "cross")  # with edges along the pixels, where coverage is exact
    assert share.sum() == pytest.approx(area, rel=1e-5 if straight else 0.03)
    assert share.sum(0) @ middles / share.sum() == pytest.approx(x, abs=0.07)
    assert share.sum(1) @ middles / share.sum() == pytest.approx(y, abs=0.07)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_look_like_themselves(kind: str) -> None:
    """Whether (x, y) is inside, for some points in units of r; y points down."""
    inside = {
        "circle": {(0.9, 0): 1, (0.8, 0.8): 0, (0.6, 0.6): 1, (0, 1.1): 0},
        "square": {(0.7, 0): 1, (0.7, 0.7): 1, (0.7, -0.7): 1, (0, 1.1): 0},
        "triangle": {(0.8, 0.5): 1, (-0.8, 0.5): 1, (0.5, -0.5): 0, (0, -0.8): 1, (0, 0.8): 0},
        "cross": {(0.9, 0): 1, (0, -0.9): 1, (0.5, 0.5): 0, (-0.5, 0.5): 0, (0.2, 0.2): 1},
    }[kind]
    picture = render([Shape(kind, "white", 5.5, 16.0, 16.0)])[0]
    for (x, y), expected in inside.items():
        assert (picture[int(16 + 5.5 * y), int(16 + 5.5 * x)] > 0.5) == expected


@given(scene=scenes, seed=st.integers(0, 2**32 - 1))
def test_pictures_have_the_levels_of_bytes_and_repeat(scene: Scene, seed: int) -> None:
    x = draw(scene, np.random.default_rng(seed))
    assert x.shape == (3, 32, 32) and x.dtype == np.float32 and x.min() == -1
    np.testing.assert_allclose((x + 1) * 127.5, np.rint((x + 1) * 127.5), atol=1e-4)
    assert np.array_equal(x, draw(scene, np.random.default_rng(seed)))


# The reader


@given(scene=scenes, rng=generators)
def test_shapes_are_read_as_they_were_drawn(scene: Scene, rng: np.random.Generator) -> None:
    drawn = lay_out(scene, rng)
    found = read(np.rint(255 * render(drawn)) / np.float32(127.5) - 1)
    assert len(found) == len(drawn)
    for shape in drawn:
        like = min(found, key=lambda other: math.dist(shape[3:], other[3:]))
        assert (like.kind, like.colour, like.size) == (shape.kind, shape.colour, shape.size)
        assert shape[2:] == pytest.approx(like[2:], abs=0.08)


@given(rng=generators, colour=st.sampled_from(COLOURS))
def test_every_look_is_read_wherever_it_is(rng: np.random.Generator, colour: str) -> None:
    for size, kind in product(SIZES, KINDS):
        x, y = 16 + rng.uniform(-8, 8, 2)
        shape = Shape(kind, colour, rng.uniform(*RADII[size]), x, y)
        (found,) = read(2 * render([shape]) - 1)
        assert (found.kind, found.colour, found.size) == (kind, colour, size)


@given(scene=scenes, rng=generators)
def test_pictures_show_what_their_captions_ask_in_noise_too(
    scene: Scene, rng: np.random.Generator
) -> None:
    x = draw(scene, rng)
    noisy = x + np.float32(0.2) * rng.standard_normal(x.shape, np.float32)
    assert shows(x, caption(scene)) and shows(noisy, caption(scene))
    found = clear_scene(x)
    assert found and found.held_out == scene.held_out and shows(x, caption(found))


@given(scene=st.sampled_from(COMPLETE), rng=generators)
def test_a_picture_shows_no_other_complete_scene(scene: Scene, rng: np.random.Generator) -> None:
    """But for the same two groups seen from the other side."""
    found = scenes_of(read(draw(scene, rng)))
    shown = [other for other in COMPLETE if any(agrees(one, other) for one in found)]
    assert scene in shown and len(shown) == len(scene.groups)
    assert {frozenset(other.groups) for other in shown} == {frozenset(scene.groups)}


@pytest.mark.parametrize(
    ("image_of", "text"),
    [
        ("a small red circle", "a large red circle"),
        ("a red circle", "a blue circle"),
        ("a red circle", "a red square"),
        ("a red circle", "two red circles"),
        ("three red circles", "two red circles"),
        ("a red circle on the left", "a red circle on the right"),
        ("a red circle on the left", "a red circle in the middle"),
        ("a red circle above a blue cross", "a red circle below a blue cross"),
        ("a red circle above a blue cross", "a blue cross above a red circle"),
        ("a red circle above a blue cross", "a red circle"),
        ("a red circle", "a red circle above a blue cross"),
        ("a red circle and two blue crosses", "two red circles and a blue cross"),
    ],
)
def test_what_was_not_asked_is_not_shown(image_of: str, text: str) -> None:
    rng = np.random.default_rng(0)
    assert not any(shows(draw(parse(image_of), rng), text) for _ in range(20))


def test_a_relation_is_seen_from_both_sides() -> None:
    x = draw(parse("a red circle above two blue crosses"), np.random.default_rng(0))
    assert shows(x, "two blue crosses below a red circle")
    assert shows(x, "two blue crosses and a red circle")


def test_noise_and_blanks_and_crowds_are_no_scenes() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32)).astype(np.float32)
    crowd = [Shape("circle", "red", 3.2, x, y) for x in (8.0, 24.0) for y in (8.0, 24.0)]
    many = [Shape("circle", c, 3.2, 8.0, 6 + 9.0 * k) for k, c in enumerate(COLOURS[:3])]
    for image in (noise, np.full_like(noise, -1), 2 * render(crowd) - 1, 2 * render(many) - 1):
        assert clear_scene(image) is None and not shows(image, "a red circle")


def test_a_blurred_shape_is_no_clear_scene_and_a_speck_is_no_shape() -> None:
    x = 2 * render([Shape("square", "blue", 5.0, 16.0, 16.0)]) - 1
    speck = x.copy()
    speck[:, 2:4, 2:4] = 1
    assert shows(speck, "a blue square") and clear_scene(x) and not clear_scene(speck)
    blurred = sum(np.roll(x, (dy, dx), (1, 2)) for dy in range(-2, 3) for dx in range(-2, 3)) / 25
    assert clear_scene(blurred) is None


# The data set


@pytest.mark.parametrize("held_out", [False, True])
def test_combinations_are_held_out_or_not(held_out: bool) -> None:
    x, captions = load_shapes(300, seed=3, held_out=held_out)
    assert len(x) == len(captions) == 300 and all(map(shows, x, captions))
    found = [{(s.colour, s.kind) for s in read(image)} for image in x]
    assert all(bool(names & HELD_OUT) == held_out for names in found)


def test_a_fifth_of_the_combinations_is_held_out_each_colour_and_kind_at_most_once() -> None:
    assert len(HELD_OUT) == len(COLOURS) * len(KINDS) / 5
    assert HELD_OUT <= set(product(COLOURS, KINDS))
    assert all(len(set(words)) == len(HELD_OUT) for words in zip(*HELD_OUT))


def test_training_sees_every_other_combination_and_everything_that_can_be_said() -> None:
    data = load("shapes")
    asked = [parse(text) for text in data.train_captions]
    groups = [group for scene in asked for group in scene.groups]
    combinations = set(product((None, *SIZES), COLOURS, KINDS))
    expected = {(s, c, k) for s, c, k in combinations if (c, k) not in HELD_OUT}
    assert {group[1:] for group in groups} == expected
    assert {scene.where for scene in asked} == {None, *PLACES, *RELATIONS}
    assert {tuple(g.number for g in scene.groups) for scene in asked} == {
        (1,), (2,), (3,), (1, 1), (1, 2), (2, 1)
    }  # fmt: skip


def test_captions_belong_to_their_images() -> None:
    data = load("shapes")
    assert len(data.train) == len(data.train_captions) == 10_000
    assert len(data.test) == len(data.test_captions) == 2_500
    assert all(map(shows, data.test[:200], data.test_captions))
    x, captions = data.captioned(20, np.random.default_rng(0))
    assert all(map(shows, x.numpy(), captions))
    assert data.train_captions[:2_500] != data.test_captions


def test_the_share_shown_is_counted_of_seen_and_of_unseen_combinations() -> None:
    rng = np.random.default_rng(0)
    seen, unseen = "a red circle", "a red triangle"
    images = np.stack([draw(parse(text), rng) for text in (seen, seen, unseen, unseen)])
    measures = caption_measures(images, [seen, unseen, unseen, unseen])
    assert measures == {
        "shown as asked, seen": (1.0, None),
        "shown as asked, unseen": (pytest.approx(2 / 3), None),
    }
    assert caption_measures(images[:1], [seen]) == {"shown as asked, seen": (1.0, None)}


def test_clear_scenes_and_unseen_combinations_are_counted_where_data_are_of_this_world() -> None:
    data, (unseen, _) = load("shapes"), load_shapes(10, seed=0, held_out=True)
    noise = np.random.default_rng(0).uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)
    measures = sample_measures(np.concatenate([unseen, noise, data.test[:5]]), data)
    assert measures["clear scenes"] == (15 / 20, 1.0)
    assert measures["unseen combinations"] == (10 / 20, None)
    digits = load("digits")
    assert "clear scenes" not in sample_measures(digits.test[:20], digits)


@given(rng=generators, held_out=st.booleans())
def test_random_scenes_are_what_was_asked_for(rng: np.random.Generator, held_out: bool) -> None:
    assert random_scene(rng, held_out).held_out == held_out


def test_one_level_of_each_colour_is_full() -> None:
    assert all(max(levels) == 1 for levels in LEVELS.values())
