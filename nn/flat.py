"""Many parameters as one vector: an optimiser then makes a few long passes over memory instead of hundreds of short ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nn.module import Parameter
from tensor.arrays import Array, array_module, freeze, memory_order, to_device
from tensor.tensor import Tensor


class FlatView:
    """A fixed list of parameters, read and written as one vector. Each keeps its own order in memory."""

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("there are no parameters")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter is given twice")
        dtypes = sorted({str(p.dtype) for p in self.parameters})
        if len(dtypes) > 1:
            raise ValueError(f"parameters of different dtypes, {' and '.join(dtypes)}: cast the model with .to(dtype)")
        self.orders = [memory_order(p.data) for p in self.parameters]
        ends = np.cumsum([p.numel() for p in self.parameters]).tolist()
        self.spans = [slice(end - p.numel(), end) for p, end in zip(self.parameters, ends)]

    def gather(self, arrays: Sequence[Array]) -> Array:
        """One new vector of arrays shaped like the parameters."""
        flat = [x.transpose(order).reshape(-1) for x, order in zip(arrays, self.orders)]
        return array_module(arrays[0]).concatenate(flat)

    def values(self) -> Array:
        """One new vector of all parameters."""
        return self.gather([p.data for p in self.parameters])

    def split(self, flat: Array) -> list[Array]:
        """A vector as views shaped like the parameters."""
        shapes = ([p.shape[k] for k in order] for p, order in zip(self.parameters, self.orders))
        stored = (flat[span].reshape(shape) for span, shape in zip(self.spans, shapes))
        return [x.transpose(np.argsort(order)) for x, order in zip(stored, self.orders)]

    def load(self, vector: Array, saved: Tensor | Array, name: str) -> None:
        """Overwrite a vector of this view with a saved one, which errors call by `name`."""
        saved = saved.data if isinstance(saved, Tensor) else saved
        if saved.shape != vector.shape:
            raise ValueError(f"{name} has {saved.shape} values, expected {vector.shape}")
        vector[...] = to_device(saved, self.parameters[0].device)

    def bind(self, flat: Array) -> None:
        """Make the parameters views of a vector, which nobody may write to any more."""
        for p, values in zip(self.parameters, self.split(freeze(flat))):
            p.data = values
