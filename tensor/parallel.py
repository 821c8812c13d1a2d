"""Blocks of the batch: what a block touches stays in a core's cache, and the blocks run on threads.

Compiled loops and matrix products release the interpreter lock, so plain threads run them side by side. Where the blocks
begin and end depends on sizes alone, never on the number of threads: the same input gives the same bits.
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

BLOCK = 2**18
"""How many numbers a block touches at most: about as many as fit into a core's cache."""

WORTH_A_THREAD = 2**15
"""With more numbers than this there are two blocks: a second thread takes some 50 microseconds to wake."""

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


def map_blocks(kernel: Callable[[slice], object], n: int, numbers: int) -> list:
    """Call `kernel(slice)` for slices that together cover range(n), and return the results in order.

    `numbers` says how many the kernel touches in all. A block touches BLOCK at most, if it can, and where there are two or
    more of them, their number is a power of 2, so that threads are done together.
    """
    count = 2 ** math.ceil(math.log2(numbers / BLOCK)) if numbers > BLOCK else 1 + (numbers > WORTH_A_THREAD)
    size = max(1, -(-n // count))
    blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)] or [slice(0, 0)]
    if len(blocks) == 1 or _threads == 1:
        return [kernel(block) for block in blocks]
    results: list = [None] * len(blocks)
    queue = iter(enumerate(blocks))

    def work() -> None:
        for k, block in queue:
            results[k] = kernel(block)

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
