"""Kernels over blocks of the batch: temporaries stay in a core's cache, and the blocks run on threads.

NumPy releases the interpreter lock inside ufuncs, copies and matrix products, so plain threads run them side by side.
Where the blocks begin and end depends on sizes alone, never on the number of threads: the same input gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tensor.arrays import Array

BLOCK_BYTES = 512 * 1024
"""What one block may touch: about the second-level cache of a core."""

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """How many threads share the blocks. The default is the number of cores this process may use."""
    global _threads
    if n < 1:
        raise ValueError(f"set_num_threads: expected at least 1, got {n}")
    _threads = n
    _pool.cache_clear()


def get_num_threads() -> int:
    """How many threads share the blocks."""
    return _threads


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _threads - 1), thread_name_prefix="minigen")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def map_blocks(kernel: Callable[[Any], Any], x: Array, arrays: float) -> list:
    """Call `kernel(rows)` with indices that together cover the first axis of `x`, and return the results in order.

    `arrays` says how much a block touches: so many times its share of `x`. On a GPU the whole of `x` is one block.
    """
    if not isinstance(x, np.ndarray) or arrays * x.nbytes < BLOCK_BYTES // 4:
        return [kernel(slice(None) if x.ndim else ...)]
    n = len(x)
    size = max(1, min(int(BLOCK_BYTES * n / (arrays * x.nbytes)), -(-n // 2)))
    blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    results: list = [None] * len(blocks)
    queue = iter(enumerate(blocks))

    def work() -> None:
        for k, rows in queue:
            results[k] = kernel(rows)

    with _one_blas_thread():
        helpers = [_pool().submit(work) for _ in range(min(_threads, len(blocks)) - 1)]
        work()
        for helper in helpers:
            helper.result()
    return results


# One thread of BLAS for each of ours: more of them would only wait for each other.


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The functions that get and set the number of threads of the OpenBLAS inside NumPy's wheel, if it is there."""
    package = Path(np.__file__).parent
    for library in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        handle = ctypes.CDLL(str(library))
        for pattern in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(handle, pattern.format("set")):
                return getattr(handle, pattern.format("get")), getattr(handle, pattern.format("set"))
    return None


_lock = threading.Lock()
_inside = 0
_threads_outside = 1


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    global _inside, _threads_outside
    blas = _openblas()
    if blas is None:
        yield
        return
    get, set_ = blas
    with _lock:
        if not _inside:
            _threads_outside = get()
            set_(1)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                set_(_threads_outside)
