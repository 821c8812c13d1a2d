"""Where PyTorch is installed: its own sample inputs, by which it tests its ops, are put to ours.

A call that PyTorch understands means the same here or raises: values, dtypes, shapes and gradients
agree. `python -m tests.tensor.test_torch_samples` prints how many samples of each op do, and why
the others are refused.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

import tensor
from tensor import Tensor

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)
pytest.importorskip("expecttest", reason="PyTorch's own tests need it")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

DTYPES = [torch.float32, torch.float64, torch.int64, torch.bool]
RANDOM = {"rand", "randint", "randn", "rand_like", "randn_like"}
"""Of these there is only a shape and a dtype to compare."""

DIFFERENCES: dict[tuple[str, str], str] = {
    ("avg_pool2d", "dtype"): "the mean of integers is a float32, as everywhere here"
}
"""Where ours differ, by op and what differs, and why; the op's docstring says so."""

METHODS = {"expand", "view", "repeat", "clone", "to"}
REORDERED: dict[str, Callable] = {
    "einsum": lambda operands, equation: tensor.einsum(equation, *operands),
    "embedding": lambda weight, indices, **options: tensor.embedding(indices, weight, **options),
    "where": lambda a, condition, b: tensor.where(condition, a, b),
}
"""Of these PyTorch's samples begin with what is to be differentiated."""


def our_name(op) -> str | None:
    """The name in `tensor`, or of a method of Tensor, under which ours is called as PyTorch's."""
    space, _, name = op.name.rpartition(".")
    if space not in ("", "nn.functional", "linalg") or op.name == "linalg.norm":
        return None
    if callable(getattr(tensor, name, None)) or name in METHODS:
        return name
    return name if name.startswith("__") and name in vars(Tensor) else None


OPS = [op for op in op_db if our_name(op)]


def ours(op) -> Callable:
    name = our_name(op)
    assert name is not None
    if name in REORDERED:
        return REORDERED[name]
    if name in METHODS or name.startswith("__"):
        return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)
    return getattr(tensor, name)


def converted(value: Any, leaves: list[Tensor]) -> Any:
    """A sample's argument as one of ours; leaves that want a gradient are remembered."""
    if isinstance(value, torch.Tensor):
        x = Tensor(value.detach().numpy(), requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves.append(x)
        return x
    if isinstance(value, torch.dtype):
        return np.dtype(str(value).removeprefix("torch."))
    if isinstance(value, (list, tuple)):
        return type(value)([converted(part, leaves) for part in value])
    if isinstance(value, torch.device):
        return str(value)
    return value


def torchs_leaves(value: Any) -> Iterator[Any]:
    """The tensors of a sample that want a gradient, in the order of `converted`."""
    if isinstance(value, torch.Tensor) and value.requires_grad:
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from torchs_leaves(part)


def as_list(y: Any) -> list:
    return list(y) if isinstance(y, (list, tuple)) else [y]


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def difference(op, mine: list, theirs: list, leaves: list, torch_leaves: list) -> str | None:
    """What differs between the outputs, or the gradients of the leaves; None where all agrees."""
    if len(mine) != len(theirs):
        return "number of outputs"
    for a, e in zip(mine, theirs):
        if isinstance(a, bool) and isinstance(e, bool):
            return None if a is e else "value"
        if not isinstance(a, Tensor):
            return "kind"
        if wrong := unlike(a.numpy(), e, our_name(op) in RANDOM):
            return wrong
    pairs = [(a, e) for a, e in zip(mine, theirs) if e.requires_grad]
    if not pairs:
        return None
    if not all(a.requires_grad for a, _ in pairs):
        return "requires_grad"
    seeds = [cotangent(a.shape) for a, _ in pairs]
    expected = torch.autograd.grad(
        [e for _, e in pairs],
        torch_leaves,
        [torch.tensor(g, dtype=e.dtype) for g, (_, e) in zip(seeds, pairs)],
        allow_unused=True,
    )
    found = tensor.grad(
        [a for a, _ in pairs],
        leaves,
        [Tensor(g, dtype=a.dtype) for g, (a, _) in zip(seeds, pairs)],
        allow_unused=True,
    )
    for a, e, leaf in zip(found, expected, leaves):
        a = np.zeros(leaf.shape, leaf.dtype) if a is None else a.numpy()
        e = torch.zeros(leaf.shape, dtype=torch.tensor(leaf.numpy()).dtype) if e is None else e
        if unlike(a, e):
            return "gradient"
    return None


def unlike(a: np.ndarray, e: Any, random: bool = False) -> str | None:
    """Whether shape, dtype or values differ, up to the rounding of some operations."""
    e = e.detach().numpy()
    if a.shape != e.shape:
        return "shape"
    if a.dtype != e.dtype:
        return "dtype"
    rounding = 2e-4 if a.dtype == np.float32 else 1e-7
    if random or np.allclose(a, e, rounding, rounding, equal_nan=True):
        return None
    return "value"


def outcome(op, sample) -> tuple[str, str]:
    """("agree", ""), ("raise", why) or ("differ", what); ("skip", why) where PyTorch raises."""
    args, kwargs = [sample.input, *sample.args], sample.kwargs
    leaves: list[Tensor] = []
    try:
        our_args = [converted(value, leaves) for value in args]
        our_kwargs = {key: converted(value, leaves) for key, value in kwargs.items()}
        mine = as_list(ours(op)(*our_args, **our_kwargs))
    except Exception as error:
        return "raise", f"{type(error).__name__}: {error}"
    try:
        theirs = as_list(op.op(*args, **kwargs))
    except Exception as error:
        return "skip", type(error).__name__
    torch_leaves = list(torchs_leaves([*args, *kwargs.values()]))
    try:
        wrong = difference(op, mine, theirs, leaves, torch_leaves)
    except RuntimeError as error:  # an op that has no derivative there says so
        return "raise", f"in the gradient, {type(error).__name__}: {error}"
    return ("differ", wrong) if wrong else ("agree", "")


def outcomes(op, step: int = 1) -> Iterator[tuple[Any, str, str]]:
    """Each sample of the op, or one in `step`, in each dtype that it knows, and what came of it."""
    for dtype in DTYPES:
        if dtype not in op.dtypes:
            continue
        wants_gradient = dtype.is_floating_point and op.supports_autograd
        torch.manual_seed(0)
        samples = op.sample_inputs("cpu", dtype, requires_grad=wants_gradient)
        for sample in islice(samples, 0, None, step):
            yield sample, *outcome(op, sample)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("op", OPS, ids=lambda op: f"{op.name} {op.variant_test_name}".strip())
def test_a_sample_of_torchs_means_the_same_or_is_refused(op) -> None:
    step = 7 if our_name(op) == "max_pool2d" else 1  # of its thousands all kinds are seen so
    for sample, verdict, why in outcomes(op, step):
        if verdict == "differ" and (our_name(op), why) not in DIFFERENCES:
            raise AssertionError(f"{op.name}: {why} differs for {sample}")


def report() -> None:
    """How many samples of each op agree, are refused and differ, and why."""
    total: Counter = Counter()
    for op in OPS:
        found = [(verdict, why) for _, verdict, why in outcomes(op)]
        counts = Counter(verdict for verdict, _ in found)
        reasons = Counter(
            (verdict, re.sub(r"[\[(]?\d[\d, ()\[\]]*", "#", why)) for verdict, why in found if why
        )
        total += counts
        name = f"{op.name} {op.variant_test_name}".strip()
        print(f"{name:40}", *(f"{k} {counts[k]:4}" for k in ("agree", "raise", "differ", "skip")))
        for (verdict, why), n in reasons.most_common():
            print(f"    {verdict} {n:4}  {why[:150]}")
    print("all", dict(total))


if __name__ == "__main__":
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        report()
