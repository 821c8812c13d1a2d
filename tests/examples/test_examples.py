"""The examples: each runs, shortened, and leaves one labelled picture or film; what they compute
themselves holds."""

import importlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from PIL import Image

import nn
import tensor as T
from examples import (
    anomaly,
    compression,
    denoising_field,
    game,
    laboratory,
    langevin,
    manifold,
    reduction,
    restoration,
    retrieval,
)
from minigen.data.digits import load_digits
from minigen.models.gan import GAN

FOLDER = Path(reduction.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
SHORTENED: dict[str, list[dict[str, Any]]] = {
    "added_noise": [{"n": 50}],
    "guidance": [{"n": 20}],
    "sampler_steps": [{"n": 20}],
    "anomaly": [{"held_out": (1, 7)}],
    "compression": [{"codes": (2, 3)}],
    "editing": [{"repeats": 2}],
    "denoising": [{"timesteps": 2}],
    "restoration": [{"task": task} for task in restoration.TASKS],
}
RUNS = [(name, options) for name in NAMES for options in SHORTENED.get(name, [{}])]


def digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits("test")


@pytest.mark.parametrize(
    "name, options",
    RUNS,
    ids=lambda value: value if isinstance(value, str) else value.get("task", ""),
)
def test_an_example_draws_one_labelled_picture_and_prints_figures(
    name: str,
    options: dict[str, Any],
    tmp_path: Path,
    figures: list[Figure],
    capsys: pytest.CaptureFixture[str],
) -> None:
    importlib.import_module(f"examples.{name}").main(
        steps=3, out=tmp_path / "new" / "folder", **options
    )

    (picture,) = os.listdir(tmp_path / "new" / "folder")
    assert picture.startswith(name) and picture.endswith((".png", ".gif"))
    with Image.open(tmp_path / "new" / "folder" / picture) as image:
        assert np.std(image.convert("RGB")) > 0
        assert getattr(image, "n_frames", 1) == (3 if picture.endswith(".gif") else 1), (
            "a film has three frames"
        )
    (figure,) = set(figures)
    for axes in figure.axes:
        assert axes.get_title() or axes.get_ylabel(), "a panel, or a colour bar, without a title"
        for axis in (axes.xaxis, axes.yaxis):
            numbers = any(tick.label1.get_visible() for tick in axis.get_major_ticks())
            if numbers and axes.get_title() and axes.name != "3d":
                assert axis.get_label_text(), "an axis with numbers and without a label"
    *printed, where = capsys.readouterr().out.splitlines()
    assert where.endswith(picture) and printed
    assert all(re.search(r"\d", line) and not re.search(r"\b(nan|inf)\b", line) for line in printed)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_how_to_run_it_and_what_it_shows(name: str) -> None:
    text = importlib.import_module(f"examples.{name}").__doc__ or ""
    assert f"python -m examples.{name}" in text and len(text.split("\n\n")) >= 3


def test_best_answer_between_two_points() -> None:
    """For data at -1 and 1, E[data | x] = tanh(x / sigma^2)."""
    x = np.linspace(-2, 2, 9)
    answer = denoising_field.best_answer(
        np.stack([x, 0 * x], 1), np.array([[-1.0, 0.0], [1.0, 0.0]])
    )
    np.testing.assert_allclose(
        answer, np.stack([np.tanh(x / denoising_field.SIGMA**2), 0 * x], 1), atol=1e-12
    )


@given(seed=st.integers(0, 2**16))
def test_best_answer_is_the_score_of_the_noisy_data(seed: int) -> None:
    """E[data | x] - x = sigma^2 times the gradient of log p(x), p(x) = mean of N(x; data, sigma^2):
    Vincent 2011; the gradient by central differences."""
    rng, sigma = np.random.default_rng(seed), denoising_field.SIGMA
    data, x = rng.uniform(-1, 1, (4, 2)), rng.uniform(-1, 1, (5, 2))

    def log_density(x: np.ndarray) -> np.ndarray:
        return np.log(np.exp(-np.sum((x[:, None] - data) ** 2, 2) / (2 * sigma**2)).mean(1))

    steps = 1e-5 * np.eye(2)
    score = np.stack([(log_density(x + h) - log_density(x - h)) / 2e-5 for h in steps], 1)
    arrows = denoising_field.best_answer(x, data) - x
    np.testing.assert_allclose(arrows, sigma**2 * score, atol=1e-7)


def test_angles_are_those_of_a_compass() -> None:
    """However long the vectors are: 0, 90, and 180 degrees, and their mean."""
    a = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0]])
    b = np.array([[5.0, 0.0], [-1.0, 1.0], [0.0, 0.5]])
    assert [langevin.angle(a[k : k + 1], b[k : k + 1]) for k in range(3)] == pytest.approx(
        [0, 90, 180]
    )
    assert langevin.angle(a, b) == pytest.approx(90)


def test_neighbours_on_a_line() -> None:
    """At 0, 1, 3, 7 and 15, the two nearest are the two on the left, if there are so many."""
    found = reduction.neighbours(np.array([[0.0], [1.0], [3.0], [7.0], [15.0]]), 2)
    assert [np.flatnonzero(row).tolist() for row in found] == [
        [1, 2],
        [0, 2],
        [0, 1],
        [1, 2],
        [2, 3],
    ]


def test_the_sheet_is_rolled_without_stretching() -> None:
    """Close points are as far from each other in space as on the sheet."""
    x, sheet = reduction.rolled_sheet(3000, np.random.default_rng(0))
    apart = (
        6 * np.linalg.norm(x[:, None] - x, axis=2),
        np.linalg.norm(sheet[:, None] - sheet, axis=2),
    )
    close = (apart[1] < 1) & (apart[1] > 0)
    np.testing.assert_allclose(apart[0][close], apart[1][close], rtol=0.02, atol=1e-4)


@given(st.integers(1, 50))
def test_quantiles_cut_the_prior_into_equal_parts(n: int) -> None:
    share = (
        0.5 + 0.5 * T.erf(T.Tensor(manifold.quantiles(n) / np.sqrt(2), dtype=np.float64)).numpy()
    )
    np.testing.assert_allclose(share, (np.arange(n) + 0.5) / n, atol=1e-6)


@given(
    hnp.arrays(int, st.integers(1, 8), elements=st.integers(0, 4)),
    hnp.arrays(int, st.integers(1, 8), elements=st.integers(0, 4)),
)
def test_auroc_is_the_chance_that_the_unknown_is_larger(
    known: np.ndarray, unknown: np.ndarray
) -> None:
    pairs = [(u > k) + 0.5 * (u == k) for k in known for u in unknown]
    assert anomaly.auroc(known, unknown) == pytest.approx(np.mean(pairs))
    assert anomaly.auroc(known, unknown) + anomaly.auroc(unknown, known) == pytest.approx(1)


def test_nearest_come_in_order() -> None:
    among = np.array([[5.0], [1.0], [0.0], [9.0]])
    assert retrieval.nearest(np.array([[0.4], [8.0]]), among, 3).tolist() == [[2, 1, 0], [3, 0, 1]]


@pytest.mark.parametrize("task", restoration.TASKS)
def test_damage_is_done_to_a_copy_and_leaves_the_shape(task: str) -> None:
    x, labels = digits()
    x = restoration.coloured(x, labels)
    kept = x.copy()
    y = restoration.TASKS[task](x, np.random.default_rng(0))
    assert y.shape == x.shape and y.dtype == x.dtype
    assert np.array_equal(x, kept) and not np.array_equal(y, x)


def test_colouring_takes_the_colour_away_and_leaves_the_digit() -> None:
    x, labels = digits()
    grey = restoration.colouring(restoration.coloured(x, labels), np.random.default_rng(0))
    np.testing.assert_allclose(grey, np.repeat(x, 3, 1), atol=1e-6)


def test_inpainting_hides_sixteen_pixels_anywhere() -> None:
    x = np.ones((500, 1, 8, 8), np.float32)
    hidden = restoration.inpainting(x, np.random.default_rng(0)) == 0
    assert (hidden.sum((1, 2, 3)) == 16).all() and hidden.any(0).all()


def test_super_resolution_keeps_the_means() -> None:
    x, _ = digits()
    y = restoration.super_resolution(x, np.random.default_rng(0))
    np.testing.assert_allclose(
        y[:, :, ::2, ::2], x.reshape(-1, 1, 4, 2, 4, 2).mean((3, 5)), atol=1e-6
    )
    assert np.array_equal(y[:, :, ::2, ::2], y[:, :, 1::2, 1::2])


def test_quantised_codes_take_sixteen_values_and_pass_gradients_on() -> None:
    h = T.Tensor(np.linspace(0, 1, 101), requires_grad=True)
    y = compression.Quantised(4)(h)
    np.testing.assert_allclose(np.unique(y.numpy().round(6)), np.arange(16) / 15, atol=1e-6)
    assert np.abs(y.numpy() - h.numpy()).max() <= 0.5 / 15 + 1e-6
    (gradient,) = T.grad((y * y).sum(), h)
    np.testing.assert_allclose(gradient.numpy(), 2 * y.numpy(), rtol=1e-6)


def test_png_takes_more_bits_for_more_grey_values() -> None:
    x, _ = digits()
    assert compression.png_bits(np.sign(x)) < compression.png_bits(x) < 8 * 64


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 8), st.just(1)), elements=st.floats(-3, 3, width=32)
    )
)
def test_densities_on_the_line_integrate_to_one(samples: np.ndarray) -> None:
    step = game.X[1, 0] - game.X[0, 0]
    assert game.kernel_density(samples, game.X).sum() * step == pytest.approx(1, rel=1e-4)
    assert game.density(game.X).sum() * step == pytest.approx(1, rel=1e-4)


def test_arrows_lead_up_the_discriminator() -> None:
    """Each sample has its own arrow: the gradient of |x|^2 is 2 x."""
    model = GAN(nn.Linear(2, 2), nn.Linear(2, 1), latent=2, loss="gan-gp")
    model.discriminator.forward = lambda x: T.sum(T.square(x), 1)  # type: ignore[method-assign]
    x = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    np.testing.assert_allclose(laboratory.uphill(model, x), 2 * x, rtol=1e-6)
