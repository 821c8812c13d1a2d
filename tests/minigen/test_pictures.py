"""Pictures: every pixel of a sheet is where it belongs, every PNG is whole and labelled."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import matplotlib.image
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from matplotlib.text import Text

from minigen.evaluation import codes, curves, fields, pictures, slides
from minigen.evaluation.pictures import tiles

GREY = 0.5
METRICS = [{"step": float(k), "loss": 1 / k, "other": 2.0} for k in range(1, 101)]


def test_tiles_of_three_images_in_two_columns() -> None:
    black, grey, white = (np.full((1, 1, 2), value) for value in (-1.0, 0.0, 1.0))
    assert tiles(np.stack([black, white, grey]), 2)[:, :, 0].tolist() == [
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 0.5],
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
        [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    ]


@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=4, max_dims=4), elements=st.floats(-2, 2, width=32)
    ),
    data=st.data(),
)
def test_tiles_hold_every_image_clipped_on_a_grey_ground(
    x: np.ndarray, data: st.DataObject
) -> None:
    N, C, H, W = x.shape
    columns = data.draw(st.integers(1, N + 1))
    sheet = tiles(x, columns)
    assert sheet.shape == (-(-N // columns) * (H + 1) + 1, columns * (W + 1) + 1, C)
    for n, image in enumerate(x):
        top, left = n // columns * (H + 1) + 1, n % columns * (W + 1) + 1
        tile = sheet[top : top + H, left : left + W]
        assert np.array_equal(tile, (np.clip(image, -1, 1) / 2 + 0.5).transpose(1, 2, 0))
        tile[...] = GREY
    assert (sheet == GREY).all()


def images(n: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, channels, 4, 4)).astype(np.float32)


def points(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


def jacobians(n: int, features: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, features, channels, 4, 4))


WINDOW = fields.window(points(30))
CHAINS = points(40).reshape(10, 4, 2)
NAMES = ["T-shirt", "Ankle boot", "a$b_{c$"]

Draw = Callable[[Path], None]

DRAWINGS: dict[str, tuple[Draw, set[str]]] = {
    "grey images": (lambda path: pictures.samples(path, images(5), "Title"), {"Title", "samples"}),
    "coloured images beside data": (
        lambda path: pictures.samples(path, images(64, 3), "Title", images(200, 3)),
        {"Title", "samples", "data"},
    ),
    "more images than data": (
        lambda path: pictures.samples(path, images(64), "Title", images(3)),
        {"Title", "samples", "data"},
    ),
    "images by class": (
        lambda path: pictures.samples(path, images(17), "Title", None, NAMES),
        {"Title", *NAMES},
    ),
    "images by class below data": (
        lambda path: pictures.samples(path, images(20), "Title", images(3), NAMES),
        {"Title: data above, samples below", *NAMES},
    ),
    "images of many classes": (
        lambda path: pictures.samples(path, images(60), "Title", None, 10 * ["An ankle boot"]),
        {"Title", "An ankle boot"},
    ),
    "fewer images than classes": (
        lambda path: pictures.samples(path, images(2), "Title", images(3), NAMES),
        {"Title: data above, samples below", *NAMES[:2]},
    ),
    "one point": (lambda path: pictures.samples(path, points(1), "Title"), {"Title", "samples"}),
    "points over data": (
        lambda path: pictures.samples(path, points(1000) + 1, "Title", points(3000)),
        {"Title", "samples, over the data", "data"},
    ),
    "images at moments": (
        lambda path: pictures.sequence(path, [images(9), images(9)], ["t = 1", "t = 0"], "Title"),
        {"Title", "t = 1", "t = 0"},
    ),
    "images at nine moments": (
        lambda path: pictures.sequence(path, 9 * [images(9)], 9 * ["z = -2.25"], 9 * "A title "),
        {"z = -2.25"},
    ),
    "an image before and after edits": (
        lambda path: pictures.edits(path, {"input": images(1), "redrawn": images(7, 3)}, "Title"),
        {"Title", "input", "redrawn"},
    ),
    "points at a moment": (
        lambda path: pictures.sequence(path, [points(3)], ["t = 0"], "Title"),
        {"Title", "t = 0"},
    ),
    "points at eight moments": (
        lambda path: pictures.sequence(path, 8 * [points(2000)], 8 * ["t = 0"], "Title"),
        {"Title", "t = 0"},
    ),
    "fields of arrows": (
        lambda path: fields.fields(
            path, WINDOW, 6 * [points(289)], 2, 6 * ["$\\sigma$ = 0.5"], "Title", points(9)
        ),
        {"Title", "$\\sigma$ = 0.5"},
    ),
    "a row of fields": (
        lambda path: fields.fields(
            path, WINDOW, 3 * [0 * WINDOW], 1, 3 * ["true"], "Title", points(9)
        ),
        {"Title", "true"},
    ),
    "chains": (
        lambda path: fields.paths(
            path, [CHAINS, CHAINS], ["one way", "another"], "Title", points(9)
        ),
        {"Title", "one way", "another"},
    ),
    "terms of a bound": (
        lambda path: curves.terms(path, np.array([0.5, 0.2, 0.01]), "Title"),
        {"Title", "$L_T$ = 0.01", "bits a dimension"},
    ),
    "terms of a density's bound": (
        lambda path: curves.terms(path, np.array([-0.5, 0.2]), "Title"),
        {"Title", "$L_T$ = 0.2"},
    ),
    "codes": (
        lambda path: codes.activations(path, points(200) @ points(2), "Title"),
        {"Title", "units of codes, by mean magnitude", "rank of a unit in its code"},
    ),
    "a single code": (
        lambda path: codes.activations(path, points(1)[:, :1], "Title"),
        {"Title", "1 of 1 make 90 % of a code"},
    ),
    "sensitivity": (
        lambda path: codes.sensitivity(path, images(9), jacobians(9, 12), "Title"),
        {"Title", "rank", "mean", "8 of 10 images"},
    ),
    "sensitivity of a single number": (
        lambda path: codes.sensitivity(path, images(1, 3), jacobians(1, 1, 3), "Title"),
        {"Title", "rank"},
    ),
    "losses": (
        lambda path: curves.curves(path, METRICS, ["loss", "other"], "Title", {"loss": 0.5}),
        {"Title", "step", "loss", "other", "loss, mean of 2 steps", "other, mean of 2 steps"},
    ),
    "a single loss": (
        lambda path: curves.curves(path, METRICS[:1], ["loss"], "Title"),
        {"Title", "step", "loss"},
    ),
}
every_drawing = pytest.mark.parametrize("drawing", DRAWINGS)


def texts(figure: Figure) -> set[str]:
    """Everything that is written in a figure, lines joined."""
    return {" ".join(text.get_text().split()) for text in visible_texts(figure)}


def visible_texts(figure: Figure) -> list[Text]:
    """All that is written in a figure, without empty texts and the ticks beyond an axis."""
    beyond = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            beyond |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [text for text in cast("list[Text]", found) if text.get_text() and text not in beyond]


@every_drawing
def test_a_drawing_is_a_labelled_png(tmp_path: Path, figures: list[Figure], drawing: str) -> None:
    draw, labels = DRAWINGS[drawing]
    draw(tmp_path / "picture.png")
    assert os.listdir(tmp_path) == ["picture.png"]
    assert matplotlib.image.imread(tmp_path / "picture.png", format="png").std() > 0
    (figure,) = figures
    assert labels <= texts(figure)


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "stage", [(os, "replace"), (os, "fsync"), (Figure, "savefig")], ids=lambda stage: stage[1]
)
def test_a_drawing_that_fails_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: tuple[Any, str], failure: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    (tmp_path / "picture.png").write_bytes(b"old")
    monkeypatch.setattr(*stage, fail)
    with pytest.raises(type(failure)):
        pictures.samples(tmp_path / "picture.png", points(3), "Title")
    assert (
        os.listdir(tmp_path) == ["picture.png"]
        and (tmp_path / "picture.png").read_bytes() == b"old"
    )


@every_drawing
def test_a_drawing_is_made_for_a_slide(tmp_path: Path, figures: list[Figure], drawing: str) -> None:
    """No wider, hardly higher, of a size to be sent around; letters of 14 points or more, all of
    which are within the picture, and none of which lies on another."""
    path = tmp_path / "picture.png"
    DRAWINGS[drawing][0](path)
    (figure,) = figures
    width, height = figure.get_size_inches()
    assert width <= 12.001 and height <= 7.5
    assert path.stat().st_size < 300_000
    written = visible_texts(figure)
    assert all(cast("float", text.get_fontsize()) >= 14 for text in written)
    boxes = [text.get_window_extent() for text in written]
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def content(path: Path) -> float:
    """The share of a picture that is not white."""
    return float((matplotlib.image.imread(path)[:, :, :3].min(2) < 1).mean())


@given(n=st.integers(1, 300), with_data=st.booleans())
def test_a_sheet_of_any_number_fills_its_picture(n: int, with_data: bool) -> None:
    """And few tiles of it are empty: all images are there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pictures.samples(path, images(n), "Title", images(300) if with_data else None)
        assert content(path) > 0.6
    columns = pictures._columns(n, 16 / 9)
    assert -n % columns <= 0.2 * n and columns <= n


@given(n=st.integers(1, 30), sets=st.integers(1, 3))
def test_edits_fill_their_picture_and_one_image_a_panel(n: int, sets: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        shown: list[Any] = []
        patch.setattr(pictures, "show", lambda axes, x, columns: shown.append((len(x), columns)))
        named = {str(k): images(1) for k in range(sets)} | {"last": images(n)}
        pictures.edits(Path(folder) / "picture.png", named, "Title")
        side = min(k for k in range(1, 7) if k**2 >= n)
        assert shown == [(1, 1)] * sets + [(n, side)]
        patch.undo()
        pictures.edits(Path(folder) / "picture.png", named, "Title")
        assert content(Path(folder) / "picture.png") > 0.5


@given(n=st.integers(1, 60), S=st.integers(1, 10))
def test_a_sequence_fills_its_picture(n: int, S: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        pictures.sequence(path, S * [images(n)], S * ["t"], "Title")
        assert content(path) > 0.5
        if n * min(S, 2) >= 50:  # there are enough images to fill a slide
            assert content(path) > 0.75
            assert matplotlib.image.imread(path).shape[1] > 800


def test_samples_of_classes_stand_below_one_of_the_data(
    tmp_path: Path, figures: list[Figure]
) -> None:
    x, data = images(11), images(14)[11:]
    pictures.samples(tmp_path / "picture.png", x, "Title", data, NAMES)
    for k, axes in enumerate(figures[0].axes):
        column = np.stack([data[k], x[k], x[k + 3], x[k + 6]])
        assert np.array_equal(np.asarray(axes.images[0].get_array()), tiles(column, 1)[:, :, 0])
        (line,) = axes.lines
        assert line.get_ydata() == pytest.approx([5, 5])  # between a first image of 4 and the rest


def test_points_are_drawn_over_grey_data_in_equal_frames(
    tmp_path: Path, figures: list[Figure]
) -> None:
    data, x = points(800), 3 * points(1000) + 50
    pictures.samples(tmp_path / "picture.png", x, "Title", data)
    alone, both = figures[0].axes
    ((below,), (below_too, above)) = alone.collections, both.collections
    assert all(np.array_equal(cloud.get_offsets(), data) for cloud in (below, below_too))
    assert np.array_equal(above.get_offsets(), x)
    for cloud in (below, below_too):
        red, green, blue, _ = np.asarray(cloud.get_facecolor())[0]
        assert red == green == blue
    red, green, blue, _ = np.asarray(above.get_facecolor())[0]
    assert max(red, green, blue) - min(red, green, blue) > 0.5
    assert "over the data" in both.get_title()
    check_frames(figures[0], np.concatenate([data, x]))


def check_frames(figure: Figure, points: np.ndarray) -> None:
    """One unit is as long in x as in y, and in all panels, which hold 98 of 100 points."""
    limits = {(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}
    ((left, right, bottom, top),) = limits
    assert right - left == pytest.approx(top - bottom)
    assert {axes.get_aspect() for axes in figure.axes} == {1.0}
    x, y = points.T
    assert ((left < x) & (x < right) & (bottom < y) & (y < top)).mean() > 0.98


@pytest.mark.parametrize("make", [images, points])
def test_a_film_shows_each_moment_and_rests_at_the_last(
    tmp_path: Path, figures: list[Figure], make: Callable[[int], np.ndarray]
) -> None:
    states, labels = [make(50) * shrunk for shrunk in (1, 0.5, 0.1)], ["t = 2", "t = 1", "t = 0"]
    path = tmp_path / "film.gif"
    pictures.film(path, states, labels, "Title")
    with PIL.Image.open(path) as film:
        durations = []
        for frame in range(film.n_frames):
            film.seek(frame)
            durations.append(film.info["duration"])
    assert len(durations) == 3 and durations[-1] >= 2000 and max(durations[:-1]) <= 200
    for figure, label in zip(figures, labels, strict=True):
        assert texts(figure) == {"Title", label}
    if make is points:
        assert len({axes.get_xlim() for figure in figures for axes in figure.axes}) == 1


def test_a_film_of_classes_has_a_column_for_each(tmp_path: Path, figures: list[Figure]) -> None:
    """And no row that is not full."""
    x = images(17)
    pictures.film(tmp_path / "film.gif", [x], ["t"], "Title", 3)
    shown = np.asarray(figures[0].axes[0].images[0].get_array())
    assert np.array_equal(shown, tiles(x[:15], 3)[:, :, 0])


def test_a_film_of_points_shows_them_over_the_data(tmp_path: Path, figures: list[Figure]) -> None:
    data, states = points(800), [9 * points(100) + 50, points(100)]
    pictures.film(tmp_path / "film.gif", states, ["a", "b"], "Title", 0, data)
    for figure, x in zip(figures, states, strict=True):
        below, above = figure.axes[0].collections
        assert np.array_equal(below.get_offsets(), data) and np.array_equal(above.get_offsets(), x)
        check_frames(figure, data)


def test_codes_are_ranked(tmp_path: Path, figures: list[Figure]) -> None:
    """Units from the most active to the least; within each code, from the largest down."""
    h = np.array([[0.0, -4.0, 1.0], [0.0, -4.0, 5.0]])
    codes.activations(tmp_path / "picture.png", h, "Title")
    left, right, *_ = figures[0].axes
    assert np.asarray(left.images[0].get_array()).tolist() == [[-4, 1, 0], [-4, 5, 0]]
    bars = [cast("Any", patch).get_height() for patch in right.patches]
    assert bars == pytest.approx([4.5, 2.5, 0]) and right.get_title().startswith("2 of 3")


def test_sensitivity_shows_singular_values_and_directions(
    tmp_path: Path, figures: list[Figure]
) -> None:
    """A code of two pixels, one of them counted thrice, moves in the directions of these pixels."""
    J = np.zeros((1, 2, 1, 2, 2))
    J[0, 0, 0, 0, 1], J[0, 1, 0, 1, 0] = 1, 3
    x = np.zeros((1, 1, 2, 2))
    codes.sensitivity(tmp_path / "picture.png", x, J, "Title")
    left, right = figures[0].axes
    assert right.lines[0].get_ydata() == pytest.approx([3, 1])
    assert right.get_title() == "singular values of dh/dx; $|dh/dx|^2$ = 10"
    sheet = 2 * np.asarray(left.images[0].get_array()) - 1
    shown = [sheet[1:3, 3 * k + 1 : 3 * k + 3] for k in range(3)]
    assert not shown[0].any()
    assert np.abs(shown[1]) == pytest.approx(np.array([[0, 0], [1, 0]]))
    assert np.abs(shown[2]) == pytest.approx(np.array([[0, 1], [0, 0]]))


@pytest.mark.parametrize("n", range(1, 10))
def test_points_at_moments_have_equal_frames(tmp_path: Path, figures: list[Figure], n: int) -> None:
    states = [k * points(500) for k in range(1, n + 1)]
    pictures.sequence(tmp_path / "picture.png", states, n * ["t"], "Title")
    assert len(figures[0].axes) == n
    check_frames(figures[0], np.concatenate(states))


@given(data=hnp.arrays(np.float32, (5, 2), elements=st.floats(-9, 9, width=32)))
def test_a_window_holds_the_data_and_their_surroundings(data: np.ndarray) -> None:
    x, side = fields.window(data), max(np.ptp(data, 0))
    assert x.shape == (fields.SIDE**2, 2) and x.dtype == np.float32
    assert np.ptp(x, 0) == pytest.approx(1.3 * side, abs=1e-4)
    assert (x.min(0) + x.max(0)) / 2 == pytest.approx((data.min(0) + data.max(0)) / 2, abs=1e-4)


def test_arrows_point_where_they_lead_and_are_as_bright_as_long(
    tmp_path: Path, figures: list[Figure]
) -> None:
    arrows = [points(289), 3 * points(289)]
    fields.fields(tmp_path / "fields.png", WINDOW, arrows, 1, ["a", "b"], "Title", points(9))
    scales = set()
    for axes, drawn in zip(figures[0].axes, arrows, strict=True):
        data, field = axes.collections
        assert np.array_equal(np.stack([field.U, field.V], 1) > 0, drawn > 0)  # type: ignore
        lengths = np.linalg.norm(drawn, axis=1)
        assert np.hypot(field.U, field.V) == pytest.approx(np.ones(289), rel=1e-5)  # type: ignore
        assert np.asarray(field.get_array()) == pytest.approx(lengths)
        assert np.array_equal(field.get_offsets(), WINDOW)
        assert np.array_equal(data.get_offsets(), points(9))
        scales.add(field.get_clim())
    assert len(scales) == 1


def test_chains_lead_from_a_ring_to_a_dot(tmp_path: Path, figures: list[Figure]) -> None:
    """The whole window is in sight, wherever the chains go."""
    fields.paths(tmp_path / "chains.png", [CHAINS], ["a"], "Title", points(9))
    axes = figures[0].axes[0]
    lines, limits = axes.lines, np.array([axes.get_xlim(), axes.get_ylim()])
    for x in fields.window(points(9)):
        assert (limits[:, 0] < x).all() and (x < limits[:, 1]).all()
    assert len(lines) == 3 * CHAINS.shape[1]
    for k, (way, start, end) in enumerate(zip(lines[::3], lines[1::3], lines[2::3])):
        assert np.array_equal(way.get_xydata(), CHAINS[:, k])
        assert np.array_equal(start.get_xydata()[0], CHAINS[0, k])
        assert np.array_equal(end.get_xydata()[0], CHAINS[-1, k])
        assert (start.get_fillstyle(), end.get_fillstyle()) == ("none", "full")


def test_losses_are_drawn_as_logged_and_as_a_running_mean(
    tmp_path: Path, figures: list[Figure]
) -> None:
    curves.curves(tmp_path / "picture.png", METRICS, ["loss"], "Title")
    (axes,) = figures[0].axes
    logged, mean = (np.array(line.get_xydata()) for line in axes.lines)
    loss = 1 / np.arange(1, 101)
    assert logged == pytest.approx(np.column_stack([np.arange(1, 101), loss]))
    assert mean == pytest.approx(np.column_stack([np.arange(2, 101), (loss[1:] + loss[:-1]) / 2]))
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_zorder() < axes.lines[1].get_zorder()


def logged(**curves: np.ndarray) -> list[dict[str, float]]:
    steps = range(len(next(iter(curves.values()))))
    return [{"step": k + 1.0} | {name: float(y[k]) for name, y in curves.items()} for k in steps]


@given(low=st.floats(1e-6, 1e4), ratio=st.floats(0.05, 3).map(lambda power: 10**power))
def test_ticks_of_losses_are_a_few_plain_numbers(low: float, ratio: float) -> None:
    saved: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "save", lambda figure, path: saved.append(figure))
        losses = logged(loss=np.geomspace(low, ratio * low, 100))
        curves.curves(Path("unused"), losses, ["loss"], "Title")
    saved[0].draw_without_rendering()
    axes = saved[0].axes[0]
    bottom, top = axes.get_ylim()
    shown = [
        text.get_text()
        for y, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
        if bottom <= y <= top
    ]
    assert 3 <= len(shown) <= 15
    for text in shown:
        float(text.replace("\N{MINUS SIGN}", "-"))


@pytest.mark.parametrize(("ratio", "panels"), [(1, 1), (9, 1), (11, 2), (1000, 2)])
def test_losses_of_another_scale_have_a_panel_of_their_own(
    tmp_path: Path, figures: list[Figure], ratio: float, panels: int
) -> None:
    kl = 1 + np.random.default_rng(0).uniform(size=50)
    losses = logged(loss=ratio * kl, reconstruction=ratio * kl, kl=kl)
    curves.curves(tmp_path / "picture.png", losses, ["loss", "reconstruction", "kl"], "Title")
    labels = [axes.get_ylabel() for axes in figures[0].axes]
    assert labels == [["loss, reconstruction, kl"], ["loss, reconstruction", "kl"]][panels - 1]


def test_an_equilibrium_is_a_dashed_line_in_the_colour_of_its_loss(
    tmp_path: Path, figures: list[Figure]
) -> None:
    losses = logged(D=np.full(9, 1.0), G=np.full(9, 0.5))
    curves.curves(tmp_path / "picture.png", losses, ["D", "G"], "Title", {"G": 0.693})
    _, _, _, G, dashed = figures[0].axes[0].lines
    assert dashed.get_linestyle() == "--" and dashed.get_color() == G.get_color()
    assert dashed.get_ydata() == pytest.approx([0.693, 0.693])
    assert "G in equilibrium: 0.69" in texts(figures[0])


def test_losses_below_zero_are_drawn_too(tmp_path: Path, figures: list[Figure]) -> None:
    """As those of a Gaussian likelihood: a logarithmic scale would leave them out."""
    curves.curves(
        tmp_path / "picture.png",
        [{"step": 1, "loss": 3.0}, {"step": 2, "loss": -3.0}],
        ["loss"],
        "Title",
    )
    assert figures[0].axes[0].get_yscale() == "linear"


def test_pictures_need_no_screen_and_no_state_of_pyplot(tmp_path: Path) -> None:
    """Figures are made directly: nothing stays open, nothing depends on a backend."""
    import matplotlib.pyplot

    pictures.samples(tmp_path / "picture.png", points(3), "Title")
    assert matplotlib.pyplot.get_fignums() == []
