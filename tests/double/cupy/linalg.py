"""cupy.linalg: solve and cholesky.

Where they fail, the result is NaN, unless `cupyx.errstate(linalg="raise")` holds.
"""

from collections.abc import Callable

import cupyx
import numpy as np

from cupy._array import fresh
from cupy._events import happened
from cupy._memory import array_operand


def solve(a, b):
    """For one matrix the solution lies in Fortran order."""
    x, y = array_operand("solve", a), array_operand("solve", b)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    if y.ndim > 1 and x.shape[:-1] != y.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (..., M, K)")
    order = "F" if x.ndim == 2 else "C"
    return _result("solve", lambda: np.linalg.solve(x, y), y, order)


def cholesky(a):
    x = array_operand("cholesky", a)
    return _result("cholesky", lambda: np.linalg.cholesky(x), x)


def _result(name: str, compute: Callable, like: np.ndarray, order: str = "C"):
    happened("launch", name)
    if cupyx.config["linalg"] == "raise":
        happened("wait", name)
    try:
        return fresh(compute(), order)
    except np.linalg.LinAlgError:
        if cupyx.config["linalg"] == "raise":
            raise
        return fresh(np.full_like(like, np.nan))
