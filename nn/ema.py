"""An exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from nn import gpu
from nn.checks import check_names, check_range, fitting
from nn.flat import FlatView
from nn.module import Parameter
from tensor.arrays import to_device
from tensor.kernels import loops_for


class EMA:
    """average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) at update n.

    The growing decay lets the average forget the initial weights quickly. Generative models are
    sampled from the average. Given the view of an optimiser, it finds their vector ready made.
    Raises ValueError unless 0 <= decay < 1.
    """

    def __init__(self, parameters: Iterable[Parameter] | FlatView, decay: float = 0.999):
        check_range("EMA", 1, decay=decay)
        self.view = parameters if isinstance(parameters, FlatView) else FlatView(parameters)
        self.decay = decay
        self.updates = 0
        self.average = self.view.values()

    def update(self) -> None:
        """Take in the current weights."""
        self.updates += 1
        self._follow()
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if loops_for(self.average):
            from nn import loops

            lines = self.view.lines([p.data for p in self.view.parameters])
            for weights, span in zip(lines, self.view.spans):
                loops.average(weights, float(decay), self.average[span])
            return
        gpu.average(self.view.shared(), float(decay), float(1 - decay), self.average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the parameters hold the average; afterwards their own values again."""
        self._follow()
        own = self.view.shared()
        self.view.bind(self.average.astype(own.dtype))
        try:
            yield
        finally:
            self.view.bind(own)

    def _follow(self) -> None:
        """Bring the average to the device of the weights, which may have moved."""
        self.average = to_device(self.average, self.view.parameters[0].device)

    def state_dict(self) -> dict:
        """`updates`, and the average of each parameter as one vector."""
        return {"updates": self.updates, "average": self.view.saved(self.average)}

    def load_state_dict(self, state) -> None:
        """Go on from a `state_dict`. KeyError or ValueError if it is of other parameters."""
        check_names("EMA", state, ["updates", "average"])
        updates = int(fitting("EMA: updates", state["updates"], np.int64(0)))
        self.average = self.view.restored("EMA: average", state["average"], self.average)
        self.updates = updates
