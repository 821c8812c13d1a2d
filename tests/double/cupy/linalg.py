"""cupy.linalg: solve."""

import cupyx
import numpy as np

from cupy._array import fresh
from cupy._events import happened
from cupy._memory import array_operand


def solve(a, b):
    """Of a singular matrix the result is NaN, unless `cupyx.errstate(linalg="raise")` holds.

    For one matrix it lies in Fortran order.
    """
    x, y = array_operand("solve", a), array_operand("solve", b)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    if y.ndim > 1 and x.shape[:-1] != y.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (..., M, K)")
    happened("launch", "solve")
    if cupyx.config["linalg"] == "raise":
        happened("wait", "solve")
    try:
        return fresh(np.linalg.solve(x, y), "F" if x.ndim == 2 else "C")
    except np.linalg.LinAlgError:
        if cupyx.config["linalg"] == "raise":
            raise
        return fresh(np.full(y.shape, np.nan, y.dtype))
