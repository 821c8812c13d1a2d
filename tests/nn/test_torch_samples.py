"""PyTorch's own sample inputs for its modules and optimisers: the same comes out, or an error.

Each sample is a call that PyTorch understands. Here it has the same value, dtype, shape, gradients
and state afterwards, or it is refused. There are no other differences, but for names: PyTorch's
batch norm also counts its batches. `python -m tests.nn.test_torch_samples` prints how many samples
of each class agree, and why others are refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import nn
from tensor import Tensor

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)
pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")

from torch.testing._internal.common_modules import module_db  # noqa: E402
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

MODULES = {m.module_cls.__name__: m for m in module_db if m.module_cls.__name__ in nn.__all__}
OPTIMIZERS = {o.optim_cls.__name__: o for o in optim_db if o.optim_cls.__name__ in nn.__all__}
REFUSALS = (TypeError, ValueError, IndexError)


def ours(x: Any) -> Any:
    """The arguments of a call with ours in the place of PyTorch's tensors."""
    if isinstance(x, dict):
        return {name: ours(value) for name, value in x.items()}
    if isinstance(x, tuple):
        return tuple(map(ours, x))
    if isinstance(x, torch.Tensor):
        return Tensor(x.detach().numpy(), requires_grad=x.requires_grad)
    return x


def state(module: Any) -> dict[str, Any]:
    """The state of a module of either package, without PyTorch's count of batches."""
    named = module.state_dict().items()
    return {name: x for name, x in named if not name.endswith("num_batches_tracked")}


def gradients(module: Any, args: Sequence) -> dict[Any, Any]:
    """Those of a module's parameters and of the tensors that it was called with."""
    of_parameters = {name: p.grad for name, p in module.named_parameters()}
    return of_parameters | dict(enumerate(x.grad for x in args))


def same(mine: Any, other: Any) -> bool:
    """Whether a tensor of ours is one of PyTorch's, or both are None."""
    if mine is None or other is None:
        return mine is other
    a, b = mine.numpy(), other.detach().numpy()
    tolerance = 1e-4 if a.dtype == np.float32 else 1e-9
    return a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b, tolerance, tolerance)


def all_same(mine: dict, other: dict) -> bool:
    return mine.keys() == other.keys() and all(same(mine[name], other[name]) for name in mine)


def as_tuple(y: Any) -> tuple:
    """What a module returns: the value alone, or with the indices of max pooling."""
    return y if isinstance(y, tuple) else (y,)


def module_outcome(info: Any, sample: Any, dtype: Any, training: bool) -> str:
    """What becomes of a module with PyTorch's weights, in one pass forward and backward."""
    made, called = sample.constructor_input, sample.forward_input
    theirs = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
    for x in theirs.state_dict().values():  # none is left at 0 or 1, and variances are positive;
        x.copy_(torch.rand(x.shape) + (0.5 if x.ndim < 2 else -0.5))  # no softmax is saturated
    try:
        layer = getattr(nn, info.module_cls.__name__)(*ours(made.args), **ours(made.kwargs))
        layer.to(str(dtype).removeprefix("torch.")).train(training)
        layer.load_state_dict({name: x.numpy() for name, x in state(theirs).items()})
        args = ours(called.args)
        y = layer(*args, **ours(called.kwargs))
    except REFUSALS as error:
        return f"refused: {error}"
    z = theirs(*called.args, **called.kwargs)
    (y, *indices), (z, *their_indices) = as_tuple(y), as_tuple(z)
    cotangent = torch.randn(z.shape).to(z.dtype)
    (y * Tensor(cotangent.numpy())).sum().backward()
    (z * cotangent).sum().backward()
    agreed = {
        "value": same(y, z),
        "indices": len(indices) == len(their_indices) and all(map(same, indices, their_indices)),
        "gradients": all_same(gradients(layer, args), gradients(theirs, called.args)),
        "state": all_same(state(layer), state(theirs)),
    }
    wrong = [name for name, agrees in agreed.items() if not agrees]
    return f"differs in {wrong}: {made.args} {made.kwargs}" if wrong else "agrees"


def module_outcomes(name: str) -> Iterator[str]:
    """Of all samples, in both dtypes, in training and in evaluation."""
    for dtype in (torch.float32, torch.float64):
        for training in (True, False):
            torch.manual_seed(0)
            options = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
            for sample in MODULES[name].module_inputs_func(MODULES[name], **options):
                yield module_outcome(MODULES[name], sample, dtype, training)


def optimizer_outcomes(name: str) -> Iterator[str]:
    """Of all samples: five steps by random gradients."""
    for sample in OPTIMIZERS[name].optim_inputs_func(device="cpu"):
        rng = np.random.default_rng(0)
        starts = [rng.standard_normal(shape) for shape in ((3, 4), (5,), ())]
        mine = [nn.Parameter(x) for x in starts]
        theirs = [torch.nn.Parameter(torch.tensor(x)) for x in starts]
        try:
            optimizer = getattr(nn, name)(mine, **ours(sample.kwargs))
        except REFUSALS as error:
            yield f"refused: {error}"
            continue
        other = OPTIMIZERS[name].optim_cls(theirs, **sample.kwargs)
        for _ in range(5):
            for p, q in zip(mine, theirs):
                g = rng.standard_normal(p.shape)
                p.grad, q.grad = Tensor(g), torch.tensor(g)
            optimizer.step()
            other.step()
        agree = all(map(same, mine, theirs))
        yield "agrees" if agree else f"differs: {sample.kwargs}"


SAMPLES: dict[str, Callable[[str], Iterator[str]]] = {
    **dict.fromkeys(MODULES, module_outcomes),
    **dict.fromkeys(OPTIMIZERS, optimizer_outcomes),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_agree_or_are_refused(name: str) -> None:
    counts = Counter(SAMPLES[name](name))
    assert counts["agrees"] and not [outcome for outcome in counts if outcome.startswith("differs")]


def print_table() -> None:
    """A line for each class, and one for each reason of a refusal."""
    total = Counter()
    for name, outcomes in SAMPLES.items():
        counts = Counter(outcomes(name))
        kinds = Counter()
        for outcome, n in counts.items():
            kinds[outcome.split()[0].rstrip(":")] += n
        total += kinds
        print(f"{name:20} {dict(kinds)}")
        for outcome, n in counts.items():
            if outcome != "agrees":
                print(f"    {n:4} {outcome}")
    print(f"{'all':20} {dict(total)}")


if __name__ == "__main__":
    print_table()
