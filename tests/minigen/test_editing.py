"""Editing with a diffusion model: against Gaussian data, of which the hole's distribution given the
rest is known, so nothing is trained; then with a small run, from Python and the command line."""

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from PIL import Image

import minigen
from minigen import UsageError, cli
from minigen.data.digits import load_digits
from minigen.data.images import read_image, write_png
from minigen.evaluation import batches, pictures, slides
from minigen.models.ddpm import Diffusion, SamplerState, beta_schedule
from minigen.models.editing import image_to_image, inpaint, mix
from tensor import Tensor
from tests.minigen.oracles import close, diffusions, silent

Moments = tuple[np.ndarray, np.ndarray]


class ExactNoise:
    """A generator whose draws, together with what it `saw` last, have in a batch exactly the
    moments that they have in distribution: mean 0, covariance 1, and no correlation.

    A sampler that is affine in x and in its noise then shows its exact moments.
    """

    def __init__(self) -> None:
        self.rng, self.last = np.random.default_rng(0), np.zeros((16, 0))
        self.before: list[np.ndarray] = []

    def saw(self, x: np.ndarray) -> None:
        """x is all that is left of earlier draws but the last."""
        self.before = [x, self.last]

    def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        N, D = shape
        columns = [np.ones((N, 1)), *self.before, self.rng.standard_normal(shape)]
        self.last = math.sqrt(N) * np.linalg.qr(np.concatenate(columns, 1))[0][:, -D:]
        self.before.append(self.last)
        return self.last.astype(dtype)


@dataclass(frozen=True)
class HoledGaussian:
    """Data from N(m, S), of which a part is `known` to be that of x0."""

    diffusion: Diffusion
    m: np.ndarray
    S: np.ndarray
    known: np.ndarray
    x0: np.ndarray
    rng: Any = field(default_factory=ExactNoise)

    def a(self, t: int) -> float:
        return math.sqrt(self.diffusion.alpha_bar[t])

    def V(self, t: int) -> np.ndarray:
        """The covariance of x_t."""
        return self.a(t) ** 2 * self.S + (1 - self.a(t) ** 2) * np.eye(len(self.m))

    def denoiser(self, x: Tensor, t: np.ndarray) -> Tensor:
        """E[eps | x_t] = b_t V_t^-1 (x_t - a_t m)."""
        s = int(t[0])
        self.rng.saw(x.numpy())
        gain = math.sqrt(1 - self.a(s) ** 2) * np.linalg.inv(self.V(s))
        return (x - Tensor(self.a(s) * self.m)) @ Tensor(gain)

    def batch(self, x: np.ndarray) -> Tensor:
        return Tensor(np.tile(x, (16, 1)))

    def inpainted(self, repeats: int, variance: str = "beta") -> Iterator[SamplerState]:
        x0, known = self.batch(self.x0), self.batch(self.known)
        return inpaint(
            self.diffusion, self.denoiser, x0, known, self.rng, repeats, variance, clip_x0=None
        )

    def step(self, t: int, moments: Moments, sigma2: np.ndarray) -> Moments:
        """By the tower rule a step leads to E[x_{t-1} | x_t] = a_{t-1} m + K (x_t - a_t m), K =
        sqrt(alpha_t) V_{t-1} V_t^-1, and noise of variance sigma_t^2 comes to it but at the end."""
        mean, covariance = moments
        K = self.a(t) / self.a(t - 1) * self.V(t - 1) @ np.linalg.inv(self.V(t))
        mean = self.a(t - 1) * self.m + K @ (mean - self.a(t) * self.m)
        return mean, K @ covariance @ K.T + sigma2[t] * (t > 1) * np.eye(len(mean))

    def replaced(self, t: int, moments: Moments) -> Moments:
        """RePaint eq. 8: the known part comes from q(x_t | x_0), whatever the rest is."""
        k, (mean, covariance) = self.known, moments
        drawn = np.diag((1.0 - self.a(t) ** 2) * k)
        return np.where(k, self.a(t) * self.x0, mean), covariance * np.outer(~k, ~k) + drawn

    def the_hole(self) -> Moments:
        """Mean and covariance of the unknown part, given the known one."""
        k, u = np.flatnonzero(self.known), np.flatnonzero(~self.known)
        gain = self.S[np.ix_(u, k)] @ np.linalg.inv(self.S[np.ix_(k, k)])
        mean = self.m[u] + gain @ (self.x0[k] - self.m[k])
        return mean, self.S[np.ix_(u, u)] - gain @ self.S[np.ix_(k, u)]


def moments_of(x: Tensor) -> Moments:
    mean = x.numpy().mean(0)
    return mean, (x.numpy() - mean).T @ (x.numpy() - mean) / len(x)


@st.composite
def holed(draw: st.DrawFn) -> HoledGaussian:
    vector = hnp.arrays(float, 3, elements=st.floats(-2, 2))
    root = draw(hnp.arrays(float, (3, 3), elements=st.floats(-1, 1)))
    known = draw(hnp.arrays(bool, 3))
    S = root @ root.T + 0.1 * np.eye(3)
    return HoledGaussian(draw(diffusions), draw(vector), S, known, draw(vector))


# Inpainting


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@given(g=holed(), repeats=st.integers(1, 3))
def test_inpainting_transports_moments_as_repaint_says(
    variance: str, g: HoledGaussian, repeats: int
) -> None:
    """Algorithm 1, line by line; of all t it goes down from but 1, `repeats` times."""
    diffusion, D = g.diffusion, len(g.m)
    sigma2 = diffusion.beta if variance == "beta" else diffusion.beta_tilde
    states = g.inpainted(repeats, variance)

    def check(t: int, expected: Moments) -> None:
        state = next(states)
        mean, covariance = moments_of(state.x)
        assert state.t == t
        assert mean == pytest.approx(expected[0], rel=1e-7, abs=1e-8)
        assert covariance == pytest.approx(expected[1], rel=1e-7, abs=1e-8)

    moments: Moments = np.zeros(D), np.eye(D)
    check(diffusion.T, moments)
    for t in range(diffusion.T, 0, -1):
        for u in range(1, repeats + 1):
            moments = g.replaced(t - 1, g.step(t, moments, sigma2))
            check(t - 1, moments)
            if t == 1:
                break
            if u < repeats:
                beta = diffusion.beta[t]
                moments = (
                    math.sqrt(1 - beta) * moments[0],
                    (1 - beta) * moments[1] + beta * np.eye(D),
                )
                check(t, moments)
    assert next(states, None) is None


def test_repaint_comes_to_the_hole_given_the_rest_and_replacement_does_not() -> None:
    """Errors are shares of those of the prior, in which the rest is not heeded at all."""
    correlations = np.array([[1, 0.9, -0.6], [0.9, 1, -0.5], [-0.6, -0.5, 1]])
    m, S, known = np.array([0.3, -0.2, 0.1]), 0.25 * correlations, np.array([True, False, False])
    of_means, of_covariances = [], []
    for repeats in (1, 2, 5, 15, 40):
        diffusion = Diffusion(beta_schedule("cosine", 60))
        g = HoledGaussian(diffusion, m, S, known, np.array([-0.5, 9.0, 9.0]))
        *_, last = g.inpainted(repeats)
        mean, covariance = moments_of(last.x)
        expected = g.the_hole()
        of_means.append(largest(mean[1:] - expected[0]) / largest(m[1:] - expected[0]))
        error, of_prior = covariance[1:, 1:] - expected[1], S[1:, 1:] - expected[1]
        of_covariances.append(largest(error) / largest(of_prior))
    for errors in (of_means, of_covariances):
        assert sorted(errors, reverse=True) == errors
        assert errors[0] > 0.15 and errors[-1] < 0.02


def largest(x: np.ndarray) -> float:
    return float(abs(x).max())


def float32s(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, shape, elements=st.floats(-1, 1, width=32))


def last_of(states: Iterator[SamplerState]) -> np.ndarray:
    *_, last = states
    return last.x.numpy()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    diffusion=diffusions,
    x0=float32s(2, 3),
    known=hnp.arrays(bool, (2, 3)),
    repeats=st.integers(1, 3),
)
def test_what_is_known_comes_back_to_the_last_bit_and_nothing_else_of_the_input_counts(
    diffusion: Diffusion, x0: np.ndarray, known: np.ndarray, repeats: int
) -> None:
    x, same = (
        last_of(inpaint(diffusion, silent, Tensor(input), Tensor(known), rng(), repeats))
        for input in (x0, np.where(known, x0, np.float32(math.nan)))
    )
    assert np.array_equal(x[known], x0[known]) and np.array_equal(x, same)


@given(diffusion=diffusions, x0=float32s(2, 3), repeats=st.integers(1, 3))
def test_with_nothing_hidden_the_input_comes_back(
    diffusion: Diffusion, x0: np.ndarray, repeats: int
) -> None:
    known = Tensor(np.ones(x0.shape, bool))
    x = last_of(inpaint(diffusion, silent, Tensor(x0), known, rng(), repeats))
    assert np.array_equal(x, x0)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@given(g=holed(), seed=st.integers(0, 9))
def test_with_all_hidden_replacement_is_ancestral_sampling(
    variance: str, g: HoledGaussian, seed: int
) -> None:
    x0, known, one, other = g.batch(g.x0), g.batch(np.zeros(3, bool)), rng(seed), rng(seed)
    edited = inpaint(g.diffusion, g.denoiser, x0, known, one, 1, variance)
    x = Tensor(other.standard_normal(x0.shape))
    sampled = g.diffusion.ancestral(g.denoiser, x, other, variance)
    for ours, theirs in zip(edited, sampled, strict=True):
        assert ours.t == theirs.t and np.array_equal(ours.x.numpy(), theirs.x.numpy())
        assert (ours.x0 is None) == (theirs.x0 is None)
        if ours.x0 is not None and theirs.x0 is not None:
            assert np.array_equal(ours.x0.numpy(), theirs.x0.numpy())


def test_repeating_ends_before_the_last_step() -> None:
    x0, known = Tensor(np.zeros((1, 2))), Tensor(np.array([[True, False]]))
    diffusion = Diffusion(beta_schedule("cosine", 3))
    states = list(inpaint(diffusion, silent, x0, known, rng(), repeats=3))
    assert [state.t for state in states] == [3, 2, 3, 2, 3, 2, 1, 2, 1, 2, 1, 0]
    for before, after in pairwise(states):
        assert (after.x0 is None) == (after.t > before.t)


# Image to image, and mixing


@given(g=holed(), strength=st.floats(0.01, 1))
def test_image_to_image_is_noised_up_to_its_strength_and_denoised_from_there(
    g: HoledGaussian, strength: float
) -> None:
    t = max(1, round(strength * g.diffusion.T))
    moments = g.a(t) * g.x0, (1 - g.a(t) ** 2) * np.eye(3)
    x0 = g.batch(g.x0)
    states = image_to_image(g.diffusion, g.denoiser, x0, g.rng, strength, clip_x0=None)
    for state in states:
        mean, covariance = moments_of(state.x)
        assert state.t == t
        assert mean == pytest.approx(moments[0], rel=1e-7, abs=1e-8)
        assert covariance == pytest.approx(moments[1], rel=1e-7, abs=1e-8)
        if t > 0:
            moments, t = g.step(t, moments, g.diffusion.beta), t - 1
    assert t == 0


@given(g=holed(), seed=st.integers(0, 9))
def test_at_strength_1_image_to_image_starts_from_pure_noise(g: HoledGaussian, seed: int) -> None:
    """With a schedule that leaves nothing, it is ancestral sampling."""
    diffusion = Diffusion(np.full(30, 0.9))
    g = HoledGaussian(diffusion, g.m, g.S, g.known, g.x0)
    one, other = rng(seed), rng(seed)
    edited = image_to_image(diffusion, g.denoiser, g.batch(g.x0), one, 1.0, clip_x0=None)
    x = Tensor(other.standard_normal((16, 3)))
    sampled = diffusion.ancestral(g.denoiser, x, other, clip_x0=None)
    assert last_of(edited) == pytest.approx(last_of(sampled), abs=1e-9)


@given(diffusion=diffusions, x0=float32s(2, 3), y0=float32s(2, 3), strength=st.floats(0.01, 1))
def test_at_its_ends_a_mixture_is_what_editing_makes_of_either(
    diffusion: Diffusion, x0: np.ndarray, y0: np.ndarray, strength: float
) -> None:
    for weight, end in ((0, x0), (1, y0)):
        mixed = mix(diffusion, silent, Tensor(x0), Tensor(y0), weight, rng(), strength)
        edited = image_to_image(diffusion, silent, Tensor(end), rng(), strength)
        for ours, theirs in zip(mixed, edited, strict=True):
            assert ours.t == theirs.t and np.array_equal(ours.x.numpy(), theirs.x.numpy())


@given(g=holed(), y0=hnp.arrays(float, 3, elements=st.floats(-2, 2)), weight=st.floats(0, 1))
def test_what_is_mixed_is_x_t_under_the_same_noise(
    g: HoledGaussian, y0: np.ndarray, weight: float
) -> None:
    """(1 - lambda) x_t + lambda y_t. With a denoiser that is affine, so are all states to x_0."""

    def states(edit: Callable[..., Iterator[SamplerState]], *x: Any) -> Iterator[np.ndarray]:
        edited = edit(g.diffusion, g.denoiser, *x, rng=rng(), strength=0.6, clip_x0=None)
        return (state.x.numpy() for state in edited)

    x0, y0 = g.batch(g.x0), g.batch(y0)
    mixed = states(mix, x0, y0, weight)
    for ours, x, y in zip(mixed, states(image_to_image, x0), states(image_to_image, y0)):
        assert ours == close((1 - weight) * x + weight * y)


# What is wrong, and on which device


def test_images_of_different_shapes_do_not_mix() -> None:
    diffusion, x0, y0 = Diffusion(beta_schedule("cosine", 3)), *map(np.zeros, [(2, 3), (1, 3)])
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 3\) and \(1, 3\)"):
        mix(diffusion, silent, Tensor(x0), Tensor(y0), 0.5, rng())


@pytest.mark.parametrize(
    ("known", "repeats", "words"),
    [
        (np.ones((2, 3)), 1, "known must be bool and of shape (2, 3), got float64 (2, 3)"),
        (np.ones(3, bool), 1, "known must be bool and of shape (2, 3), got bool (3,)"),
        (np.ones((2, 3), bool), 0, "repeats must be 1 or more, got 0"),
    ],
)
def test_inpainting_that_cannot_be(known: np.ndarray, repeats: int, words: str) -> None:
    diffusion, x0 = Diffusion(beta_schedule("cosine", 3)), Tensor(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=re.escape(words)):
        next(inpaint(diffusion, silent, x0, Tensor(known), rng(), repeats))


@pytest.mark.parametrize("strength", [0, -0.1, 1.1, math.nan])
def test_strength_is_a_share(strength: float) -> None:
    diffusion, x0 = Diffusion(beta_schedule("cosine", 3)), Tensor(np.zeros((2, 3)))
    for states in (
        image_to_image(diffusion, silent, x0, rng(), strength),
        mix(diffusion, silent, x0, x0, 0.5, rng(), strength),
    ):
        with pytest.raises(ValueError, match=f"above 0 and at most 1, got {strength}"):
            next(states)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_edits_keep_dtype_and_device_and_record_nothing(device: str, dtype: type) -> None:
    weight = Tensor(np.ones(1), requires_grad=True, dtype=dtype, device=device)
    x0 = Tensor(np.ones((2, 1)), dtype=dtype, device=device)
    known = Tensor(np.array([[True], [False]]), device=device)
    diffusion = Diffusion(beta_schedule("cosine", 4))

    def denoiser(x: Tensor, t: np.ndarray) -> Tensor:
        return weight * x

    for states in (
        inpaint(diffusion, denoiser, x0, known, rng()),
        image_to_image(diffusion, denoiser, x0, rng()),
        mix(diffusion, denoiser, x0, x0, 0.5, rng()),
    ):
        for state in states:
            assert state.x.dtype == dtype and state.x.device == x0.device
            assert not state.x.requires_grad


# From Python, and from the command line

SMALL: dict[str, Any] = {"steps": 2, "batch_size": 4, "timesteps": 3}
COLOURS = np.random.default_rng(0).integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
QUARTER = np.ones((8, 8), bool)
QUARTER[4:, 4:] = False


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a ddpm on digits, on colour images, on points, and one of a vae."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slides, "save", lambda figure, path: path.touch())
        patch.setattr(pictures, "film", lambda path, *_: path.touch())
        for name, data in {"ddpm": "digits", "colours": COLOURS, "points": "ring"}.items():
            minigen.train("ddpm", data, out=folder / name, **SMALL)
        minigen.train("vae", steps=1, out=folder / "vae")
    return folder


@pytest.fixture
def place(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a digit, another, the first with a transparent quarter, masks."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits("test")[0]
    write_png("digit.png", digits[0])
    write_png("other.png", digits[1])
    white = np.where(QUARTER, -1, 1)[None]
    for name, mask in {"mask": white, "black": 0 * white - 1, "large": white.repeat(2, 1)}.items():
        write_png(f"{name}.png", mask)
    grey, opacity = Image.open("digit.png"), Image.fromarray(255 * QUARTER.astype(np.uint8))
    Image.merge("LA", (grey, opacity)).save("hole.png")
    return runs


def command(*arguments: object) -> tuple[int, str, str]:
    """`minigen edit ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main(["edit", *map(str, arguments)])
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def test_edits_are_those_of_the_model_by_the_average_of_the_weights(runs: Path) -> None:
    trained = minigen.load(runs / "ddpm")
    digits = load_digits("test")[0]
    x, y = digits[:3], digits[3:6]
    known = rng().random((3, 8, 8)) < 0.5
    recipe = trained.recipe
    diffusion, denoiser, x0 = recipe.diffusion, recipe.denoiser(), Tensor(x)
    everywhere = Tensor(known[:, None])
    with recipe.learner.using_average():
        inpainted = last_of(inpaint(diffusion, denoiser, x0, everywhere, rng(5), 2))
        redrawn = last_of(image_to_image(diffusion, denoiser, x0, rng(5), 0.7))
        mixed = last_of(mix(diffusion, denoiser, x0, Tensor(y), 0.4, rng(5), 0.7))
    assert np.array_equal(trained.inpaint(x, known, seed=5, repeats=2), inpainted)
    assert np.array_equal(trained.image_to_image(x, 0.7, seed=5), redrawn)
    assert np.array_equal(trained.mix(x, y, 0.4, 0.7, seed=5), mixed)
    assert inpainted.dtype == np.float32 and abs(inpainted).max() <= 1


def test_a_conditional_model_edits_as_one_that_is_told_no_class(tmp_path: Path) -> None:
    trained = minigen.train("ddpm", conditional=True, out=tmp_path / "run", **SMALL)
    x, recipe = load_digits("test")[0][:3], trained.recipe
    with recipe.learner.using_average():
        none = recipe.denoiser(np.full(3, 10))
        expected = last_of(image_to_image(recipe.diffusion, none, Tensor(x), rng(5)))
    assert np.array_equal(trained.image_to_image(x, seed=5), expected)


def test_a_mask_may_be_the_same_for_all_images_and_keeps_all_their_colours(runs: Path) -> None:
    trained, known = minigen.load(runs / "colours"), QUARTER
    every = np.broadcast_to(known, (20, 8, 8))
    one, same = trained.inpaint(COLOURS, known), trained.inpaint(COLOURS, every)
    assert one.shape == (20, 3, 8, 8) and np.array_equal(one, same)
    pixels = np.rint((one.transpose(0, 2, 3, 1) + 1) * 127.5)
    assert np.array_equal(pixels[:, known], COLOURS[:, known])
    assert (pixels[:, ~known] != COLOURS[:, ~known]).mean() > 0.9


def test_networks_see_a_batch_of_edits_at_a_time(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, x, sizes = minigen.load(runs / "ddpm"), load_digits("test")[0][:5], []
    network = trained.recipe.network
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda x, t: (sizes.append(len(x)), forward(x, t))[1])
    monkeypatch.setattr(batches, "BATCH", 2)
    edited = trained.inpaint(x, QUARTER, repeats=1)
    assert edited.shape == x.shape and sizes == 3 * [2] + 3 * [2] + 3 * [1]
    assert np.array_equal(edited[:, :, QUARTER], x[:, :, QUARTER])


@pytest.mark.parametrize("options", [["digit.png", "--mask", "mask.png"], ["hole.png"]])
def test_repainting_keeps_the_rest_of_the_input_exactly(place: Path, options: list[str]) -> None:
    status, out, err = command(place / "ddpm", "--input", *options, "-n", 4, "--out", "out")
    assert status == 0 and "4 results" in out and "in out" in out, err
    stem = Path(options[0]).stem
    names = {f"{stem}-{k}.png" for k in range(1, 5)}
    assert {path.name for path in Path("out").iterdir()} == names | {"edited.png"}
    before = np.asarray(Image.open("digit.png"))
    results = [np.asarray(Image.open(Path("out", name))) for name in sorted(names)]
    for pixels in results:
        assert np.array_equal(pixels[QUARTER], before[QUARTER])
        assert not np.array_equal(pixels[~QUARTER], before[~QUARTER])
    assert not np.array_equal(results[0], results[1])


def test_a_transparent_part_is_a_mask(place: Path) -> None:
    command(place / "ddpm", "--input", "digit.png", "--mask", "mask.png", "--out", "a")
    command(place / "ddpm", "--input", "hole.png", "--out", "b")
    command(place / "ddpm", "--input", "hole.png", "--strength", 0.5, "--out", "c")
    a, b, c = (
        Path(path).read_bytes() for path in ("a/digit-9.png", "b/hole-9.png", "c/hole-9.png")
    )
    assert a == b != c


def test_a_mixture_leads_from_what_is_made_of_one_image_to_what_is_made_of_the_other(
    place: Path,
) -> None:
    both = ["--strength", 0.7, "--seed", 3]
    for name, options in {
        "mixed": ["digit.png", "--mix", "other.png", "-n", 3],
        "first": ["digit.png", "-n", 1],
        "last": ["other.png", "-n", 1],
    }.items():
        assert command(place / "ddpm", "--input", *options, *both, "--out", name)[0] == 0
    ends = Path("first/digit-1.png"), Path("last/other-1.png")
    for k, end in zip((1, 3), ends):
        assert Path(f"mixed/digit-{k}.png").read_bytes() == end.read_bytes()


def test_an_edit_has_a_labelled_picture_and_goes_where_the_help_says(
    place: Path, figures: list[Figure]
) -> None:
    assert "DIR/edited-SEED" in command("--help")[1]
    for options, labels in (
        (["--mask", "mask.png", "--repeats", 2], ["input", "what is kept", "repainted"]),
        (["--strength", 0.5], ["input", "redrawn"]),
        (["--mix", "other.png"], ["input", "from the input to the other", "other image"]),
    ):
        status, out, _ = command(place / "ddpm", "--input", "digit.png", "--seed", 7, *options)
        folder = Path(out.split(": in ")[1].strip())
        assert (
            status == 0 and folder.name.startswith("edited-7") and folder.parent == place / "ddpm"
        )
        assert [axes.get_title() for axes in figures[-1].axes] == labels
        title = figures[-1].get_suptitle()
        assert "DDPM on digits" in title and "seed 7" in title
        assert "repeats 2" in title or "strength" in title


def test_an_edit_takes_a_seed_that_was_not_taken(place: Path) -> None:
    folders = []
    for _ in range(2):
        status, out, _ = command(place / "ddpm", "--input", "digit.png", "-n", 1)
        folders.append(Path(out.split(": in ")[1].strip()))
        assert status == 0 and "1 result," in out
    first, second = (int(folder.name.removeprefix("edited-")) for folder in folders)
    assert second == first + 1
    one, other = ((folder / "digit-1.png").read_bytes() for folder in folders)
    assert one != other


def test_input_and_mask_are_cut_alike(place: Path) -> None:
    """To the largest centred square, and to the size of the model's images."""
    digit, mask = (np.asarray(Image.open(name)) for name in ("digit.png", "mask.png"))
    for name, pixels, border in (("wide", digit, 99), ("white", mask, 255)):
        wide = np.pad(pixels, ((0, 0), (2, 2)), constant_values=border)
        Image.fromarray(wide).resize((36, 24), Image.Resampling.NEAREST).save(f"{name}.png")
    Image.fromarray(digit).resize((24, 24), Image.Resampling.NEAREST).save("square.png")
    assert (
        command(place / "ddpm", "--input", "wide.png", "--mask", "white.png", "--out", "a")[0] == 0
    )
    whole, edited = read_image("square.png", 8), read_image("a/wide-1.png", 8)
    assert edited[:, QUARTER] == pytest.approx(whole[:, QUARTER], abs=1 / 127)
    assert abs(edited - whole)[:, ~QUARTER].max() > 0.1


@pytest.mark.parametrize(
    ("run", "arguments", "words"),
    [
        ("ddpm", [], ["--input"]),
        ("vae", ["--input", "digit.png"], ["'vae'", "ddpm"]),
        ("points", ["--input", "digit.png"], ["points", "images"]),
        ("ddpm", ["--input", "none.png"], ["--input", "none.png"]),
        ("ddpm", ["--input", "."], ["--input"]),
        ("ddpm", ["--input", "text.png"], ["--input text.png", "not an image"]),
        ("ddpm", ["--input", "digit.png", "--mask", "text.png"], ["--mask text.png"]),
        ("ddpm", ["--input", "digit.png", "--mask", "black.png"], ["black.png", "paint white"]),
        (
            "ddpm",
            ["--input", "digit.png", "--mask", "large.png"],
            ["large.png is 8 x 16", "digit.png is 8 x 8", "as large as"],
        ),
        (
            "ddpm",
            ["--input", "digit.png", "--mask", "mask.png", "--strength", 0.5],
            ["--mask", "--strength", "--mix", "leave one"],
        ),
        (
            "ddpm",
            ["--input", "digit.png", "--mask", "mask.png", "--mix", "other.png"],
            ["--mask", "--strength", "--mix", "leave one"],
        ),
        ("ddpm", ["--input", "digit.png", "--repeats", 3], ["--repeats", "--mask", "transparent"]),
        ("ddpm", ["--input", "digit.png", "--mix", "none.png"], ["--mix", "none.png"]),
        ("ddpm", ["--input", "digit.png", "--strength", 0], ["--strength", "more than 0"]),
        ("ddpm", ["--input", "digit.png", "--strength", "nan"], ["--strength", "nan"]),
        ("ddpm", ["--input", "digit.png", "--mask", "mask.png", "--repeats", 0], ["--repeats"]),
        ("ddpm", ["--input", "digit.png", "--out", "digit.png"], ["digit.png exists", "--out"]),
    ],
)
def test_edits_that_cannot_be_are_refused_in_one_line(
    place: Path, run: str, arguments: list[Any], words: list[str]
) -> None:
    Path("text.png").write_text("no image")
    before = sorted(place.rglob("*")), sorted(Path().rglob("*"))
    status, out, err = command(place / run, *arguments)
    last = err.splitlines()[-1]
    assert status == 2 and not out and "Traceback" not in err
    assert re.match("minigen( edit)?: error: ", last) and all(word in last for word in words), last
    assert (sorted(place.rglob("*")), sorted(Path().rglob("*"))) == before


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, x: m.inpaint(x, QUARTER.astype(int)), "known must be bool .* got int64"),
        (lambda m, x: m.inpaint(x, QUARTER[:4]), r"of shape \(8, 8\) or \(2, 8, 8\), got"),
        (lambda m, x: m.inpaint(x[:, :, :0], QUARTER), "shape"),
        (lambda m, x: m.inpaint(x, QUARTER, repeats=0), "repeats must be 1 or more"),
        (lambda m, x: m.image_to_image(x, 0), "strength must be above 0"),
        (lambda m, x: m.mix(x, x[:1], 0.5), "as many images, got 2 and 1"),
    ],
)
def test_calls_that_cannot_be(runs: Path, call: Callable[[Any, Any], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(minigen.load(runs / "ddpm"), load_digits("test")[0][:2])


@pytest.mark.parametrize("method", ["inpaint", "image_to_image", "mix"])
def test_edits_are_for_images_and_a_ddpm(runs: Path, method: str) -> None:
    x = np.zeros((1, 2), np.float32)
    arguments = {"inpaint": (x, QUARTER), "image_to_image": (x,), "mix": (x, x)}[method]
    for run, words in (("vae", f"'vae': {method} is for ddpm"), ("points", "is for images")):
        with pytest.raises(UsageError, match=words):
            getattr(minigen.load(runs / run), method)(*arguments)
