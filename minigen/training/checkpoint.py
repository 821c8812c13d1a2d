"""Checkpoints: named arrays and JSON metadata in one file that is either whole or refused.

The file is an uncompressed .npz, which `np.load` opens too: `meta.json`, then one `<name>.npy` per
array. The archive's comment, which is the end of the file, is a seal: the SHA-256 of all bytes
before it. The seal is checked first, so a file that was cut short or altered anywhere is never
interpreted. No pickle is ever written or read.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from minigen.data.files import write_atomically

PathLike = str | os.PathLike[str]

SEAL_MARK = b"minigen checkpoint, sha256 "
SEAL_SIZE = len(SEAL_MARK) + 64
META = "meta.json"


class CheckpointError(Exception):
    """A checkpoint that cannot be loaded: the message names the file, the cause and what to do."""


def save_checkpoint(path: PathLike, arrays: Mapping[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Writes `arrays` (bool, int, uint or float) and `meta` (JSON) to `path`; no suffix is added.

    Whatever goes wrong, `path` holds either what it held before or all of the new checkpoint. Equal
    contents make equal files.

    Raises ValueError for arrays of another dtype, and for a `meta` that JSON would change: one with
    tuples, keys other than str, or NumPy scalars. Integers of any size, inf and nan are kept.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = bytes(SEAL_SIZE)
        archive.writestr(zipfile.ZipInfo(META), _encoded(meta))
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(_member(name)), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, _checked(name, array), allow_pickle=False)
    content = buffer.getbuffer()
    content[-SEAL_SIZE:] = _seal(content[:-SEAL_SIZE])
    write_atomically(path, content)


def load_checkpoint(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The `(arrays, meta)` given to `save_checkpoint`: same dtypes, shapes, bits and order.

    Raises CheckpointError for a file that is missing, cut short, altered, or no checkpoint.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        cause = f"cannot be read ({error.strerror})"
        raise CheckpointError(f"{path}: {cause}; check the path and its permissions") from error
    _check_seal(path, content)
    try:
        return _unpacked(content)
    except Exception as error:  # zipfile, json and numpy can fail on a forgery in a dozen ways
        cause = f"sealed, but not by save_checkpoint ({error})"
        raise CheckpointError(f"{path}: {cause}; do not trust this file") from error


def _unpacked(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        meta = json.loads(archive.read(META))
        for member in archive.namelist()[1:]:
            with archive.open(member) as file:
                arrays[_name(member)] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays, meta


def _seal(body: bytes | memoryview) -> bytes:
    return SEAL_MARK + hashlib.sha256(body).hexdigest().encode()


def _check_seal(path: PathLike, content: bytes) -> None:
    body, seal = memoryview(content)[:-SEAL_SIZE], content[-SEAL_SIZE:]
    if not content.startswith(b"PK"):
        cause = f"not an .npz file (it starts with {content[:4]!r})"
        raise CheckpointError(f"{path}: {cause}; pass a minigen checkpoint")
    if not seal.startswith(SEAL_MARK):
        cause = "cut short, or not a minigen checkpoint (no seal at its end)"
        advice = "use an earlier checkpoint, or np.load for other .npz files"
        raise CheckpointError(f"{path}: {cause}; {advice}")
    if seal != _seal(body):
        cause = "altered after it was saved (its SHA-256 differs)"
        raise CheckpointError(f"{path}: {cause}; use an earlier checkpoint")


def _member(name: str) -> str:
    """The file in the archive for an array: percent-encoding keeps `conv.weight` as it is."""
    return quote(name, safe="", errors="surrogatepass") + ".npy"


def _name(member: str) -> str:
    return unquote(member.removesuffix(".npy"), errors="surrogatepass")


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        expected = "expected bool, int, uint or float"
        raise ValueError(f"save_checkpoint: {name!r} has dtype {array.dtype}, {expected}")
    return array


def _encoded(meta: dict[str, Any]) -> str:
    """`meta` as JSON that reads back the same, by repr: (1,) is not [1], and nan equals nan."""
    try:
        text = json.dumps(meta)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save_checkpoint: meta is not JSON: {error}") from error
    if repr(json.loads(text)) != repr(meta):
        allowed = "dicts with str keys, lists, str, int, float, bool and None"
        rule = f"JSON would change meta, which may hold only {allowed}"
        raise ValueError(f"save_checkpoint: {rule}: {meta!r}")
    return text
