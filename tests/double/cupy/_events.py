"""What a GPU would have done: kernels, copies and waits, and the lines of code that caused them."""

import sys
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

_fusing = False
_FUSIBLE = frozenset({"astype", "where", "erf", "clip"})  # and the elementwise functions


def fusing() -> bool:
    """Whether a fused function is being called: all in it is one kernel."""
    return _fusing


@contextmanager
def one_kernel() -> Iterator[None]:
    """Inside, elementwise functions are parts of one kernel, and all else is an error."""
    global _fusing
    _fusing = True
    try:
        yield
    finally:
        _fusing = False


def happened(kind: str, name: str) -> None:
    """Count one event."""
    if _fusing and name not in _FUSIBLE and not isinstance(getattr(np, name, None), np.ufunc):
        raise TypeError(f"double of CuPy: cupy.fuse cannot compile {name!r}")
    if _fusing:
        return
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(tuple(passed_over)) and frame.f_back:
        frame = frame.f_back
    events[kind, name, f"{frame.f_code.co_filename}:{frame.f_lineno}"] += 1
