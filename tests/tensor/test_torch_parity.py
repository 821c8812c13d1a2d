"""Where PyTorch is installed: every op of the table has its values and first two derivatives."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tensor
from tensor import Tensor
from tests.tensor.references import pair, running_statistics
from tests.tensor.table import TABLE

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)
F = torch.nn.functional


# PyTorch's ops, called as the table calls ours; others have the same name and arguments in torch


def over(dim, x) -> tuple[int, ...]:
    """`dim` as a tuple."""
    return tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim


def reduction(f: Callable) -> Callable:
    return lambda x, dim, keepdim, **options: f(x, over(dim, x), keepdim=keepdim, **options)


def log_softmax(x, dim):
    return x - torch.logsumexp(x, over(dim, x), keepdim=True)


def group_norm(x, weight=None, bias=None, num_groups=1, eps=1e-5, silu=False):
    y = F.group_norm(x, num_groups, weight, bias, eps)
    return F.silu(y) if silu else y


def norm(x, p, dim, keepdim):
    return torch.linalg.vector_norm(x, 2 if p == "fro" else p, over(dim, x), keepdim=keepdim)


def batch_norm_evaluating(x, weight=None, bias=None, eps=1e-5):
    mean, var = (torch.tensor(statistic) for statistic in running_statistics(x.shape[1]))
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


def as_torch(index: Any) -> Any:
    """The index with its arrays as torch's."""
    if isinstance(index, tuple):
        return tuple(as_torch(part) for part in index)
    return torch.tensor(index) if isinstance(index, np.ndarray) else index


TORCH: dict[str, Callable] = {
    "pow to an integer": lambda a, b: a**b,
    "pow to a fraction": lambda a, b: a**b,
    "pow of a number": lambda b, a: a**b,
    "softplus": F.softplus,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "clamp to tensors": lambda x, min, max: torch.minimum(torch.maximum(x, min), max),
    "where": lambda a, b, condition: torch.where(torch.tensor(condition), a, b),
    "cast": torch.clone,
    "sum": reduction(torch.sum),
    "mean": reduction(torch.mean),
    "var": reduction(torch.var),
    "std": reduction(torch.std),
    "norm": norm,
    "amax": reduction(torch.amax),
    "amin": reduction(torch.amin),
    "max": lambda x, dim, keepdim: torch.max(x, dim, keepdim).values,
    "min": lambda x, dim, keepdim: torch.min(x, dim, keepdim).values,
    "logsumexp": reduction(torch.logsumexp),
    "softmax": lambda x, dim: torch.exp(log_softmax(x, dim)),
    "log_softmax": log_softmax,
    "cat": lambda *xs, dim: torch.cat(xs, dim),
    "stack": lambda *xs, dim: torch.stack(xs, dim),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "expand": lambda x, shape: x.expand(shape),
    "flip": lambda x, dims: torch.flip(x, over(dims, x)),
    "floor_divide": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "gather": lambda x, dim, index: torch.gather(x, dim, torch.tensor(index)),
    "getitem": lambda x, index: x[as_torch(index)],
    "pad": lambda x, pad, value: F.pad(x, pad, value=value),
    "repeat": lambda x, repeats: x.repeat(repeats),
    "einsum": lambda *xs, equation: torch.einsum(equation, *xs),
    "solve": torch.linalg.solve,
    "cholesky": lambda x: torch.linalg.cholesky((x + x.mT) / 2),
    "linear": F.linear,
    "conv2d": F.conv2d,
    "conv_transpose2d": F.conv_transpose2d,
    "avg_pool2d": F.avg_pool2d,
    "max_pool2d": F.max_pool2d,
    "upsample_nearest": lambda x, size=None, scale_factor=None: F.interpolate(
        x, size, scale_factor and pair(scale_factor)
    ),
    "embedding": lambda weight, indices: F.embedding(torch.tensor(indices), weight),
    "group_norm": group_norm,
    "instance_norm": lambda x, weight=None, bias=None, eps=1e-5: F.instance_norm(
        x, None, None, weight, bias, eps=eps
    ),
    "layer_norm": lambda x, weight, bias, eps: F.layer_norm(x, weight.shape, weight, bias, eps),
    "batch_norm": lambda x, weight=None, bias=None, eps=1e-5: F.batch_norm(
        x, None, None, weight, bias, True, eps=eps
    ),
    "batch_norm evaluating": batch_norm_evaluating,
}


UNLIKE_TORCH = {"pow to the 0"}
"""PyTorch has 0 for d/da a^b where b is 0, and for its derivative by b, which is 1/a."""


def torchs(name: str) -> Callable:
    return TORCH[name] if name in TORCH else getattr(torch, name.split()[0])


# One body for both: the two packages have the same grad


def weights(x: Any) -> np.ndarray:
    """Some numbers of the shape of x."""
    return np.cos(np.arange(np.prod(x.shape))).reshape(tuple(x.shape))


def derivatives(
    grad: Callable, leaf: Callable, f: Callable, arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The values of f, its VJP, and the VJP's derivatives by inputs and incoming gradients."""
    xs = [leaf(array) for array in arrays]
    ys = f(*xs)
    ys = list(ys) if isinstance(ys, (tuple, list)) else [ys]
    gs = [leaf(weights(y)) for y in ys]
    first = grad(ys, xs, gs, create_graph=True)
    live = [g for g in first if g.requires_grad]
    second = (
        grad(live, [*xs, *gs], [leaf(weights(g)) for g in live], allow_unused=True)
        if live
        else [None] * len([*xs, *gs])
    )
    filled = [
        leaf(0 * weights(x)) if g is None else g for x, g in zip([*xs, *gs], second, strict=True)
    ]
    return [
        t.numpy() if isinstance(t, Tensor) else t.numpy(force=True) for t in (*ys, *first, *filled)
    ]


def our_leaf(array: np.ndarray) -> Tensor:
    return Tensor(array, requires_grad=True)


def torchs_leaf(array: np.ndarray) -> Any:
    return torch.tensor(array, requires_grad=True)


def known_to_torch(options: dict[str, Any]) -> bool:
    """To PyTorch, no dimension means all of them, and slices go forward."""
    index = options.get("index", ())
    parts = index if isinstance(index, tuple) else (index,)
    return options.get("dim") != () and all(
        part.step is None or part.step > 0 for part in parts if isinstance(part, slice)
    )


@pytest.mark.parametrize("name", [name for name in TABLE if name not in UNLIKE_TORCH])
@given(data=st.data())
def test_values_and_derivatives_are_torchs(name: str, data: st.DataObject) -> None:
    inputs, options = data.draw(TABLE[name].calls)
    assume(known_to_torch(options))
    arrays = [x.numpy() for x in inputs]
    ours = derivatives(tensor.grad, our_leaf, partial(TABLE[name].f, **options), arrays)
    theirs = derivatives(torch.autograd.grad, torchs_leaf, partial(torchs(name), **options), arrays)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)


def test_cholesky_reads_the_lower_triangle_and_gives_a_symmetric_gradient() -> None:
    x = [np.array([[2.0, 9.0], [1.0, 3.0]])]
    ours = derivatives(tensor.grad, our_leaf, tensor.cholesky, x)
    theirs = derivatives(torch.autograd.grad, torchs_leaf, torch.linalg.cholesky, x)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)
