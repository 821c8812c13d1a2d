"""Tensors as they may lie in memory, for what reads them byte by byte."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tensor import Tensor
from tensor.base import wrap

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"]


@st.composite
def layouts(draw: st.DrawFn) -> Tensor:
    """Tensors of every dtype; 0-d and empty ones, transposed, turned round and with gaps."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = np.arange(np.prod(shape)).reshape(shape).astype(draw(st.sampled_from(DTYPES)))
    steps = draw(st.tuples(*(st.sampled_from([1, 2, -1]) for _ in shape)))
    return wrap(array[tuple(slice(None, None, step) for step in steps)].transpose())


def same(x: Any, y: np.ndarray) -> bool:
    """Whether a tensor, of whichever library, has the dtype, shape and values of an array."""
    x = x.numpy()
    return x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y)
