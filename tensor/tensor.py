"""Tensor: an array that remembers how it was made, with ops as methods, named as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tensor import autodiff, elementwise, products, reductions, shaping
from tensor.arrays import Array, parse_device, sizes, to_device
from tensor.autodiff import cast, op
from tensor.base import FLOAT32, FLOAT64, TensorBase, devices_and_dtypes
from tensor.calls import only
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
    __floordiv__ = elementwise.floor_divide
    __mod__ = elementwise.remainder
    __matmul__ = products.matmul
    __neg__ = elementwise.neg
    __abs__ = elementwise.abs
    __invert__ = elementwise.bitwise_not
    __and__ = elementwise.bitwise_and
    __or__ = elementwise.bitwise_or
    __xor__ = elementwise.bitwise_xor
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
    __rfloordiv__ = _reflected(elementwise.floor_divide)
    __rmod__ = _reflected(elementwise.remainder)
    __rmatmul__ = _reflected(products.matmul)
    __rand__ = _reflected(elementwise.bitwise_and)
    __ror__ = _reflected(elementwise.bitwise_or)
    __rxor__ = _reflected(elementwise.bitwise_xor)
    __iadd__ = _assigned(elementwise.add)
    __isub__ = _assigned(elementwise.sub)
    __imul__ = _assigned(elementwise.mul)
    __itruediv__ = _assigned(elementwise.div)
    __ifloordiv__ = _assigned(elementwise.floor_divide)

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
    bitwise_not = elementwise.bitwise_not
    bitwise_and = elementwise.bitwise_and
    bitwise_or = elementwise.bitwise_or
    bitwise_xor = elementwise.bitwise_xor
    allclose = elementwise.allclose
    equal = elementwise.equal
    floor_divide = elementwise.floor_divide
    remainder = elementwise.remainder
    reciprocal = elementwise.reciprocal
    log2 = elementwise.log2
    log10 = elementwise.log10
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
    gather = shaping.gather
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

    @composite
    def where(self, condition, other) -> Tensor:
        """Its own elements where the condition holds, those of `other` elsewhere."""
        return elementwise.where(condition, self, other)

    @composite
    def reshape(self, *shape) -> Tensor:
        """The same elements, in row-major order, in another shape; one length may be -1.

        Here and below, several integers may be one tuple.
        """
        return shaping.reshape(self, sizes(shape))

    @composite
    def view(self, *shape) -> Tensor:
        """The same as `reshape`: none can write into elements, so none sees if they are shared."""
        return shaping.reshape(self, sizes(shape))

    @composite
    def permute(self, *dims) -> Tensor:
        """The dimensions in another order: dimension k of the output is dims[k] of this tensor."""
        return shaping.permute(self, sizes(dims))

    @composite
    def expand(self, *shape) -> Tensor:
        """Length-1 and new leading dimensions repeated to `shape`; -1 keeps a length."""
        return shaping.expand(self, sizes(shape))

    @composite
    def flip(self, *dims) -> Tensor:
        """The order of the elements reversed along `dims`."""
        return shaping.flip(self, sizes(dims))

    @composite
    def repeat(self, *repeats) -> Tensor:
        """Tiles side by side, repeats[k] along dimension k."""
        return shaping.repeat(self, sizes(repeats))

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

    # Devices and dtypes

    @composite
    @only(non_blocking=False, copy=False, memory_format=None)
    def to(self, device=None, dtype=None) -> Tensor:
        """On "cpu" or "cuda", in a dtype, or both; itself if that is so. Gradients travel back.

        A dtype may stand alone, in the place of the device.
        """
        x = self
        for wanted in devices_and_dtypes(device, dtype):
            x = x._moved_or_cast(wanted)
        return x

    def _moved_or_cast(self, wanted: str | np.dtype) -> Tensor:
        if isinstance(wanted, str):
            is_there = self.device.startswith(parse_device(wanted))
            return self if is_there else _to(self, wanted, self.device)
        if self.dtype == wanted:
            return self
        if self.dtype.kind == wanted.kind == "f":
            return cast(self, wanted)
        return Tensor(self, dtype=wanted)

    def bool(self) -> Tensor:
        return self.to(np.bool_)

    def int(self) -> Tensor:
        return self.to(np.int32)

    def long(self) -> Tensor:
        return self.to(np.int64)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def cuda(self) -> Tensor:
        return self.to("cuda")

    def float(self) -> Tensor:
        return self.to(FLOAT32)

    def double(self) -> Tensor:
        return self.to(FLOAT64)


TensorBase.tensor_class = Tensor
