"""Tensor: an array that remembers how it was made, with ops as methods, named as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tensor import autodiff, elementwise, products, reductions, shaping
from tensor.arrays import Array, axis, parse_device, sizes, to_device
from tensor.autodiff import cast, op
from tensor.base import FLOAT32, FLOAT64, TensorBase, device_or_dtype
from tensor.errors import composite


@op(x=lambda g, device, source: _to(g, source, device))
def _to(x: Array, device: str, source: str) -> Tensor:
    return to_device(x, device)


@op(x=lambda g: g)
def _clone(x: Array) -> Tensor:
    return x


def _reflected(op: Callable) -> Callable:
    """The method by which a tensor is the right operand of `op`."""
    return lambda self, other: op(other, self)


def _comparable(other) -> bool:
    """Whether elements can be compared with it: nothing else equals a tensor, as in PyTorch."""
    return hasattr(other, "dtype") or isinstance(other, (int, float))


def _assigned(op: Callable) -> Callable:
    """The method of `x += y`, which binds x to a new tensor, as it would a number.

    RuntimeError for a leaf that requires a gradient: it would stay as it is, without a word.
    """

    def method(self, other):
        if self.requires_grad and self.is_leaf:
            stays = "this leaf stays as it is, and a new tensor takes its name"
            raise RuntimeError(f"{op.__name__}: {stays}: to move it, use copy_()")
        return op(self, other)

    return method


class Tensor(TensorBase):
    """An array and, where a gradient is wanted, the node that remembers how it was made.

    `data` is a number, a nested list or an array; it is copied. Python floats become float32,
    arrays keep float32, float64, integer or boolean dtype. `requires_grad=True` makes a leaf:
    `backward()` accumulates into its `.grad`.

    `.data` is the raw array, of NumPy or CuPy. It is read-only (on a GPU by agreement), for the
    graph may still need it: to change a parameter, use `copy_`, or assign an array to `.data`, and
    it will be copied.
    """

    __slots__ = ()

    # Operators

    __add__ = elementwise.add
    __sub__ = elementwise.sub
    __mul__ = elementwise.mul
    __truediv__ = elementwise.div
    __pow__ = elementwise.pow
    __mod__ = elementwise.remainder
    __matmul__ = products.matmul
    __neg__ = elementwise.neg
    __abs__ = elementwise.abs
    __lt__ = elementwise.lt
    __le__ = elementwise.le
    __gt__ = elementwise.gt
    __ge__ = elementwise.ge
    __hash__ = object.__hash__
    __getitem__ = shaping.getitem
    __radd__ = _reflected(elementwise.add)
    __rsub__ = _reflected(elementwise.sub)
    __rmul__ = _reflected(elementwise.mul)
    __rtruediv__ = _reflected(elementwise.div)
    __rpow__ = _reflected(elementwise.pow)
    __rmod__ = _reflected(elementwise.remainder)
    __rmatmul__ = _reflected(products.matmul)
    __iadd__ = _assigned(elementwise.add)
    __isub__ = _assigned(elementwise.sub)
    __imul__ = _assigned(elementwise.mul)
    __itruediv__ = _assigned(elementwise.div)

    def __eq__(self, other):
        return elementwise.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other):
        return elementwise.ne(self, other) if _comparable(other) else NotImplemented

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Ops

    add = elementwise.add
    sub = elementwise.sub
    mul = elementwise.mul
    div = elementwise.div
    pow = elementwise.pow
    neg = elementwise.neg
    lt = elementwise.lt
    le = elementwise.le
    gt = elementwise.gt
    ge = elementwise.ge
    eq = elementwise.eq
    ne = elementwise.ne
    exp = elementwise.exp
    log = elementwise.log
    log1p = elementwise.log1p
    sqrt = elementwise.sqrt
    square = elementwise.square
    sin = elementwise.sin
    cos = elementwise.cos
    tanh = elementwise.tanh
    erf = elementwise.erf
    sigmoid = elementwise.sigmoid
    relu = elementwise.relu
    abs = elementwise.abs
    sign = elementwise.sign
    clamp = elementwise.clamp
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    isfinite = elementwise.isfinite
    isnan = elementwise.isnan
    isinf = elementwise.isinf
    remainder = elementwise.remainder
    reciprocal = elementwise.reciprocal
    log2 = elementwise.log2
    log10 = elementwise.log10
    log1p = elementwise.log1p
    expm1 = elementwise.expm1
    rsqrt = elementwise.rsqrt
    floor = elementwise.floor
    ceil = elementwise.ceil
    round = elementwise.round
    sum = reductions.sum
    mean = reductions.mean
    var = reductions.var
    std = reductions.std
    prod = reductions.prod
    cumsum = reductions.cumsum
    norm = reductions.norm
    max = reductions.max
    min = reductions.min
    amax = reductions.amax
    amin = reductions.amin
    argmax = reductions.argmax
    argmin = reductions.argmin
    any = reductions.any
    all = reductions.all
    logsumexp = reductions.logsumexp
    softmax = reductions.softmax
    log_softmax = reductions.log_softmax
    transpose = shaping.transpose
    flatten = shaping.flatten
    squeeze = shaping.squeeze
    unsqueeze = shaping.unsqueeze
    narrow = shaping.narrow
    chunk = shaping.chunk
    split = shaping.split
    roll = shaping.roll
    tril = shaping.tril
    triu = shaping.triu
    diag = shaping.diag
    t = shaping.t
    matmul = products.matmul
    mm = products.mm
    bmm = products.bmm
    dot = products.dot
    outer = products.outer
    backward = autodiff.backward

    def where(self, condition, other) -> Tensor:
        return elementwise.where(condition, self, other)

    def reshape(self, *shape) -> Tensor:
        return shaping.reshape(self, sizes(shape))

    def permute(self, *dims) -> Tensor:
        return shaping.permute(self, sizes(dims))

    def expand(self, *shape) -> Tensor:
        return shaping.expand(self, sizes(shape))

    def flip(self, *dims) -> Tensor:
        return shaping.flip(self, sizes(dims))

    def repeat(self, *repeats) -> Tensor:
        return shaping.repeat(self, sizes(repeats))

    view = reshape

    @property
    def T(self) -> Tensor:
        """The transpose of a matrix."""
        return shaping.t(self)

    @property
    def mT(self) -> Tensor:
        """The last two dimensions swapped."""
        return shaping.transpose(self, -1, -2)

    def clone(self) -> Tensor:
        """The same values with a history of their own. None is copied: nobody can write to them."""
        return _clone(self)

    def size(self, dim: int | None = None):
        """All lengths, or that of one dimension."""
        return self.shape if dim is None else self.shape[axis(dim, self.ndim, "size")]

    def tolist(self):
        """The values as a number, or as nested lists."""
        return self.numpy().tolist()

    # Devices and dtypes

    @composite
    def to(self, where) -> Tensor:
        """On "cpu" or "cuda", or in a dtype; itself if that is so. Gradients travel back."""
        wanted = device_or_dtype(where)
        if isinstance(wanted, str):
            is_there = self.device.startswith(parse_device(wanted))
            return self if is_there else _to(self, wanted, self.device)
        if self.dtype == wanted:
            return self
        if self.dtype.kind == wanted.kind == "f":
            return cast(self, wanted)
        return Tensor(self, dtype=wanted)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def float(self) -> Tensor:
        return self.to(FLOAT32)

    def double(self) -> Tensor:
        return self.to(FLOAT64)


TensorBase.tensor_class = Tensor
