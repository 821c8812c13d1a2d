"""The ops as operators and methods of Tensor, under PyTorch's names."""

from __future__ import annotations

import numpy as np

from tensor import elementwise, products, reductions, shaping
from tensor.arrays import Array, to_device
from tensor.autodiff import backward, cast, composite, op
from tensor.tensor import Tensor


@op(x=lambda g, device, source: _to(g, source, device))
def _to(x: Array, device: str, source: str) -> Tensor:
    return to_device(x, device)


@composite
def to(x: Tensor, device_or_dtype) -> Tensor:
    """x on a device ("cpu", "cuda", "cuda:1") or in a dtype; x itself if nothing changes. Gradients travel back."""
    if isinstance(device_or_dtype, str) and device_or_dtype.startswith(("cpu", "cuda")):
        moved = to_device(x.data, device_or_dtype)
        return x if moved is x.data else _to(x, device_or_dtype, x.device)
    try:
        dtype = np.dtype(device_or_dtype)
    except TypeError:
        raise ValueError(f"to: {device_or_dtype!r} is neither a device ('cpu', 'cuda', 'cuda:N') nor a dtype") from None
    if x.dtype.kind != "f" or dtype.kind != "f":
        return x if x.dtype == dtype else Tensor(x, dtype=dtype)
    return x if x.dtype == dtype else cast(x, dtype)


def _reflected(function):
    return lambda b, a: function(a, b)


def _spread(function):
    """f(x, (2, 3)) as a method that also takes x.f(2, 3)."""
    return lambda x, *sizes: function(x, tuple(sizes[0]) if sizes and isinstance(sizes[0], (tuple, list)) else sizes)


OPERATORS = {
    "add": elementwise.add,
    "sub": elementwise.sub,
    "mul": elementwise.mul,
    "truediv": elementwise.div,
    "pow": elementwise.pow,
    "matmul": products.matmul,
}
for name, function in OPERATORS.items():
    setattr(Tensor, f"__{name}__", function)
    setattr(Tensor, f"__r{name}__", _reflected(function))

for name in ("neg", "abs", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Tensor, f"__{name}__", getattr(elementwise, name))

METHODS = {
    elementwise: "exp log sqrt square sin cos tanh erf sigmoid relu abs sign clamp maximum minimum isfinite",
    reductions: "sum mean var max min argmax logsumexp softmax log_softmax",
    shaping: "transpose flatten squeeze unsqueeze narrow chunk flip",
    products: "matmul",
}
for module, names in METHODS.items():
    for name in names.split():
        setattr(Tensor, name, getattr(module, name))
for name in ("reshape", "permute", "expand"):
    setattr(Tensor, name, _spread(getattr(shaping, name)))
OTHERS = {"backward": backward, "to": to, "__getitem__": shaping.getitem, "__hash__": object.__hash__}
for name, method in OTHERS.items():
    setattr(Tensor, name, method)
