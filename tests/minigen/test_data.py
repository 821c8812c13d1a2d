"""Data: digits are the published ones, IDX files round-trip or are refused, planar sets are the
densities they claim."""

import gzip
import hashlib
import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.data import ABOUT, NAMES, Dataset, idx, load, planar
from minigen.data.digits import load_digits
from minigen.data.idx import download_files, download_mnist, load_mnist, read_idx

uint8_arrays = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    for prefix in ("train", "t10k"):
        write(folder / f"{prefix}-images-idx3-ubyte", idx_bytes(images))
        write(folder / f"{prefix}-labels-idx1-ubyte.gz", gzip.compress(idx_bytes(labels)))


def test_digits_are_the_published_ones() -> None:
    (x, labels), (x_test, labels_test) = load_digits("train"), load_digits("test")
    assert x.shape == (1297, 1, 8, 8) and x_test.shape == (500, 1, 8, 8)
    assert x.dtype == x_test.dtype == np.float32 and labels.dtype == labels_test.dtype == np.int64
    counts = np.bincount(np.concatenate([labels, labels_test]))
    assert counts.tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]  # the table of UCI's optdigits.names


def test_digits_are_grey_levels_from_minus_one_to_one() -> None:
    x, _ = load_digits("train")
    grey = (x + 1) * 8
    assert np.array_equal(grey, grey.round()) and grey.min() == 0 and grey.max() == 16


def test_digit_labels_belong_to_their_images() -> None:
    """A classifier by nearest class mean, which knows nothing of the order, is right nine times out
    of ten."""
    (x, labels), (x_test, labels_test) = load_digits("train"), load_digits("test")
    means = np.stack([x[labels == digit].mean(axis=0) for digit in range(10)])
    nearest = np.square(x_test[:, None] - means).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert np.mean(nearest == labels_test) > 0.85


def test_no_digit_is_in_both_splits() -> None:
    train, test = (
        {image.tobytes() for image in load_digits(split)[0]} for split in ("train", "test")
    )
    assert not train & test


def test_the_recipe_makes_the_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from minigen.data.make_digits import make_digits

    make_digits(tmp_path / "digits.npz")
    with (
        np.load(tmp_path / "digits.npz") as made,
        np.load(Path(idx.__file__).with_name("digits.npz")) as shipped,
    ):
        assert all(np.array_equal(made[name], shipped[name]) for name in ("images", "labels"))


def test_digits_name_their_splits() -> None:
    with pytest.raises(ValueError, match=r"'valid'.*train, test"):
        load_digits("valid")


@given(array=uint8_arrays, zipped=st.booleans(), misnamed=st.booleans())
def test_idx_round_trip(folder: Path, array: np.ndarray, zipped: bool, misnamed: bool) -> None:
    content = gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    path = write(folder / ("round-trip.gz" if zipped != misnamed else "round-trip"), content)
    loaded = read_idx(path)
    assert loaded.dtype == np.uint8 and loaded.flags.writeable
    assert loaded.shape == array.shape and np.array_equal(loaded, array)


@given(array=uint8_arrays, zipped=st.booleans(), cut=st.integers(1, 10**6))
def test_idx_refuses_every_truncation(
    folder: Path, array: np.ndarray, zipped: bool, cut: int
) -> None:
    content = gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    path = write(folder / "cut", content[: -1 - cut % len(content)])
    with pytest.raises(ValueError, match="cut"):
        read_idx(path)


@given(array=uint8_arrays, extra=st.binary(min_size=1, max_size=9))
def test_idx_counts_bytes_left_over(folder: Path, array: np.ndarray, extra: bytes) -> None:
    content = idx_bytes(array) + extra
    with pytest.raises(
        ValueError,
        match=f"left over.*takes {len(content) - len(extra)} bytes, found {len(content)}",
    ):
        read_idx(write(folder / "long", content))


@given(
    content=st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x00\x00\x08" + tail)
)
def test_idx_reads_or_refuses_any_bytes(folder: Path, content: bytes) -> None:
    try:
        array = read_idx(write(folder / "any", content))
    except ValueError:
        return
    assert idx_bytes(array) == content


@pytest.mark.parametrize(
    "start", [b"\x00\x00\x0d\x01", b"\x00\x08\x08\x01", b"\x93NUMPY", b"<html>"]
)
def test_idx_shows_the_wrong_magic(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(ValueError, match=f"starts with {start[:4].hex(' ')}"):
        read_idx(write(tmp_path / "magic", start + bytes(8)))


def test_idx_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    content = idx_bytes(np.zeros((3, 5), np.uint8))[:-4]
    with pytest.raises(ValueError, match=r"shape \(3, 5\) takes 27 bytes, found 23"):
        read_idx(write(tmp_path / "short", content))


@pytest.mark.parametrize("shape", [(0,) * 100, (0, 2**32 - 1, 2**32 - 1, 2**32 - 1)])
def test_idx_names_the_file_of_an_impossible_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"{tmp_path / 'shape'}: NumPy has no array of shape \(0, "
    ):
        read_idx(
            write(tmp_path / "shape", struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape))
        )


def test_idx_is_not_fooled_by_damaged_gzip(folder: Path) -> None:
    array = np.arange(50, dtype=np.uint8)
    content = gzip.compress(idx_bytes(array))
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        try:
            loaded = read_idx(write(folder / "damaged.gz", bytes(damaged)))
        except ValueError:
            continue
        assert position < 10 and np.array_equal(
            loaded, array
        )  # a date in gzip's header may change unnoticed


def test_idx_names_the_files_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"neither train-images-idx3-ubyte nor train-images-idx3-ubyte\.gz"
    ):
        load_mnist("train", tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_scales_images_and_keeps_labels(tmp_path: Path, split: str) -> None:
    rng = np.random.default_rng(0)
    images, labels = (
        rng.integers(256, size=(7, 28, 28), dtype=np.uint8),
        rng.integers(10, size=7, dtype=np.uint8),
    )
    images[0, 0, :2] = 0, 255
    write_mnist(tmp_path, images, labels)
    x, y = load_mnist(split, tmp_path)
    assert x.dtype == np.float32 and x.shape == (7, 1, 28, 28) and x.min() == -1 and x.max() == 1
    assert np.array_equal(np.round((x[:, 0] + 1) * 127.5), images)
    assert y.dtype == np.int64 and np.array_equal(y, labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 28), np.uint8), np.zeros(2, np.uint8), r"\(3, 28, 28\).*\(2,\)"),
        (
            np.zeros((3, 28, 27), np.uint8),
            np.zeros(3, np.uint8),
            r"\(3, 28, 27\).*expected \(N, 28, 28\)",
        ),
        (np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8), "no train images in"),
        (
            np.zeros((3, 28, 28), np.uint8),
            np.array([0, 10, 9], np.uint8),
            "up to 10, expected 0..9",
        ),
    ],
)
def test_mnist_refuses_files_that_do_not_fit(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    write_mnist(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        load_mnist("train", tmp_path)


def test_mnist_names_its_splits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'valid'.*train, test"):
        load_mnist("valid", tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    write(folder / "a.gz", b"first")
    write(folder / "b.gz", b"second")
    return folder


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
    }


def test_download_brings_every_file(server: Path, tmp_path: Path) -> None:
    download_files(tmp_path / "new" / "folder", f"{server.as_uri()}/", checksums(server))
    assert checksums(tmp_path / "new" / "folder") == checksums(server)


def test_download_keeps_good_files_and_replaces_bad_ones(server: Path, tmp_path: Path) -> None:
    table = checksums(server)
    good, bad = write(tmp_path / "a.gz", b"first"), write(tmp_path / "b.gz", b"half a fi")
    (server / "a.gz").unlink()
    download_files(tmp_path, f"{server.as_uri()}/", table)
    assert good.read_bytes() == b"first" and bad.read_bytes() == b"second"


def test_download_refuses_a_wrong_checksum(server: Path, tmp_path: Path) -> None:
    table = checksums(server) | {"b.gz": "0" * 32}
    with pytest.raises(ValueError, match=r"b\.gz.*6 bytes with MD5 .*expected 0{32}"):
        download_files(tmp_path / "new", f"{server.as_uri()}/", table)
    assert os.listdir(tmp_path / "new") == ["a.gz"]


def test_a_download_that_cannot_be_kept_leaves_nothing(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        download_files(tmp_path / "new", f"{server.as_uri()}/", checksums(server))
    assert os.listdir(tmp_path / "new") == []


def test_download_says_when_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(
        ConnectionError, match=r"missing/a\.gz: cannot be fetched .*without a network"
    ):
        download_files(tmp_path / "new", f"{tmp_path.as_uri()}/missing/", {"a.gz": "0" * 32})
    assert os.listdir(tmp_path / "new") == []


@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_download_mnist_asks_for_the_files_that_load_mnist_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: str
) -> None:
    asked: dict[str, str] = {}
    monkeypatch.setattr(idx, "download_files", lambda data_dir, base_url, md5: asked.update(md5))
    download_mnist(tmp_path, dataset)
    assert all(len(bytes.fromhex(checksum)) == 16 for checksum in asked.values())
    for name in asked:
        is_image = "images" in name
        write(tmp_path / name, idx_bytes(np.zeros((2, 28, 28) if is_image else 2, np.uint8)))
    assert len(asked) == 4 and [
        len(load_mnist(split, tmp_path)[0]) for split in ("train", "test")
    ] == [2, 2]


def test_download_names_its_data_sets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'kmnist'.*mnist, fashion-mnist"):
        download_mnist(tmp_path, "kmnist")


PLANAR = [planar.ring, planar.grid, planar.moons, planar.swiss_roll]
MIXTURES = [(planar.ring, planar.ring_centres(), 0.01), (planar.grid, planar.grid_centres(), 0.05)]
N = 40_000


@pytest.mark.parametrize("draw", PLANAR)
@given(n=st.integers(0, 50), seed=seeds)
def test_planar_sets_are_float32_and_repeat(draw, n: int, seed: int) -> None:
    points = draw(n, np.random.default_rng(seed))
    assert points.shape == (n, 2) and points.dtype == np.float32
    assert np.array_equal(points, draw(n, np.random.default_rng(seed)))


@pytest.mark.parametrize("draw", PLANAR)
def test_planar_sets_draw_anew_from_a_generator_that_went_on(draw) -> None:
    rng = np.random.default_rng(0)
    assert not np.array_equal(draw(10, rng), draw(10, rng))


@pytest.mark.parametrize(("draw", "centres", "sigma"), MIXTURES)
def test_mixtures_fill_every_mode_with_its_gaussian(
    draw, centres: np.ndarray, sigma: float
) -> None:
    points = draw(N, np.random.default_rng(0))
    offsets = points[:, None] - centres
    mode = np.square(offsets).sum(axis=2).argmin(axis=1)
    z = offsets[np.arange(N), mode] / sigma
    share = 1 / len(centres)
    assert np.allclose(np.bincount(mode) / N, share, atol=5 * math.sqrt(share / N))
    assert np.allclose(z.mean(axis=0), 0, atol=5 / math.sqrt(N))
    assert np.allclose(np.cov(z.T), np.eye(2), atol=5 * math.sqrt(2 / N))
    assert np.isclose(
        np.mean(np.square(z).sum(axis=1) < 9), 1 - math.exp(-4.5), atol=0.003
    )  # within 3 sigma


def test_centres_are_those_of_the_paper() -> None:
    assert np.allclose(np.linalg.norm(planar.ring_centres(), axis=1), 1)
    turns = np.exp(1j * np.pi / 4 * np.arange(8))
    assert np.allclose(planar.ring_centres() @ [1, 1j], turns)
    assert {tuple(centre) for centre in planar.grid_centres()} == {
        (x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)
    }


@pytest.mark.parametrize("draw", [planar.moons, planar.swiss_roll])
def test_curves_are_centred_with_unit_mean_square(draw) -> None:
    points = draw(N, np.random.default_rng(0))
    assert np.allclose(points.mean(axis=0), 0, atol=0.025)
    assert np.isclose(np.square(points).sum(axis=1).mean(), 2, atol=0.03)


def test_moons_lie_on_two_half_circles() -> None:
    points = planar.moons(N, np.random.default_rng(0))
    radius = 1 / math.sqrt((21 / 16 - 1 / math.pi) / 2 + 0.05**2)
    centre, noise = radius * np.array([1 / 2, 1 / 4]), 6 * 0.05 * radius
    upper, lower = points + centre, points - centre
    on_upper = (np.abs(np.linalg.norm(upper, axis=1) - radius) < noise) & (upper[:, 1] > -noise)
    on_lower = (np.abs(np.linalg.norm(lower, axis=1) - radius) < noise) & (lower[:, 1] < noise)
    assert np.all(on_upper | on_lower) and np.isclose(np.mean(on_upper), 0.5, atol=0.02)


def test_swiss_roll_winds_once_and_a_half_outwards() -> None:
    """On the spiral of radius t at angle t, the radius less the angle is a multiple of 2 pi, up to
    the noise."""
    points = planar.swiss_roll(N, np.random.default_rng(0)).astype(np.float64)
    mean = np.array([2, 2 / (3 * np.pi)])
    spiral = points * np.sqrt((9.75 * np.pi**2 - mean @ mean) / 2 + 0.5**2) + mean
    radius, angle = np.linalg.norm(spiral, axis=1), np.arctan2(spiral[:, 1], spiral[:, 0])
    off_spiral = (radius - angle + np.pi) % (2 * np.pi) - np.pi
    assert np.isclose(np.std(off_spiral), 0.5, atol=0.03)
    assert np.isclose(np.mean(radius), 3 * np.pi, atol=0.1) and radius.min() > 1.5 * np.pi - 3


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mnist"])
def test_load_knows_every_name_and_repeats(name: str) -> None:
    data = load(name)
    assert data.name == name and data.train.dtype == data.test.dtype == np.float32
    assert (
        data.train.shape[1:] == data.test.shape[1:] == ABOUT[name].shape
        and data.about == ABOUT[name]
    )
    assert len(data.train) > len(data.test)
    assert np.array_equal(data.train, load(name).train) and np.array_equal(
        data.test, load(name).test
    )


@pytest.mark.parametrize("name", ["ring", "grid", "moons", "swiss-roll"])
def test_load_draws_planar_sets_without_labels(name: str) -> None:
    data = load(name)
    assert data.train.shape == (10_000, 2) and data.test.shape == (2_500, 2)
    assert data.train_labels is None and data.test_labels is None


@pytest.mark.parametrize("name", ["ring", "grid", "moons", "swiss-roll"])
def test_load_draws_train_and_test_independently(name: str) -> None:
    data = load(name)
    correlation = np.mean(data.train[:2_500] * data.test) / np.mean(np.square(data.test))
    assert abs(correlation) < 5 / np.sqrt(2 * 2_500)


def test_load_pairs_images_with_labels(tmp_path: Path) -> None:
    write_mnist(tmp_path, np.zeros((4, 28, 28), np.uint8), np.arange(4, dtype=np.uint8))
    digits, mnist = load("digits"), load("mnist", data_dir=tmp_path)
    assert mnist.train.shape[1:] == mnist.test.shape[1:] == ABOUT["mnist"].shape
    np.testing.assert_array_equal(digits.train_labels, load_digits("train")[1])
    np.testing.assert_array_equal(digits.test_labels, load_digits("test")[1])
    np.testing.assert_array_equal([mnist.train_labels, mnist.test_labels], [[0, 1, 2, 3]] * 2)


def test_load_tells_where_mnist_comes_from() -> None:
    with pytest.raises(ValueError, match=r"`data_dir`.*train-images-idx3-ubyte.*download_mnist"):
        load("mnist")


def test_load_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"'cifar'.*digits, mnist, shapes, ring, grid, moons"):
        load("cifar")


def test_a_data_set_cannot_be_changed_by_accident() -> None:
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(AttributeError):
        Dataset("x", x, x).name = "y"  # type: ignore[misc]
