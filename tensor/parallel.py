"""Kernels over blocks of the batch: temporaries stay in a core's cache, and the blocks run on threads.

NumPy releases the interpreter lock inside ufuncs, copies and matrix products, so plain threads run them side by side.
Where the blocks begin and end depends on sizes alone, never on the number of threads: the same input gives the same bits.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

import numpy as np

from tensor.arrays import Array

WORTH_A_THREAD = 1 / 4
"""The share of a block that a kernel must touch before it is worth waking a second thread."""

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """How many threads share the blocks. The default is the number of cores this process may use."""
    global _threads
    if operator.index(n) < 1:
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


def map_blocks(kernel: Callable[[Any], Any], x: Array, arrays: float, block_bytes: int = 16 * 2**20) -> list:
    """Call `kernel(rows)` with indices that together cover the first axis of `x`, and return the results in order.

    `arrays` says how much a block touches, so many times its share of `x`; it should be at most `block_bytes`. Large blocks
    suit kernels of many short NumPy calls, where threads would queue for the interpreter; small ones suit matrix products. On a
    GPU `x` is one block.
    """
    touched = arrays * x.nbytes
    if not isinstance(x, np.ndarray) or touched <= WORTH_A_THREAD * block_bytes:
        return [kernel(slice(None) if x.ndim else ...)]
    n = len(x)
    size = -(-n // 2 ** max(1, math.ceil(math.log2(touched / block_bytes))))
    blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    results: list = [None] * len(blocks)
    queue = iter(enumerate(blocks))

    def work() -> None:
        for k, rows in queue:
            results[k] = kernel(rows)

    helpers = [_pool().submit(copy_context().run, work) for _ in range(min(_threads, len(blocks)) - 1)]
    try:
        work()
    finally:
        deque(queue, maxlen=0)  # after an error, what is left is left
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()
    return results
