"""Domains: the rules have the inverses they claim, unpaired digits are disjoint, PNGs are read as
they were written."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ExifTags, Image

from minigen.data.digits import load_digits
from minigen.data.domains import (
    INK,
    OUTLINE,
    PAPER,
    from_paper,
    load_domains,
    load_symmetric_domains,
    on_black,
    to_orange_and_blue,
    to_paper,
)
from minigen.data.folders import load_folders
from minigen.data.images import image_size, read_image, read_opacity, write_png
from minigen.evaluation.neighbours import read_digits

grey_images = hnp.arrays(np.float32, (2, 1, 5, 5), elements=st.floats(-1, 1, width=32)).map(
    lambda x: np.repeat(x, 3, axis=1)
)
any_images = hnp.arrays(np.float32, (2, 3, 5, 5), elements=st.floats(-9, 9, width=32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def images_in(x: np.ndarray) -> set[bytes]:
    return {(image + np.float32(0)).tobytes() for image in x}  # + 0 makes -0 equal to 0


# Domains made from the digits


def test_grey_digits_are_interpolated_between_pixel_centres() -> None:
    digit = np.full((1, 1, 8, 8), -1, np.float32)
    digit[0, 0, 2, 5] = 1
    row, column = np.zeros((2, 16))
    row[3:7] = column[9:13] = 0.25, 0.75, 0.75, 0.25
    assert np.array_equal(
        on_black(digit), np.broadcast_to(2 * np.outer(row, column) - 1, (1, 3, 16, 16))
    )


@pytest.mark.parametrize("load", [load_domains, load_symmetric_domains])
@pytest.mark.parametrize("paired", [False, True])
def test_domains_are_colour_images_from_minus_one_to_one_and_repeat(load, paired: bool) -> None:
    first, second = load(paired), load(paired)
    for name in ("train_x", "train_y", "test_x", "test_y"):
        x = getattr(first, name)
        assert (
            x.dtype == np.float32 and x.shape[1:] == (3, 16, 16) and x.min() == -1 and x.max() == 1
        )
        assert np.array_equal(x, getattr(second, name))
    assert len(first.test_labels) == len(first.test_x) == len(first.test_y)


@pytest.mark.parametrize(
    ("load", "rule"), [(load_domains, to_paper), (load_symmetric_domains, to_orange_and_blue)]
)
def test_truth_is_the_rule(load, rule) -> None:
    paired, unpaired = load(paired=True), load(paired=False)
    assert np.array_equal(paired.train_y, rule(paired.train_x))
    for data in (paired, unpaired):
        assert np.array_equal(data.test_y, rule(data.test_x))


def test_unpaired_training_images_are_of_disjoint_digits_and_all_are_used() -> None:
    data = load_domains(paired=False)
    x, y = images_in(data.train_x), images_in(from_paper(data.train_y))
    assert not x & y and abs(len(x) - len(y)) <= 1
    assert x | y == images_in(on_black(load_digits("train")[0])) and not (x | y) & images_in(
        data.test_x
    )


def test_held_out_images_are_the_test_digits_in_order() -> None:
    digits, labels = load_digits("test")
    paper, symmetric = load_domains(paired=True), load_symmetric_domains(paired=True)
    assert np.array_equal(paper.test_x, on_black(digits)) and np.array_equal(
        paper.test_labels, labels
    )
    for sign, start in ((1, 0), (-1, 1)):
        assert np.array_equal(sign * symmetric.test_x[start::2], on_black(digits))
        assert np.array_equal(symmetric.test_labels[start::2], labels)


def test_a_dot_is_ink_within_an_outline_on_paper() -> None:
    x = np.full((1, 3, 5, 5), -1, np.float32)
    x[:, :, 1, 1] = 1
    expected = np.broadcast_to(PAPER, (1, 3, 5, 5)).copy()
    expected[:, :, :3, :3] = OUTLINE
    expected[:, :, 1, 1] = INK[:, 0, 0]
    assert np.allclose(to_paper(x), 2 * expected - 1, atol=1e-6)
    x[:, :, 1, 1] = 0
    assert np.allclose(to_paper(x), expected + PAPER - 1, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_inverse_of_paper_is_exact_on_digits(split: str) -> None:
    x = on_black(load_digits(split)[0])
    assert np.array_equal(from_paper(to_paper(x)), x)


@given(x=grey_images)
def test_paper_has_an_inverse_on_all_grey_images(x: np.ndarray) -> None:
    y = to_paper(x)
    assert y.dtype == np.float32 and np.abs(y).max() <= 1 + 1e-6
    assert np.allclose(from_paper(y), x, atol=1e-6)


@given(y=any_images)
def test_any_image_taken_from_paper_is_grey_and_in_range(y: np.ndarray) -> None:
    x = from_paper(y)
    assert np.abs(x).max() <= 1 and np.array_equal(x, np.repeat(x[:, :1], 3, axis=1))


def test_the_class_is_read_before_and_after_translation() -> None:
    data = load_domains(paired=False)
    read = read_digits(data.test_x)
    assert np.mean(read == data.test_labels) > 0.95
    assert np.array_equal(read_digits(from_paper(data.test_y)), read)
    assert np.mean(read_digits(data.test_x[:, :, ::-1, ::-1]) == data.test_labels) < 0.7


@pytest.mark.parametrize("paired", [False, True])
def test_symmetric_domains_do_not_tell_the_wrong_map_from_the_right_one(paired: bool) -> None:
    data = load_symmetric_domains(paired)
    wrong = to_orange_and_blue(-data.test_x)
    assert images_in(wrong) == images_in(data.test_y) and np.abs(wrong - data.test_y).mean() > 0.9
    for images in (data.train_x, data.train_y):
        assert images_in(-images) == images_in(images)


def test_white_turns_orange_and_black_blue() -> None:
    white = np.ones((1, 3, 1, 1), np.float32)
    assert to_orange_and_blue(white).ravel().tolist() == [1, 0, -1]
    assert to_orange_and_blue(-white).ravel().tolist() == [-1, 0, 1]


def test_symmetric_training_images_are_of_disjoint_digits() -> None:
    data = load_symmetric_domains(paired=False)
    assert not images_in(to_orange_and_blue(data.train_x)) & images_in(data.train_y)


# Folders of PNGs


def png(pixels: np.ndarray) -> bytes:
    """pixels (H, W, C) of 8 or 16 bits, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, as the PNG
    specification has it."""
    H, W, C = pixels.shape
    header = struct.pack(
        ">IIBBBBB", W, H, 8 * pixels.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[C], 0, 0, 0
    )
    rows = b"".join(b"\0" + row.astype(f">u{pixels.itemsize}").tobytes() for row in pixels)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d))
        for name, d in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def grey(*levels: int, size: int = 2) -> list[bytes]:
    return [png(np.full((size, size, 1), level, np.uint8)) for level in levels]


def write_all(folder: Path, **contents: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        write(folder / f"{name}.png", content)
    return folder


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("C", [1, 2, 3, 4])
def test_every_kind_of_png_is_laid_on_white(tmp_path: Path, C: int, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(
        np.iinfo(dtype).max, size=(5, 5, C), dtype=dtype, endpoint=True
    )
    values = pixels.transpose(2, 0, 1) / np.iinfo(dtype).max
    colour, alpha = (values[:-1], values[-1:]) if C in (2, 4) else (values, 1)
    expected = np.broadcast_to(2 * (alpha * colour + (1 - alpha)) - 1, (3, 5, 5))
    x = read_image(write(tmp_path / "x.png", png(pixels)), 5)
    assert x.dtype == np.float32 and x.shape == (3, 5, 5)
    assert np.allclose(x, expected, atol=1e-6 if dtype is np.uint8 else 0.02)
    opacity = read_opacity(tmp_path / "x.png", 5)
    assert opacity == pytest.approx(np.broadcast_to(alpha, (1, 5, 5))[0], abs=0.01)


def test_the_transparent_level_of_16_bits_is_not_opaque(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[500, 60000], [7, 500]], np.uint16))
    grey.save(tmp_path / "x.png", transparency=500)
    assert read_opacity(tmp_path / "x.png", 2).tolist() == [[0, 1], [1, 0]]
    x = read_image(tmp_path / "x.png", 2)
    assert x[:, [0, 1], [0, 1]].tolist() == [[1, 1]] * 3 and x[0, 1, 0] < -0.99


def test_the_size_of_an_image_is_as_its_camera_says(tmp_path: Path) -> None:
    image, exif = Image.new("L", (6, 4)), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image.save(tmp_path / "upright.jpg")
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert image_size(tmp_path / "upright.jpg") == (6, 4)
    assert image_size(tmp_path / "turned.jpg") == (4, 6)


@given(levels=hnp.arrays(np.uint8, st.tuples(st.just(3), *[st.integers(1, 6)] * 2)))
def test_levels_written_are_the_levels_in_the_file(folder: Path, levels: np.ndarray) -> None:
    write_png(folder / "x.png", levels / np.float32(127.5) - 1)
    with Image.open(folder / "x.png") as image:
        assert np.array_equal(np.asarray(image.convert("RGB")).transpose(2, 0, 1), levels)


@given(levels=hnp.arrays(np.uint8, (3, 4, 4)))
def test_a_round_trip_changes_nothing(folder: Path, levels: np.ndarray) -> None:
    path = write(folder / "x.png", png(levels.transpose(1, 2, 0)))
    x = read_image(path, 4)
    assert np.allclose(x, levels / 127.5 - 1, atol=1e-6)
    write_png(path, x)
    assert np.array_equal(read_image(path, 4), x)


def test_what_is_too_bright_is_clipped(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.array([-3, 0.2, 3], np.float32)[:, None, None])
    assert read_image(tmp_path / "x.png", 1).ravel() == pytest.approx([-1, 0.2, 1], abs=1 / 255)


@pytest.mark.parametrize(("H", "W", "top", "left"), [(4, 9, 0, 2), (10, 4, 3, 0)])
def test_the_centred_square_is_read(tmp_path: Path, H: int, W: int, top: int, left: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(H, W, 3), dtype=np.uint8)
    whole, square = png(pixels), png(pixels[top : top + 4, left : left + 4])
    assert np.array_equal(
        read_image(write(tmp_path / "a.png", whole), 4),
        read_image(write(tmp_path / "b.png", square), 4),
    )


@given(seed=st.integers(0, 2**32 - 1), S=st.integers(1, 20), size=st.integers(1, 20))
def test_resampling_is_pillows_bilinear_one(folder: Path, seed: int, S: int, size: int) -> None:
    pixels = np.random.default_rng(seed).integers(256, size=(S, S), dtype=np.uint8)
    expected = Image.fromarray(pixels.astype(np.float32)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    x = read_image(write(folder / "x.png", png(pixels[:, :, None])), size)
    assert np.allclose(x, np.asarray(expected) / 127.5 - 1, atol=1e-5)


def test_folders_hold_out_the_last_tenth_by_name(tmp_path: Path) -> None:
    x = write_all(
        tmp_path / "x",
        **{f"{level:03}": content for level, content in zip(range(39, -1, -1), grey(*range(40)))},
    )
    y = write_all(
        tmp_path / "y",
        **{str(level): content for level, content in zip(range(100, 150), grey(*range(100, 150)))},
    )
    write(x / "000.txt", b"not an image")
    data = load_folders(x, y, size=4)
    levels = np.rint((np.concatenate([data.train_x, data.test_x])[:, 0, 0, 0] + 1) * 127.5)
    assert (
        levels.tolist() == list(range(39, -1, -1))
        and data.train_x.shape == (36, 3, 4, 4)
        and data.test_x.shape[0] == 4
    )
    assert np.rint((data.train_y[:, 0, 0, 0] + 1) * 127.5).tolist() == list(range(100, 150))
    assert data.test_y is None and data.test_labels is None


def test_paired_folders_are_matched_by_name(tmp_path: Path) -> None:
    a, b, c = grey(10, 20, 30)
    x, y = write_all(tmp_path / "x", a=a, b=b, c=c), write_all(tmp_path / "y", c=c, a=a, b=b)
    data = load_folders(x, y, size=2, paired=True)
    assert np.array_equal(data.train_x, data.train_y) and np.array_equal(data.test_x, data.test_y)
    assert len(data.train_x) == 2 and len(data.test_x) == 1


def test_folders_say_what_is_wrong(tmp_path: Path) -> None:
    a, b, c = grey(1, 2, 3)
    good, other = write_all(tmp_path / "good", a=a, b=b), write_all(tmp_path / "other", a=a, c=c)
    empty, single = write_all(tmp_path / "empty"), write_all(tmp_path / "single", a=a)
    with pytest.raises(NotADirectoryError, match="nowhere: not a folder"):
        load_folders(good, tmp_path / "nowhere", 2)
    with pytest.raises(ValueError, match="empty: holds 0 images"):
        load_folders(empty, good, 2)
    with pytest.raises(ValueError, match="single: holds 1 image "):
        load_folders(good, single, 2)
    with pytest.raises(ValueError, match="b is only in one"):
        load_folders(good, other, 2, paired=True)


def test_damage_is_named_with_its_file(folder: Path) -> None:
    """Pixels are complete, or refused, wherever the file ends."""
    content = png(np.random.default_rng(0).integers(256, size=(6, 6, 3), dtype=np.uint8))
    whole = read_image(write(folder / "whole.png", content), 6)
    for end in range(len(content)):
        try:
            x = read_image(write(folder / "cut.png", content[:end]), 6)
        except ValueError as error:
            assert str(error).startswith(f"{folder / 'cut.png'}: damaged")
        else:
            assert np.array_equal(x, whole)


BLACK = png(np.zeros((2, 2, 1), np.uint8))


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", BLACK[:8], BLACK[:40], BLACK[:11] + b"\x05" + BLACK[12:]]
)
def test_what_is_no_png_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match="x.png: damaged, or not an image"):
        read_image(write(tmp_path / "x.png", content), 2)


def test_png_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.png"):
        read_image(tmp_path / "none.png", 2)
    with pytest.raises(ValueError, match="size is 0"):
        read_image(write(tmp_path / "x.png", grey(0)[0]), 0)
    for shape in ((1, 3, 2, 2), (4, 2, 2), (2, 2, 2)):
        with pytest.raises(ValueError, match=re.escape(f"shape {shape}, expected (1 or 3, H, W)")):
            write_png(tmp_path / "x.png", np.zeros(shape, np.float32))
