"""What a command does about its process for the sake of speed. An import does none of it."""

import ctypes
import functools
import sys
import time
from contextlib import suppress
from typing import Any

from tensor.kernels import loops


def prepare() -> None:
    """Keep freed memory, and tell the user while loops are compiled."""
    with suppress(OSError):
        _keep_freed_memory()
    if loops():
        _announce_compiling()


def _keep_freed_memory() -> None:
    """A training step frees and asks for the same amounts again, and page faults are slow.

    glibc's mallopt: M_TRIM_THRESHOLD (-1) and M_MMAP_THRESHOLD (-3), at most 32 MiB.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-1, 2**31 - 1)
            libc.mallopt(-3, 32 * 2**20)


@functools.cache
def _announce_compiling(patience: float = 1.0) -> None:
    """Say once what is going on when Numba has compiled for more than `patience` seconds."""
    from numba.core import event

    class Announcement(event.Listener):
        def __init__(self) -> None:
            self.began: list[float] = []
            self.seconds = 0.0

        def on_start(self, event: Any) -> None:
            self.began.append(time.perf_counter())

        def on_end(self, event: Any) -> None:
            elapsed = time.perf_counter() - self.began.pop()
            if self.began:  # a loop inside another
                return
            if self.seconds <= patience < self.seconds + elapsed:
                why = "compiling loops, which takes some seconds the first time"
                print(f"minigen: {why}", file=sys.stderr, flush=True)
            self.seconds += elapsed

    event.register("numba:compile", Announcement())
