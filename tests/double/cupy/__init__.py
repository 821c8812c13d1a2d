"""A strict double of CuPy 14, on NumPy arrays: what the project uses of it, and no more.

It refuses what CuPy refuses: implicit conversions to NumPy, operands on the host, arrays of another
device, keywords and functions that CuPy lacks. It writes what CuPy writes: C order from every
kernel, 0-d arrays from reductions, whatever lies at a wrapped index. And it is stricter than CuPy,
in order to find mistakes:

- CuPy lets NumPy's functions dispatch to its own, `np.exp(x)` to `cupy.exp(x)`; here they are
  errors, for an op asks its input for the module. Nor are arrays on the host taken for indices, or
  for the values of an assignment.
- Memory that nothing was written to holds NaN.
- Assigning to one element twice, where CuPy leaves open which value stays, is an error.
- A view by `as_strided` that leaves the memory of its array is an error.

`events` counts what a GPU would have done, and the lines that asked for it: see `_events.py`. There
are two devices, "cuda:0" and "cuda:1", which cannot reach each other's memory.
"""

from cupy import cuda, lib, linalg
from cupy._array import ndarray
from cupy._events import events, passed_over
from cupy._functions import (
    abs,
    arange,
    argsort,
    array,
    asarray,
    ascontiguousarray,
    broadcast_to,
    clip,
    concatenate,
    empty,
    empty_like,
    eye,
    flip,
    from_dlpack,
    full,
    ix_,
    ones,
    ones_like,
    pad,
    result_type,
    roll,
    round,
    searchsorted,
    tri,
    where,
    zeros,
    zeros_like,
)
from cupy._fusion import ElementwiseKernel, RawKernel, fuse
from cupy._kernels import UFUNCS, matmul, ufunc

__version__ = "14.0.0"
globals().update(UFUNCS)


def __getattr__(name: str):
    raise AttributeError(f"the double of CuPy has no {name!r}: if CuPy has, tests/double lacks it")
