"""Data of the user's own: every kind of image and array is read as what it is, or refused."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minigen.data import About, from_arrays, load
from minigen.data.images import read_image
from minigen.data.own import as_images, as_labels, load_own

RGB = np.random.default_rng(0).integers(256, size=(12, 12, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def in_minus_one_to_one(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1) / 127.5 - 1


# Images


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    smooth = np.indices((64, 64)).sum(0).astype(np.uint8)[:, :, None].repeat(3, 2)
    path = saved(tmp_path / "x.jpg", Image.fromarray(smooth), quality=95)
    assert read_image(path, 64) == pytest.approx(in_minus_one_to_one(smooth), abs=0.05)


def test_a_large_jpeg_is_read_as_well_as_its_png(tmp_path: Path) -> None:
    """Only part of what is in it is decoded."""
    y, x = np.indices((800, 1000)) / 800
    waves = np.stack([x, y, (np.sin(9 * x) + 1) / 2], 2).clip(0, 1)
    image = Image.fromarray(np.rint(255 * waves).astype(np.uint8))
    jpeg = read_image(saved(tmp_path / "x.jpg", image, quality=95), 16)
    png = read_image(saved(tmp_path / "x.png", image), 16)
    assert np.abs(jpeg - png).max() < 0.05 and png.std() > 0.4


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    opaque = read_image(saved(tmp_path / "a.png", image.resize((2, 2))), 2)
    assert opaque[:, 0, 0].tolist() == [1, -1, -1] and opaque[:, 0, 1].tolist() == [-1, -1, 1]
    clear = read_image(saved(tmp_path / "b.png", image.resize((2, 2)), transparency=0), 2)
    assert clear[:, 0, 0].tolist() == [1, 1, 1] and clear[:, 0, 1].tolist() == [-1, -1, 1]


def test_a_page_of_one_bit_is_black_and_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    x = read_image(saved(tmp_path / "x.png", image), 2)
    assert x.tolist() == 3 * [[[1, -1], [-1, 1]]]


def test_inks_are_colours(tmp_path: Path) -> None:
    cyan = saved(tmp_path / "x.jpg", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), quality=100)
    assert read_image(cyan, 8).mean((1, 2)) == pytest.approx([-1, 1, 1], abs=0.02)


def test_an_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    """Orientation 6: what the file has as its left edge is the top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "x.png", Image.fromarray(RGB), exif=exif)
    assert read_image(path, 12) == pytest.approx(in_minus_one_to_one(np.rot90(RGB, -1)), abs=1e-6)


def test_a_cut_jpeg_is_damaged(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG")
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue()[:-200])
    with pytest.raises(ValueError, match=r"x.jpg: damaged, or not an image"):
        read_image(tmp_path / "x.jpg", 4)


# Folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """30 colour images, PNG and JPEG, of mixed sizes, and what else lies in such a folder."""
    folder, rng = tmp_path / "my photos é", np.random.default_rng(0)
    for k in range(30):
        H, W = rng.integers(5, 40, 2)
        pixels = rng.integers(256, size=(H, W, 3), dtype=np.uint8)
        saved(folder / f"{k}.{('png', 'jpg', 'JPEG')[k % 3]}", Image.fromarray(pixels))
    (folder / "notes.txt").write_text("not an image")
    (folder / "._0.png").write_bytes(b"what a Mac leaves behind")
    return folder


def test_a_folder_of_photos(photos: Path) -> None:
    data = load(str(photos), size=8)
    assert data.about == About((3, 8, 8)) and data.name == "my photos é"
    assert data.train.shape == (27, 3, 8, 8) and data.test.shape == (3, 3, 8, 8)
    assert data.train.dtype == np.float32 and abs(data.train).max() <= 1
    again = load(str(photos), size=8)
    assert np.array_equal(data.train, again.train) and np.array_equal(data.test, again.test)
    assert load(str(photos)).about == About((3, 32, 32))


def test_folders_in_a_folder_are_classes(tmp_path: Path) -> None:
    for level, name in enumerate(("cats", "dogs", "eels")):
        for k in range(4):
            saved(tmp_path / name / f"{k}.png", Image.new("L", (4, 4), 100 * level))
    data = load(str(tmp_path), size=4)
    assert data.class_names == ("cats", "dogs", "eels") and data.about == About((1, 4, 4), 3)
    for x, labels in ((data.train, data.train_labels), (data.test, data.test_labels)):
        assert np.array_equal(np.rint((x[:, 0, 0, 0] + 1) * 127.5), 100 * labels)  # type: ignore
    saved(tmp_path / "neither.png", Image.new("L", (4, 4)))
    assert load(str(tmp_path), size=4).about == About((1, 4, 4), 0)


def test_grey_images_have_one_channel_unless_asked_for_more(tmp_path: Path) -> None:
    for k in range(3):
        saved(tmp_path / f"{k}.png", Image.new("RGB", (4, 4), (9 * k, 9 * k, 9 * k)))
    assert load_own(tmp_path, 4).about.shape == (1, 4, 4)
    assert load_own(tmp_path, 4, channels=3).about.shape == (3, 4, 4)


def test_colours_turn_to_the_grey_that_pillow_gives_them(tmp_path: Path) -> None:
    colour, grey = tmp_path / "colour", tmp_path / "grey"
    for k in range(2):
        saved(colour / f"{k}.png", Image.fromarray(RGB))
        saved(grey / f"{k}.png", Image.fromarray(RGB).convert("L"))
    ours, pillows = load_own(colour, 12, channels=1), load_own(grey, 12)
    assert ours.train == pytest.approx(pillows.train, abs=1.01 / 127.5)


def test_all_damaged_images_are_named_at_once(photos: Path) -> None:
    for k in (0, 4, 8, 12, 16):
        (path,) = photos.glob(f"{k}.*")
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"5 of 30 images.*0.png.*12.png.*16.jpg.*and 2 more"):
        load(str(photos), size=8)


@pytest.mark.parametrize(
    ("names", "words"), [((), "holds 0 images"), (("a.png",), "holds 1 image "),
                         (("a.ppm", "b.ppm"), "there are .ppm")]
)  # fmt: skip
def test_too_few_images_are_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    for name in names:
        saved(tmp_path / name, Image.new("L", (4, 4)))
    with pytest.raises(ValueError, match=words):
        load(str(tmp_path))


# Arrays


@given(
    layout=st.sampled_from(["NHW", "NCHW", "NHWC"]),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([5, 8]),
    dtype=st.sampled_from(["uint8", "uint16", "int64", "bool", "unit", "signed"]),
    seed=st.integers(0, 99),
)
def test_arrays_of_every_layout_and_format(
    layout: str, channels: int, size: int, dtype: str, seed: int
) -> None:
    """The same grey levels in 0..1, however they are written down."""
    channels = 1 if layout == "NHW" else channels
    levels = np.random.default_rng(seed).integers(2, size=(6, channels, size, size))
    levels[0, 0, 0, :2] = 0, 1
    scale = {"uint8": 255, "uint16": 65535, "int64": 255}.get(dtype, 1)
    x = levels * scale if dtype != "signed" else levels * 2.0 - 1
    x = x.astype({"unit": "float32", "signed": "float64"}.get(dtype, dtype))
    x = {"NHW": x[:, 0], "NCHW": x, "NHWC": x.transpose(0, 2, 3, 1)}[layout]
    data = from_arrays("x", x, channels=channels)
    got = np.concatenate([data.test, data.train])
    order = np.random.default_rng(0).permutation(6)
    assert np.array_equal(got, levels[order] * 2.0 - 1) and got.dtype == np.float32


def test_opacity_is_laid_on_white() -> None:
    clear, opaque = np.zeros((3, 5, 5, 4)), np.zeros((3, 5, 5, 4))
    opaque[..., 3] = 1
    assert (from_arrays("x", clear, channels=3).train == 1).all()
    assert (from_arrays("x", opaque, channels=3).train == -1).all()


def test_arrays_are_cut_to_squares_and_resampled() -> None:
    x = np.zeros((4, 6, 10), np.uint8)
    x[:, :, 2:8] = 255
    data = from_arrays("x", x, size=4)
    assert data.train.shape == (3, 1, 4, 4) and (data.train == 1).all()


def test_points_stay_as_they_are() -> None:
    x = np.random.default_rng(0).normal(0, 30, (20, 2))
    data = from_arrays("x", x)
    assert data.about == About((2,)) and len(data.train) == 18
    rows = {tuple(row) for row in x.astype(np.float32).tolist()}
    assert {tuple(row) for row in np.concatenate([data.train, data.test]).tolist()} == rows


@pytest.mark.parametrize(
    "labels", [["b", "a", "c", "a"], np.array([7, 3, 9, 3]), ("b", "a", "c", "a")]
)
def test_labels_are_numbered_in_order(labels: Any) -> None:
    x = 60 * np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 4), np.uint8)
    data = from_arrays("x", x, labels)
    assert data.class_names == tuple(sorted(set(map(str, labels))))
    for image, label in zip(data.train, data.train_labels):  # type: ignore[arg-type]
        k = round((float(image[0, 0, 0]) + 1) * 127.5 / 60)
        assert data.class_names[label] == str(labels[k])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((1, 8, 8)), "one alone is not enough"),
        (np.zeros((0, 8, 8)), "shape (0, 1, 8, 8)"),
        (np.zeros((5, 2, 8, 8)), "shape (5, 2, 8, 8)"),
        (np.zeros((5, 3)), "shape (5, 3)"),
        (np.full((5, 8, 8), 300), "from 300 to 300: integers must lie in 0..255"),
        (np.full((5, 8, 8), -1), "integers must lie in 0..255"),
        (np.full((5, 8, 8), 1.5), "floats in [0, 1] or [-1, 1]"),
        (np.full((5, 8, 8), np.nan), "finite"),
        (np.full((5, 2), np.inf), "finite"),
        (np.full((5, 8, 8), "a"), "expected numbers"),
        (np.zeros((5, 8, 8), complex), "expected numbers"),
        (np.full((5, 8, 8), 16), "up to 16, of 255, are black"),
        (np.full((5, 8, 8), 1, np.uint8), "up to 1, of 255, are black"),
    ],
)  # fmt: skip
def test_what_is_no_data(x: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        from_arrays("x", x)


@pytest.mark.parametrize("labels", [[0, 1], [[0], [1], [0]], [0.5, 1, 2], [None, 1, 2]])
def test_labels_that_do_not_fit(labels: Any) -> None:
    with pytest.raises(ValueError, match="labels"):
        from_arrays("x", np.zeros((3, 8, 8)), labels)


def test_files_of_arrays(tmp_path: Path) -> None:
    x, labels = np.zeros((9, 8, 8), np.uint8), np.arange(9) % 3
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x)
    np.savez(tmp_path / "c.npz", images=x, labels=labels)
    for name, classes in (("a.npy", 0), ("b.npz", 0), ("c.npz", 3)):
        data = load(str(tmp_path / name))
        assert data.about == About((1, 8, 8), classes) and data.name == name[0]
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    (tmp_path / "e.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "f.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:-30])
    np.save(tmp_path / "g.npy", np.array([{}]), allow_pickle=True)
    Image.fromarray(RGB).save(tmp_path / "h.png")
    for name, words in (
        ("d", "`images`.*found x, y"),
        ("e", "damaged"),
        ("f", "damaged"),
        ("g", "plain"),
        ("h", "a folder of images"),
    ):
        (path,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(ValueError, match=f"{path.name}.*{words}"):
            load(str(path))


# What a model is asked about


def test_images_for_a_model() -> None:
    pixels = RGB[None]
    expected = in_minus_one_to_one(RGB)[None]
    assert as_images(pixels, (3, 12, 12)) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(
        as_images(expected.astype(np.float32), (3, 12, 12)), expected.astype(np.float32)
    )
    for x in (RGB, pixels[:0], np.full((1, 3, 12, 12), np.nan)):
        with pytest.raises(ValueError, match=r"expected.* images|finite"):
            as_images(x, (3, 12, 12))


def test_columns_of_other_libraries_are_labels() -> None:
    column = np.array(["a", "b"], object)
    assert as_labels(column).tolist() == ["a", "b"] and as_labels(column).dtype.kind == "U"
