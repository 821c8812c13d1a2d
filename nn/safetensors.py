"""Weights in safetensors files, which PyTorch and others read too: numbers by name, no pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tensor.tensor import Tensor

_DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": np.uint16,  # the bits: NumPy has no bfloat16
    "F32": np.float32,
    "F64": np.float64,
}


def save_file(
    tensors: Mapping[str, Tensor],
    filename: str | os.PathLike[str],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes tensors by name, such as `net.state_dict()`, to `filename`; no suffix is added.

    `metadata` is text by name, which `safetensors.safe_open(filename, "np").metadata()` reads. A
    file that was there is replaced only when the new one is whole. TypeError for what is no dict
    of tensors.
    """
    if not isinstance(tensors, Mapping):
        instead = f"such as net.state_dict(), got {type(tensors).__name__}"
        raise TypeError(f"save_file: expected a dict of tensors by name, {instead}")
    arrays = {}
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"save_file: {name!r} is no tensor, but {type(x).__name__}")
        arrays[name] = np.asarray(x.numpy(), order="C")  # the library ignores strides
    _library().numpy.save_file(arrays, filename, metadata)


def load_file(filename: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors in a file, by name, as in `net.load_state_dict(load_file(filename))`.

    float16 and bfloat16 become float32, which holds all their values. ValueError for a file that
    is cut short or of another format, TypeError for dtypes that tensors cannot have, such as
    float8. The format has no checksum: altered numbers are not noticed.
    """
    library = _library()
    try:
        entries = library.deserialize(Path(filename).read_bytes())
    except library.SafetensorError as error:
        cause = f"damaged, or not a safetensors file ({error})"
        raise ValueError(f"{filename}: {cause}") from error
    return {name: _tensor(f"{filename}: {name}", **entry) for name, entry in sorted(entries)}


def _tensor(where: str, dtype: str, shape: list[int], data: bytearray) -> Tensor:
    if dtype not in _DTYPES:
        raise TypeError(f"{where}: {dtype} is not supported: convert it with another library")
    array = np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":  # the first half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return Tensor(array, dtype=np.float32 if dtype == "F16" else None)


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        extra = "pip install -e '.[safetensors]'"
        raise ImportError(f"safetensors files need the safetensors library: {extra}") from error
    return safetensors
