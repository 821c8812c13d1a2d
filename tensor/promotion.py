"""Which dtype and device an op computes on, where arguments are not simply tensors of one dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array, array_module, device_of
from tensor.base import FLOAT32, FLOAT64, TensorBase
from tensor.errors import described

F = TypeVar("F", bound=Callable)
NUMBERS = frozenset((float, int, bool))
"""What may stand beside a tensor as it is: it takes the tensor's dtype."""

CONSTANTS = NUMBERS | {tuple, str, type(None)}
"""What may stand where no gradient flows: nobody can write into it later."""


def floating(forward: F) -> F:
    """Let a forward take a first argument of integers or bool as float32, as in PyTorch."""

    @functools.wraps(forward)
    def call(x, *others):
        is_float = getattr(x, "dtype", FLOAT32).kind == "f"
        return forward(x if is_float else x.astype(FLOAT32), *others)

    return call  # type: ignore[return-value]


def promote(op: Any, args: Sequence, values: list, recording: bool) -> np.dtype | None:
    """Bring the differentiable arguments, in `values`, to one device and dtype; returns the dtype.

    Tensors decide, others follow. Among tensors those with dimensions decide before 0-d ones, and
    floats before integers, as in PyTorch. Integers beside an array of floats become float32. Where
    a graph is recorded, arrays are copied: their owner may write into them before gradients flow.
    """
    if recording and op.edges:
        refuse_gradient(op, args)
    for k, a in enumerate(args):
        if type(a) is list:
            values[k] = tuple(a)
        elif recording and not isinstance(a, TensorBase):
            if isinstance(getattr(a, "dtype", None), np.dtype):
                values[k] = a.copy()
    plain = [type(v) in NUMBERS or (v is None and op.takes_none) for v in values]
    places = [k for k, wanted in enumerate(op.differentiable) if wanted and not plain[k]]
    tensors = [values[k] for k in places if isinstance(args[k], TensorBase)]
    if len(tensors) == len(places) and len({(type(x), x.dtype) for x in tensors}) < 2:
        return tensors[0].dtype if tensors else None
    devices = sorted({device_of(x) for x in tensors})
    if len(devices) > 1:
        apart = f"tensors on different devices, {' and '.join(devices)}"
        raise RuntimeError(f"{op.name}: {apart}: move them with .to(device)")
    xp = array_module(tensors[0]) if tensors else np
    for k in places:
        if not hasattr(values[k], "dtype") and type(values[k]) is not tuple:
            expected = f"a tensor, an array or a number as {op.arguments[k]!r}"
            raise TypeError(f"{op.name}: expected {expected}, got {described(values[k])}")
        values[k] = xp.asarray(values[k])[()]
        if values[k].dtype.kind not in "biuf":
            raise TypeError(f"{op.name}: expected real numbers, got an array of {values[k].dtype}")
    floats = [x for x in tensors if x.dtype.kind == "f"]
    deciding = [x.dtype for x in floats if x.ndim] or [x.dtype for x in floats]
    if tensors and not deciding and any(values[k].dtype.kind == "f" for k in places):
        deciding = [FLOAT32]
    dtype = np.result_type(*(deciding or [x.dtype for x in tensors] or [FLOAT32]))
    if deciding:
        for k in places:
            values[k] = xp.asarray(values[k], dtype)[()]
    return dtype


def demoted(y: Array, values: Sequence) -> Array:
    """float64 that NumPy made of integers and Python's numbers as float32, as in PyTorch."""
    if y.dtype == FLOAT64 and not any(hasattr(v, "dtype") and v.dtype.kind == "f" for v in values):
        return y.astype(FLOAT32)
    return y


def refuse_gradient(op: Any, args: Sequence) -> None:
    """RuntimeError where a gradient would be lost: of an argument without a VJP, if others have."""
    for name, a, differentiable in zip(op.arguments, args, op.differentiable):
        if not differentiable and isinstance(a, TensorBase) and a.requires_grad:
            lost = f"not differentiable with respect to {name!r}, which requires a gradient"
            raise RuntimeError(f"{op.name}: {lost}: detach() it")
