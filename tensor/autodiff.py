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
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from tensor.arrays import Array, array_module, device_of, freeze, sum_axes, to_device

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NUMBERS = (float, int, bool, type(None))


# The modes: is the graph recorded, are values checked?


class Mode(NamedTuple):
    recording: bool = True
    checking: bool = False


_mode: ContextVar[Mode] = ContextVar("mode", default=Mode())


@contextmanager
def _mode_with(**changes: bool) -> Iterator[None]:
    token = _mode.set(_mode.get()._replace(**changes))
    try:
        yield
    finally:
        _mode.reset(token)


def no_grad():
    """Context manager and decorator: inside, ops record nothing."""
    return _mode_with(recording=False)


def enable_grad():
    """Context manager and decorator: inside, ops record, also within `no_grad()`."""
    return _mode_with(recording=True)


def detect_anomaly():
    """Context manager: the first op, forward or gradient, to make a NaN or an Inf raises FloatingPointError with its name."""
    return _mode_with(checking=True)


def is_grad_enabled() -> bool:
    """Whether ops record what they do (see `no_grad`)."""
    return _mode.get().recording


def _check_finite(x: Array, what: str) -> None:
    if x.dtype.kind == "f" and not bool(array_module(x).isfinite(x).all()):
        raise FloatingPointError(f"detect_anomaly: {what} is the first to hold a NaN or an Inf")


# Tensors


class Tensor:
    """An array and, where a gradient is wanted, the node that remembers how it was made.

    `data` is a number, a nested list or an array; it is copied. Python floats become float32, arrays keep float32, float64,
    integer or boolean dtype. `requires_grad=True` makes a leaf: `backward()` accumulates into its `.grad`.

    `.data` is the raw array, `numpy.ndarray` or `cupy.ndarray`. It is read-only (on a GPU by agreement), for the graph may
    still need it; to change a parameter, bind new values with `copy_`.
    """

    __slots__ = ("data", "node", "__weakref__")
    __array_ufunc__ = None  # array * tensor is the tensor's business
    data: Array
    node: Node | None

    def __init__(self, data, requires_grad: bool = False, *, dtype=None, device: str | None = None):
        if isinstance(data, Tensor):
            data = data.data
        array = data if hasattr(data, "dtype") else np.asarray(data)
        if dtype is None and array.dtype == FLOAT64 and not hasattr(data, "dtype"):
            dtype = FLOAT32
        array = array.astype(_supported(np.dtype(dtype or array.dtype)), copy=True)
        self.data = freeze(to_device(array, device) if device else array)
        self.node = None
        self.requires_grad_(requires_grad)

    @staticmethod
    def _wrap(array: Array, node: Node | None = None) -> Tensor:
        """A tensor around an array that nobody else will write to: no copy, no check."""
        tensor = Tensor.__new__(Tensor)
        tensor.data = freeze(array) if type(array) is np.ndarray or not isinstance(array, np.generic) else np.asarray(array)
        tensor.node = node
        return tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        return device_of(self.data)

    def numel(self) -> int:
        """How many elements."""
        return self.data.size

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Make this tensor a leaf that wants a gradient, or one that does not."""
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors have gradients, this one is {self.dtype}")
        if requires_grad != self.requires_grad:
            self.node = Node(None, (), (), self.data) if requires_grad else None
        return self

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded op made."""
        return self.node is None or self.node.op is None

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward()` accumulated here, or None. Only leaves have one."""
        return self.node.grad if self.node else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if self.node is None or not self.is_leaf:
            raise RuntimeError("only leaves with requires_grad=True hold a gradient")
        self.node.grad = value

    def detach(self) -> Tensor:
        """The same values, cut off from the graph."""
        return Tensor._wrap(self.data)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array, outside the graph: a read-only view on the CPU, a copy from a GPU."""
        return to_device(self.data, "cpu")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def item(self) -> float:
        """The value of a one-element tensor as a Python number."""
        return self.data.item()

    def copy_(self, values) -> Tensor:
        """Give a leaf new values of the same shape. Graphs recorded earlier keep the old ones."""
        array = values.data if isinstance(values, Tensor) else np.asarray(values)
        if not self.is_leaf:
            raise RuntimeError("copy_: only leaves can be given new values")
        if array.shape != self.shape:
            raise ValueError(f"copy_: values have shape {array.shape}, the tensor {self.shape}")
        fresh = array_module(self.data).empty_like(self.data)
        fresh[...] = to_device(array, self.device)
        self.data = freeze(fresh)
        return self

    def backward(self, gradient=None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
        """Add d(self)/d(leaf) to the `.grad` of every leaf behind this tensor.

        `gradient` is dL/d(self), needed unless this is a scalar. The graph is freed on the way unless it is retained;
        with `create_graph=True` the gradients can themselves be differentiated.
        """
        seeds = _seeds([self], [gradient])
        leaves = _flow_back(seeds, None, create_graph, create_graph if retain_graph is None else retain_graph)
        for leaf, g in leaves.items():
            leaf.grad = _as_tensor(g if leaf.grad is None else leaf.grad + g)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __setitem__(self, index, value) -> None:
        raise TypeError("tensors are read-only, for a graph may need them: build a new one with where, cat or pad")

    def __deepcopy__(self, memo) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be deep-copied: detach() first")
        twin = type(self).__new__(type(self))
        twin.data, twin.node = self.data, None
        return twin.requires_grad_(self.requires_grad)

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        notes = [f"dtype={self.dtype}"] * (self.dtype != FLOAT32)
        notes += [f"device={self.device!r}"] * (self.device != "cpu")
        notes += [f"op={self.node.op.name!r}" if self.node.op else "requires_grad=True"] if self.node else []
        return f"Tensor({', '.join([values, *notes])})"

    if TYPE_CHECKING:  # the ops that tensor/__init__.py makes methods of

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...
        def __getitem__(self, index) -> Tensor: ...
        def __add__(self, other) -> Tensor: ...
        def __radd__(self, other) -> Tensor: ...
        def __sub__(self, other) -> Tensor: ...
        def __rsub__(self, other) -> Tensor: ...
        def __mul__(self, other) -> Tensor: ...
        def __rmul__(self, other) -> Tensor: ...
        def __truediv__(self, other) -> Tensor: ...
        def __rtruediv__(self, other) -> Tensor: ...
        def __pow__(self, other) -> Tensor: ...
        def __rpow__(self, other) -> Tensor: ...
        def __matmul__(self, other) -> Tensor: ...
        def __rmatmul__(self, other) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __lt__(self, other) -> Tensor: ...
        def __le__(self, other) -> Tensor: ...
        def __gt__(self, other) -> Tensor: ...
        def __ge__(self, other) -> Tensor: ...


def _supported(dtype: np.dtype) -> np.dtype:
    if dtype.kind in "biu" or dtype in (FLOAT32, FLOAT64):
        return dtype
    raise TypeError(f"dtype {dtype} is not supported: use float32, float64, an integer type or bool")


def _as_tensor(x) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor._wrap(x)


# Ops


class Edge(NamedTuple):
    """One VJP: the positions of the arguments it serves, the function, and where its parameters are found."""

    targets: tuple[int, ...]
    vjp: Callable
    slots: tuple[int, ...]
    joint: bool


class Op:
    """The declaration of an op, made ready to be called. Positions count its arguments 0..n-1; n is its output."""

    def __init__(self, forward: Callable, vjps: dict[str, Callable], joint: tuple[str, Callable] | None):
        parameters = inspect.signature(forward).parameters
        self.name, self.forward = forward.__name__, forward
        self.arguments = list(parameters)
        self.defaults = [p.default for p in parameters.values()]
        self.edges = [self._edge((name,), vjp, False) for name, vjp in vjps.items()]
        if joint:
            self.edges.append(self._edge(tuple(joint[0].split()), joint[1], True))
        differentiable = {k for edge in self.edges for k in edge.targets}
        self.differentiable = [k in differentiable for k in range(len(self.arguments))]
        self.uses_shapes = any(slot > len(self.arguments) for edge in self.edges for slot in edge.slots)

    def _edge(self, targets: tuple[str, ...], vjp: Callable, joint: bool) -> Edge:
        n = len(self.arguments)
        assert "y" not in self.arguments, f"{self.name}: in a VJP, y is the output: no argument can have that name"
        places = {name: k for k, name in enumerate([*self.arguments, "y"])}
        places |= {f"{name}_shape": n + 1 + k for k, name in enumerate(self.arguments)}
        names = list(inspect.signature(vjp).parameters)[2 if joint else 1 :]
        unknown = [name for name in [*targets, *names] if name not in places]
        if unknown:
            raise TypeError(f"{self.name}: a VJP names {unknown}, but the op has only {list(places)}")
        return Edge(tuple(places[t] for t in targets), vjp, tuple(places[name] for name in names), joint)

    def bind(self, args: tuple, kwargs: dict) -> list:
        """All arguments by position, defaults filled in."""
        values = [*args, *self.defaults[len(args) :]]
        for name, value in kwargs.items():
            if name not in self.arguments or self.arguments.index(name) < len(args):
                raise TypeError(f"{self.name}() does not take {name!r} here; its arguments are {self.arguments}")
            values[self.arguments.index(name)] = value
        missing = [name for name, value in zip(self.arguments, values) if value is inspect.Parameter.empty]
        if missing or len(values) > len(self.arguments):
            raise TypeError(
                f"{self.name}() takes {self.arguments}; {f'missing {missing}' if missing else 'too many given'}"
            )
        return values

    def __call__(self, args: Sequence):
        """Compute on the arrays inside `args`; if there is a Tensor among them, return one and record a node."""
        recording, checking = _mode.get()
        values, parents = [], []
        dtype = kind = None
        agree, recorded = True, False
        for a, differentiable in zip(args, self.differentiable):
            parent = None
            if isinstance(a, Tensor):
                if recording and differentiable and a.node is not None:
                    parent, recorded = a.node, True
                a = a.data
                if kind is None:
                    dtype, kind = a.dtype, type(a)
                elif differentiable and (a.dtype is not dtype or type(a) is not kind):
                    agree = False
                if not a.shape:
                    a = a[()]  # NumPy computes ten times faster with scalars than with 0-d arrays
            elif differentiable and type(a) not in _NUMBERS:
                agree = False
            values.append(a)
            parents.append(parent)
        if kind is None:
            return self.forward(*args)
        if not agree:
            dtype = self._reconcile(args, values)
        try:
            y = self.forward(*values)
        except (ValueError, IndexError, TypeError) as error:
            raise self._explained(error, values) from error
        if type(y) is not kind:
            y = np.asarray(y)
        if y.dtype is not dtype and y.dtype == FLOAT64 and dtype != FLOAT64:
            y = y.astype(FLOAT32)
        if checking:
            _check_finite(y, f"the output of {self.name!r}")
        return Tensor._wrap(y, self._record(values, parents, y) if recorded else None)

    def _explained(self, error: Exception, values: list) -> Exception:
        """The error with the op's name and the shapes it was given."""
        if str(error).startswith(f"{self.name}: "):
            return error
        kind = next(kind for kind in (IndexError, ValueError, TypeError) if isinstance(error, kind))
        return kind(f"{self.name}: {error} (input shapes: {[v.shape for v in values if hasattr(v, 'shape')]})")

    def _record(self, values: list, parents: list, y: Array) -> Node:
        pool = [*values, y]
        if self.uses_shapes:
            pool += [getattr(v, "shape", ()) for v in values]
        saved = []
        for edge in self.edges:
            if parents[edge.targets[0]] is not None or edge.joint:
                saved.append((edge, [pool[slot] for slot in edge.slots]))
        return Node(self, parents, saved, y)

    def _reconcile(self, args: Sequence, values: list) -> np.dtype:
        """Bring the differentiable arguments to one device and dtype, in place in `values`. Tensors decide, others follow.

        Among tensors those with dimensions decide before 0-d ones, and floats before integers, as in PyTorch.
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
        dtype = np.result_type(*(deciding or [x.dtype for x in tensors] or [FLOAT32]))
        xp = array_module(tensors[0]) if tensors else np
        for k in places:
            v = values[k]
            if hasattr(v, "dtype") or isinstance(v, (list, tuple)):
                values[k] = xp.asarray(v, dtype if deciding else None)
            elif type(v) not in _NUMBERS:
                raise TypeError(f"{self.name}: expected a tensor, an array or a number, got {type(v).__name__}")
        return dtype


F = TypeVar("F", bound=Callable)


def op(*, joint: tuple[str, Callable] | None = None, **vjps: Callable) -> Callable[[F], F]:
    """Declare an op: decorate its forward on raw arrays with the VJP of each argument (see the top of this file).

    `joint=("x weight", vjp)` names arguments whose gradients one function returns together, as a tuple. Its second parameter
    tells which of them are wanted, as a tuple of bool; for the others it may return None.
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
    """Give a function made of ops quick twins on raw arrays: `forward(*args)`, and `vjp(g, *args)` with one gradient for
    each argument named in `targets`.

    Values and first derivatives take the twins; the function itself says what they must equal, and is what
    `create_graph=True` differentiates, so derivatives of any order follow from the clear version.
    """

    def declare(definition: F) -> F:
        signature = inspect.signature(definition)
        places = [list(signature.parameters).index(name) for name in targets.split()]

        def backward(g, wanted, *args):
            return _vjp_by_definition(definition, places, g, wanted, args) if isinstance(g, Tensor) else vjp(g, *args)

        first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("g", "wanted")]
        backward.__signature__ = inspect.Signature([*first, *signature.parameters.values()])  # type: ignore[attr-defined]
        call = op(joint=(targets, backward))(functools.wraps(definition)(lambda *args: forward(*args)))
        call.definition = definition  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return declare


def _vjp_by_definition(definition: Callable, places: list[int], g: Tensor, wanted: tuple, args: tuple) -> list:
    """Differentiate the definition at its arguments, each of them a fresh node: one may be the ancestor of another."""
    fresh = [broadcast_to(a, a.shape) if isinstance(a, Tensor) else a for a in args]
    inputs = [fresh[k] for k, want in zip(places, wanted) if want]
    gradients = iter(grad(definition(*fresh), inputs, g, create_graph=True, allow_unused=True))
    return [next(gradients) if want else None for want in wanted]


# The graph


class Node:
    """What a tensor remembers: the op that made it, its parents, and the values that the VJPs need.

    A leaf has no op and holds the accumulated gradient. `order` grows with time: sorting by it sorts topologically.
    """

    __slots__ = ("op", "parents", "saved", "shape", "dtype", "order", "grad")
    _clock = itertools.count()

    def __init__(self, op: Op | None, parents: Sequence[Node | None], saved: Sequence | None, array: Array):
        self.op = op
        self.parents = parents
        self.saved = saved
        self.shape = array.shape
        self.dtype = array.dtype
        self.order = next(self._clock)
        self.grad: Tensor | None = None

    def pull_back(self, g, create_graph: bool, needed: set[Node] | None) -> list[tuple[Node, Any]]:
        """Each parent (in `needed`, if given) with its share of the gradient `g` of this node."""
        assert self.op is not None
        if self.saved is None:
            raise RuntimeError(
                f"the graph behind {self.op.name!r} was freed by an earlier backward: retain_graph=True keeps it"
            )
        shares = []
        for edge, values in self.saved:
            if create_graph:
                values = [self._with_history(value, slot) for value, slot in zip(values, edge.slots)]
            if edge.joint:
                parents = [self.parents[k] for k in edge.targets]
                wanted = tuple(p is not None and (needed is None or p in needed) for p in parents)
                results = zip(parents, edge.vjp(g, wanted, *values)) if any(wanted) else ()
                shares += [(parent, share) for want, (parent, share) in zip(wanted, results) if want and share is not None]
            else:
                parent = self.parents[edge.targets[0]]
                if needed is None or parent in needed:
                    shares.append((parent, edge.vjp(g, *values)))
        return shares

    def _with_history(self, value, slot: int):
        """A saved array as the tensor it was: this node's output, or one of its inputs."""
        assert self.op is not None
        n = len(self.parents)
        if slot == n:
            return Tensor._wrap(value, self)
        return (
            Tensor._wrap(value, self.parents[slot])
            if slot < n and self.op.differentiable[slot] and hasattr(value, "dtype")
            else value
        )


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
    seeds: list[tuple[Node, Any]], targets: set[Node] | None, create_graph: bool, retain_graph: bool
) -> dict[Node, Any]:
    """Carry gradients from the seeds to the targets (None: to all leaves) and return what arrives there."""
    nodes = _ancestors({node for node, _ in seeds})
    needed = None if targets is None else _leading_to(targets, nodes)
    pending: dict[Node, Any] = {}
    arrived: dict[Node, Any] = {}

    checking = _mode.get().checking
    with _mode_with(recording=create_graph):
        for node, g in seeds:
            g = g if create_graph else g.data[()]
            pending[node] = pending[node] + g if node in pending else g
        for node in nodes:
            if node not in pending or (needed is not None and node not in needed):
                continue
            g = pending.pop(node)
            if node.op is None if targets is None else node in targets:
                arrived[node] = g
            if node.op is not None:
                for parent, share in node.pull_back(g, create_graph, needed):
                    if share.dtype is not parent.dtype or share.shape != parent.shape:
                        share = _settle(share, parent)
                    if checking:
                        _check_finite(share.data if create_graph else share, f"a gradient of {node.op.name!r}")
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


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs=None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of sum_k <outputs_k, grad_outputs_k> with respect to each input, as a tuple; `.grad` is not touched.

    Only what leads to the inputs is computed. With `create_graph=True` the result can be differentiated again.
    An input on which no output depends raises RuntimeError, or gives None with `allow_unused=True`.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    given = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs, but {len(given)} grad_outputs")
    targets = []
    for k, x in enumerate(inputs):
        if x.node is None:
            raise RuntimeError(f"grad: input {k} does not require a gradient: make it with requires_grad=True")
        targets.append(x.node)
    retain = create_graph if retain_graph is None else retain_graph
    arrived = _flow_back(_seeds(outputs, given), set(targets), create_graph, retain)
    unused = [k for k, node in enumerate(targets) if node not in arrived]
    if unused and not allow_unused:
        raise RuntimeError(f"grad: no output depends on input {unused[0]}; allow_unused=True returns None for it")
    return tuple(_as_tensor(arrived[node]) if node in arrived else None for node in targets)


# Three ops that the engine itself stands on. Their gradients only have to be settled: cast, summed or spread back.


@op(x=lambda g: g)
def cast(x: Array, dtype) -> Tensor:
    """The same values in another floating-point dtype."""
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
    return sum_axes(x, axes, False).reshape(shape) if axes else x
