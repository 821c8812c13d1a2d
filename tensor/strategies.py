"""Hypothesis strategies for tensors and for the shapes that ops take: what property tests draw.

    @given(x=tensors(kinks=(0,)))
    def test_relu(x):
        gradcheck(relu, x)

A geometry holds shapes and options that fit each other; `geometry.options` are the op's keywords:

    @given(geometry=conv_geometries(), data=st.data())
    def test_conv2d(geometry, data):
        x = data.draw(tensors(geometry.x_shape))
        weight = data.draw(tensors(geometry.weight_shape))
        y = conv2d(x, weight, **geometry.options)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tensor.base import FLOAT32, FLOAT64
from tensor.convolution import Pair, as_pair
from tensor.tensor import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError("tensor.strategies needs Hypothesis: pip install -e '.[test]'") from error

Shape = tuple[int, ...]
IntOrPair = int | tuple[int, int]

SPACING = 0.004
"""The distance between neighbouring values that `tensors` draws."""


# Tensors


def dtypes() -> st.SearchStrategy[np.dtype]:
    """float64 or float32."""
    return st.sampled_from([FLOAT64, FLOAT32])


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 3
) -> st.SearchStrategy[Shape]:
    """Shapes, 0-d ones included."""
    sides = {"min_side": min_side, "max_side": max_side}
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, **sides)


def broadcastable_shapes(
    n: int, max_dims: int = 3, max_side: int = 3
) -> st.SearchStrategy[tuple[Shape, ...]]:
    """`n` shapes that broadcast together, some with fewer dimensions or with length 1."""
    drawn = hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=max_dims, max_side=max_side)
    return drawn.map(lambda shapes: shapes.input_shapes)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Shape | st.SearchStrategy[Shape] | None = None,
    dtype: np.dtype | type | st.SearchStrategy[np.dtype] = FLOAT64,
    min_value: float = -2.0,
    max_value: float = 2.0,
    kinks: tuple[float, ...] = (),
    distinct: bool = False,
) -> Tensor:
    """Leaves with requires_grad=True. `shape` and `dtype` may be strategies.

    Values lie SPACING apart, from `min_value` on, and none is nearer than 0.05 to one of the
    `kinks`: there, finite differences are right. With `distinct`, no two elements are equal, so
    that a maximum is unique.
    """
    size, kind = draw(_strategy(shapes() if shape is None else shape)), draw(_strategy(dtype))
    values = st.sampled_from(_grid(min_value, max_value, kinks))
    array = draw(hnp.arrays(FLOAT64, size, elements=values, fill=st.nothing(), unique=distinct))
    return Tensor(array, requires_grad=True, dtype=kind)


@cache
def _grid(low: float, high: float, kinks: tuple[float, ...]) -> list[float]:
    """The values for `tensors`, those near 0 first: to them Hypothesis shrinks."""
    values = np.round(np.arange(low, high + SPACING / 2, SPACING), 6)
    for kink in kinks:
        values = values[abs(values - kink) >= 0.05]
    return sorted(values.tolist(), key=abs)


def _strategy(value: Any) -> st.SearchStrategy[Any]:
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


def indices(shape: Shape) -> st.SearchStrategy[Any]:
    """What stands in x[...]: slices, integers, ..., None, integer arrays, masks, and mixtures."""
    masks = st.integers(0, len(shape)).flatmap(lambda n: hnp.arrays(bool, shape[:n]))
    lengths = st.integers(1, 3)
    mixtures = lengths.flatmap(lambda length: st.tuples(*(_entries(n, length) for n in shape)))
    return st.one_of(hnp.basic_indices(shape, allow_newaxis=True), masks, mixtures)


def _entries(n: int, length: int) -> st.SearchStrategy[Any]:
    """For a dimension of `n`: an integer, a slice, or `length` integers, some of them repeated."""
    integers = st.integers(-n, n - 1)
    arrays = hnp.arrays(np.int64, length, elements=integers, fill=st.nothing())
    return st.one_of(integers, st.slices(n), arrays)


# Geometries


@dataclass(frozen=True)
class OpGeometry:
    """Shapes and options that fit each other."""

    x_shape: Shape

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the op."""
        return {name: value for name, value in vars(self).items() if not name.endswith("_shape")}


@dataclass(frozen=True)
class ConvGeometry(OpGeometry):
    """For conv2d."""

    weight_shape: Shape
    stride: IntOrPair
    padding: IntOrPair
    dilation: IntOrPair
    groups: int

    @property
    def bias_shape(self) -> Shape:
        return self.weight_shape[:1]


@dataclass(frozen=True)
class ConvTransposeGeometry(ConvGeometry):
    """For conv_transpose2d."""

    output_padding: IntOrPair

    @property
    def bias_shape(self) -> Shape:
        return (self.weight_shape[1] * self.groups,)


@dataclass(frozen=True)
class PoolGeometry(OpGeometry):
    """For max_pool2d and avg_pool2d."""

    kernel_size: IntOrPair
    stride: IntOrPair | None
    padding: IntOrPair


@dataclass(frozen=True)
class NormGeometry(OpGeometry):
    """For group_norm; the shape suits the other norms, too."""

    num_groups: int


@st.composite
def conv_geometries(draw: st.DrawFn) -> ConvGeometry:
    """Images barely larger than the kernel; any combination of options, integers or pairs."""
    kernel, stride, padding, dilation = draw(_steps)
    smallest = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in _per_axis(kernel, padding, dilation)]
    H, W = (n + draw(st.integers(0, 2)) for n in smallest)
    N, C, O, groups = (draw(_few) for _ in range(4))
    shapes = (N, C * groups, H, W), (O * groups, C, *kernel)
    return ConvGeometry(*shapes, stride, padding, dilation, groups)


@st.composite
def conv_transpose_geometries(draw: st.DrawFn) -> ConvTransposeGeometry:
    """Images of a few pixels; any combination of options, integers or pairs."""
    kernel, stride, padding, dilation = draw(_steps)
    h, w = (max(s, d) - 1 for s, d in _per_axis(stride, dilation))
    extra = draw(_int_or_pair(0, (h, w)))
    axes = _per_axis(kernel, stride, padding, dilation, extra)
    smallest = [1 + max(0, -((d * (k - 1) + e - 2 * p) // s)) for k, s, p, d, e in axes]
    H, W = (n + draw(st.integers(0, 1)) for n in smallest)
    N, C, O, groups = (draw(_few) for _ in range(4))
    shapes = (N, C * groups, H, W), (C * groups, O, *kernel)
    return ConvTransposeGeometry(*shapes, stride, padding, dilation, groups, extra)


@st.composite
def pool_geometries(draw: st.DrawFn) -> PoolGeometry:
    """Images barely larger than the window, with a padding of at most half of it."""
    window = draw(_int_or_pair(1, (3, 3)))
    h, w = (k // 2 for (k,) in _per_axis(window))
    padding = draw(_int_or_pair(0, (h, w)))
    H, W = (max(1, k - 2 * p) + draw(st.integers(0, 2)) for k, p in _per_axis(window, padding))
    stride = draw(st.none() | _int_or_pair(1, (3, 3)))
    return PoolGeometry((draw(_few), draw(_few), H, W), window, stride, padding)


@st.composite
def norm_geometries(draw: st.DrawFn) -> NormGeometry:
    """(N, C, ...) with one or two dimensions of pixels, and never a single value to normalise."""
    size = (draw(st.integers(2, 3)), *draw(st.lists(_few, max_size=1)))
    groups = draw(_few)
    return NormGeometry((draw(_few), groups * draw(_few), *size), groups)


def _int_or_pair(low: int, high: Pair) -> st.SearchStrategy[IntOrPair]:
    """An integer, or a pair, up to a limit for the height and one for the width."""
    pairs = st.tuples(*(st.integers(low, most) for most in high))
    return st.integers(low, min(high)) | pairs


def _per_axis(*options: IntOrPair) -> Iterator[tuple[int, ...]]:
    """The options for the height, then those for the width."""
    return zip(*(as_pair(option, "option", 0) for option in options), strict=True)


_few = st.integers(1, 2)
_kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))
_paddings = _int_or_pair(0, (2, 2))
_steps = st.tuples(_kernels, _int_or_pair(1, (3, 3)), _paddings, _int_or_pair(1, (2, 2)))
"""Kernel size, stride, padding and dilation."""
