"""Where PyTorch is installed: distributions made by the same call as torch.distributions' answer
the same, in values, dtypes, shapes and gradients, or raise.

`python -m tests.nn.test_torch_distributions` counts how many answers agree. Draws are not compared,
for the generators differ, nor are expand, cdf and icdf, which are missing here, and validate_args.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nn.distributions
from tensor import Tensor
from tensor.strategies import broadcastable_shapes, dtypes, shapes

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)

PACKAGES = (nn.distributions, torch.distributions)
NAMES = ["Normal", "Laplace", "Uniform", "Bernoulli", "Categorical", "MultivariateNormal"]
Shape = tuple[int, ...]


class Example(NamedTuple):
    """A distribution as it is called, with arrays for tensors, and values for its log_prob.

    With `ndims`, it is the base of an `Independent`.
    """

    name: str
    args: tuple
    kwargs: dict[str, Any]
    ndims: int | None
    value: np.ndarray


# How examples are drawn


def numbers(seed: int, low: float, high: float, shape: Shape, dtype) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def matrix(seed: int, kind: str, shape: Shape, dtype) -> np.ndarray:
    """A Cholesky factor (..., d, d), or the matrix that it is a factor of."""
    x = numbers(seed, -1, 1, shape, dtype)
    L = np.tril(x, -1) + (0.5 + abs(x)) * np.eye(shape[-1], dtype=dtype)
    return L if kind == "scale_tril" else L @ L.mT


RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "Normal": {"loc": (-3, 3), "scale": (0.1, 3)},
    "Laplace": {"loc": (-3, 3), "scale": (0.1, 3)},
    "Uniform": {"low": (-3, -1), "high": (1, 3)},
    "Bernoulli": {"probs": (0.01, 0.99), "logits": (-5, 5)},
    "Categorical": {"probs": (0.05, 2), "logits": (-5, 5)},
}


@st.composite
def given_values(draw: st.DrawFn, name: str, batch: list[Shape], K: int) -> dict[str, Any]:
    """The parameters by name: arrays of two shapes that broadcast, of one or two dtypes, or numbers
    where PyTorch allows them."""
    seed, kinds = draw(st.integers(0, 2**16)), draw(st.lists(dtypes(), min_size=2, max_size=2))
    if name == "MultivariateNormal":
        kind = draw(st.sampled_from(["covariance_matrix", "precision_matrix", "scale_tril"]))
        loc = numbers(seed, -3, 3, (*batch[0], K), kinds[0])
        return {"loc": loc, kind: matrix(seed, kind, (*batch[1], K, K), kinds[0])}
    ranges = RANGES[name]
    if name in ("Bernoulli", "Categorical"):
        ranges = dict([draw(st.sampled_from(list(ranges.items())))])
    event = (K,) if name == "Categorical" else ()
    found: dict[str, Any] = {}
    for k, (parameter, (low, high)) in enumerate(ranges.items()):
        x = numbers(seed + k, low, high, (*batch[k], *event), kinds[k])
        is_number = not x.ndim and draw(st.booleans())
        found[parameter] = float(x) if is_number else x
    return found


def signature(function: Callable) -> dict[str, Any]:
    """The names of a function's positional parameters, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def torchs_parameters(name: str) -> list[str]:
    return [p for p in signature(getattr(torch.distributions, name)) if p != "validate_args"]


@st.composite
def examples(draw: st.DrawFn, name: str) -> Example:
    """The parameters are drawn, and how many of them are given by position; the rest, by name."""
    values = draw(given_values(name, draw(broadcastable_shapes(2)), draw(st.integers(1, 3))))
    order = torchs_parameters(name)
    by_position = draw(st.integers(0, len(order)))
    args = [values.pop(parameter, None) for parameter in order[:by_position]]
    p = getattr(torch.distributions, name)(*map(as_torch, args), **by_name(as_torch, values))
    ndims = draw(st.none() | st.integers(0, len(p.batch_shape)))
    value = p.sample(draw(shapes(max_dims=1))).numpy()
    return Example(name, tuple(args), values, ndims, value)


# One body for both packages


def as_torch(x: Any) -> Any:
    return torch.tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x


def as_ours(x: Any) -> Any:
    return Tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x


def by_name(convert: Callable, kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: convert(x) for name, x in kwargs.items()}


class Answer(NamedTuple):
    dtype: str
    value: np.ndarray
    gradients: dict[str, np.ndarray]


def symmetric(name: str, g: np.ndarray) -> np.ndarray:
    """Gradients by matrices as far as they are defined: PyTorch's of a factor go above the diagonal
    too, and what a covariance is moved by is symmetric."""
    if name == "scale_tril":
        return np.tril(g)
    return (g + g.mT) / 2 if name.endswith("_matrix") else g


def answer(package: Any, question: Callable, *asked: Example) -> Answer:
    """What the distributions of these examples answer, and its gradients by their parameters."""
    convert = as_ours if package is nn.distributions else as_torch
    made, leaves = [], {}
    for example in asked:
        args, kwargs = [convert(x) for x in example.args], by_name(convert, example.kwargs)
        named = dict(zip(torchs_parameters(example.name), args)) | kwargs
        leaves |= {f"{len(made)} {n}": x for n, x in named.items() if hasattr(x, "requires_grad")}
        p = getattr(package, example.name)(*args, **kwargs)
        made.append(p if example.ndims is None else package.Independent(p, example.ndims))
    y = question(package, convert(asked[0].value), *made)
    if isinstance(y, tuple):  # a shape
        return Answer("", np.array(y), {})
    if y.requires_grad:
        weights = np.cos(np.arange(y.numel())).reshape(y.shape)
        y.backward(convert(weights.astype(str(y.dtype).split(".")[-1])).detach())
    gradients = {
        name: symmetric(name.split()[1], np.zeros(x.shape) if x.grad is None else x.grad.numpy())
        for name, x in leaves.items()
    }
    return Answer(str(y.dtype).split(".")[-1], y.detach().numpy(), gradients)


def attribute(name: str) -> Callable:
    return lambda package, value, p: getattr(p, name)


QUESTIONS: dict[str, Callable] = {
    "log_prob": lambda package, value, p: p.log_prob(value),
    "entropy": lambda package, value, p: p.entropy(),
    **{
        name: attribute(name)
        for name in ["mean", "variance", "stddev", "mode", "batch_shape", "event_shape"]
    },
}
OWN_QUESTIONS = {
    "Bernoulli": ["probs", "logits"],
    "Categorical": ["probs", "logits"],
    "MultivariateNormal": ["covariance_matrix", "precision_matrix", "scale_tril"],
}
"""Attributes that only some have; an `Independent` does not."""


def divergence(package: Any, value: Any, p: Any, q: Any) -> Any:
    return package.kl_divergence(p, q)


def agreement(question: Callable, *asked: Example) -> str:
    """How our answer compares with PyTorch's. AssertionError if it differs."""
    theirs = answer(torch.distributions, question, *asked)
    try:
        ours = answer(nn.distributions, question, *asked)
    except NotImplementedError:
        return "raises"
    assert ours.dtype == theirs.dtype
    floats = [x.dtype for e in asked for x in (*e.args, *e.kwargs.values()) if hasattr(x, "dtype")]
    tolerance = 1e-9 if set(floats) == {np.dtype(np.float64)} else 1e-4
    for mine, other in [
        (ours.value, theirs.value),
        *((g, theirs.gradients[name]) for name, g in ours.gradients.items()),
    ]:
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
    return "agrees"


RAISES = {
    ("Categorical", "mean"),
    ("Categorical", "variance"),
    ("Categorical", "stddev"),
    ("Uniform", "mode"),
    ("Laplace", "kl_divergence"),
    ("Uniform", "kl_divergence"),
}
"""Where PyTorch answers NaN; and two divergences that are not implemented here."""


def check(p: Example, counts: Counter) -> None:
    """Ask p all there is to ask, and for its divergence from a distribution like it."""
    own = OWN_QUESTIONS.get(p.name, []) if p.ndims is None else []
    questions = QUESTIONS | {name: attribute(name) for name in own}
    asked = [(name, question, [p]) for name, question in questions.items()]
    for name, question, those in [*asked, ("kl_divergence", divergence, [p, another(p)])]:
        result = agreement(question, *those)
        assert (result == "raises") == ((p.name, name) in RAISES), name
        counts[p.name, result] += 1


def another(p: Example) -> Example:
    """The same with other numbers, in the same ranges."""

    def moved(name: str, x: Any) -> Any:
        if x is None:
            return None
        y = 0.7 * x if name.endswith("_matrix") else np.sign(x) * abs(x) ** 1.3
        return np.asarray(y, x.dtype) if isinstance(x, np.ndarray) else float(y)

    args = tuple(map(moved, torchs_parameters(p.name), p.args))
    return p._replace(args=args, kwargs={name: moved(name, x) for name, x in p.kwargs.items()})


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_the_same_call_gives_the_same_answers(name: str, data: st.DataObject) -> None:
    check(data.draw(examples(name)), Counter())


# What PyTorch's documentation shows


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_torchs_documentation(name: str) -> None:
    """The call in the class's docstring, whose tensors are arrays here."""
    call = re.search(rf"= {name}\((.*)\)", inspect.getdoc(getattr(torch.distributions, name)) or "")
    assert call
    args = tuple(x.numpy() for x in eval(f"({call[1]},)", {"torch": torch}))
    value = getattr(torch.distributions, name)(*map(torch.tensor, args)).sample().numpy()
    check(Example(name, args, {}, None, value), Counter())


# Names and positions


def methods(package: Any, name: str) -> dict[str, list[str]]:
    cls = getattr(package, name)
    public = ["sample", "rsample", "log_prob", "entropy"]
    return {method: list(signature(getattr(cls, method))) for method in public}


@pytest.mark.parametrize("name", [*NAMES, "Independent"])
def test_parameters_have_torchs_names_places_and_defaults(name: str) -> None:
    ours, theirs = (signature(getattr(package, name)) for package in PACKAGES)
    ours.pop("validate_args", None), theirs.pop("validate_args")
    assert list(ours.items()) == list(theirs.items())
    assert methods(nn.distributions, name) == methods(torch.distributions, name)


def test_divergences_have_torchs_parameters() -> None:
    ours, theirs = (list(signature(package.kl_divergence)) for package in PACKAGES)
    assert ours == theirs


# Wrong calls

WRONG = {
    "a scale of 0": lambda d, t: d.Normal(0.0, 0.0),
    "a negative scale": lambda d, t: d.Laplace(t([0.0]), t([-1.0])),
    "NaN for a scale": lambda d, t: d.Normal(0.0, float("nan")),
    "an empty interval": lambda d, t: d.Uniform(1.0, 1.0),
    "shapes that do not broadcast": lambda d, t: d.Normal(t([0.0] * 2), t([1.0] * 3)),
    "a list": lambda d, t: d.Normal([0.0], [1.0]),
    "no scale": lambda d, t: d.Normal(0.0),
    "a probability above 1": lambda d, t: d.Bernoulli(1.5),
    "NaN for a probability": lambda d, t: d.Bernoulli(t([float("nan")])),
    "neither probs nor logits": lambda d, t: d.Bernoulli(),
    "both probs and logits": lambda d, t: d.Categorical(t([0.5, 0.5]), t([0.0, 0.0])),
    "a number for classes": lambda d, t: d.Categorical(0.5),
    "a 0-d tensor for classes": lambda d, t: d.Categorical(t(0.5)),
    "negative weights": lambda d, t: d.Categorical(t([-1.0, 2.0])),
    "no weight": lambda d, t: d.Categorical(t([0.0, 0.0])),
    "no matrix": lambda d, t: d.MultivariateNormal(t([0.0])),
    "two matrices": lambda d, t: d.MultivariateNormal(t([0.0]), t([[1.0]]), t([[1.0]])),
    "a vector for a matrix": lambda d, t: d.MultivariateNormal(t([0.0]), t([1.0])),
    "a matrix with a negative eigenvalue": lambda d, t: d.MultivariateNormal(
        t([0.0, 0.0]), t([[1.0, 2.0], [2.0, 1.0]])
    ),
    "a matrix that is not symmetric": lambda d, t: d.MultivariateNormal(
        t([0.0, 0.0]), t([[2.0, 1.0], [0.0, 2.0]])
    ),
    "a factor that is not triangular": lambda d, t: d.MultivariateNormal(
        t([0.0, 0.0]), scale_tril=t([[1.0, 1.0], [0.0, 1.0]])
    ),
    "a factor with a negative diagonal": lambda d, t: d.MultivariateNormal(
        t([0.0]), scale_tril=t([[-1.0]])
    ),
    "more dimensions than there are": lambda d, t: d.Independent(d.Normal(0.0, 1.0), 1),
    "a class that is none": lambda d, t: d.Categorical(t([0.5, 0.5])).log_prob(t(2)),
    "an outcome above 1": lambda d, t: d.Bernoulli(0.5).log_prob(t(2.0)),
    "a draw of something discrete": lambda d, t: d.Bernoulli(0.5).rsample(),
    "a vector of another length": lambda d, t: d.MultivariateNormal(
        t([0.0, 0.0]), t([[1.0, 0.0], [0.0, 1.0]])
    ).log_prob(t([0.0])),
    "a divergence that nobody knows": lambda d, t: d.kl_divergence(
        d.Laplace(0.0, 1.0), d.Bernoulli(0.5)
    ),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_what_torch_refuses_is_refused(call: Callable) -> None:
    with pytest.raises(Exception):  # noqa: B017 (of whatever type)
        call(torch.distributions, torch.tensor)
    with pytest.raises((ValueError, TypeError, NotImplementedError, IndexError)):
        call(nn.distributions, Tensor)


def main() -> None:
    counts: Counter = Counter()
    for name in NAMES:

        @settings(max_examples=200, database=None, deadline=None)
        @given(p=examples(name))
        def ask(p: Example) -> None:
            check(p, counts)

        ask()
    print(f"{'':20}{'agrees':>8}{'raises':>8}")
    for name in NAMES:
        print(f"{name:20}{counts[name, 'agrees']:8}{counts[name, 'raises']:8}")


if __name__ == "__main__":
    main()
