"""Blocks of the batch: what a block touches stays in a core's cache, and the blocks run on threads.

Compiled loops and matrix products release the interpreter lock, so plain threads run them side by
side. Where the blocks begin and end depends on sizes alone, never on the number of threads: the
same input gives the same bits.
"""

from __future__ import annotations

import functools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from tensor.arrays import integer

BLOCK = 2**18
"""How many numbers a block touches at most: about as many as fit into a core's cache."""

WORTH_A_THREAD = 2**17
"""With more numbers there are two blocks: it takes some 50 microseconds to wake a second thread."""

_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """How many threads share the blocks: by default, as many as this process may use cores."""
    global _threads
    if integer(n) < 1:
        raise ValueError(f"set_num_threads: expected at least 1, got {n}")
    _threads = n


def get_num_threads() -> int:
    """How many threads share the blocks."""
    return _threads


def map_blocks(work: Callable[[slice], object], n: int, numbers: int) -> list:
    """Call `work(slice)` for slices that together cover range(n); the results, in order.

    `numbers` says how many the work touches in all, or fewer if it does little with each: with 0,
    as on a GPU, there is one block. Else a block touches about BLOCK at most, and where there are
    several, an even number where n allows, so that the threads are done together.
    """
    if numbers > BLOCK:
        count = 2 ** math.ceil(math.log2(numbers / BLOCK))
    else:
        count = 1 + (numbers > WORTH_A_THREAD)
    size = max(1, -(-n // count))
    blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)] or [slice(0, 0)]
    if len(blocks) == 1 or _threads == 1:
        return [work(block) for block in blocks]
    return _shared(work, blocks, min(_threads, len(blocks)) - 1)


def _shared(work: Callable[[slice], object], blocks: list[slice], helpers: int) -> list:
    """The results for all blocks, which this thread and its helpers take one after the other."""
    results: list = [None] * len(blocks)
    queue = iter(enumerate(blocks))
    tickets = deque(range(helpers))
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def take_turns() -> None:
        try:
            for k, block in queue:
                results[k] = work(block)
        finally:
            deque(queue, maxlen=0)  # after an error, what is left is left

    def help() -> None:
        try:
            tickets.pop()
        except IndexError:
            return  # too late: all is done
        try:
            take_turns()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    _crew.call(help, helpers)
    errors = []
    try:
        take_turns()
    finally:
        for _ in range(helpers):
            try:
                tickets.pop()  # whoever has not begun need not
            except IndexError:
                errors.append(ended.get())
    if error := next(filter(None, errors), None):
        raise error
    return results


class _Crew:
    """Threads that wait for work. Those of the standard library wake four times as slowly."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.size = 0

    def call(self, job: Callable[[], None], times: int) -> None:
        """Let `times` threads do a job, which must not raise."""
        while self.size < times:
            threading.Thread(target=self._wait, name="minigen", daemon=True).start()
            self.size += 1
        for _ in range(times):
            self.jobs.put(functools.partial(copy_context().run, job))

    def _wait(self) -> None:
        while True:
            self.jobs.get()()


_crew = _Crew()


# The threads of BLAS, which multiplies matrices

_lock = threading.Lock()
_inside = 0  # how many threads are in `one_blas_thread`
_before: list[int] = []  # how many threads each library had


@functools.cache
def _libraries() -> list[Any]:
    """The BLAS libraries of this process, by threadpoolctl; none without it."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return []
    libraries = ThreadpoolController().lib_controllers
    return [library for library in libraries if library.user_api == "blas"]


def _give_threads(counts: list[int]) -> None:
    """Past the bookkeeping of threadpoolctl, in which whoever asked first keeps the threads."""
    for library, count in zip(_libraries(), counts):
        getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, BLAS multiplies on the thread that calls it: beside ours, its own would only wait.

    Whoever comes first sets it, and whoever goes last sets it back. To hold it for many steps
    spares each of them the asking.
    """
    global _inside, _before
    with _lock:
        if not _inside:
            _before = [library.get_num_threads() for library in _libraries()]
            _give_threads([1] * len(_before))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _give_threads(_before)


def _forget_threads() -> None:
    """A child process has none of its parent's threads, and so none that holds the lock."""
    global _crew, _lock
    _crew, _lock = _Crew(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
