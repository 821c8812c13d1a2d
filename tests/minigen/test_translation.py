"""Translation between two domains: whose turn it is, what is measured, and the command line."""

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minigen import api, cli, load
from minigen.data.domains import Domains, from_paper, load_domains, to_paper
from minigen.data.images import read_image, write_png
from minigen.evaluation import batches, pictures, slides
from minigen.evaluation.neighbours import read_digits
from minigen.recipes.cyclegan import CycleGANRecipe, CycleGANSettings
from minigen.recipes.pix2pix import Pix2PixRecipe, Pix2PixSettings
from minigen.training.learner import Learner
from tensor import Tensor

SMALL: Any = {"steps": 2, "batch_size": 3, "width": 2}
CYCLEGAN, PIX2PIX = CycleGANSettings(**SMALL), Pix2PixSettings(**SMALL)
NEW = {"cyclegan": lambda: CycleGANRecipe(CYCLEGAN), "pix2pix": lambda: Pix2PixRecipe(PIX2PIX)}
MOVED = {
    "cyclegan": {"G_learner": {"G", "F"}, "D_learner": {"D_X", "D_Y"}},
    "pix2pix": {"G_learner": {"x2y.G", "y2x.G"}, "D_learner": {"x2y.D", "y2x.D"}},
}
both = pytest.mark.parametrize("model", list(NEW))


def generators(recipe: Any) -> tuple[Any, Any]:
    """From X to Y, and from Y to X."""
    model = recipe.model
    return (model.G, model.F) if isinstance(recipe, CycleGANRecipe) else (model.x2y.G, model.y2x.G)


# Training


@both
def test_each_learner_moves_its_own_networks(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe: Any = NEW[model]()
    descend, moved = Learner.descend, {}

    def watched(learner: Learner, loss: Tensor, k: int) -> None:
        (name,) = [name for name, x in vars(recipe).items() if x is learner]
        before = recipe.model.state_dict()
        descend(learner, loss, k)
        after = recipe.model.state_dict()
        changed = {n for n in before if not np.array_equal(before[n].numpy(), after[n].numpy())}
        moved[name] = {re.sub(r"\.\d.*", "", n) for n in changed}

    monkeypatch.setattr(Learner, "descend", watched)
    recipe.step(1)
    assert moved == MOVED[model]


@both
def test_the_generators_alone_are_averaged(model: str) -> None:
    recipe: Any = NEW[model]()
    assert recipe.checkpointed["ema"] is recipe.G_learner.average is not None
    assert recipe.D_learner.average is None


def stand_still(recipe: Any) -> None:
    recipe.G_learner.schedule = recipe.D_learner.schedule = lambda k: 0.0


def test_discriminators_see_images_from_the_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of X what F made, and those of Y what G made."""
    recipe: Any = CycleGANRecipe(CYCLEGAN)
    seen: dict[str, Any] = {}
    loss = recipe.model.discriminator_loss

    def watched(x: Tensor, y: Tensor, fake_x: Tensor, fake_y: Tensor) -> Tensor:
        seen.update(x=fake_x.numpy(), y=fake_y.numpy(), made_x=recipe.model.F(y).numpy())
        return loss(x, y, fake_x, fake_y)

    monkeypatch.setattr(recipe.model, "discriminator_loss", watched)
    stand_still(recipe)
    recipe.step(1)
    assert (
        seen["x"] == pytest.approx(seen["made_x"])
        and recipe.pool_x.count == recipe.pool_y.count == 3
    )
    monkeypatch.setattr(recipe.pool_x, "query", lambda images, rng: 0 * images.detach() + 0.25)
    monkeypatch.setattr(recipe.pool_y, "query", lambda images, rng: 0 * images.detach() + 0.5)
    recipe.step(2)
    assert (seen["x"] == 0.25).all() and (seen["y"] == 0.5).all()


@both
def test_the_losses_of_a_step_are_those_of_its_batch(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each translation is compared with what it should be: the pair of its image, or the image
    after a cycle."""
    recipe: Any = NEW[model]()
    stand_still(recipe)
    draw = Domains.batch if model == "cyclegan" else Domains.pairs
    x, y = draw(recipe.data, 3, np.random.default_rng(0))
    monkeypatch.setattr(Domains, draw.__name__, lambda *_: (x, y))
    logged = {name: value.item() for name, value in recipe.step(1).items()}
    G, F = generators(recipe)
    if model == "cyclegan":
        distances = {"cycle_x": F(G(x)) - x, "cycle_y": G(F(y)) - y}
        discriminators = recipe.model.discriminator_loss(x, y, F(y), G(x))
    else:
        distances = {"l1_x": F(y) - x, "l1_y": G(x) - y}
        x2y, y2x = recipe.model.x2y, recipe.model.y2x
        discriminators = x2y.discriminator_loss(x, y, G(x)) + y2x.discriminator_loss(y, x, F(y))
        l1 = recipe.settings.l1 * (logged["l1_x"] + logged["l1_y"])
        adversarial = (
            x2y.generator_losses(x, y, G(x)).adversarial
            + y2x.generator_losses(y, x, F(y)).adversarial
        )
        assert logged["generators"] == pytest.approx(adversarial.item() + l1, rel=1e-5)
    for name, distance in distances.items():
        assert logged[name] == pytest.approx(np.mean(abs(distance.numpy())), rel=1e-5)
    assert logged["discriminators"] == pytest.approx(discriminators.item(), rel=1e-5)


def test_only_pix2pix_sees_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = Pix2PixRecipe(PIX2PIX).data.pairs(3, rng)
    assert to_paper(x.numpy()) == pytest.approx(y.numpy(), abs=1e-5)
    x, y = CycleGANRecipe(CYCLEGAN).data.batch(20, rng)
    assert not (abs(to_paper(x.numpy())[:, None] - y.numpy()).max((2, 3, 4)) < 1e-5).any()
    for unused, model in (("batch", "pix2pix"), ("pairs", "cyclegan")):
        monkeypatch.delattr(Domains, unused)
        NEW[model]().step(1)
        monkeypatch.undo()


@pytest.mark.parametrize("model", [CYCLEGAN, PIX2PIX], ids=["cyclegan", "pix2pix"])
def test_the_learning_rate_falls_over_the_second_half(model: Any) -> None:
    recipe = (CycleGANRecipe if model is CYCLEGAN else Pix2PixRecipe)(replace(model, steps=8))
    for learner in (recipe.G_learner, recipe.D_learner):
        rates = [learner.schedule(k) for k in range(1, 9)]
        assert rates == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(("step", "share"), [(1, 0.25), (2, 0.5), (4, 1), (5, 1)])
@pytest.mark.parametrize(
    "weights", [{"cycle": 0.0, "identity": 2.0}, {"cycle": 3.0, "identity": 0.0}]
)
def test_the_weights_of_the_losses_are_those_of_the_settings(
    weights: dict[str, float], step: int, share: float
) -> None:
    """Once they have grown to their full size."""
    losses = CycleGANRecipe(replace(CYCLEGAN, steps=9, cycle_warmup=4, **weights)).step(step)
    logged = {name: loss.item() for name, loss in losses.items()}
    cycle, identity = (
        sum(logged[f"{name}_{domain}"] for domain in "xy") for name in ("cycle", "identity")
    )
    tied = share * (weights["cycle"] * cycle + weights["identity"] * identity)
    assert logged["generators"] == pytest.approx(
        logged["adversarial_G"] + logged["adversarial_F"] + tied, rel=1e-5
    )
    assert (identity > 0) == (weights["identity"] > 0)


# Translations


@both
def test_translations_are_those_of_the_averaged_generators(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are at once."""
    monkeypatch.setattr(batches, "BATCH", 3)
    recipe: Any = NEW[model]()
    recipe.checkpointed["ema"].average[...] *= 2
    x = recipe.data.test_x[:7]
    to_y, to_x = recipe.translate(x), recipe.translate(x, "y2x")
    G, F = generators(recipe)
    assert (
        abs(G(Tensor(x)).numpy() - to_y).max() > 1e-3
        and to_y.shape == x.shape
        and to_y.dtype == np.float32
    )
    for network in (G, F):
        for p in network.parameters():
            p.copy_(2 * p.detach())
    assert to_y == pytest.approx(G(Tensor(x)).numpy(), abs=1e-5) and to_x == pytest.approx(
        F(Tensor(x)).numpy(), abs=1e-5
    )


@both
def test_another_direction_is_refused(model: str) -> None:
    x = np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(ValueError, match="direction must be x2y or y2x, got 'y2z'"):
        NEW[model]().translate(x, "y2z")


@both
def test_the_truth_has_the_best_measures_and_no_change_those_of_before(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: Any = NEW[model]()
    monkeypatch.setattr(
        recipe, "translate", lambda x, way="x2y": to_paper(x) if way == "x2y" else from_paper(x)
    )
    found = recipe.evaluate(60, seed=0)
    assert [found[name][0] for name in found if "L1" in name] == pytest.approx([0, 0, 0], abs=1e-6)
    assert all(found[name][0] > 100 for name in found if "PSNR" in name)
    test = load_domains(paired=False)
    assert test.test_labels is not None
    share = np.mean(read_digits(test.test_x[:60]) == test.test_labels[:60])
    assert found["digits read rightly"] == (share, share) and share > 0.9

    monkeypatch.setattr(recipe, "translate", lambda x, way="x2y": x)
    found = recipe.evaluate(60, seed=0)
    assert found.pop("L1, X to Y to X") == (0, None) and found.pop("digits read rightly")[0] < 0.5
    assert all(value == before for value, before in found.values())
    assert found["L1, X to Y"][0] == pytest.approx(
        np.mean(abs(test.test_x - to_paper(test.test_x))[:60])
    )


# The command line


def minigen(*arguments: object) -> tuple[int, str, str]:
    """`minigen ARGUMENTS` in this process: exit status, output, errors."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, in which X and Y are folders of images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slides, "save", lambda figure, path: path.touch())
    monkeypatch.setattr(api, "SAMPLES_OF_A_RUN", 5)
    rng = np.random.default_rng(0)
    for folder in ("X", "Y"):
        Path(folder).mkdir()
        for k in range(60):
            write_png(f"{folder}/{k}.png", rng.uniform(-1, 1, (3, 9, 12)).astype(np.float32))
    yield tmp_path


FEW = ("--steps", 2, "--batch-size", 2, "--width", 2)


@both
def test_folders_of_two_images_can_be_measured_by_the_one_held_out(place: Path, model: str) -> None:
    for k in range(2, 60):
        Path(f"X/{k}.png").unlink()
        Path(f"Y/{k}.png").unlink()
    assert (
        minigen(
            "train", model, *FEW, "--data-x", "X", "--data-y", "Y", "--size", 8, "--out", "run"
        )[0]
        == 0
    )
    for options in ((), ("-n", 1)):
        status, out, err = minigen("evaluate", "run", *options)
        assert (
            status == 0
            and out.startswith("1 sample of run against 1 test item;")
            and "L1, X to Y to X" in out
        ), err
    status, _, err = minigen("evaluate", "run", "-n", 2)
    assert status == 2 and "at most 1 sample" in err


@both
@pytest.mark.parametrize("options", [[], ["--data-x", "X", "--data-y", "Y", "--size", 8]])
def test_from_training_to_translations(place: Path, model: str, options: list[Any]) -> None:
    size = 8 if options else 16
    status, out, _ = minigen("train", model, *FEW, *options, "--out", "run")
    assert status == 0 and "translations.png" in {path.name for path in Path("run").iterdir()}
    assert minigen("sample", "run", "-n", 7)[0] == 0
    assert np.load("run/samples-1/samples.npz")["x"].shape == (7, 3, size, size)
    status, out, _ = minigen("evaluate", "run", "-n", 6)
    assert status == 0 and "L1, X to Y to X" in out and "before: the images as they were" in out
    assert ("digits read rightly" in out) == (not options) and ("PSNR" in out) == (
        not options or model == "pix2pix"
    )
    assert minigen("train", model, "--resume", "run", "--steps", 3)[0] == 0

    for source, direction, names in (
        ("X", "y2x", {f"{k}.png" for k in range(60)}),
        ("X/3.png", "x2y", {"3.png"}),
    ):
        status, out, _ = minigen("translate", "run", "--input", source, "--direction", direction)
        folder = Path(f"run/translated-{direction}")
        assert status == 0 and str(folder) in out and f"{folder}.png" in out
        assert {path.name for path in folder.iterdir()} == names
        assert Path(f"{folder}.png").exists()
        expected = load("run").translate(read_image("X/3.png", size)[None], direction)[0]
        assert read_image(folder / "3.png", size) == pytest.approx(expected, abs=1 / 127)


def test_without_an_input_the_test_images_are_translated(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And lie beside what becomes of them."""
    sheets: list[Any] = []
    monkeypatch.setattr(pictures, "sequence", lambda *arguments: sheets.append(arguments))
    minigen("train", "cyclegan", *FEW, "--out", "run")
    recipe = load("run").recipe
    for direction, x in (("x2y", recipe.data.test_x), ("y2x", recipe.data.test_y)):
        assert minigen("translate", "run", "--direction", direction)[0] == 0
        path, (before, after), labels, title = sheets[-1]
        assert path == Path(f"run/translated-{direction}.png")
        assert np.array_equal(before, x) and labels == ["before", "after"]
        assert np.array_equal(after, recipe.translate(x, direction))
        assert title == f"CycleGAN on digits: {direction[0].upper()} to {direction[-1].upper()}"
        assert len(list(path.with_suffix("").iterdir())) == len(x)
    folders = ("--data-x", "X", "--data-y", "Y", "--size", 8)
    minigen("train", "cyclegan", *FEW, *folders, "--out", "own")
    assert minigen("translate", "own", "--direction", "x2y")[0] == 0
    status, _, err = minigen("translate", "own", "--direction", "y2x")
    assert status == 2 and "holds out no images of Y" in err
    Path("X").rename("moved")
    assert minigen("translate", "own", "--direction", "x2y")[0] == 2
    assert minigen("translate", "own", "--direction", "x2y", "--data-x", "moved")[0] == 0


def test_a_sheet_never_takes_the_place_of_another_file(place: Path) -> None:
    minigen("train", "cyclegan", *FEW, "--out", "run")
    for name in ("out.png", "_out.png"):
        Path(name).write_bytes(b"mine")
    translate = "translate", "run", "--input", "X/3.png", "--direction", "x2y", "--out"
    status, out, _ = minigen(*translate, "out")
    assert status == 0 and "what they were: __out.png" in out and Path("__out.png").exists()
    assert Path("out.png").read_bytes() == Path("_out.png").read_bytes() == b"mine"


def test_translations_can_be_translated_back_as_they_lie(place: Path) -> None:
    minigen("train", "cyclegan", *FEW, "--out", "run")
    minigen("translate", "run", "--input", "X", "--direction", "x2y")
    back = "translate", "run", "--input", "run/translated-x2y", "--direction", "y2x"
    assert minigen(*back)[1].startswith("60 translations")


def test_unusual_images_are_translated_with_a_word(place: Path) -> None:
    minigen("train", "cyclegan", *FEW, "--out", "run")
    Path("odd").mkdir()
    square, clear = Image.new("RGB", (20, 20)), Image.new("RGBA", (20, 30))
    square.save("odd/square.png")
    clear.save("odd/clear.png")
    clear.save("odd/film.gif", save_all=True, append_images=[Image.new("RGBA", (20, 30), "red")])
    square.resize((15, 15)).save("odd/small.png")
    status, out, _ = minigen("translate", "run", "--input", "odd", "--direction", "x2y")
    notes = {line.removeprefix("note: ") for line in out.splitlines() if "note: " in line}
    assert status == 0 and notes == {
        "2 of 4 images: what is transparent is laid on white",
        "2 of 4 images: the centred square is taken of what is not square",
        "1 of 4 images: enlarged to 16x16",
        "1 of 4 images: the first frame is taken of several",
    }
    _, out, _ = minigen("translate", "run", "--input", "odd/square.png", "--direction", "x2y")
    assert "note: " not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "cyclegan", "--data-x", "X"], ["--data-x", "--data-y"]),
        (["train", "cyclegan", "--data-x", "X", "--data-y", "nowhere"], ["nowhere"]),
        (["train", "cyclegan", "--size", "8"], ["--size 8", "--data-x"]),
        (
            ["train", "cyclegan", "--size", "9", "--data-x", "X", "--data-y", "Y"],
            ["size", "even", "9"],
        ),
        (["train", "cyclegan", "--cycle", "-1"], ["--cycle", "-1"]),
        (["train", "cyclegan", "--data-dir", "X"], ["--data-dir"]),
        (["train", "pix2pix", "--l1", "nan"], ["--l1", "nan"]),
        (["sample", "run", "--data-dir", "X"], ["--data-dir", "CycleGAN"]),
        (["sample", "run", "--sampler", "ddim"], ["--sampler", "CycleGAN"]),
        (["translate", "run", "--input", "X"], ["--direction"]),
        (["translate", "run", "--input", "X", "--direction", "up"], ["x2y", "y2x", "up"]),
        (["translate", "run", "--input", "run", "--direction", "x2y"], ["run", "images"]),
        (
            ["translate", "run", "--input", "run/config.json", "--direction", "x2y"],
            ["config.json", "image"],
        ),
        (
            ["translate", "run", "--input", "X", "--direction", "x2y", "--out", "Y"],
            ["Y exists", "--out"],
        ),
        (
            ["translate", "vae", "--input", "X", "--direction", "x2y"],
            ["vae", "cyclegan", "pix2pix"],
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    place: Path, arguments: list[str], words: list[str]
) -> None:
    if "run" in arguments:
        assert minigen("train", "cyclegan", *FEW, "--out", "run")[0] == 0
    if "vae" in arguments:
        assert minigen("train", "vae", "--steps", 1, "--out", "vae")[0] == 0
    before = sorted(place.rglob("*"))
    status, _, err = minigen(*arguments)
    last = err.splitlines()[-1]
    assert (
        status == 2
        and re.match(r"minigen( \w+)*: error: ", last)
        and all(word in last for word in words)
    ), err
    assert sorted(place.rglob("*")) == before
