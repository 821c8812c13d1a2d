"""Is a derivative right? Every element of the Jacobian is compared with finite differences.

    gradcheck(tanh, [Tensor(np.array([0.3, -1.2]), requires_grad=True)])

`gradcheck` looks at first derivatives, `gradgradcheck` at the derivatives of those. Both work in
float64 with central differences of fourth order,

    f'(x) = (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / 12h + O(h^4)

which err by about 1e-11 at h = 1e-4: a right derivative agrees to many digits, and a wrong one has
nowhere to hide.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tensor.autodiff import grad
from tensor.base import FLOAT64
from tensor.modes import enable_grad
from tensor.tensor import Tensor

MAX_PRINTED = 100
"""Inputs with more elements than this are not written out in a failure message."""


@enable_grad()
def gradcheck(
    f: Callable, inputs, *, eps: float = 1e-4, rtol: float = 1e-6, atol: float = 1e-8
) -> bool:
    """True if reverse mode and finite differences agree in all elements of d f(*inputs) / d inputs.

    `f` maps float64 tensors to a tensor or a tuple of them; `inputs` is one tensor or several, made
    with requires_grad=True, at which f is smooth: no kink may be nearer than 2 eps. An input that f
    does not use has derivative 0. Gradients are taken on raw arrays and with create_graph=True,
    which may run different code.

    Where |analytic - numeric| > atol + rtol |numeric|, AssertionError names the element that is
    furthest off and shows how to reproduce it. Inputs that are no float64 tensors raise TypeError,
    inputs without requires_grad ValueError.
    """
    xs = _leaves("gradcheck", inputs)
    mistake = _mistake(f, _named("input", xs), "output", eps, rtol, atol)
    return _verdict(mistake, "gradcheck", f, xs, eps=eps, rtol=rtol, atol=atol)


@enable_grad()
def gradgradcheck(
    f: Callable, inputs, *, eps: float = 1e-4, rtol: float = 1e-6, atol: float = 1e-8
) -> bool:
    """True if `gradcheck` holds for the gradient of f, which maps (inputs, g) to g . df/dinputs.

    g stands for the incoming gradients, one per output: normal random numbers, the same at every
    call. The gradient is taken as the engine computes it; that it is the right one is what
    `gradcheck` of f itself says.
    """
    xs = _leaves("gradgradcheck", inputs)
    ys = _outputs(f, xs)
    rng = np.random.default_rng(0)
    gs = [Tensor(rng.standard_normal(y.shape), requires_grad=True, device=y.device) for y in ys]

    def vjp(*arguments: Tensor) -> tuple[Tensor, ...]:
        xs, gs = arguments[: -len(ys)], arguments[-len(ys) :]
        return _gradients(_outputs(f, xs), xs, gs, create_graph=True)

    arguments = _named("input", xs) | _named("incoming gradient", gs)
    mistake = _mistake(vjp, arguments, "gradient of input", eps, rtol, atol)
    return _verdict(mistake, "gradgradcheck", f, xs, eps=eps, rtol=rtol, atol=atol)


# Two ways to the Jacobian (elements of all outputs, elements of one input), and the comparison


def _numeric_jacobian(f: Callable, xs: Sequence[Tensor], k: int, eps: float) -> np.ndarray:
    """d f(*xs) / d xs[k] by finite differences, column by column."""

    def moved(i: int, step: float) -> np.ndarray:
        x = xs[k].numpy().copy()
        x.flat[i] += step
        leaf = Tensor(x, requires_grad=True, device=xs[k].device)
        return _flat(_outputs(f, [*xs[:k], leaf, *xs[k + 1 :]]))

    jacobian = np.empty((_flat(_outputs(f, xs)).size, xs[k].numel()))
    for i in range(xs[k].numel()):
        near, far = moved(i, eps) - moved(i, -eps), moved(i, 2 * eps) - moved(i, -2 * eps)
        jacobian[:, i] = (8 * near - far) / (12 * eps)
    return jacobian


def _analytic_jacobians(f: Callable, xs: Sequence[Tensor], create_graph: bool) -> list[np.ndarray]:
    """d f(*xs) / d x for each x by reverse mode: a row, and a backward pass, per output element."""
    rows: list[tuple[Tensor, ...]] = []
    for y in _outputs(f, xs):
        for i in range(y.numel()):
            one_hot = np.zeros(y.shape)
            one_hot.flat[i] = 1
            rows.append(_gradients([y], xs, [Tensor(one_hot, device=y.device)], create_graph))
    shapes = [(len(rows), x.numel()) for x in xs]
    return [np.reshape([_flat([row[k]]) for row in rows], s) for k, s in enumerate(shapes)]


def _mistake(
    f: Callable, named: dict[str, Tensor], output: str, eps: float, rtol: float, atol: float
) -> str | None:
    """Where the Jacobians differ most, or None where they agree."""
    xs = list(named.values())
    ys = _named(output, _outputs(f, xs))
    numerics = [_numeric_jacobian(f, xs, k, eps) for k in range(len(xs))]
    for create_graph in (False, True):
        analytics = _analytic_jacobians(f, xs, create_graph)
        for name, numeric, analytic in zip(named, numerics, analytics, strict=True):
            excess = abs(analytic - numeric) - (atol + rtol * abs(numeric))
            wrong = ~(excess <= 0)
            if wrong.any():
                row, column = np.unravel_index(excess.argmax(), excess.shape)
                count = f"{wrong.sum()} of {wrong.size} derivatives by {name} are wrong"
                worst = f"d {_element(ys, row)} / d {_element({name: named[name]}, column)}"
                numbers = f"analytic {analytic[row, column]}, numeric {numeric[row, column]}"
                return f"{count} ({create_graph=}), above all\n    {worst}: {numbers}"
    return None


def _gradients(
    ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Tensor], create_graph: bool
) -> tuple:
    """sum over k of gs[k] . dys[k]/dx for each x; zeros where no y depends on x."""
    used = [(y, g) for y, g in zip(ys, gs, strict=True) if y.requires_grad]
    ys, gs = [y for y, _ in used], [g for _, g in used]
    found = list(grad(ys, xs, gs, retain_graph=True, create_graph=create_graph, allow_unused=True))
    for k, (x, g) in enumerate(zip(xs, found, strict=True)):
        if g is None:
            found[k] = Tensor(np.zeros(x.shape), device=x.device)
        elif (g.shape, g.dtype) != (x.shape, x.dtype):
            given, expected = f"{g.dtype} {g.shape}", f"{x.dtype} {x.shape}"
            raise AssertionError(f"input {k} is {expected}, but its gradient {given}")
    return tuple(found)


# What goes in


def _leaves(check: str, inputs) -> list[Tensor]:
    """Each input as a leaf of its own: one that is given twice is moved in one place at a time."""
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for k, x in enumerate(xs):
        if not isinstance(x, Tensor) or x.dtype != FLOAT64:
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            wrong = f"input {k} must be a float64 tensor, not {kind}"
            raise TypeError(f"{check}: {wrong}: differences need the precision")
        if not x.requires_grad:
            raise ValueError(f"{check}: input {k} must have requires_grad=True")
    return [x.detach().requires_grad_() for x in xs]


def _outputs(f: Callable, xs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    ys = f(*xs)
    ys = tuple(ys) if isinstance(ys, (tuple, list)) else (ys,)
    for y in ys:
        if not isinstance(y, Tensor) or y.dtype != FLOAT64:
            kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"{_name(f)} must return float64 tensors to be checked, not {kind}")
    return ys


def _flat(tensors: Sequence[Tensor]) -> np.ndarray:
    """All elements end to end."""
    return np.concatenate([x.numpy().ravel() for x in tensors])


# What comes out when they differ


def _named(name: str, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{name} {k}": x for k, x in enumerate(tensors)}


def _element(named: dict[str, Tensor], position: int) -> str:
    """The name of the element at `position` when all elements are laid end to end."""
    ends = np.cumsum([x.numel() for x in named.values()])
    k = int(np.searchsorted(ends, position, side="right"))
    name, x = list(named.items())[k]
    index = np.unravel_index(position - (ends[k] - x.numel()), x.shape)
    return f"{name}{[int(i) for i in index] or ''}"


def _name(f: Callable) -> str:
    return getattr(f.func if isinstance(f, partial) else f, "__name__", type(f).__name__)


def _verdict(
    mistake: str | None, check: str, f: Callable, xs: Sequence[Tensor], **tolerances: float
) -> bool:
    if mistake is None:
        return True
    settings = ", ".join(f"{name}={value}" for name, value in tolerances.items())
    message = [
        f"{check} of {_name(f)}: {mistake}\n\nTo reproduce it:\n",
        "from numpy import array, inf, nan, zeros",
        "from tensor import Tensor",
        f"from tensor.testing import {check}",
        *_definition(f),
        "inputs = [",
        *[f"    Tensor({_literal(x.numpy())}, requires_grad=True)," for x in xs],
        "]",
        f"{check}(f, inputs, {settings})",
    ]
    raise AssertionError("\n".join(message))


def _definition(f: Callable) -> list[str]:
    """Lines of Python that bind `f`: an import where that is possible, otherwise a gap to fill."""
    if isinstance(f, partial):
        options = [f"{name}={value!r}" for name, value in f.keywords.items()]
        arguments = ", ".join(["f", *map(repr, f.args), *options])
        return ["from functools import partial", *_definition(f.func), f"f = partial({arguments})"]
    if inspect.isfunction(f) and f.__qualname__.isidentifier() and f.__module__ != "__main__":
        return [f"from {f.__module__} import {f.__qualname__} as f"]
    code = getattr(inspect.unwrap(f), "__code__", None)
    place = f", {Path(code.co_filename).name} line {code.co_firstlineno}" if code else ""
    return [f"f = ...  # {_name(f)}{place}"]


def _literal(x: np.ndarray) -> str:
    if x.size > MAX_PRINTED:
        return f"...  # {x.size} numbers of shape {x.shape}"
    return f"array({x.tolist()})" if x.size else f"zeros({x.shape})"
