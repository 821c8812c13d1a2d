"""minigen from Python, as from the command line: what it gives, and what it leaves alone."""

import io
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import minigen
import tensor as T
from minigen import UsageError, cli
from minigen.evaluation import pictures, slides
from minigen.evaluation.report import Measure
from minigen.recipes import vae
from minigen.training.run import RunError
from tests.minigen.small_runs import contents

SMALL: dict[str, dict[str, Any]] = {
    "ddpm": {"steps": 2, "batch_size": 4, "timesteps": 3},
    "ncsn": {"steps": 2, "batch_size": 4, "levels": 3, "level_steps": 2},
    "vae": {"steps": 2, "batch_size": 4, "latent": 3},
    "ae": {"steps": 2, "batch_size": 4, "latent": 3},
    "gan": {"steps": 2, "batch_size": 4, "latent": 3},
}
REAL_IMAGES_IN = {
    "ddpm": "forward.png",
    "ncsn": "samples.png",
    "vae": "reconstructions.png",
    "ae": "reconstructions.png",
    "gan": "samples.png",
}
every_model = pytest.mark.parametrize("model", SMALL)
COLOURS = np.random.default_rng(0).integers(256, size=(60, 10, 8, 3), dtype=np.uint8)
LABELS = 30 * ["tulip", "rose"]


@pytest.fixture
def real_pictures() -> None:
    """Asks `place` to have pictures drawn."""


@pytest.fixture(autouse=True)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The working folder; `my photos é` in it holds COLOURS, half of them as JPEG. Pictures are
    empty files, unless they are asked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vae, "IWAE_SAMPLES", 2)
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr(slides, "save", lambda figure, path: path.touch())
        monkeypatch.setattr(pictures, "film", lambda path, *_: path.touch())
    Path("my photos é").mkdir()
    for k, pixels in enumerate(COLOURS):
        Image.fromarray(pixels).save(f"my photos é/{k}.{'jpg' if k % 2 else 'png'}")
    yield tmp_path


def command(*arguments: object) -> tuple[int, str, str]:
    """`minigen ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def is_coloured(path: Path) -> bool:
    pixels = np.asarray(Image.open(path).convert("RGB"), int)
    return bool((np.ptp(pixels, axis=2) > 30).mean() > 0.01)


# Training on data of one's own


@pytest.mark.usefixtures("real_pictures")
@every_model
@pytest.mark.parametrize("data", ["my photos é", "array", "file.npz"])
def test_three_lines_train_a_model_of_colour_images(model: str, data: str) -> None:
    np.savez("file.npz", images=COLOURS, labels=LABELS)
    trained = minigen.train(
        model, COLOURS if data == "array" else data, size=8, out="out", **SMALL[model]
    )
    samples = trained.sample(5)
    measures = trained.evaluate()
    assert samples.shape == (5, 3, 8, 8) and samples.dtype == np.float32
    assert abs(samples).max() <= 1 and is_coloured(Path("out", REAL_IMAGES_IN[model]))
    assert trained.done == 2 and trained.path == Path("out")
    assert all(isinstance(m, Measure) and type(m.value) is float for m in measures.values())
    assert measures["Fréchet distance"].reference is not None


@every_model
def test_the_command_line_does_the_same(model: str) -> None:
    trained = minigen.train(model, "my photos é", size=8, out="python", **SMALL[model])
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL[model].items()]
    status, _, err = command(
        "train", model, "--data", "my photos é", "--size", 8, *options, "--out", "shell"
    )
    assert status == 0, err
    shell, python = contents(minigen.load("shell").run), contents(trained.run)
    assert shell == python and "checkpoint.npz" in python
    status, out, _ = command("evaluate", "shell")
    assert status == 0 and out.startswith("6 samples of shell")
    for name, measure in trained.evaluate().items():
        assert f"{name:20}{measure.value:12.4g}" in out


def test_labels_make_models_conditional(place: Path) -> None:
    for name in ("rose", "tulip"):
        Path("flowers", name).mkdir(parents=True)
        for k in range(30):
            shutil.copy(f"my photos é/{2 * k}.png", f"flowers/{name}/{k}.png")
    for model in ("vae", "gan"):
        folder = minigen.train(model, "flowers", size=8, conditional=True, **SMALL[model])
        array = minigen.train(model, COLOURS, LABELS, size=8, conditional=True, **SMALL[model])
        for trained in (folder, array):
            assert trained.recipe.model.classes == 2
            assert trained.recipe.data.class_names == ("rose", "tulip")
            assert minigen.load(trained.path).evaluate()
    assert Path("runs/gan-flowers/samples.png").exists()


def test_points_of_ones_own() -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    for model in ("ddpm", "ncsn", "gan"):
        trained = minigen.train(model, points, **SMALL[model])
        assert trained.sample(5).shape == (5, 2) and trained.path == Path(f"runs/{model}-array")
        assert len(trained.evaluate()) == (4 if model == "ddpm" else 3)  # and the bound


def test_points_have_defaults_of_their_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    for data in ("ring", points):
        chosen = minigen.new("gan", data, lr=1e-3).recipe.settings
        assert (chosen.loss, chosen.batch_size, chosen.lr) == ("gan-gp", 256, 1e-3)
        assert minigen.new("ddpm", data).recipe.diffusion.T == 100
        assert minigen.new("ddpm", data, timesteps=7).recipe.diffusion.T == 7
    assert minigen.new("gan", "digits").recipe.settings.loss == "non-saturating"
    assert minigen.new("ddpm", COLOURS, size=8).recipe.diffusion.T == 20
    assert minigen.new("gan", "ring", loss="minimax").recipe.warning is None
    told = minigen.new("gan", "ring", loss="minimax", penalty=1.0).recipe.warning
    assert "`penalty` has no effect" in told


def test_few_images_are_enough_for_a_large_batch() -> None:
    trained = minigen.train("vae", COLOURS[:2], size=8, steps=2, batch_size=64)
    assert trained.sample(3).shape == (3, 3, 8, 8)
    with pytest.raises(UsageError, match="array holds out 1 .*: the measures need at least 5"):
        trained.evaluate()


# Runs


@every_model
def test_a_run_can_be_opened_and_moved_with_the_array_that_it_keeps(model: str) -> None:
    trained = minigen.train(model, COLOURS, size=8, out="first", **SMALL[model])
    expected, measures = trained.sample(4, seed=7), trained.evaluate(6)
    shutil.move("first", "elsewhere")
    opened = minigen.load("elsewhere")
    assert opened.done == 2 and opened.name == model
    assert np.array_equal(opened.sample(4, seed=7), expected) and opened.evaluate(6) == measures
    assert command("evaluate", "elsewhere")[0] == 0


def test_a_run_goes_on_from_python() -> None:
    minigen.train("ddpm", COLOURS, size=8, out="run", **SMALL["ddpm"])
    opened = minigen.load("run", steps=4)
    assert opened.train() and opened.done == 4
    assert [line["step"] for line in opened.run.metrics()] == [1, 2, 3, 4]
    assert minigen.load("run").recipe.settings.steps == 4
    with pytest.raises(UsageError, match=r"at step 4 already"):
        minigen.load("run", steps=3).train()


def test_what_is_interrupted_goes_on_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SMALL["vae"] | {"steps": 4, "size": 8}
    whole = minigen.train("vae", COLOURS, out="whole", **settings)
    model = minigen.api.new("vae", COLOURS, out="cut", **settings)
    step = model.recipe.step

    def interrupted(k: int) -> Any:
        if k == 2:
            signal.raise_signal(signal.SIGINT)
        return step(k)

    monkeypatch.setattr(model.recipe, "step", interrupted)
    assert not model.train() and model.done == 2
    assert "2 of 4 steps" in repr(model) and not Path("cut/samples.png").exists()
    assert minigen.load("cut").train()
    assert contents(minigen.load("cut").run) == contents(whole.run)


def test_a_failure_brings_the_last_checkpoint_back(monkeypatch: pytest.MonkeyPatch) -> None:
    minigen.train("gan", COLOURS, size=8, out="run", **SMALL["gan"])
    expected = minigen.load("run").sample(3)
    model = minigen.load("run", steps=9)
    step = model.recipe.step

    def fails(k: int) -> Any:
        if k == 5:
            raise MemoryError
        return step(k)

    monkeypatch.setattr(model.recipe, "step", fails)
    with pytest.raises(MemoryError):
        model.train()
    assert model.done == 2 and np.array_equal(model.sample(3), expected)
    first = minigen.new("gan", COLOURS, size=8, lr=1e25, out="first", **SMALL["gan"])
    with pytest.raises(minigen.Diverged):
        first.train()
    weights = [p.numpy() for p in first.recipe.model.parameters()]
    assert first.done == 0 and all(np.isfinite(w).all() for w in weights)


def test_two_images_are_enough_for_samples_of_an_autoencoder() -> None:
    assert minigen.train("ae", COLOURS[:2], size=8, **SMALL["ae"]).sample(3).shape == (3, 3, 8, 8)


def test_ones_own_ring_is_no_mixture() -> None:
    Path("my photos é").rename("ring")
    assert len(minigen.train("ddpm", Path.cwd() / "ring", size=8, **SMALL["ddpm"]).evaluate()) == 4


def test_places_are_kept_from_where_they_were_said(monkeypatch: pytest.MonkeyPatch) -> None:
    minigen.train("ae", "my photos é", size=8, out="run", **SMALL["ae"])
    minigen.train("ae", COLOURS, size=8, out="of an array", **SMALL["ae"])
    shutil.move("my photos é", "moved")
    assert minigen.load("run", steps=np.int64(3), data_dir="moved").train()
    opened, run = minigen.load("of an array"), Path.cwd() / "run"
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert opened.evaluate() and minigen.load(run).evaluate()


def test_photos_that_joined_are_another_data_set() -> None:
    trained = minigen.train("ae", "my photos é", size=8, **SMALL["ae"])
    shutil.copy("my photos é/0.png", "my photos é/more.png")
    with pytest.raises(UsageError, match=r"another data set now: 61 of .*; it was 60 of"):
        minigen.load(trained.path).evaluate()


def test_translators_find_their_folders_elsewhere() -> None:
    settings = {"steps": 1, "batch_size": 2, "width": 2, "size": 8}
    shutil.copytree("my photos é", "Y")
    trained = minigen.train("pix2pix", data_x="my photos é", data_y="Y", **settings)
    shutil.move("Y", "elsewhere")
    with pytest.raises(UsageError, match="Y: not a folder"):
        minigen.load(trained.path).evaluate()
    assert minigen.load(trained.path, data_y="elsewhere").evaluate()
    assert command("evaluate", trained.path, "--data-y", "elsewhere")[0] == 0


def test_data_that_went_or_changed_are_named() -> None:
    trained = minigen.train("ddpm", "my photos é", size=8, **SMALL["ddpm"])
    shutil.move("my photos é", "moved")
    opened = minigen.load(trained.path)
    assert opened.sample(2).shape == (2, 3, 8, 8)
    with pytest.raises(UsageError, match="my photos é"):
        opened.evaluate()
    with pytest.raises(UsageError, match="my photos é"):
        opened.train()
    assert minigen.load(trained.path, data_dir="moved").evaluate()
    Path("moved/roses").mkdir()
    for path in list(Path("moved").glob("*.*g")):
        path.rename(Path("moved/roses", path.name))
    with pytest.raises(UsageError, match=r"another data set now: 60 of \(3, 8, 8\), \['roses'\]"):
        minigen.load(trained.path, data_dir="moved").evaluate()


# Codes


@pytest.mark.parametrize("model", ["ae", "vae"])
def test_codes_of_images(model: str) -> None:
    trained = minigen.train(model, COLOURS, size=8, **SMALL[model])
    images = trained.recipe.data.test
    codes = trained.encode(images)
    assert codes.shape == (6, 3)
    pixels = np.rint((images.transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)
    assert trained.encode(pixels) == pytest.approx(codes, abs=0.05)
    decoded = trained.decode(codes)
    assert decoded.shape == (6, 3, 8, 8)
    path = trained.interpolate(images[0], images[1], n=5)
    assert path.shape == (5, 3, 8, 8)
    assert path[[0, -1]] == pytest.approx(decoded[:2], abs=1e-4)


def test_codes_of_a_conditional_vae_need_a_label() -> None:
    settings = SMALL["vae"] | {"size": 8, "conditional": True}
    trained = minigen.train("vae", COLOURS, LABELS, **settings)
    x = trained.recipe.data.test
    z = trained.encode(x, 6 * ["rose"])
    decoded = trained.decode(z, 6 * ["tulip"])
    assert np.array_equal(decoded, trained.recipe.decode(z, np.ones(6, int)))
    assert trained.interpolate(x[0], x[1], 3, label="rose").shape == (3, 3, 8, 8)
    for labels, got in ((None, "none"), (6 * ["fir"], "fir"), (6 * [1], "1")):
        with pytest.raises(UsageError, match=f"labels must be of rose, tulip; got {got}"):
            trained.encode(x, labels)
    numbered = minigen.train("vae", COLOURS, 30 * [7, 3], **settings)
    for label, number in ((3, 0), (7, 1)):
        expected = numbered.recipe.decode(z, np.full(6, number))
        assert np.array_equal(numbered.decode(z, np.full(6, label)), expected)


def test_translations() -> None:
    settings = {"steps": 1, "batch_size": 2, "width": 2, "size": 8}
    trained = minigen.train("cyclegan", data_x="my photos é", data_y="my photos é", **settings)
    y = trained.translate(COLOURS[:3, :8], "x2y")
    assert y.shape == (3, 3, 8, 8)
    with pytest.raises(ValueError, match="direction must be x2y or y2x"):
        trained.translate(y, "up")


@pytest.mark.parametrize("model", ["ae", "vae"])
def test_images_are_encoded_as_they_were_trained_on(model: str) -> None:
    """In any layout, at any size, and of any colour."""
    wide = np.random.default_rng(0).integers(256, size=(12, 8, 10), dtype=np.uint8)
    trained = minigen.train(model, wide, size=8, **SMALL[model])
    expected = trained.encode(trained.recipe.data.test)
    row = np.random.default_rng(0).permutation(12)[0]
    for x in (wide[row], wide[row][:, :, None].repeat(3, 2), wide[row][:, 1:-1]):
        assert trained.encode(x[None]) == pytest.approx(expected, abs=1e-5)
    assert trained.encode(COLOURS).shape == (60, 3)
    with pytest.raises(UsageError, match="takes no labels"):
        trained.encode(wide, np.zeros(12))
    with pytest.raises(UsageError, match="shape"):
        trained.encode(wide[:0])


# What is wrong, and what is left alone


def untrained() -> Any:
    return minigen.api.new("ddpm", COLOURS, size=8, out="new", **SMALL["ddpm"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: minigen.train("dpm"), "'dpm'; choose from ae, vae, ddpm"),
        (lambda: minigen.train("ddpm", stepz=3), "no setting stepz; it has steps"),
        (lambda: minigen.train("ddpm", class_names=("a",)), "no setting class_names"),
        (lambda: minigen.train("ddpm", COLOURS, data_dir="."), "data_dir is for data in files"),
        (lambda: minigen.train("ddpm", list(map(np.zeros, [(8, 8), (9, 9)]))), "different sizes"),
        (lambda: minigen.train("ddpm", "/nowhere"), "there is no /nowhere: .* `data_dir`"),
        (lambda: minigen.train("ddpm", steps="many"), "steps must be of type int"),
        (lambda: minigen.train("ddpm", "nowhere"), "'nowhere'; choose from digits"),
        (lambda: minigen.train("ddpm", Path("nowhere")), "'nowhere'; choose from digits"),
        (lambda: minigen.train("ddpm", "digits", size=8), "`size` and `channels` are for images"),
        (lambda: minigen.train("ddpm", "my photos é", labels=LABELS), "labels go with an array"),
        (lambda: minigen.train("ddpm", COLOURS, size=9), "multiple of 4, such as 12"),
        (lambda: minigen.train("ddpm", COLOURS[:, :6]), "multiple of 4, such as 8"),
        (lambda: minigen.train("vae", np.zeros((9, 2))), "must be images"),
        (lambda: minigen.train("vae", "ring"), "must be images, digits, mnist, shapes or"),
        (lambda: minigen.train("vae", COLOURS, size=8, conditional=True), "array has none"),
        (lambda: minigen.train("gan", "my photos é", conditional=True), "photos é has none"),
        (lambda: minigen.train("cyclegan", COLOURS), "pass data_x= and data_y="),
        (lambda: minigen.train("ddpm", COLOURS, size=8, channels=2), "channels must be 1 or 3"),
        (lambda: untrained().sample(), "no checkpoint yet"),
        (lambda: untrained().encode(COLOURS), "encode is for ae and vae"),
        (lambda: untrained().interpolate(COLOURS, COLOURS), "interpolate is for ae and vae"),
        (lambda: untrained().translate(COLOURS, "x2y"), "translate is for cyclegan and pix2pix"),
        (lambda: untrained().sample(sampler="euler"), "one of ancestral, ddim"),
        (lambda: untrained().evaluate(label="7"), "`label` is for samples alone"),
        (lambda: minigen.load(untrained().path, lr=1.0), "`lr` cannot change"),
    ],
)
def test_calls_that_cannot_be(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        call()


def test_a_run_in_the_way_is_never_overwritten() -> None:
    untrained()
    with pytest.raises(RunError, match="new exists and is not empty"):
        untrained()
    with pytest.raises(RunError, match="no config.json"):
        minigen.load("my photos é")


def test_nothing_of_the_process_is_changed() -> None:
    def state() -> list[Any]:
        numpy_state = np.random.get_state()
        return [
            T.default_generator().bit_generator.state,
            [np.asarray(x).tolist() for x in numpy_state],  # type: ignore[arg-type]
            np.geterr(),
            signal.getsignal(signal.SIGINT),
            T.get_num_threads(),
            T.is_grad_enabled(),
            "matplotlib.pyplot" in sys.modules,
        ]

    before = state()
    trained = minigen.train("gan", COLOURS, size=8, **SMALL["gan"])
    trained.evaluate()
    minigen.load(trained.path).sample(2)
    assert state() == before


@pytest.mark.usefixtures("real_pictures")
def test_titles_may_hold_what_matplotlib_takes_for_formulas(place: Path) -> None:
    Path("my photos é").rename("$5_{ and $")
    minigen.train("ae", "$5_{ and $", size=8, **SMALL["ae"])
    assert Path("runs/ae-$5_{ and $/reconstructions.png").exists()
    labels = 30 * ["a$b_{c$", "b"]
    minigen.train("gan", COLOURS, labels, size=8, conditional=True, out="out", **SMALL["gan"])
    assert Path("out/samples.png").exists()


# The film of the training


@pytest.mark.parametrize(
    ("model", "data", "n"), [*((name, COLOURS, 64) for name in SMALL), ("gan", "ring", 1000)]
)
def test_a_film_shows_the_same_noise_at_steps_of_the_training(
    model: str, data: Any, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step, each time that so many are done, and at the end."""
    films: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pictures, "film", lambda *arguments: films.append(arguments))
    settings = SMALL[model] | ({} if isinstance(data, str) else {"size": 8})
    plain = minigen.train(model, data, out="plain", **settings | {"steps": 5})
    assert not any(path.name == "training.gif" for path, *_ in films)
    trained = minigen.train(
        model, data, out="run", sample_every=2, save_every=2, **settings | {"steps": 5}
    )
    path, states, labels, title, classes, beneath = films[-1]
    assert path == trained.path / "training.gif" and title == trained.recipe.heading
    assert labels == [f"samples at step {k}" for k in (0, 2, 4, 5)] and classes == 0
    assert {len(x) for x in states} == {n} and np.array_equal(
        states[-1], trained.recipe.sample(n, 0)
    )
    assert not any(np.array_equal(a, b) for a, b in zip(states, states[1:]))
    assert np.array_equal(beneath, trained.recipe.data.train)
    assert np.array_equal(trained.sample(3), plain.sample(3)), "the film changed the training"


def test_a_film_of_a_run_in_parts_is_that_of_the_run_in_one_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Frames beyond the checkpoint are made again; `sample_every` may be another, or be new."""
    films: list[Any] = []
    monkeypatch.setattr(
        pictures, "film", lambda _, states, labels, *__: films.append((states, labels))
    )
    settings = SMALL["vae"] | {"steps": 8, "size": 8, "save_every": 4, "sample_every": 3}
    minigen.train("vae", COLOURS, out="whole", **settings)
    cut = minigen.new("vae", COLOURS, out="cut", **settings)
    step = cut.recipe.step

    def fails(k: int) -> Any:
        if k == 7:
            raise MemoryError
        return step(k)

    monkeypatch.setattr(cut.recipe, "step", fails)
    with pytest.raises(MemoryError):
        cut.train()
    assert sorted(cut.run.frames()) == [0, 3, 6] and cut.done == 4
    shutil.copytree("cut", "other")
    assert minigen.load("cut").train()
    (expected, labels), (found, same_labels) = films
    assert labels == same_labels and all(map(np.array_equal, expected, found))
    assert minigen.load("other", sample_every=4).train()
    assert films[-1][1] == [f"samples at step {k}" for k in (0, 3, 4, 8)]


def test_classes_have_columns_in_the_film(monkeypatch: pytest.MonkeyPatch) -> None:
    films: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pictures, "film", lambda *arguments: films.append(arguments))
    settings = SMALL["gan"] | {"conditional": True, "size": 8, "sample_every": 1}
    minigen.train("gan", COLOURS, LABELS, **settings)
    assert films[-1][4] == 2


def test_checkpoints_come_as_often_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = minigen.new("gan", "ring", save_every=2, **SMALL["gan"] | {"steps": 5})
    saved: list[int] = []
    monkeypatch.setattr(model.run, "save", lambda state: saved.append(state["step"]))
    monkeypatch.setattr(type(model), "_draw_training", lambda _: None)
    model.train()
    assert saved == [2, 4, 5]


# The pictures of a conditional VAE


@pytest.mark.parametrize("conditional", [True, False])
def test_pictures_of_a_vae_say_with_which_label(
    conditional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one of them has the same codes in each column, with a label for each."""
    drawn: dict[str, tuple[Any, ...]] = {}
    monkeypatch.setattr(
        pictures, "sequence", lambda path, *arguments: drawn.update({path.name: arguments})
    )
    settings = SMALL["vae"] | {"size": 8, "conditional": conditional}
    model = minigen.new("vae", COLOURS, LABELS, **settings)
    monkeypatch.setattr(model.recipe, "decode", lambda z, labels=None: (z, labels))
    model.recipe.draw(model.run)
    of_ways, of_moves = (drawn[f"{name}.png"][2] for name in ("interpolation", "traversal"))
    if not conditional:
        assert "labels.png" not in drawn and "decoded" not in of_ways + of_moves
        return
    tested = [("rose", "tulip")[k] for k in model.recipe.data.test_labels[:5]]
    assert of_ways.endswith(f", decoded as {', '.join(tested)}")
    assert of_moves.endswith(f", decoded as {tested[0]}")
    columns, names, _ = drawn["labels.png"]
    assert names == ["rose", "tulip"]
    for k, (z, labels) in enumerate(columns):
        assert z.shape == (5, 3) and np.array_equal(z, columns[0][0]) and (labels == k).all()


# The picture of samples


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each picture of samples: path, samples, title, data, names of classes."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pictures, "samples", lambda *arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize("model", ["ddpm", "gan"])
def test_a_thousand_points_are_drawn_over_the_data(
    model: str, drawn: list[tuple[Any, ...]]
) -> None:
    trained = minigen.train(model, "ring", out="ring", **SMALL[model])
    assert command("sample", "ring", "-n", 5)[0] == 0
    for (path, x, title, data, names), n in zip(drawn, (64, 5), strict=True):
        assert len(np.load(path.parent / "samples.npz")["x"]) == n and len(x) >= 1000
        assert np.array_equal(data, trained.recipe.data.train) and names == []
        assert "ring" in title
    assert "seed 0" in drawn[0][2] and "seed 1" in drawn[1][2]


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_samples_of_a_class_are_drawn_below_one_of_the_data(
    model: str, drawn: list[tuple[Any, ...]]
) -> None:
    minigen.train(model, COLOURS, LABELS, size=8, conditional=True, out="run", **SMALL[model])
    (_, x, title, data, names), train = drawn[0], minigen.load("run").recipe.data
    assert len(x) == 64 and names == ["rose", "tulip"] and "conditional" in title
    for k, image in enumerate(data):
        assert any(np.array_equal(image, one) for one in train.train[train.train_labels == k])


def test_the_picture_of_samples_says_how_they_were_drawn(drawn: list[tuple[Any, ...]]) -> None:
    minigen.train("ddpm", COLOURS, LABELS, size=8, conditional=True, out="run", **SMALL["ddpm"])
    how = ["--sampler", "ddim", "--sampler-steps", 2, "--guidance", 1.5, "--label", "tulip"]
    assert command("sample", "run", "-n", 2, *how)[0] == 0
    said = "sampler ddim, sampler steps 2, guidance 1.5, label tulip, seed 1"
    assert drawn[-1][2] == f"DDPM on array, conditional, {said}"


def test_no_files_are_read_for_the_picture_of_samples(drawn: list[tuple[Any, ...]]) -> None:
    minigen.train("gan", "my photos é", size=8, out="run", **SMALL["gan"])
    shutil.rmtree("my photos é")
    assert command("sample", "run")[0] == 0
    assert len(drawn[0][3]) > 0 and drawn[1][3] is None


@pytest.mark.parametrize(
    ("model", "settings", "heading"),
    [
        ("gan", {"loss": "hinge", "conditional": True}, "GAN on digits, hinge, conditional"),
        ("gan", {"data": "ring"}, "GAN on ring, gan-gp"),
        ("ae", {"regulariser": "contractive"}, "Autoencoder on digits, contractive"),
        ("ae", {}, "Autoencoder on digits"),
        ("vae", {"beta": 4.0, "conditional": True}, "VAE on digits, beta = 4, conditional"),
        ("ddpm", {}, "DDPM on digits"),
        ("ncsn", {"data": "ring"}, "NCSN on ring"),
    ],
)
def test_a_heading_names_model_data_and_variant(
    model: str, settings: dict[str, Any], heading: str
) -> None:
    assert minigen.api.new(model, **SMALL[model], **settings).recipe.heading == heading
