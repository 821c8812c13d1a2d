"""Many parameters as one vector: a few long passes over memory, not hundreds of short ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nn.checks import fitting
from nn.module import Module, Parameter
from tensor import gpu
from tensor.arrays import Array, array_module, freeze, inverse, is_on_gpu, memory_order, to_device
from tensor.base import wrap
from tensor.tensor import Tensor


def parameter_list(parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters as a list. TypeError unless each is a Parameter, even a frozen one, or a leaf
    with requires_grad=True."""
    if isinstance(parameters, (Module, Tensor)):
        expected = "expected a list of parameters, such as model.parameters()"
        raise TypeError(f"{expected}, got one {type(parameters).__name__}")
    listed = list(parameters)
    for k, p in enumerate(listed):
        if isinstance(p, dict):
            raise TypeError("there are no groups of parameters: make an optimiser for each")
        is_leaf = isinstance(p, Tensor) and p.is_leaf and p.requires_grad
        if not (is_leaf or isinstance(p, Parameter)):
            expected = "expected a leaf with requires_grad=True"
            raise TypeError(f"parameter {k}: {expected}, but this {type(p).__name__} is none")
    return listed


class FlatView:
    """A fixed list of parameters, read and written as a vector; each keeps its order in memory."""

    def __init__(self, parameters: Iterable[Parameter]):
        self.parameters = parameter_list(parameters)
        if not self.parameters:
            raise ValueError("there are no parameters")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter is given twice")
        dtypes = sorted({str(p.dtype) for p in self.parameters})
        if len(dtypes) > 1:
            cause = f"parameters of different dtypes, {' and '.join(dtypes)}"
            raise ValueError(f"{cause}: cast the model with .to(dtype)")
        self.orders = [memory_order(p.data) for p in self.parameters]
        self.bound: tuple[Array, list[Array]] = np.empty(0), []  # a vector, and its views
        ends = np.cumsum([p.numel() for p in self.parameters]).tolist()
        self.spans = [slice(end - p.numel(), end) for p, end in zip(self.parameters, ends)]

    def gather(self, arrays: Sequence[Array]) -> Array:
        """One new vector of arrays shaped like the parameters."""
        lines = self.lines(arrays)
        return gpu.join(lines) if is_on_gpu(lines[0]) else np.concatenate(lines)

    def lines(self, arrays: Sequence[Array]) -> list[Array]:
        """Arrays shaped like the parameters, each as a vector: a view, if it lies in memory as its
        parameter does."""
        return [
            x if x.ndim == 1 else x.transpose(order).reshape(-1)
            for x, order in zip(arrays, self.orders)
        ]

    def values(self) -> Array:
        """One new vector of all parameters."""
        flat = self.shared()
        return flat.copy() if flat is self.bound[0] else flat

    def shared(self) -> Array:
        """The vector that was bound, if the parameters are still its views, or else a new one."""
        flat, views = self.bound
        if views and all(p._data is x for p, x in zip(self.parameters, views)):
            return flat
        return self.gather([p.data for p in self.parameters])

    def split(self, flat: Array) -> list[Array]:
        """A vector as views shaped like the parameters."""
        views = []
        for p, span, order in zip(self.parameters, self.spans, self.orders):
            x = flat[span]
            if len(order) != 1:
                x = x.reshape([p._data.shape[k] for k in order])
                x = x if order == sorted(order) else x.transpose(inverse(order))
            views.append(x)
        return views

    def saved(self, flat: Array) -> Tensor:
        """A vector as it is saved: each parameter in C order, however it lies in memory."""
        return wrap(array_module(flat).concatenate([x.reshape(-1) for x in self.split(flat)]))

    def restored(self, name: str, saved: Any, flat: Array) -> Array:
        """A new vector with the dtype of `flat`. ValueError with `name` if `saved` does not fit."""
        array = to_device(fitting(name, saved, flat), self.parameters[0].device)
        shaped = [array[span].reshape(p.shape) for span, p in zip(self.spans, self.parameters)]
        return self.gather(shaped).astype(flat.dtype, copy=False)

    def bind(self, flat: Array) -> None:
        """Make the parameters views of a vector, which nobody may write to any more."""
        flat = freeze(flat)
        self.bound = flat, self.split(flat)
        for p, values in zip(self.parameters, self.bound[1]):
            p._data = values
