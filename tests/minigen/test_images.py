"""Every image that a person has: PNGs of all kinds by their specification, others by Pillow."""

import io
import struct
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from minigen.data import from_arrays
from minigen.data.folders import image_files
from minigen.data.images import SUFFIXES, read_image
from minigen.data.own import as_images, as_labels

S = 6
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
KINDS = [(GREY, bits) for bits in (1, 2, 4, 8, 16)] + [(PALETTE, bits) for bits in (1, 2, 4, 8)]
KINDS += [(kind, bits) for kind in (RGB, GREY_ALPHA, RGB_ALPHA) for bits in (8, 16)]
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(levels: np.ndarray, kind: int, bits: int, *chunks: bytes) -> bytes:
    """A PNG (W3C PNG sec. 7) of levels (H, W, samples), each row unfiltered."""
    H, W, _ = levels.shape
    rows = [b"\0" + packed(row.ravel(), bits) for row in levels]
    header = struct.pack(">IIBBBBB", W, H, bits, kind, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + b"".join(chunks) + content + chunk(b"IEND", b"")


def packed(row: np.ndarray, bits: int) -> bytes:
    if bits == 16:
        return row.astype(">u2").tobytes()
    return np.packbits(np.unpackbits(row.astype("u1")[:, None], axis=1)[:, 8 - bits :]).tobytes()


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) and alpha (H, W), in 0..1, as an image (3, H, W) in [-1, 1]."""
    return 2 * (alpha[..., None] * colours + 1 - alpha[..., None]).transpose(2, 0, 1) - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transparent", [True, False])
@given(gamma=st.sampled_from([None, 45455, 100000]), seed=st.integers(0, 999))
def test_every_kind_of_png_is_read_as_what_it_is(
    folder: Path, kind: tuple[int, int], transparent: bool, gamma: int | None, seed: int
) -> None:
    """Samples at full scale, palettes looked up, one transparent level or colour, or an alpha of
    each pixel, laid on white. Of 16 bits of a colour the upper 8 count."""
    (colour_type, bits), rng, chunks = kind, np.random.default_rng(seed), []
    levels = rng.integers(2**bits, size=(S, S, SAMPLES[colour_type]))
    full = 2**bits - 1
    if gamma is not None:  # says how a screen should show it, not what it is
        chunks.append(chunk(b"gAMA", struct.pack(">I", gamma)))
    alpha = levels[..., -1] / full if colour_type in (GREY_ALPHA, RGB_ALPHA) else np.ones((S, S))
    if colour_type == PALETTE:
        palette, opacity = rng.integers(256, size=(full + 1, 3)), rng.integers(256, size=full + 1)
        chunks.append(chunk(b"PLTE", palette.astype("u1").tobytes()))
        colours = palette[levels[..., 0]] / 255
        if transparent:
            chunks.append(chunk(b"tRNS", opacity.astype("u1").tobytes()))
            alpha = opacity[levels[..., 0]] / 255
    else:
        colours = levels[..., :3] / full if SAMPLES[colour_type] > 2 else levels[..., :1] / full
        if transparent and colour_type in (GREY, RGB):
            key = levels[0, 0]
            chunks.append(chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
            alpha = (levels != key).any(2).astype(float)
    (folder / "x.png").write_bytes(png(levels, colour_type, bits, *chunks))
    expected = on_white(np.broadcast_to(colours, (S, S, 3)), alpha)
    coarse = bits == 16 and colour_type != GREY  # Pillow's colours have 8 bits
    assert np.abs(read_image(folder / "x.png", S) - expected).max() < (
        4.1 / 255 if coarse else 1e-6
    )


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"]
SAVED = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "TIFF": MODES,
    "JPEG": ["L", "RGB", "CMYK"],
    "BMP": ["1", "L", "P", "RGB"],
    "GIF": ["1", "L", "P", "RGB"],
    "WEBP": ["RGB", "RGBA"],
}


def drawn(mode: str, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(256, size=(S, S, 4), dtype=np.uint8)
    if mode.startswith("I"):
        grey = pixels[..., 0].astype(np.int32 if mode == "I" else np.uint16) * 257
        return Image.fromarray(grey)
    image = Image.fromarray(pixels, "RGBA")
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


@given(
    kind=st.sampled_from([(name, mode) for name, modes in SAVED.items() for mode in modes]),
    turned=st.integers(1, 8),
    suffix=st.sampled_from(SUFFIXES),
    seed=st.integers(0, 999),
)
def test_files_of_other_kinds_are_read_as_pillow_does(
    folder: Path, kind: tuple[str, str], turned: int, suffix: str, seed: int
) -> None:
    """Whatever the name says, and turned as a camera says (EXIF's tag 0x0112)."""
    (name, mode), path = kind, folder / f"x{suffix}"
    exif = Image.Exif()
    exif[0x0112] = turned
    options = {"exif": exif} if name in ("JPEG", "PNG", "TIFF") else {}
    drawn(mode, seed).save(path, name, **options)
    with Image.open(path) as image:
        shown = ImageOps.exif_transpose(image)
        if shown.mode.startswith("I"):
            levels = np.asarray(shown, np.float64) / 65535
            expected = on_white(levels[..., None].repeat(3, 2), np.ones((S, S)))
        else:
            rgba = np.asarray(shown.convert("RGBA"), np.float64) / 255
            expected = on_white(rgba[..., :3], rgba[..., 3])
    assert read_image(path, S) == pytest.approx(expected, abs=1e-6)


def test_of_an_animation_the_first_picture_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (S, S), colour) for colour in ("red", "blue", "lime")]
    for name in ("x.gif", "x.png", "x.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert read_image(tmp_path / name, 2).mean((1, 2)) == pytest.approx([1, -1, -1], abs=0.01)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_of_32_bits_have_no_white(tmp_path: Path, mode: str) -> None:
    values = np.array([[0.0, 0.5], [1.0, 0.2]], np.float32)
    pixels = values if mode == "F" else (values * 1e9).astype(np.int32)
    Image.fromarray(pixels).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match=r"x.tiff: .*numbers of 32 bits"):
        read_image(tmp_path / "x.tiff", 2)


def claiming(name: str, side: int) -> bytes:
    """A small file whose header says that it has side^2 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, name)
    content = bytearray(buffer.getvalue())
    if name == "PNG":
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    elif name == "BMP":
        content[18:26] = struct.pack("<ii", side, side)
    elif name == "GIF":
        content[6:10] = struct.pack("<HH", *2 * [min(side, 65535)])
    elif name == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", *2 * [min(side, 65535)])
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "side"),
    [(name, 46341) for name in ("PNG", "BMP", "GIF", "JPEG")]
    + [(name, side) for name in ("PNG", "BMP") for side in (5000, 2**30)],
)
def test_a_header_that_claims_too_much_is_damage(tmp_path: Path, name: str, side: int) -> None:
    """46341^2 pixels are 2^31, of which there is no lack of memory: they are not there."""
    path = tmp_path / f"x.{name.lower()}"
    path.write_bytes(claiming(name, side))
    with pytest.raises(ValueError, match=f"{path.name}: damaged"):
        read_image(path, 4)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_file_that_ends_early_is_named(tmp_path: Path, name: str) -> None:
    """Wherever it ends: its pixels are complete, or it is refused."""
    buffer = io.BytesIO()
    drawn("RGB", 0).save(buffer, name)
    content, path = buffer.getvalue(), tmp_path / f"x.{name.lower()}"
    path.write_bytes(content)
    whole = read_image(path, S)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        try:
            x = read_image(path, S)
        except ValueError as error:
            assert str(error).startswith(f"{path}: damaged")
        else:
            assert np.array_equal(x, whole), end


def test_hidden_files_are_passed_over_and_long_names_are_not(tmp_path: Path) -> None:
    kept = ["a.png", "x" * 251 + ".PNG", "写" * 83 + ".jpg", "two\nlines.gif", " .webp"]
    for name in (*kept, "._a.png", ".b.png", ".trash/c.png", "__MACOSX/._a.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(path, "PNG")
    assert {path.name for path in image_files(tmp_path, below=True)} == set(kept)


# Arrays


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", "u2", "i4", "i8"])
def test_the_byte_order_of_an_array_does_not_matter(kind: str) -> None:
    full = {"f": 1, "u": 255 if kind == "u1" else 65535}.get(kind[0], 255)
    x = np.random.default_rng(0).random((5, S, S)) * full
    x[0, 0, 0] = full
    small, big = (x.astype(order + kind) for order in "<>")
    one, other = from_arrays("x", small), from_arrays("x", big)
    assert np.array_equal(one.train, other.train) and other.train.dtype.isnative
    assert np.array_equal(as_images(big, (1, S, S)), as_images(small, (1, S, S)))
    labels = np.arange(5).astype(">i4")
    assert as_labels(labels).dtype.isnative
    found, expected = (from_arrays("x", big, given) for given in (labels, range(5)))
    assert np.array_equal(found.train_labels, expected.train_labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 1, 9, 25])
def test_one_dark_image_is_an_image(level: int) -> None:
    """A whole data set as dark is refused: it has another scale."""
    x = np.full((1, S, S), level, np.uint8)
    assert as_images(x, (1, S, S)) == pytest.approx(level / 127.5 - 1)
    with pytest.raises(ValueError, match="are black") if level else nullcontext():
        from_arrays("x", np.concatenate([x, x]))
