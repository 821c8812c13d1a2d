"""MNIST (LeCun, Cortes & Burges 1998) and Fashion-MNIST (Xiao et al. 2017) from their IDX files.

An IDX file of bytes holds 0x00 0x00 0x08, the number of dimensions in one byte, each dimension as a
big-endian uint32, then the bytes in C order. `load_mnist` reads either set: the names are the same.
"""

import gzip
import hashlib
import http.client
import math
import os
import struct
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minigen.data.files import write_atomically

PathLike = str | os.PathLike[str]

_PREFIXES = {"train": "train", "test": "t10k"}

SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
"""Where each data set lies, and the published MD5 of each file."""


def load_mnist(split: str, data_dir: PathLike) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images float32 (N, 1, 28, 28) in [-1, 1] and labels int64 (N,) in 0..9, from IDX files.

    `split` is "train" (train-images-idx3-ubyte and train-labels-idx1-ubyte, each with or without
    .gz) or "test" (t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte).

    Raises ValueError for another split or files that do not fit, FileNotFoundError for none.
    """
    if split not in _PREFIXES:
        raise ValueError(f"load_mnist: unknown split {split!r}; choose from {', '.join(_PREFIXES)}")
    images = read_idx(Path(data_dir, f"{_PREFIXES[split]}-images-idx3-ubyte"))
    labels = read_idx(Path(data_dir, f"{_PREFIXES[split]}-labels-idx1-ubyte"))
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        expected = "expected (N, 28, 28) and (N,)"
        found = f"{split} images {images.shape} and labels {labels.shape} in {data_dir}"
        raise ValueError(f"load_mnist: {found}, {expected}")
    if not len(images):
        raise ValueError(f"load_mnist: there are no {split} images in {data_dir}")
    if np.any(labels > 9):
        found = f"{split} labels in {data_dir} go up to {labels.max()}"
        raise ValueError(f"load_mnist: {found}, expected 0..9")
    return images[:, None].astype(np.float32) / 127.5 - 1, labels.astype(np.int64)


def read_idx(path: PathLike) -> NDArray[np.uint8]:
    """The uint8 array in the IDX file `path`, or else in `path`.gz; gzip is known by its content.

    Raises FileNotFoundError where neither exists, ValueError for a damaged file or another kind.
    """
    path = _existing(Path(path))
    data = _gunzipped(path)
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        expected = "an IDX file of bytes starts with 00 00 08 and its number of dimensions"
        raise ValueError(f"{path}: starts with {data[:4].hex(' ') or 'nothing'}; {expected}")
    header = 4 + 4 * data[3]
    if len(data) < header:
        needed = f"a header of {data[3]} dimensions takes {header} bytes"
        raise ValueError(f"{path}: cut short: {needed}, found {len(data)}")
    shape = struct.unpack_from(f">{data[3]}I", data, offset=4)
    expected_size = header + math.prod(shape)
    if len(data) != expected_size:
        cause = "cut short" if len(data) < expected_size else "bytes left over at the end"
        needed = f"shape {shape} takes {expected_size} bytes"
        raise ValueError(f"{path}: {cause}: {needed}, found {len(data)}")
    try:
        return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
    except ValueError as error:
        cause = f"NumPy has no array of shape {str(shape):.80} ({error})"
        raise ValueError(f"{path}: {cause}; fetch the file again") from error


def download_mnist(data_dir: PathLike, dataset: str = "mnist") -> None:
    """Fetches the four files of "mnist" or "fashion-mnist" into `data_dir`; see `download_files`.

    Raises ValueError for another data set.
    """
    if dataset not in SOURCES:
        known = ", ".join(SOURCES)
        raise ValueError(f"download_mnist: unknown data set {dataset!r}; choose from {known}")
    download_files(data_dir, *SOURCES[dataset])


def download_files(data_dir: PathLike, base_url: str, md5: Mapping[str, str]) -> None:
    """Fetches the files in `md5` from `base_url`, ending in /, into `data_dir`, made if missing.

    A file that has the right MD5 is kept; one that fails its check is not written, nor half a file.

    Raises ConnectionError where an address cannot be read, ValueError where the MD5 differs.
    """
    folder = Path(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name, expected in md5.items():
        path = folder / name
        if not (path.is_file() and _md5(path.read_bytes()) == expected):
            write_atomically(path, _fetched(base_url + name, expected))


def _fetched(url: str, expected_md5: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            data = response.read()
    except (OSError, http.client.HTTPException) as error:
        advice = "without a network, copy the files from another machine and pass their folder"
        raise ConnectionError(f"{url}: cannot be fetched ({error}); {advice}") from error
    if _md5(data) != expected_md5:
        got = f"got {len(data)} bytes with MD5 {_md5(data)}"
        raise ValueError(f"{url}: {got}, expected {expected_md5}; not written, try again")
    return data


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _existing(path: Path) -> Path:
    zipped = path.with_name(f"{path.name}.gz")
    for candidate in (path, zipped):
        if candidate.is_file():
            return candidate
    neither = f"{path.parent} has neither {path.name} nor {zipped.name}"
    raise FileNotFoundError(f"{neither}: `data_dir` says where they lie")


def _gunzipped(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        cause = f"damaged or cut short gzip ({error})"
        raise ValueError(f"{path}: {cause}; fetch the file again") from error
