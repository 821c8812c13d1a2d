"""Which dtype and device an op computes on, where arguments are not simply tensors of one dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array, as_array, device_of, is_on_gpu, to_device
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
    """Bring the arrays among the arguments, in `values`, to one device, and those that gradients
    flow to to one dtype; returns the dtype.

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
                values[k] = (as_array(a) if is_on_gpu(a) else a).copy()
    places = [k for k in op.arrays if _is_array(op, k, values[k])]
    _bring_together(op, places, args, values)
    places = [k for k in places if op.differentiable[k]]
    tensors = [values[k] for k in places if isinstance(args[k], TensorBase)]
    if len(tensors) == len(places) and len({x.dtype for x in tensors}) < 2:
        return tensors[0].dtype if tensors else None
    floats = [x for x in tensors if x.dtype.kind == "f"]
    deciding = [x.dtype for x in floats if x.ndim] or [x.dtype for x in floats]
    if tensors and not deciding and any(values[k].dtype.kind == "f" for k in places):
        deciding = [FLOAT32]
    dtype = np.result_type(*(deciding or [x.dtype for x in tensors] or [FLOAT32]))
    if deciding:
        for k in places:
            values[k] = values[k].astype(dtype, copy=False)
    return dtype


def _is_array(op: Any, k: int, value) -> bool:
    """Whether argument k is an array, or can become one. TypeError for what no gradient reaches."""
    if hasattr(value, "dtype") or type(value) is tuple:
        return True
    is_plain = type(value) in NUMBERS or (value is None and op.takes_none)
    if op.differentiable[k] and not is_plain:
        expected = f"a tensor, an array or a number as {op.arguments[k]!r}"
        raise TypeError(f"{op.name}: expected {expected}, got {described(value)}")
    return False


def _bring_together(op: Any, places: list[int], args: Sequence, values: list) -> None:
    """Bring what is on the host, but for tensors, to the tensors' device. RuntimeError for tensors
    on two devices, TypeError for arrays of anything but real numbers."""
    for k in places:
        values[k] = as_array(values[k])[()]
        if values[k].dtype.kind not in "biuf":
            raise TypeError(f"{op.name}: expected real numbers, got an array of {values[k].dtype}")
    fixed = [k for k in places if isinstance(args[k], TensorBase) or is_on_gpu(values[k])]
    device = common_device(op.name, [values[k] for k in fixed])
    for k in places:
        values[k] = to_device(values[k], device)


def common_device(name: str, arrays: Sequence[Array]) -> str:
    """Where arrays are. RuntimeError, by `name`, if they are on several devices."""
    devices = sorted({device_of(x) for x in arrays}) or ["cpu"]
    if len(devices) > 1:
        apart = f"tensors on different devices, {' and '.join(devices)}"
        raise RuntimeError(f"{name}: {apart}: move them with .to(device)")
    return devices[0]


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
