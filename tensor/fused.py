"""Fused ops: a definition made of ops, and a kernel that computes value and first derivative in one or two passes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from tensor.autodiff import Op, broadcast_to, grad, recorded
from tensor.base import TensorBase, raw
from tensor.errors import composite
from tensor.kernels import loops_for
from tensor.modes import mode
from tensor.promotion import refuse_gradient

F = TypeVar("F", bound=Callable)


def fused(targets: str, forward: Callable, vjp: Callable) -> Callable[[F], F]:
    """Give a function made of ops a kernel: `forward(*args)` on raw arrays, which returns y and what
    else is kept, and `vjp(g, y, kept, *args)` with a tuple of gradients, of the arguments named in `targets`.

    The function itself, its definition, says what they must equal. It serves where there is no
    kernel, and it is what `create_graph=True` differentiates, so derivatives of any order follow
    from the clear version.
    """

    def declare(definition: F) -> F:
        parameters = inspect.signature(definition).parameters
        places = [list(parameters).index(name) for name in targets.split()]

        def backward(g, y, kept, *args):
            if isinstance(g, TensorBase):
                return _vjp_of_definition(definition, places, g, args)
            return vjp(g, y, kept, *args)

        first = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY)
            for name in ("g", "y", "kept")
        ]
        backward.__signature__ = inspect.Signature([*first, *parameters.values()])  # type: ignore[attr-defined]
        op = Op(definition, {targets: backward}, kernel=forward)
        by_kernel, by_definition = recorded(op), composite(definition)

        @functools.wraps(definition)
        def call(*args, **kwargs):
            values = op.bind(args, kwargs)
            x = raw(values[0])
            if loops_for(x):
                return by_kernel(*values)
            if mode.get().recording:
                refuse_gradient(op, values)
            return by_definition(*values)

        call.definition = definition  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return declare


def _vjp_of_definition(definition: Callable, places: list[int], g: Any, args: tuple) -> list:
    """Differentiate the definition at its arguments, each a fresh node: one may be the ancestor of another."""
    fresh = [broadcast_to(a, a.shape) if isinstance(a, TensorBase) else a for a in args]
    inputs = [
        fresh[k] for k in places if isinstance(fresh[k], TensorBase) and fresh[k].requires_grad
    ]
    gradients = iter(grad(definition(*fresh), inputs, g, create_graph=True, allow_unused=True))
    return [next(gradients) if any(fresh[k] is x for x in inputs) else None for k in places]
