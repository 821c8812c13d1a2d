"""A learner: a network, and all that moves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

import nn
import tensor as T
from minigen.training.loop import Diverged
from tensor import Tensor
from tensor.parallel import one_blas_thread

Rng = np.random.Generator
Schedule = Callable[[int], float]
"""The share of the learning rate at step k, from 1."""


def constant(k: int) -> float:
    """The full learning rate at every step."""
    return 1.0


def cosine(steps: int, warmup_steps: int = 0) -> Schedule:
    """The learning rate falls from step 1 to `steps` along a cosine, once it has warmed up."""
    warmup, fall = nn.schedules.warmup, nn.schedules.cosine
    return lambda k: warmup(k - 1, warmup_steps) * fall(k - 1, steps)


class Learner:
    """A network with its Adam, its learning-rate schedule, and the average of its weights.

    network: whose parameters are moved, and no others
    lr, betas: Adam's; the rate is `lr` times `schedule(k)` at step k
    ema: the decay of the average of the weights; None for no average
    """

    def __init__(
        self, network: nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.999),
        schedule: Schedule = constant, ema: float | None = None,
    ):  # fmt: skip
        self.network, self.lr, self.schedule = network, lr, schedule
        self.optimizer = nn.Adam(network.parameters(), lr, betas)
        self.average = None if ema is None else nn.EMA(self.optimizer.view, ema)

    def descend(self, loss: Tensor, k: int) -> None:
        """Step k: the network moves down the gradient of the loss, and the average follows.

        TypeError for what is no tensor, RuntimeError if the loss does not depend on the network.
        """
        if not isinstance(loss, Tensor):
            raise TypeError(f"descend: the loss must be a tensor, got {type(loss).__name__}")
        parameters = self.optimizer.view.parameters
        self.optimizer.zero_grad()
        loss.backward(inputs=parameters)
        if all(p.grad is None for p in parameters):
            raise RuntimeError("descend: the loss does not depend on the network of this learner")
        self.optimizer.lr = self.lr * self.schedule(k)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()

    @contextmanager
    def using_average(self) -> Iterator[None]:
        """In it the network has the average of its weights, and evaluates, without a graph.

        A FloatingPointError in it, as of outputs that are not finite, becomes Diverged.
        """
        weights = nullcontext() if self.average is None else self.average.applied()
        was_training = self.network.training
        self.network.eval()
        try:
            with weights, T.no_grad(), np.errstate(all="ignore"), one_blas_thread():
                yield
        except FloatingPointError as error:
            raise Diverged(f"{error}: a lower `lr` may help") from error
        finally:
            self.network.train(was_training)


def to_checkpoint(model: nn.Module, rng: Rng, learners: dict[str, Learner]) -> dict[str, Any]:
    """What a checkpoint keeps of a recipe: its model, its optimisers, its rng, its one average."""
    (average,) = (x.average for x in learners.values() if x.average is not None)
    optimizers = {name: learner.optimizer for name, learner in learners.items()}
    return {"model": model, "ema": average, "optimizers": optimizers, "rng": rng}
