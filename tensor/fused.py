"""Fused ops: a definition made of ops, and kernels for its value and its first derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any, NamedTuple, TypeVar

from tensor.arrays import is_on_gpu
from tensor.autodiff import Op, broadcast_to, grad, recorded
from tensor.base import TensorBase, raw
from tensor.errors import composite
from tensor.kernels import loops_for
from tensor.modes import mode
from tensor.promotion import refuse_gradient

F = TypeVar("F", bound=Callable)


class Way(NamedTuple):
    """How a fused op is computed on raw arrays: `forward(*args)` returns y and what else is kept,
    `vjp(g, y, kept, *args)` the gradients of its targets."""

    forward: Callable
    vjp: Callable


def fused(targets: str, loops: Way | None, kernels: Way) -> Callable[[F], F]:
    """Give a function made of ops faster ways to its value, and to the gradients of the arguments
    named in `targets`: loops on the CPU, unless they are None, and kernels on a GPU.

    The function itself, its definition, says what they must equal. It serves where there are no
    loops, and it is what `create_graph=True` differentiates, so derivatives of any order follow
    from the clear version.
    """

    def declare(definition: F) -> F:
        op = _op(definition, targets, kernels)
        on_cpu = recorded(_op(definition, targets, loops)) if loops else None
        on_gpu, by_definition, arity = recorded(op), composite(definition), len(op.arguments)

        @functools.wraps(definition)
        def call(*args, **kwargs):
            values = op.bind(args, kwargs) if kwargs or len(args) != arity else args
            x = raw(values[0])
            if on_cpu and loops_for(x):
                return on_cpu(*values)
            if is_on_gpu(x) and x.dtype.kind == "f":
                return on_gpu(*values)
            if mode.get().recording:
                refuse_gradient(op, values)
            return by_definition(*values)

        call.definition = definition  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return declare


def _op(definition: Callable, targets: str, way: Way) -> Op:
    """The op that is computed this way, and differentiated again by its definition."""
    parameters = signature(definition).parameters
    places = [list(parameters).index(name) for name in targets.split()]

    def backward(g, y, kept, *args):
        if isinstance(g, TensorBase):
            return _vjp_of_definition(definition, places, g, args)
        return way.vjp(g, y, kept, *args)

    first = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in ("g", "y", "kept")]
    names = Signature([*first, *parameters.values()])
    backward.__signature__ = names  # type: ignore[attr-defined]
    return Op(definition, {targets: backward}, compiled=way.forward)


def _vjp_of_definition(definition: Callable, places: list[int], g: Any, args: tuple) -> list:
    """Differentiate the definition at fresh nodes: one argument may be the ancestor of another."""
    fresh = [broadcast_to(a, a.shape) if isinstance(a, TensorBase) else a for a in args]
    wanted = [k for k in places if isinstance(fresh[k], TensorBase) and fresh[k].requires_grad]
    inputs = [fresh[k] for k in wanted]
    gradients = grad(definition(*fresh), inputs, g, create_graph=True, allow_unused=True)
    found = dict(zip(wanted, gradients))
    return [found.get(k) for k in places]
