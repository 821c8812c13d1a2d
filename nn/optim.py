"""Optimisers. All parameters are one vector (`FlatView`), updated block by block in one pass.

A step binds new values to the parameters and never writes into the old ones, so graphs recorded
before it stay right. Parameters that have no gradient stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nn import gpu
from nn.checks import accepts, check_names, check_only, check_range, fitting
from nn.flat import FlatView, parameter_list
from nn.module import Parameter
from tensor.arrays import Array, array_module, as_numbers, device_of, to_device
from tensor.calls import only
from tensor.errors import composite
from tensor.kernels import loops_for, shared_work
from tensor.parallel import map_blocks


class Optimizer:
    """What all share: gradients are collected, `update` is called on blocks, the result is bound.

    `lr` is a plain attribute: a schedule sets it before each step. Raises TypeError for what is no
    parameter, ValueError for none, for one given twice, and for options out of range.
    """

    slots: tuple[str, ...] = ()
    """The names of the vectors that the optimiser remembers from step to step."""

    def __init__(self, params: Iterable[Parameter], lr: float, weight_decay: float = 0.0):
        check_range(type(self).__name__, lr=lr, weight_decay=weight_decay)
        self.view = FlatView(params)
        self.params = self.view.parameters
        self.lr, self.weight_decay = lr, weight_decay
        self.steps = 0
        for name in self.slots:
            values = self.view.values()
            setattr(self, name, array_module(values).zeros_like(values))

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The one group as PyTorch names it: "params", "lr", ..., the optimiser's attributes."""
        return [vars(self)]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        check_only("zero_grad", True, set_to_none=set_to_none)
        for p in self.view.parameters:
            p.grad = None

    def decay(self, p: Array, g: Array) -> Array:
        """The gradient with its L2 weight decay."""
        return g + self.weight_decay * p if self.weight_decay else g

    def update(self, p: Array, g: Array, span: slice) -> None:
        """Write the next values into `p`, by the gradient `g`; both lie at `span` in the vector."""
        raise NotImplementedError

    def step(self) -> None:
        """Move all parameters that have a gradient. RuntimeError if none has."""
        grads = [p.grad for p in self.view.parameters]
        if all(g is None for g in grads):
            cause = "no parameter has a gradient: call backward() before step(), and after any to()"
            raise RuntimeError(f"{type(self).__name__}: {cause}")
        self.steps += 1
        values = self.view.values()
        zeros, pairs = array_module(values).zeros, zip(self.view.parameters, grads)
        arrays = [zeros(p.shape, p.dtype) if g is None else g.data for p, g in pairs]
        gradient = self.view.gather(arrays)
        for name in self.slots:  # the parameters may have moved to another device
            setattr(self, name, to_device(getattr(self, name), device_of(values)))
        for span in _joined(self.view.spans, [g is not None for g in grads]):
            p, g = values[span], gradient[span]

            def update_block(rows: slice, p=p, g=g, start=span.start) -> None:
                begin, end, _ = rows.indices(len(p))
                self.update(p[rows], g[rows], slice(start + begin, start + end))

            map_blocks(update_block, len(p), shared_work(p, len(p) // 2))
        self.view.bind(values)

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on but the parameters: `steps`, a vector for each slot."""
        vectors = {name: self.view.saved(getattr(self, name)) for name in self.slots}
        return {"steps": self.steps} | vectors

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`. KeyError or ValueError if it is of another optimiser, or of
        other parameters."""
        owner = type(self).__name__
        check_names(owner, state_dict, ["steps", *self.slots])
        steps = fitting(f"{owner}: steps", state_dict["steps"], np.int64(0))
        loaded: dict[str, Any] = {"steps": int(steps)}
        for name in self.slots:
            vector = getattr(self, name)
            loaded[name] = self.view.restored(f"{owner}: {name}", state_dict[name], vector)
        vars(self).update(loaded)


def _joined(spans: list[slice], wanted: list[bool]) -> list[slice]:
    """The wanted spans, neighbours joined."""
    joined: list[slice] = []
    for span, want in zip(spans, wanted):
        if want and joined and joined[-1].stop == span.start:
            joined[-1] = slice(joined[-1].start, span.stop)
        elif want:
            joined.append(span)
    return joined


_HOW = {"maximize": False, "foreach": None, "differentiable": False, "fused": None}
"""PyTorch's options of how a step is computed, all as they are by default."""


class SGD(Optimizer):
    """Stochastic gradient descent with L2 weight decay and PyTorch's momentum: v <- momentum v + g,
    then p <- p - lr v.

    Nesterov's is p <- p - lr (g + momentum v). While lr is constant these are the steps of
    Sutskever et al. 2013 (with Nesterov p is their theta + mu v). When it changes they are not, for
    there the velocity holds the rate: v <- mu v - lr g. Raises ValueError for Nesterov without
    momentum.
    """

    slots = ("velocity",)
    velocity: Array

    @accepts(**_HOW)
    def __init__(
        self, params, lr: float = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False,
    ):  # fmt: skip
        check_range("SGD", momentum=momentum)
        check_only("SGD", 0, dampening=dampening)
        if nesterov and not momentum:
            raise ValueError("SGD: Nesterov needs momentum > 0")
        super().__init__(params, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov

    def update(self, p: Array, g: Array, span: slice) -> None:
        g = self.decay(p, g)
        velocity = self.velocity[span]
        if loops_for(p):
            from nn.loops import momentum

            lr, share = float(self.lr), float(self.momentum)
            return momentum(g, lr, share, bool(self.nesterov), p, velocity)
        step = gpu.nesterov if self.nesterov else gpu.momentum
        step(g, float(self.lr), float(self.momentum), p, velocity)


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, Algorithm 1), with L2 weight decay added to the gradient.

    The bias correction counts the steps of the optimiser, also for parameters that had no gradient
    in some of them. Raises ValueError unless both betas lie in [0, 1).
    """

    slots = ("m", "v")
    m: Array
    v: Array

    @accepts(amsgrad=False, capturable=False, **_HOW, decoupled_weight_decay=False)
    def __init__(
        self, params, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):  # fmt: skip
        if np.shape(betas) != (2,) or not all(0 <= beta < 1 for beta in betas):
            rule = "betas must be two numbers in [0, 1)"
            raise ValueError(f"{type(self).__name__}: {rule}, got {betas}")
        check_range(type(self).__name__, eps=eps)
        super().__init__(params, lr, weight_decay)
        self.betas, self.eps = betas, eps

    def update(self, p: Array, g: Array, span: slice) -> None:
        m, v, (b1, b2) = self.m[span], self.v[span], self.betas
        g = self.decay(p, g)
        rate, root = self.lr / (1 - b1**self.steps), math.sqrt(1 - b2**self.steps)
        if loops_for(p):
            from nn.loops import adam

            return adam(g, float(b1), float(b2), float(rate), root, float(self.eps), p, m, v)
        averaging = float(b1), float(1 - b1), float(b2), float(1 - b2)
        gpu.adam(g, *averaging, float(rate), root, float(self.eps), p, m, v)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2), lr * weight_decay
    as in PyTorch.

    In the paper it is eta_t lambda, with the step size alpha apart: lr = eta_t alpha, and
    weight_decay = lambda / alpha.
    """

    @accepts(amsgrad=False, capturable=False, **_HOW)
    def __init__(
        self, params, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)

    def decay(self, p: Array, g: Array) -> Array:
        p *= 1 - self.lr * self.weight_decay
        return g


@composite
@only(norm_type=2.0, error_if_nonfinite=False, foreach=None)
def clip_grad_norm_(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients together so that their joint L2 norm is at most `max_norm`.

    Returns the norm before, as a number. PyTorch scales by max_norm / (norm + 1e-6), slightly more.
    Raises ValueError for a negative `max_norm`.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must not be negative, got {max_norm}")
    pairs = [(p, p.grad) for p in parameter_list(parameters) if p.grad is not None]
    squares = [(g.data.astype("float64") ** 2).sum() for _, g in pairs]
    norm = math.sqrt(sum(as_numbers(squares)))
    if not norm <= max_norm:  # NaN, too: all become NaN
        for p, g in pairs:
            p.grad = g * (max_norm / norm)
    return norm


@composite
@only(foreach=None)
def clip_grad_value_(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Limit each element of each gradient to [-clip_value, clip_value]."""
    check_range("clip_grad_value_", clip_value=clip_value)
    for p in parameter_list(parameters):
        if p.grad is not None:
            p.grad = p.grad.clamp(-clip_value, clip_value)
