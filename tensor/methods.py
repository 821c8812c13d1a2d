"""The ops as operators and methods of Tensor, under PyTorch's names."""

from __future__ import annotations

from tensor import elementwise, products, reductions, shaping
from tensor.arrays import Array, axis, to_device
from tensor.autodiff import backward, cast, op
from tensor.errors import composite
from tensor.tensor import FLOAT32, FLOAT64, Tensor, device_or_dtype


@op(x=lambda g, device, source: _to(g, source, device))
def _to(x: Array, device: str, source: str) -> Tensor:
    return to_device(x, device)


@composite
def to(x: Tensor, where) -> Tensor:
    """x on a device ("cpu", "cuda", "cuda:1") or in a dtype; x itself if nothing changes. Gradients travel back."""
    wanted = device_or_dtype(where)
    if isinstance(wanted, str):
        moved = to_device(x.data, wanted)
        return x if moved is x.data else _to(x, wanted, x.device)
    if x.dtype == wanted:
        return x
    return cast(x, wanted) if x.dtype.kind == wanted.kind == "f" else Tensor(x, dtype=wanted)


@op(x=lambda g: g)
def clone(x: Array) -> Tensor:
    """The same values with a history of their own. Nothing is copied, for nobody can write to them."""
    return x


def size(x: Tensor, dim: int | None = None):
    """All lengths, or that of one dimension."""
    return x.shape if dim is None else x.shape[axis(dim, x.ndim, "size")]


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
    elementwise: "add sub mul div pow neg lt le gt ge eq ne exp log sqrt square sin cos tanh erf sigmoid relu abs sign clamp "
    "maximum minimum isfinite",
    reductions: "sum mean var max min argmax logsumexp softmax log_softmax",
    shaping: "transpose flatten squeeze unsqueeze narrow chunk flip",
    products: "matmul",
}
for module, names in METHODS.items():
    for name in names.split():
        setattr(Tensor, name, getattr(module, name))
SPREAD = {"reshape": shaping.reshape, "view": shaping.reshape, "permute": shaping.permute, "expand": shaping.expand}
for name, taking_sizes in SPREAD.items():
    setattr(Tensor, name, _spread(taking_sizes))
OTHERS = {
    "__getitem__": shaping.getitem,
    "__hash__": object.__hash__,
    "backward": backward,
    "clone": clone,
    "size": size,
    "tolist": lambda x: x.numpy().tolist(),
    "to": to,
    "cpu": lambda x: to(x, "cpu"),
    "cuda": lambda x: to(x, "cuda"),
    "float": lambda x: to(x, FLOAT32),
    "double": lambda x: to(x, FLOAT64),
    "where": lambda x, condition, other: elementwise.where(condition, x, other),
}
for name, method in OTHERS.items():
    setattr(Tensor, name, method)
