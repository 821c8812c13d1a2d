"""Reverse-mode differentiation: how an op is declared and recorded, and how gradients flow back.

An op is declared once, with its derivatives beside it:

    @op(x=lambda g, y: g * (1 - y * y))
    def tanh(x):
        return array_module(x).tanh(x)

The function computes on raw arrays. Each keyword is the vector-Jacobian product (VJP) of one
argument: it maps its first parameter, g = dL/dy, to dL/dx. It is also handed what its other
parameters name: the output `y`; any argument of the op; or `x_shape`, the shape of argument `x`.
What no VJP names is not kept, so these parameter lists are also the memory plan. (A VJP may serve
several arguments, as `**{"weight bias": ...}`, and return a gradient for each; that of a fused op
is handed what its forward has `kept`: see fused.py.)

Called on a Tensor, an op records a `Node` and returns a Tensor; called on arrays, it is a plain
function of arrays. VJPs are made of ops, so one formula serves twice: a first derivative runs it on
arrays, at NumPy's speed; with `create_graph=True` it runs on tensors, is recorded, and can be
differentiated again.

Nodes point to their parents and never to a tensor: a graph has no reference cycles and dies with
its last user. Arrays inside tensors are read-only: nothing that a pending backward needs changes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tensor.arrays import Array, Shape, array_module, as_array, freeze, to_device
from tensor.base import Node, TensorBase, as_tensor, supported, wrap
from tensor.calls import words
from tensor.errors import ERRORS, described, in_the_name_of
from tensor.kernels import total
from tensor.modes import check_finite, mode, mode_with
from tensor.promotion import CONSTANTS, NUMBERS, common_device, demoted, promote

if TYPE_CHECKING:
    from tensor.tensor import Tensor

F = TypeVar("F", bound=Callable)
Seeds = list[tuple[Node, Any]]  # outputs, and the gradients that start there
_new = object.__new__


# Declaring an op


class Op:
    """A declaration, made ready to be called.

    What a VJP may be handed has a slot: 0..n-1 the arguments, n the output, n + 1 what a fused op
    has kept, n + 2... the shapes of the arguments.
    """

    def __init__(self, declared: Callable, vjps: dict, compiled: Callable | None = None):
        parameters = inspect.signature(declared).parameters
        self.declared, self.name = declared, declared.__name__.lstrip("_")
        self.forward, self.fused = compiled or declared, compiled is not None
        self.arguments, self.words = list(parameters), words(declared)
        self.defaults = [p.default for p in parameters.values()]
        hints = [str(p.annotation) for p in parameters.values()]
        self.takes_none = any("Array | None" in hint for hint in hints)
        self.unfit = {list, str} if self.takes_none else {list, str, type(None)}
        numbers = NUMBERS | {type(None)} if self.takes_none else NUMBERS
        self.edges = [Edge(self, names.split(), vjp) for names, vjp in vjps.items()]
        targets = {k for edge in self.edges for k in edge.targets}
        self.differentiable = [k in targets for k in range(len(parameters))]
        self.plain = [numbers if known else CONSTANTS for known in self.differentiable]
        self.arrays = [k for k, hint in enumerate(hints) if k in targets or "Array" in hint]
        self.uses_shapes = any(k > len(parameters) + 1 for edge in self.edges for k in edge.slots)

    def bind(self, args: Sequence, kwargs: dict) -> Any:
        """All arguments by position, defaults filled in; they may be in PyTorch's words."""
        if not self.words.known.issuperset(kwargs) or len(args) > len(self.arguments):
            args, kwargs = self.words.ours(self.name, tuple(args), kwargs)
        values = [*args, *self.defaults[len(args) :]]
        for name, value in kwargs.items():
            if name not in self.arguments[len(args) :]:
                wrong = f"does not take {name!r} here; its arguments are {self.arguments}"
                raise TypeError(f"{self.name}() {wrong}")
            values[self.arguments.index(name)] = value
        missing = [n for n, v in zip(self.arguments, values) if v is inspect.Parameter.empty]
        if missing or len(values) > len(self.arguments):
            wrong = f"missing {missing}" if missing else "too many given"
            raise TypeError(f"{self.name}() takes {self.arguments}; {wrong}")
        return values

    def of_arrays(self, args: Sequence) -> Array:
        """The plain function, where there is no tensor."""
        try:
            for name, a, differentiable in zip(self.arguments, args, self.differentiable):
                if differentiable and type(a) in self.unfit:
                    expected = f"a tensor, an array or a number as {name!r}"
                    raise TypeError(f"{self.name}: expected {expected}, got {described(a)}")
            y = self.forward(*args)
        except ERRORS as error:
            raise in_the_name_of(self.name, error, dict(zip(self.arguments, args))) from None
        return y[0] if self.fused else y


class Edge:
    """A VJP: which arguments it serves, and which values it is handed. One of several arguments, or
    of a fused op, is `joint`: it returns a share for each."""

    __slots__ = ("joint", "pick", "slots", "target", "targets", "vjp")

    def __init__(self, op: Op, targets: list[str], vjp: Callable):
        n = len(op.arguments)
        slot_of = {name: k for k, name in enumerate([*op.arguments, "y", "kept"])}
        if taken := {"y", "kept"}.intersection(op.arguments):
            wrong = f"{taken.pop()!r} has a meaning of its own in a VJP"
            raise TypeError(f"{op.name}: {wrong}: no argument can have that name")
        slot_of |= {f"{name}_shape": n + 2 + k for k, name in enumerate(op.arguments)}
        names = list(inspect.signature(vjp).parameters)[1:]
        if unknown := [name for name in [*targets, *names] if name not in slot_of]:
            raise TypeError(
                f"{op.name}: a VJP names {unknown}, but the op has only {list(slot_of)}"
            )
        self.targets, self.vjp = tuple(slot_of[name] for name in targets), vjp
        self.target, self.joint = self.targets[0], op.fused or len(targets) > 1
        self.slots = tuple(slot_of[name] for name in names)
        self.pick = _picker(self.slots)


def _picker(slots: tuple[int, ...]) -> Callable[[list], Sequence]:
    """The function that takes the values at these places out of a list."""
    if len(slots) > 1:
        return itemgetter(*slots)
    return itemgetter(slice(slots[0], slots[0] + 1) if slots else slice(0))


def op(**vjps: Callable) -> Callable[[F], F]:
    """Declare an op: decorate its forward on raw arrays with the VJP of each argument.

    A VJP may return None, for no gradient. Unless `floating`, integers stay such where NumPy's do.
    """
    return lambda forward: recorded(Op(forward, vjps))


# Recording


def recorded(op: Op) -> Any:
    """The function that users call: it computes on arrays, and remembers what the VJPs need."""
    arity, forward, kinds = len(op.arguments), op.forward, [*zip(op.differentiable, op.plain)]

    @functools.wraps(op.declared)
    def call(*args: Any, **kwargs):
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        for a in args:
            if isinstance(a, TensorBase):
                break
        else:
            return op.of_arrays(args)
        values, parents = [], []
        dtype = array_type = constant_type = None
        uniform = True  # tensors of one dtype on one device, and numbers: nothing to promote
        for a, (differentiable, plain) in zip(args, kinds):
            parent = None
            if not isinstance(a, TensorBase):
                if type(a) not in plain and (differentiable or not isinstance(a, tuple)):
                    uniform = False
            elif differentiable:
                parent, a = a.node, a._data
                if dtype is None:
                    dtype, array_type = a.dtype, type(a)
                elif a.dtype is not dtype or type(a) is not array_type:
                    uniform = False
            else:
                lost, a = a.node, a._data  # a gradient would be lost
                uniform = uniform and lost is None and constant_type in (None, type(a))
                constant_type = type(a)
            values.append(a)
            parents.append(parent)
        recording, checking = mode.get()
        try:
            if not uniform or (array_type and constant_type not in (None, array_type)):
                dtype = promote(op, args, values, recording)
            y = forward(*values)
        except ERRORS as error:
            raise in_the_name_of(op.name, error, dict(zip(op.arguments, args))) from None
        y, kept = y if op.fused else (y, None)
        if y.dtype is not dtype:
            y = demoted(y, values)
        if checking:
            check_finite(y, f"the output of {op.name!r}")
        tensor = _new(TensorBase.tensor_class)  # wrap(y, node), without a call
        tensor._data = freeze(y) if type(y) is np.ndarray else y
        tensor.node = Node(op, parents, values, y, kept) if recording and any(parents) else None
        return tensor

    return call


# Carrying gradients back


def _flow_back(
    seeds: Seeds, targets: set[Node] | None, create_graph: bool, retain_graph: bool | None
) -> dict[Node, Any]:
    """Carry gradients from the seeds to the targets (None: to all leaves); what arrives there."""
    retain_graph = create_graph if retain_graph is None else retain_graph
    nodes = _ancestors({node for node, _ in seeds})
    targets = {node for node in nodes if node.op is None} if targets is None else targets
    needed = _leading_to(targets, nodes)
    pending: dict[Node, Any] = {}
    arrived: dict[Node, Any] = {}
    checking = mode.get().checking

    with mode_with(recording=create_graph, checking=False):
        for node, g in seeds:
            g = g if create_graph else g._data
            pending[node] = pending[node] + g if node in pending else g
        for node in nodes:
            if node not in pending or node not in needed:
                continue
            g = pending.pop(node)
            if node in targets:
                arrived[node] = g
            if needed.isdisjoint(node.parents):
                continue
            for parent, share in _shares(node, g, needed, create_graph):
                if share is None:
                    continue
                if share.dtype is not parent.dtype or share.shape != parent.shape:
                    share = _settle(share, parent)
                if checking:
                    check_finite(as_tensor(share).data, f"a gradient of {node.op.name!r}")
                pending[parent] = pending[parent] + share if parent in pending else share
            if not retain_graph:
                node.saved = None
    return arrived


def _shares(node: Node, g, needed: set[Node], create_graph: bool) -> Iterator[tuple[Node, Any]]:
    """Each needed parent, with what its VJP makes of the gradient `g` of this node."""
    if node.saved is None:
        wrong = f"the graph behind {node.op.name!r} was freed by an earlier backward"
        raise RuntimeError(f"{wrong}: retain_graph=True keeps it")
    for edge, values in node.saved:
        if create_graph:
            values = [_with_history(node, v, slot) for v, slot in zip(values, edge.slots)]
        if edge.joint:
            parents = [node.parents[k] for k in edge.targets]
            if not needed.isdisjoint(parents):
                shares = zip(parents, edge.vjp(g, *values))
                yield from (pair for pair in shares if pair[0] in needed)
        elif node.parents[edge.target] in needed:
            yield node.parents[edge.target], edge.vjp(g, *values)


def _with_history(node: Node, value, slot: int):
    """A saved array as the tensor it was: this node's output, or one of its inputs."""
    n = len(node.parents)
    if slot == n:
        return wrap(value, node)
    if slot < n and node.op.differentiable[slot] and hasattr(value, "dtype"):
        return wrap(value, node.parents[slot])
    return value


def _settle(share, node: Node):
    """A gradient in the dtype and shape of its node: here promotion and broadcasting are undone."""
    if share.dtype != node.dtype:
        share = cast(share, node.dtype)
    if share.shape != node.shape:
        share = broadcast_to(sum_to(share, node.shape), node.shape)
    return share


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
    """The targets, and those of `nodes` (newest first) from which one can be reached."""
    leading = set(targets)
    for node in reversed(nodes):
        if not leading.isdisjoint(node.parents):
            leading.add(node)
    return leading


# What users call


def _seeds(outputs: Sequence[Tensor], gradients: Sequence) -> Seeds:
    """The nodes of the outputs, each with the gradient that starts there."""
    seeds = []
    for y, g in zip(outputs, gradients):
        if y.node is None:
            raise RuntimeError("this tensor does not depend on any tensor with requires_grad=True")
        if g is None and y.numel() != 1:
            wrong = f"a gradient starts from a scalar, but this tensor has shape {y.shape}"
            raise RuntimeError(f"{wrong}: sum it, or give a gradient")
        if g is None:
            g = array_module(y.data).ones(y.shape, y.dtype)
        elif not isinstance(g, TensorBase):
            g = to_device(as_array(g).astype(y.dtype), y.device)
        g = as_tensor(g)
        common_device("gradient", [y.data, g.data])
        if g.shape != y.shape:
            raise ValueError(f"the gradient has shape {g.shape}, its tensor {y.shape}")
        seeds.append((y.node, g if g.dtype == y.dtype else cast(g, y.dtype)))
    return seeds


def _tensors(caller: str, name: str, given: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """One tensor, or several, as a list; TypeError for anything else."""
    tensors = [given] if isinstance(given, TensorBase) or not hasattr(given, "__iter__") else given
    tensors = list(tensors)
    for x in tensors:
        if not isinstance(x, TensorBase):
            raise TypeError(f"{caller}: {name} must be a tensor or several, got {described(x)}")
    return tensors  # type: ignore[return-value]


def _nodes(caller: str, inputs: Tensor | Iterable[Tensor]) -> list[Node]:
    """The node of each input."""
    nodes = []
    for k, x in enumerate(_tensors(caller, "inputs", inputs)):
        if x.node is None:
            wrong = f"input {k} does not require a gradient"
            raise RuntimeError(f"{caller}: {wrong}: make it with requires_grad=True")
        nodes.append(x.node)
    return nodes


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs=None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of sum_k <outputs_k, grad_outputs_k> with respect to each input, as a tuple.

    `.grad` is not touched. Only what leads to the inputs is computed. With `create_graph=True` the
    result can be differentiated again. An input on which no output depends raises RuntimeError, or
    gives None with `allow_unused=True`. `only_inputs` must be True, as in PyTorch.
    """
    if only_inputs is not True:
        raise ValueError(
            "grad: only_inputs must be True: x.backward() is for the `.grad` of leaves"
        )
    outputs = _tensors("grad", "outputs", outputs)
    several = isinstance(grad_outputs, (list, tuple))
    given = list(grad_outputs) if several else [grad_outputs] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs, but {len(given)} grad_outputs")
    targets = _nodes("grad", inputs)
    arrived = _flow_back(_seeds(outputs, given), set(targets), create_graph, retain_graph)
    unused = [k for k, node in enumerate(targets) if node not in arrived]
    if unused and not allow_unused:
        instead = "allow_unused=True returns None for it"
        raise RuntimeError(f"grad: no output depends on input {unused[0]}; {instead}")
    return tuple(as_tensor(arrived[node]) if node in arrived else None for node in targets)


def backward(
    x: Tensor,
    gradient=None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Iterable[Tensor] | None = None,
) -> None:
    """Add d(x)/d(leaf) to the `.grad` of every leaf behind x, or of `inputs` alone: `x.backward()`.

    Only what leads to the inputs is computed; one on which x does not depend keeps its `.grad`.
    RuntimeError for inputs that are no leaves with requires_grad=True, or if there are none.

    `gradient` is dL/d(x), needed unless x is a scalar. The graph is freed on the way unless it is
    retained; with `create_graph=True` the gradients can themselves be differentiated, but then a
    leaf and its `.grad` hold each other until `.grad` is set to None: `grad` has no such cycle.
    """
    nodes = None if inputs is None else _nodes("backward", inputs)
    if nodes == []:
        raise RuntimeError("backward: inputs is empty; without it all leaves get their gradients")
    for k, node in enumerate(nodes or ()):
        if node.op is not None:
            wrong = f"input {k} is no leaf, and only leaves hold a gradient"
            raise RuntimeError(f"backward: {wrong}: grad(x, inputs) returns it")
    targets = set(nodes) if nodes else None
    arrived = _flow_back(_seeds([x], [gradient]), targets, create_graph, retain_graph)
    if any(leaf.saved is None for leaf in arrived):
        wrong = "a leaf behind this tensor has since gone to another device or dtype by to()"
        raise RuntimeError(f"backward: {wrong}: compute this tensor again")
    for leaf, g in arrived.items():
        leaf.grad = as_tensor(g if leaf.grad is None else leaf.grad + g)


# Three ops that the engine itself stands on. Their gradients only have to be settled.


@op(x=lambda g: g)
def cast(x: Array, dtype) -> Tensor:
    """The same values in another floating-point dtype."""
    dtype = supported(dtype)
    if x.dtype.kind == "f" and dtype.kind != "f":
        raise TypeError(f"cast: {dtype} has no gradients; x.to({dtype}) gives a constant")
    return x.astype(dtype)


@op(x=lambda g: g)
def broadcast_to(x: Array, shape: Shape) -> Tensor:
    """Repeat `x` along new and length-1 dimensions until it has `shape`. Nothing is copied."""
    return array_module(x).broadcast_to(x, shape)


@op(x=lambda g: g)
def sum_to(x: Array, shape: Shape) -> Tensor:
    """Sum `x` over the dimensions that `broadcast_to` would make of `shape`: its adjoint."""
    lead = x.ndim - len(shape)
    axes = tuple(k for k in range(x.ndim) if k < lead or (shape[k - lead] == 1 and x.shape[k] != 1))
    return total(x, axes).reshape(shape) if axes else x  # total: x.sum(axes), in float64
