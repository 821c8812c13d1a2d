"""Reverse-mode automatic differentiation: tensors that remember how they were made.

An op is declared once, with its derivatives beside it:

    @op(x=lambda g, y: g * (1 - y * y))
    def tanh(x):
        return array_module(x).tanh(x)

The function computes on raw arrays. Each keyword is the vector-Jacobian product (VJP) of one argument: it maps
g = dL/dy to dL/dx. A VJP is handed what its parameters name: `g`; the output `y`; any argument of the op; or `x_shape`,
the shape of argument `x`. What no VJP names is not kept, so these parameter lists are also the memory plan.

Called on a Tensor, an op records a `Node` and returns a Tensor; called on arrays, it is a plain function of arrays.
VJPs are made of ops, so one formula serves twice: a first derivative runs it on arrays, at NumPy's speed, and
`create_graph=True` runs it on tensors, so that the gradient is recorded and can be differentiated again.

Nodes point to their parents and never to a tensor: a graph has no reference cycles and dies with its last user.
The arrays inside tensors are read-only: nothing that a pending backward needs can change under its feet.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

import numpy as np

from tensor.arrays import Array, array_module, device_of
from tensor.kernels import loops_for, total
from tensor.modes import check_finite, mode, mode_with
from tensor.tensor import FLOAT32, FLOAT64, Node, Tensor, as_tensor, supported

_NUMBERS = frozenset((float, int, bool))
_ERRORS = (IndexError, ValueError, TypeError, RuntimeError, OverflowError, AttributeError)


# Declaring ops


class Edge:
    """One VJP: the positions of the arguments it serves, the function, and how its parameters are picked from all values."""

    __slots__ = ("first", "joint", "pick", "slots", "targets", "vjp")

    def __init__(self, targets: tuple[int, ...], vjp: Callable, slots: tuple[int, ...], joint: bool):
        self.targets, self.vjp, self.slots, self.joint = targets, vjp, slots, joint
        self.first, self.pick = targets[0], _picker(slots)


def _picker(slots: tuple[int, ...]) -> Callable[[list], Sequence]:
    """The function that takes the values at these places out of a list."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return itemgetter(slice(slots[0], slots[0] + 1) if slots else slice(0))


class Op:
    """The declaration of an op, made ready to be called. Positions count its arguments 0..n-1; n is its output."""

    def __init__(self, declared: Callable, vjps: dict[str, Callable], joint: tuple | None, kernel: Callable | None = None):
        parameters = inspect.signature(declared).parameters
        self.name, self.forward, self.keeps = declared.__name__.lstrip("_"), kernel or declared, kernel is not None
        self.arguments = list(parameters)
        self.defaults = [p.default for p in parameters.values()]
        self.takes_none = any("Array | None" in str(p.annotation) for p in parameters.values())
        self.edges = [self._edge((name,), vjp, False) for name, vjp in vjps.items()]
        if joint:
            self.edges.append(self._edge(tuple(joint[0].split()), joint[1], True))
        differentiable = {k for edge in self.edges for k in edge.targets}
        self.differentiable = [k in differentiable for k in range(len(self.arguments))]
        self.uses_shapes = any(slot > len(self.arguments) + 1 for edge in self.edges for slot in edge.slots)

    def _edge(self, targets: tuple[str, ...], vjp: Callable, joint: bool) -> Edge:
        n = len(self.arguments)
        if taken := {"y", "kept"}.intersection(self.arguments):
            raise TypeError(f"{self.name}: {taken.pop()!r} has a meaning of its own in a VJP: no argument can have that name")
        places = {name: k for k, name in enumerate([*self.arguments, "y", "kept"])}
        places |= {f"{name}_shape": n + 2 + k for k, name in enumerate(self.arguments)}
        names = list(inspect.signature(vjp).parameters)[2 if joint else 1 :]
        unknown = [name for name in [*targets, *names] if name not in places]
        if unknown:
            raise TypeError(f"{self.name}: a VJP names {unknown}, but the op has only {list(places)}")
        slots = tuple(places[name] for name in names)
        return Edge(tuple(places[t] for t in targets), vjp, slots, joint)

    def bind(self, args: tuple, kwargs: dict) -> list:
        """All arguments by position, defaults filled in."""
        values = [*args, *self.defaults[len(args) :]]
        for name, value in kwargs.items():
            if name not in self.arguments or self.arguments.index(name) < len(args):
                raise TypeError(f"{self.name}() does not take {name!r} here; its arguments are {self.arguments}")
            values[self.arguments.index(name)] = value
        missing = [name for name, value in zip(self.arguments, values) if value is inspect.Parameter.empty]
        if missing or len(values) > len(self.arguments):
            raise TypeError(f"{self.name}() takes {self.arguments}; {f'missing {missing}' if missing else 'too many given'}")
        return values

    def __call__(self, args: Sequence):
        """Compute on the arrays inside `args`; if there is a Tensor among them, return one and record a node."""
        for a in args:
            if isinstance(a, Tensor):
                break
        else:
            return self._of_arrays(args)
        recording, checking = mode.get()
        values: list = []
        parents: list[Node | None] = []
        dtype = kind = None
        agree = True
        for a, differentiable in zip(args, self.differentiable):
            parent = None
            if isinstance(a, Tensor):
                parent, a = a.node, a._data
                if parent is not None and not differentiable:
                    if recording and self.edges:
                        self.refuse_gradient(args)
                    parent = None
                if dtype is None:
                    dtype, kind = a.dtype, type(a)
                elif differentiable and (a.dtype is not dtype or type(a) is not kind):
                    agree = False
                if not a.shape:
                    a = a[()]  # NumPy computes ten times faster with scalars than with 0-d arrays
            elif type(a) not in _NUMBERS:
                agree = agree and (not differentiable or (a is None and self.takes_none))
                if recording and isinstance(getattr(a, "dtype", None), np.dtype):
                    a = a.copy()  # its owner may write into it before the gradients flow
                elif type(a) is list:
                    a = tuple(a)
            values.append(a)
            parents.append(parent)
        try:
            if not agree:
                dtype = self._reconcile(args, values)
            y, kept = self.forward(*values) if self.keeps else (self.forward(*values), None)
        except _ERRORS as error:
            raise _in_the_name_of(self.name, error, args) from None
        if y.dtype is not dtype and y.dtype == FLOAT64 and dtype != FLOAT64 and dtype != FLOAT32:
            y = y.astype(FLOAT32)
        if checking:
            check_finite(y, f"the output of {self.name!r}")
        return Tensor._wrap(y, self._record(values, parents, y, kept) if recording and any(parents) else None)

    def _of_arrays(self, args: Sequence) -> Array:
        """The plain function, where there is no tensor."""
        try:
            for a, differentiable in zip(args, self.differentiable):
                if differentiable and type(a) is list:
                    raise TypeError("expected a tensor, an array or a number, got list")
            y = self.forward(*args)
        except _ERRORS as error:
            raise _in_the_name_of(self.name, error, args) from None
        return y[0] if self.keeps else y

    def refuse_gradient(self, args: Sequence) -> None:
        """Where some arguments have a VJP, a gradient of the others would be lost. An op without any is constant by nature."""
        for name, a, differentiable in zip(self.arguments, args, self.differentiable):
            if not differentiable and isinstance(a, Tensor) and a.requires_grad:
                raise RuntimeError(
                    f"{self.name}: not differentiable with respect to {name!r}, which requires a gradient: detach() it"
                )

    def _record(self, values: list, parents: list, y: Array, kept) -> Node:
        """A node that keeps what the VJPs of its parents name."""
        pool = [*values, y, kept]
        if self.uses_shapes:
            pool += [getattr(v, "shape", ()) for v in values]
        saved = []
        for edge in self.edges:
            if edge.joint or parents[edge.first] is not None:
                saved.append((edge, edge.pick(pool)))
        return Node(self, parents, saved, y)

    def _reconcile(self, args: Sequence, values: list) -> np.dtype:
        """Bring the differentiable arguments to one device and dtype, in place in `values`. Tensors decide, others follow.

        Among tensors those with dimensions decide before 0-d ones, and floats before integers, as in PyTorch. Integers
        beside an array of floats become float32.
        """
        places = [k for k, differentiable in enumerate(self.differentiable) if differentiable]
        tensors = [args[k].data for k in places if isinstance(args[k], Tensor)]
        devices = sorted({device_of(x) for x in tensors})
        if len(devices) > 1:
            raise RuntimeError(
                f"{self.name}: tensors on different devices, {' and '.join(devices)}: move them with .to(device)"
            )
        floats = [x for x in tensors if x.dtype.kind == "f"]
        deciding = [x.dtype for x in floats if x.ndim] or [x.dtype for x in floats]
        if tensors and not deciding and any(hasattr(values[k], "dtype") and values[k].dtype.kind not in "biu" for k in places):
            deciding = [FLOAT32]
        dtype = np.result_type(*(deciding or [x.dtype for x in tensors] or [FLOAT32]))
        xp = array_module(tensors[0]) if tensors else np
        for k in places:
            v = values[k]
            if hasattr(v, "dtype") or isinstance(v, (list, tuple)):
                v = xp.asarray(v)
                if v.dtype.kind not in "biuf":
                    raise TypeError(f"{self.name}: expected real numbers, got an array of {v.dtype}")
                values[k] = xp.asarray(v, dtype) if deciding else v
            elif type(v) not in _NUMBERS and not (v is None and self.takes_none):
                raise TypeError(f"{self.name}: expected a tensor, an array or a number, got {type(v).__name__}")
        return dtype


def _in_the_name_of(name: str, error: Any, args: Sequence = ()) -> Exception:
    """The error as one of the op that was called, whatever raised it inside; NumPy's words are given the shapes of `args`."""
    message = str(error)
    inner = re.match(r"\w+(: |\(\) )", message)
    kind = next(kind for kind in _ERRORS if isinstance(error, kind))
    if kind is AttributeError:
        if hasattr(error.obj, "shape"):
            return error  # a mistake in the op
        wrong = next(a for a in [*args, error.obj] if not hasattr(a, "shape"))
        kind, message = TypeError, f"expected a tensor, got {type(wrong).__name__}"
    elif inner:
        message = message[inner.end() :]
    elif shapes := [a.shape for a in args if hasattr(a, "shape")]:
        message += f" (input shapes: {shapes})"
    return kind(f"{name}: {message}").with_traceback(error.__traceback__)


F = TypeVar("F", bound=Callable)


def composite(function: F) -> F:
    """A function made of ops, whose errors bear its own name and not theirs."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except _ERRORS as error:
            raise _in_the_name_of(function.__name__, error) from None

    return call  # type: ignore[return-value]


def floating(forward: F) -> F:
    """Let a forward whose first argument is to be of floats take integers and bool as float32, as PyTorch promotes them."""

    @functools.wraps(forward)
    def call(x, *others):
        return forward(x if getattr(x, "dtype", FLOAT32).kind == "f" else x.astype(FLOAT32), *others)

    return call  # type: ignore[return-value]


def op(*, joint: tuple[str, Callable] | None = None, **vjps: Callable) -> Callable[[F], F]:
    """Declare an op: decorate its forward on raw arrays with the VJP of each argument (see the top of this file).

    `joint=("x weight", vjp)` names arguments whose gradients one function returns together, as a tuple. Its second parameter
    tells which of them are wanted, as a tuple of bool; for the others it may return None. Integers stay integers where NumPy
    keeps them, unless the forward is `floating`.
    """

    def declare(forward: F) -> F:
        spec = Op(forward, vjps, joint)
        arity = len(spec.arguments)

        @functools.wraps(forward)
        def call(*args, **kwargs):
            return spec(args if len(args) == arity and not kwargs else spec.bind(args, kwargs))

        return call  # type: ignore[return-value]

    return declare


def fused(targets: str, forward: Callable, vjp: Callable) -> Callable[[F], F]:
    """Give a function made of ops a kernel: `forward(*args)` on raw arrays, and `vjp(g, y, kept, *args)` with one gradient
    for each argument named in `targets`. `forward` returns y, and what else is kept for the first derivative.

    The function itself says what they must equal. It serves where there is no kernel, and it is what `create_graph=True`
    differentiates, so derivatives of any order follow from the clear version.
    """

    def declare(definition: F) -> F:
        signature = inspect.signature(definition)
        places = [list(signature.parameters).index(name) for name in targets.split()]

        def backward(g, wanted, y, kept, *args):
            if isinstance(g, Tensor):
                return _vjp_by_definition(definition, places, g, wanted, args)
            return vjp(g, y, kept, *args)

        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("g", "wanted", "y", "kept")]
        backward.__signature__ = inspect.Signature([*first, *signature.parameters.values()])  # type: ignore[attr-defined]
        spec = Op(definition, {}, (targets, backward), kernel=forward)
        by_definition = composite(definition)

        @functools.wraps(definition)
        def call(*args, **kwargs):
            values = spec.bind(args, kwargs)
            x = values[0].data if isinstance(values[0], Tensor) else values[0]
            if loops_for(x):
                return spec(values)
            if mode.get().recording:
                spec.refuse_gradient(values)
            return by_definition(*values)

        call.definition = definition  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return declare


def _vjp_by_definition(definition: Callable, places: list[int], g: Tensor, wanted: tuple, args: tuple) -> list:
    """Differentiate the definition at its arguments, each of them a fresh node: one may be the ancestor of another."""
    fresh = [broadcast_to(a, a.shape) if isinstance(a, Tensor) else a for a in args]
    inputs = [fresh[k] for k, want in zip(places, wanted) if want]
    gradients = iter(grad(definition(*fresh), inputs, g, create_graph=True, allow_unused=True))
    return [next(gradients) if want else None for want in wanted]


# Carrying gradients back


def _pull_back(node: Node, g, create_graph: bool, needed: set[Node] | None) -> Iterator[tuple[Node, Any]]:
    """Each parent (in `needed`, if given) with its share of the gradient `g` of this node."""
    if node.saved is None:
        raise RuntimeError(f"the graph behind {node.op.name!r} was freed by an earlier backward: retain_graph=True keeps it")
    for edge, values in node.saved:
        if create_graph:
            values = [_with_history(node, value, slot) for value, slot in zip(values, edge.slots)]
        if edge.joint:
            parents = [node.parents[k] for k in edge.targets]
            wanted = tuple(p is not None and (needed is None or p in needed) for p in parents)
            if any(wanted):
                for parent, want, share in zip(parents, wanted, edge.vjp(g, wanted, *values)):
                    if want and share is not None:
                        yield parent, share
        else:
            parent = node.parents[edge.first]
            if needed is None or parent in needed:
                yield parent, edge.vjp(g, *values)


def _with_history(node: Node, value, slot: int):
    """A saved array as the tensor it was: this node's output, or one of its inputs."""
    n = len(node.parents)
    if slot == n:
        return Tensor._wrap(value, node)
    if slot < n and node.op.differentiable[slot] and hasattr(value, "dtype"):
        return Tensor._wrap(value, node.parents[slot])
    return value


def _settle(share, node: Node):
    """A gradient in the dtype and shape of its node: the one place where promotion and broadcasting are undone."""
    share = share if share.dtype == node.dtype else cast(share, node.dtype)
    return share if share.shape == node.shape else broadcast_to(sum_to(share, node.shape), node.shape)


def _ancestors(roots: set[Node]) -> list[Node]:
    """`roots` and all nodes behind them, newest first."""
    seen, stack = set(roots), list(roots)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=attrgetter("order"), reverse=True)


def _leading_to(targets: set[Node], nodes: list[Node]) -> set[Node]:
    """Those of `nodes` (newest first) from which a target can be reached."""
    leading = set(targets)
    for node in reversed(nodes):
        if any(parent in leading for parent in node.parents):
            leading.add(node)
    return leading


def _flow_back(
    seeds: list[tuple[Node, Any]], targets: set[Node] | None, create_graph: bool, retain_graph: bool | None
) -> dict[Node, Any]:
    """Carry gradients from the seeds to the targets (None: to all leaves) and return what arrives there."""
    retain_graph = create_graph if retain_graph is None else retain_graph
    nodes = _ancestors({node for node, _ in seeds})
    needed = None if targets is None else _leading_to(targets, nodes)
    pending: dict[Node, Any] = {}
    arrived: dict[Node, Any] = {}

    checking = mode.get().checking
    with mode_with(recording=create_graph, checking=False):
        for node, g in seeds:
            g = g if create_graph else g.data[()]
            pending[node] = pending[node] + g if node in pending else g
        for node in nodes:
            if node not in pending or (needed is not None and node not in needed):
                continue
            g = pending.pop(node)
            if node.op is None if targets is None else node in targets:
                arrived[node] = g
            if node.op is not None and (needed is None or not needed.isdisjoint(node.parents)):
                for parent, share in _pull_back(node, g, create_graph, needed):
                    if share.dtype is not parent.dtype or share.shape != parent.shape:
                        share = _settle(share, parent)
                    if checking:
                        check_finite(share.data if create_graph else share, f"a gradient of {node.op.name!r}")
                    pending[parent] = pending[parent] + share if parent in pending else share
                if not retain_graph:
                    node.saved = None
    return arrived


def _seeds(outputs: Sequence[Tensor], gradients: Sequence) -> list[tuple[Node, Tensor]]:
    """The nodes of the outputs, each with the gradient that starts there."""
    seeds = []
    for y, g in zip(outputs, gradients):
        if y.node is None:
            raise RuntimeError("this tensor does not depend on any tensor with requires_grad=True")
        if g is None and y.numel() != 1:
            raise RuntimeError(
                f"a gradient starts from a scalar, but this tensor has shape {y.shape}: sum it, or give a gradient"
            )
        xp = array_module(y.data)
        g = xp.ones(y.shape, y.dtype) if g is None else g
        g = g if isinstance(g, Tensor) else Tensor._wrap(xp.array(g, y.dtype))
        if g.shape != y.shape:
            raise ValueError(f"the gradient has shape {g.shape}, its tensor {y.shape}")
        seeds.append((y.node, g if g.dtype == y.dtype else cast(g, y.dtype)))
    return seeds


def _nodes(caller: str, inputs: Tensor | Iterable[Tensor]) -> list[Node]:
    """The node of each input."""
    nodes = []
    for k, x in enumerate([inputs] if isinstance(inputs, Tensor) else inputs):
        if x.node is None:
            raise RuntimeError(f"{caller}: input {k} does not require a gradient: make it with requires_grad=True")
        nodes.append(x.node)
    return nodes


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs=None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of sum_k <outputs_k, grad_outputs_k> with respect to each input, as a tuple; `.grad` is not touched.

    Only what leads to the inputs is computed. With `create_graph=True` the result can be differentiated again.
    An input on which no output depends raises RuntimeError, or gives None with `allow_unused=True`.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    given = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs, but {len(given)} grad_outputs")
    targets = _nodes("grad", inputs)
    arrived = _flow_back(_seeds(outputs, given), set(targets), create_graph, retain_graph)
    unused = [k for k, node in enumerate(targets) if node not in arrived]
    if unused and not allow_unused:
        raise RuntimeError(f"grad: no output depends on input {unused[0]}; allow_unused=True returns None for it")
    return tuple(as_tensor(arrived[node]) if node in arrived else None for node in targets)


def backward(
    x: Tensor,
    gradient=None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Iterable[Tensor] | None = None,
) -> None:
    """Add d(x)/d(leaf) to the `.grad` of every leaf behind x, or of those leaves alone that are `inputs`: `x.backward()`.

    Only what leads to the inputs is computed; one on which x does not depend keeps its `.grad`. RuntimeError for inputs that
    are no leaves with requires_grad=True, or if there are none.

    `gradient` is dL/d(x), needed unless x is a scalar. The graph is freed on the way unless it is retained;
    with `create_graph=True` the gradients can themselves be differentiated, but then a leaf and its `.grad` hold each other
    until `.grad` is set to None: `grad` has no such cycle.
    """
    nodes = None if inputs is None else _nodes("backward", inputs)
    if nodes == []:
        raise RuntimeError("backward: inputs is empty; without it all leaves get their gradients")
    for k, node in enumerate(nodes or ()):
        if node.op is not None:
            raise RuntimeError(f"backward: input {k} is no leaf, and only leaves hold a gradient: grad(x, inputs) returns it")
    leaves = _flow_back(_seeds([x], [gradient]), set(nodes) if nodes else None, create_graph, retain_graph)
    for leaf, g in leaves.items():
        leaf.grad = as_tensor(g if leaf.grad is None else leaf.grad + g)


# Three ops that the engine itself stands on. Their gradients only have to be settled: cast, summed or spread back.


@op(x=lambda g: g)
def cast(x: Array, dtype) -> Tensor:
    """The same values in another floating-point dtype."""
    dtype = supported(dtype)
    if x.dtype.kind == "f" and dtype.kind != "f":
        raise TypeError(f"cast: {dtype} has no gradients; x.to({dtype}) gives a constant")
    return x.astype(dtype)


@op(x=lambda g: g)
def broadcast_to(x: Array, shape: tuple[int, ...]) -> Tensor:
    """Repeat `x` along new and length-1 dimensions until it has `shape`. Nothing is copied."""
    return array_module(x).broadcast_to(x, shape)


@op(x=lambda g: g)
def sum_to(x: Array, shape: tuple[int, ...]) -> Tensor:
    """Sum `x` over the dimensions along which `shape` would broadcast to it: the adjoint of `broadcast_to`."""
    lead = x.ndim - len(shape)
    axes = tuple(k for k in range(x.ndim) if k < lead or (shape[k - lead] == 1 and x.shape[k] != 1))
    return total(x, axes).reshape(shape) if axes else x
