"""What a tensor is, apart from the ops among its methods: an array, and how it was made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from tensor.arrays import (
    Array,
    array_module,
    as_array,
    axis,
    device_of,
    freeze,
    parse_device,
    to_device,
)

if TYPE_CHECKING:
    from tensor.tensor import Tensor

S = TypeVar("S", bound="TensorBase")
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_new, _now = object.__new__, itertools.count().__next__


class TensorBase:
    """A `Tensor` without the methods that are ops: array, node, and what is asked of both."""

    __slots__ = ("__weakref__", "_data", "_frozen", "node")
    __array_ufunc__ = None  # array * tensor is the tensor's business
    _data: Array  # or a number of NumPy, see `freeze`
    # Tensor, of tensor/tensor.py: it stands upon the ops, and they make it.
    tensor_class: ClassVar[Any]
    _frozen: Node | None  # set by requires_grad_(False): the leaf that pending graphs still lead to
    node: Node | None

    def __init__(self, data, requires_grad: bool = False, *, dtype=None, device: str | None = None):
        if isinstance(data, TensorBase):
            data = data.data
        if data is None or isinstance(data, str):
            raise TypeError(f"expected numbers or an array, got {data!r}")
        array = as_array(data)
        if dtype is None and array.dtype == FLOAT64 and not hasattr(data, "dtype"):
            dtype = FLOAT32
        array = array.astype(supported(array.dtype if dtype is None else dtype), copy=True)
        self._data = freeze(to_device(array, device) if device else array)
        self.node = None
        self.requires_grad_(requires_grad)

    @property
    def data(self) -> Array:
        if not isinstance(self._data, np.generic):
            return self._data
        array = np.asarray(self._data)
        array.setflags(write=False)
        return array

    @data.setter
    def data(self, array: Array) -> None:
        if not self.is_leaf:
            raise RuntimeError("data: only leaves can be given new values")
        is_array = hasattr(array, "dtype") and not isinstance(array, TensorBase)
        if not is_array or array.shape != self.shape:
            same_type = type(array) is type(self.data)
            given = f"one of shape {array.shape}" if same_type else type(array).__name__
            raise ValueError(f"data: expected an array of shape {self.shape}, got {given}")
        dtype = supported(array.dtype)
        if (dtype, device_of(array)) != (self.dtype, self.device):
            if self.requires_grad:
                expected = f"{self.dtype} on {self.device}, for a gradient is wanted"
                given = f"{dtype} on {device_of(array)}"
                raise TypeError(f"data: expected {expected}, got {given}")
            if leaf := getattr(self, "_frozen", None):
                leaf.saved = None  # gradients that pending graphs carry there would be lost
            self._frozen = None
        self._data = freeze(as_array(array).astype(dtype, order="K", copy=True))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def device(self) -> str:
        return device_of(self._data)

    def dim(self) -> int:
        """How many dimensions."""
        return self._data.ndim

    def numel(self) -> int:
        """How many elements."""
        return self._data.size

    def size(self, dim: int | None = None) -> Any:
        """All lengths, or that of one dimension."""
        return self.shape if dim is None else self.shape[axis(dim, self.ndim, "size")]

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self: S, requires_grad: bool = True) -> S:
        """Make this a leaf that wants a gradient, or not: frozen, it keeps the one it has."""
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors have gradients, this one is {self.dtype}")
        if requires_grad and not self.node:
            self.node = getattr(self, "_frozen", None) or Node(None, (), (), self._data)
        elif self.node and not requires_grad:
            self._frozen, self.node = self.node if self.is_leaf else None, None
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
        if not self.is_leaf or (value is not None and self.node is None):
            raise RuntimeError("only leaves with requires_grad=True hold a gradient")
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(f"grad: expected a tensor or None, got {type(value).__name__}")
            expected, given = (f"{x.dtype} {x.shape} on {x.device}" for x in (self, value))
            if given != expected:
                raise ValueError(f"grad: expected {expected}, got {given}")
        if leaf := self.node or getattr(self, "_frozen", None):
            leaf.grad = value

    def detach(self) -> Tensor:
        """The same values, cut off from the graph."""
        return wrap(self._data)

    def numpy(self) -> np.ndarray:
        """The values outside the graph: a read-only view as a NumPy array; from a GPU, a copy.

        It needs no `detach()` first, as PyTorch's does: who writes `.numpy()` means to leave the
        graph. NumPy's functions, which would leave it unseen, are refused: see `__array__`.
        """
        return to_device(self.data, "cpu").view()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """What NumPy's functions read: a read-only view, or a copy where one is asked for.

        RuntimeError if a gradient is wanted here, as in PyTorch: it would be lost without a word.
        ValueError if copy=False cannot be, for another dtype is wanted or this lies on a GPU.
        """
        if self.requires_grad:
            instead = "use tensor.cat, tensor.stack and so on, or detach() it first"
            raise RuntimeError(f"NumPy would lose the gradient of this tensor: {instead}")
        if copy is False and self.device != "cpu":
            raise ValueError(f"copy=False: NumPy cannot read a tensor on {self.device} in place")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None) -> Any:
        """A copy for another library, as in `torch.from_dlpack(x)`: a DLPack capsule.

        Always a copy, for some libraries, PyTorch among them, write into memory that is marked as
        read-only. (To share it with NumPy use `numpy()`.) It is DLPack's first version, which all
        libraries read, whatever `max_version` allows. BufferError for copy=False, for another
        `dl_device`, and if a gradient is wanted here: `detach()` first, as in PyTorch.
        """
        if self.requires_grad:
            raise BufferError("DLPack carries no gradient: detach() this tensor first")
        if copy is False:
            raise BufferError("copy=False: tensors are read-only, and DLPack cannot ensure it")
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"DLPack: this tensor is on {self.device}: move it with to() first")
        return self.data.copy().__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's numbers for the device: its kind, 1 for a CPU and 2 for CUDA, and its index."""
        return self.data.__dlpack_device__()

    def item(self) -> float:
        """The value of a one-element tensor as a Python number."""
        return self._data.item()

    def tolist(self) -> Any:
        """The values as a number, or as nested lists."""
        return self.numpy().tolist()

    def copy_(self: S, values) -> S:
        """Give a leaf new values of the same shape. Graphs recorded earlier keep the old ones."""
        array = as_array(values.data if isinstance(values, TensorBase) else values)
        if not self.is_leaf:
            raise RuntimeError("copy_: only leaves can be given new values")
        if array.shape != self.shape:
            raise ValueError(f"copy_: values have shape {array.shape}, the tensor {self.shape}")
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise TypeError(f"copy_: values are {array.dtype}, the tensor {self.dtype}")
        fresh = array_module(self._data).empty_like(self._data)
        fresh[...] = to_device(array, self.device)
        self._data = freeze(fresh)
        return self

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self._data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.numel() != 1:
            wanted = "a tensor with one element of an integer type"
            raise TypeError(f"an index is {wanted}, not {self.dtype} of shape {self.shape}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        if not self.ndim or (spec and self.numel() == 1):
            return format(self.item(), spec)
        if spec:
            wrong = f"the format {spec!r} is for one number, and this tensor has shape"
            raise TypeError(f"{wrong} {self.shape}: format its elements")
        return str(self)

    def __setitem__(self, index, value) -> None:
        instead = "build a new one with where, cat or pad"
        raise TypeError(f"tensors are read-only, for a graph may need them: {instead}")

    def __reduce__(self) -> tuple[Callable, tuple]:
        if not self.is_leaf:
            raise RuntimeError("only leaves can be copied or pickled: detach() first")
        return _leaf, (type(self), self._data, self.requires_grad)

    def __deepcopy__(self, memo) -> Tensor:
        make, arguments = self.__reduce__()
        return make(*arguments)

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        notes = [f"dtype={self.dtype}"] * (self.dtype != FLOAT32)
        notes += [f"device={self.device!r}"] * (self.device != "cpu")
        if self.node:
            notes.append(f"op={self.node.op.name!r}" if self.node.op else "requires_grad=True")
        return f"Tensor({', '.join([values, *notes])})"


def supported(dtype) -> np.dtype:
    """`dtype` as one of NumPy's, in native byte order; TypeError if it is none of a tensor's."""
    found = None if dtype is None else np.dtype(dtype).newbyteorder("=")
    if found is None or (found.kind not in "biu" and found not in (FLOAT32, FLOAT64)):
        choice = "float32, float64, an integer type or bool"
        raise TypeError(f"dtype {dtype} is not supported: use {choice}")
    return found


def device_or_dtype(value) -> str | np.dtype:
    """What `to(value)` asks for: the name of a device, or a dtype. ValueError for anything else."""
    if isinstance(value, str) and value.startswith(("cpu", "cuda")):
        parse_device(value)
        return value
    try:
        np.dtype(value)
    except TypeError:
        choice = "neither a device ('cpu' or 'cuda') nor a dtype"
        raise ValueError(f"to: {value!r} is {choice}") from None
    return supported(value)


def devices_and_dtypes(device, dtype) -> list[str | np.dtype]:
    """What `to(device, dtype)` asks for: a device, a dtype or both. TypeError for neither."""
    if device is None and dtype is None:
        raise TypeError("to: expected a device or a dtype, got None")
    given = [] if device is None else [device_or_dtype(device)]
    return given if dtype is None else [*given, supported(dtype)]


def _leaf(cls: type[Tensor], array: Array, requires_grad: bool) -> Tensor:
    """A leaf around an array that nobody else will write to."""
    leaf = cls.__new__(cls)
    leaf._data, leaf.node = freeze(array), None
    return leaf.requires_grad_(requires_grad)


def wrap(array: Array, node: Node | None = None) -> Tensor:
    """A tensor around an array that nobody else will write to: no copy, no check."""
    tensor = _new(TensorBase.tensor_class)
    tensor._data = freeze(array)
    tensor.node = node
    return tensor


def as_tensor(x) -> Tensor:
    """x itself if it is a tensor, or else a tensor around the array x."""
    return x if isinstance(x, TensorBase.tensor_class) else wrap(x)


def raw(x) -> Any:
    """The array inside a tensor, or x itself if it is none."""
    return x.data if isinstance(x, TensorBase) else x


class Node:
    """What a tensor remembers: the op that made it, its parents, and the values that the VJPs need.

    A leaf has no op and holds the accumulated gradient. `order`, which grows, sorts topologically.
    """

    __slots__ = ("dtype", "grad", "op", "order", "parents", "saved", "shape")

    def __init__(
        self, op: Any, parents: Sequence[Node | None], values: Sequence, y: Array, kept: Any = None
    ):
        self.op, self.parents = op, parents
        self.shape, self.dtype = y.shape, y.dtype
        self.order = _now()
        self.grad: Tensor | None = None
        self.saved: list | None = []
        if op is not None:
            pool = [*values, y, kept]
            if op.uses_shapes:
                pool += [getattr(v, "shape", ()) for v in values]
            for edge in op.edges:
                wanted = parents[edge.target] is not None
                if wanted or (edge.joint and any(parents[k] for k in edge.targets)):
                    self.saved.append((edge, edge.pick(pool)))
