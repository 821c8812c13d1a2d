"""What the process is told once, when tensor is imported, for the sake of speed. Where it cannot be told, nothing is lost
but time.

BLAS is held to one thread: `map_blocks` runs matrix products side by side, and two layers of threads would only wait for
each other. The C library is told to keep memory that NumPy frees: a training step frees and asks for the same amounts again,
and memory that went back to the system returns as slow page faults.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np


def _one_thread_in_openblas() -> None:
    """For the OpenBLAS inside NumPy's wheels; other builds can be told by OMP_NUM_THREADS=1."""
    package = Path(np.__file__).parent
    for library in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        handle = ctypes.CDLL(str(library))
        for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(handle, name):
                getattr(handle, name)(1)


def _keep_freed_memory() -> None:
    """glibc's mallopt: M_TRIM_THRESHOLD (-1) and M_MMAP_THRESHOLD (-3), the largest value of which is 32 MiB."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-1, 2**31 - 1)
            libc.mallopt(-3, 32 * 2**20)


for tell in (_one_thread_in_openblas, _keep_freed_memory):
    with suppress(OSError):  # a library that cannot be opened
        tell()
