"""Pictures: every pixel of a sheet is where it belongs, every PNG is whole and labelled."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from minigen.evaluation import pictures
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


Draw = Callable[[Path], None]

DRAWINGS: dict[str, tuple[Draw, set[str]]] = {
    "grey images": (lambda path: pictures.samples(path, images(5), "Title"), {"Title"}),
    "coloured images": (lambda path: pictures.samples(path, images(5, 3), "Title"), {"Title"}),
    "one point": (lambda path: pictures.samples(path, points(1), "Title"), {"Title"}),
    "images at moments": (
        lambda path: pictures.sequence(path, [images(3), images(3)], ["t = 1", "t = 0"], "Title"),
        {"Title", "t = 1", "t = 0"},
    ),
    "points at a moment": (
        lambda path: pictures.sequence(path, [points(3)], ["t = 0"], "Title"),
        {"Title", "t = 0"},
    ),
    "points over points": (
        lambda path: pictures.overlay(path, {"below": points(3), "above": points(2) + 1}, "Title"),
        {"Title", "below", "above"},
    ),
    "losses": (
        lambda path: pictures.curves(path, METRICS, ["loss", "other"], "Title"),
        {"Title", "step", "loss, other", "loss, mean of 2 steps", "other, mean of 2 steps"},
    ),
    "a single loss": (
        lambda path: pictures.curves(path, METRICS[:1], ["loss"], "Title"),
        {"Title", "step", "loss"},
    ),
}


def texts(figure: Figure) -> set[str]:
    """Everything that is written in a figure, but for the numbers on its axes."""
    found = {figure.get_suptitle()}
    for axes in figure.axes:
        legend = axes.get_legend()
        found |= {axes.get_title(), axes.get_xlabel(), axes.get_ylabel()}
        found |= {text.get_text() for text in legend.get_texts()} if legend else set()
    return found


@pytest.mark.parametrize("drawing", DRAWINGS)
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


def test_an_overlay_tells_the_sets_apart(tmp_path: Path, figures: list[Figure]) -> None:
    pictures.overlay(
        tmp_path / "picture.png", {"below": points(3), "above": points(2) + 1}, "Title"
    )
    (axes,) = figures[0].axes
    below, above = axes.collections
    assert np.array_equal(below.get_offsets(), points(3)) and np.array_equal(
        above.get_offsets(), points(2) + 1
    )
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == [
        "below",
        "above",
    ]
    for cloud, handle in zip((below, above), legend.legend_handles, strict=True):
        assert isinstance(handle, PathCollection) and np.array_equal(
            handle.get_facecolor(), cloud.get_facecolor()
        )
    assert not np.array_equal(below.get_facecolor(), above.get_facecolor())


def test_losses_are_drawn_as_logged_and_as_a_running_mean(
    tmp_path: Path, figures: list[Figure]
) -> None:
    pictures.curves(tmp_path / "picture.png", METRICS, ["loss"], "Title")
    (axes,) = figures[0].axes
    logged, mean = (np.array(line.get_xydata()) for line in axes.lines)
    loss = 1 / np.arange(1, 101)
    assert logged == pytest.approx(np.column_stack([np.arange(1, 101), loss]))
    assert mean == pytest.approx(np.column_stack([np.arange(2, 101), (loss[1:] + loss[:-1]) / 2]))
    assert axes.get_yscale() == "log"


def test_losses_below_zero_are_drawn_too(tmp_path: Path, figures: list[Figure]) -> None:
    """As those of a Gaussian likelihood: a logarithmic scale would leave them out."""
    pictures.curves(
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
