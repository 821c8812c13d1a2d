"""What a GPU would have done: kernels, copies and waits, and the lines of code that caused them."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

passed_over = {str(Path(__file__).parent.parent), str(Path(np.__file__).parent)}
"""Files and folders whose lines cause nothing themselves: their callers do."""

events: Counter[tuple[str, str, str]] = Counter()
"""How often each happened: (kind, name, "file:line" of the caller).

The kinds: "launch", a kernel or a fill; "to device" and "to host", a copy; and "wait", where the
host stands still until the device has done all that it was given. What CuPy copies for itself, such
as the addresses of the arrays that it joins, is not counted.
"""

_here = threading.local()
_FUSIBLE = frozenset({"astype", "where", "erf", "clip"})  # and the elementwise functions


def fusing() -> bool:
    """Whether this thread calls a fused function: all in it is one kernel."""
    return getattr(_here, "fusing", False)


@contextmanager
def one_kernel() -> Iterator[None]:
    """Inside, elementwise functions are parts of one kernel, and all else is an error."""
    _here.fusing = True
    try:
        yield
    finally:
        _here.fusing = False


def _is_passed_over(file: str) -> bool:
    return file in passed_over or file.startswith(tuple(f"{path}{os.sep}" for path in passed_over))


def happened(kind: str, name: str) -> None:
    """Count one event."""
    if fusing():
        if name not in _FUSIBLE and not isinstance(getattr(np, name, None), np.ufunc):
            raise TypeError(f"double of CuPy: cupy.fuse cannot compile {name!r}")
        return
    frame = sys._getframe(1)
    while _is_passed_over(frame.f_code.co_filename) and frame.f_back:
        frame = frame.f_back
    events[kind, name, f"{frame.f_code.co_filename}:{frame.f_lineno}"] += 1
