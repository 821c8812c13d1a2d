"""Many parameters as one vector: an optimiser then makes a few long passes over memory instead of hundreds of short ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nn.checks import fitting
from nn.module import Module, Parameter
from tensor.arrays import Array, array_module, freeze, inverse, memory_order, to_device
from tensor.base import wrap
from tensor.tensor import Tensor


def parameter_list(parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters as a list. TypeError for anything that is no leaf with requires_grad=True, or a frozen Parameter."""
    if isinstance(parameters, (Module, Tensor)):
        raise TypeError(
            f"expected a list of parameters, such as model.parameters(), got one {type(parameters).__name__}"
        )
    listed = list(parameters)
    for k, p in enumerate(listed):
        if not isinstance(p, Parameter) and not (
            isinstance(p, Tensor) and p.is_leaf and p.requires_grad
        ):
            raise TypeError(
                f"parameter {k}: expected a leaf with requires_grad=True, but this {type(p).__name__} is none"
            )
    return listed


class FlatView:
    """A fixed list of parameters, read and written as one vector. Each keeps its own order in memory."""

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters = parameter_list(parameters)
        if not self.parameters:
            raise ValueError("there are no parameters")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter is given twice")
        dtypes = sorted({str(p.dtype) for p in self.parameters})
        if len(dtypes) > 1:
            raise ValueError(
                f"parameters of different dtypes, {' and '.join(dtypes)}: cast the model with .to(dtype)"
            )
        self.orders = [memory_order(p.data) for p in self.parameters]
        ends = np.cumsum([p.numel() for p in self.parameters]).tolist()
        self.spans = [slice(end - p.numel(), end) for p, end in zip(self.parameters, ends)]

    def gather(self, arrays: Sequence[Array]) -> Array:
        """One new vector of arrays shaped like the parameters."""
        return array_module(arrays[0]).concatenate(self.lines(arrays))

    def lines(self, arrays: Sequence[Array]) -> list[Array]:
        """Arrays shaped like the parameters, each as a vector: a view, if it lies in memory as its parameter does."""
        return [x.transpose(order).reshape(-1) for x, order in zip(arrays, self.orders)]

    def values(self) -> Array:
        """One new vector of all parameters."""
        return self.gather([p.data for p in self.parameters])

    def split(self, flat: Array) -> list[Array]:
        """A vector as views shaped like the parameters."""
        shapes = ([p.shape[k] for k in order] for p, order in zip(self.parameters, self.orders))
        stored = (flat[span].reshape(shape) for span, shape in zip(self.spans, shapes))
        return [x.transpose(inverse(order)) for x, order in zip(stored, self.orders)]

    def saved(self, flat: Array) -> Tensor:
        """A vector as it is saved: each parameter in C order, in whatever order it lies in memory."""
        return wrap(array_module(flat).concatenate([x.reshape(-1) for x in self.split(flat)]))

    def restored(self, name: str, saved: Any, flat: Array) -> Array:
        """A new vector of the dtype of `flat` from a saved one. ValueError with `name` if it does not fit."""
        array = to_device(fitting(name, saved, flat), self.parameters[0].device)
        ordered = self.gather(
            [array[span].reshape(p.shape) for span, p in zip(self.spans, self.parameters)]
        )
        return ordered.astype(flat.dtype, copy=False)

    def bind(self, flat: Array) -> None:
        """Make the parameters views of a vector, which nobody may write to any more."""
        for p, values in zip(self.parameters, self.split(freeze(flat))):
            p._data = values
