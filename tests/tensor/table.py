"""Every differentiable op: how to call it, the same in NumPy, examples at which it is smooth."""

import functools
import re
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tensor
from tensor import Tensor, shaping
from tensor.strategies import (
    SPACING,
    Shape,
    broadcastable_shapes,
    conv_geometries,
    conv_transpose_geometries,
    indices,
    norm_geometries,
    pool_geometries,
    shapes,
    tensors,
)
from tests.tensor import references as ref


class Call(NamedTuple):
    """An example: the arguments by which an op is differentiated, and the others by name."""

    inputs: tuple[Tensor, ...]
    options: dict[str, Any]


class Entry(NamedTuple):
    """An op as f(*inputs, **options), its twin on NumPy arrays, and a strategy of calls."""

    f: Callable
    reference: Callable
    calls: st.SearchStrategy[Call]


# Ops with a list of tensors, or with another argument in front, as functions f(*inputs, **options)


def cat(*xs, dim) -> Tensor:
    return tensor.cat(xs, dim)


def stack(*xs, dim) -> Tensor:
    return tensor.stack(xs, dim)


def where(a, b, condition) -> Tensor:
    return tensor.where(
        Tensor(condition, device=a.device) if isinstance(a, Tensor) else condition, a, b
    )


def embedding(weight, indices) -> Tensor:
    return tensor.embedding(indices, weight)


def power_of(b, a) -> Tensor:
    return tensor.pow(a, b)


def cholesky(x) -> Tensor:
    """Of the symmetric part: what moves one element moves its mirror image with it."""
    return tensor.cholesky((x + tensor.transpose(x, -1, -2)) * 0.5)


def cast(x) -> Tensor:
    return tensor.cast(x, x.dtype)


def group_norm(x, weight=None, bias=None, num_groups=1, eps=1e-5, silu=False) -> Tensor:
    return tensor.group_norm(x, num_groups, weight, bias, eps, silu=silu)


def instance_norm(x, weight=None, bias=None, eps=1e-5) -> Tensor:
    return tensor.instance_norm(x, weight=weight, bias=bias, eps=eps)


def einsum(*xs, equation) -> Tensor:
    return tensor.einsum(equation, *xs)


def repeat(x, repeats) -> Tensor:
    return x.repeat(*repeats) if isinstance(x, Tensor) else shaping.repeat(x, repeats)


def largest(x, dim, keepdim) -> Tensor:
    return tensor.max(x, dim, keepdim).values


def smallest(x, dim, keepdim) -> Tensor:
    return tensor.min(x, dim, keepdim).values


def layer_norm(x, weight, bias, eps) -> Tensor:
    return tensor.layer_norm(x, weight.shape, weight, bias, eps)


def batch_norm(x, weight=None, bias=None, eps=1e-5) -> Tensor:
    return tensor.batch_norm(x, None, None, weight, bias, training=True, eps=eps)


def batch_norm_evaluating(x, weight=None, bias=None, eps=1e-5) -> Tensor:
    statistics: Any = ref.running_statistics(x.shape[1])
    if isinstance(x, Tensor):
        dtype = x.dtype if x.dtype.kind == "f" else np.float32
        statistics = running_statistics(x.shape[1], dtype, x.device)
    return tensor.batch_norm(x, *statistics, weight, bias, training=False, eps=eps)


@functools.cache
def running_statistics(channels: int, dtype, device: str) -> list[Tensor]:
    return [Tensor(x, dtype=dtype, device=device) for x in ref.running_statistics(channels)]


# How calls are drawn

Options = st.SearchStrategy[dict[str, Any]]


def named(**options: st.SearchStrategy) -> Options:
    return st.fixed_dictionaries(options)


@st.composite
def elementwise(draw: st.DrawFn, *domains: dict[str, Any], **options: st.SearchStrategy) -> Call:
    """One tensor per domain; their shapes broadcast."""
    drawn = draw(broadcastable_shapes(len(domains)))
    inputs = tuple(
        draw(tensors(shape, **domain)) for shape, domain in zip(drawn, domains, strict=True)
    )
    return Call(inputs, draw(named(**options)))


@st.composite
def one(draw: st.DrawFn, options: Callable[[Shape], Options], shape=None, **domain: Any) -> Call:
    """One tensor, and options that suit its shape."""
    x = draw(tensors(shape, **domain))
    return Call((x,), draw(options(x.shape)))


@st.composite
def joined(draw: st.DrawFn) -> Call:
    """Up to four tensors that agree in all lengths but the one along `dim`."""
    shape = draw(shapes(min_dims=1, max_dims=2))
    dim = draw(axis(shape))
    lengths = draw(st.lists(st.integers(1, 2), min_size=1, max_size=4))
    sizes = [tuple(n if k == dim % len(shape) else m for k, m in enumerate(shape)) for n in lengths]
    return Call(tuple(draw(tensors(size)) for size in sizes), {"dim": dim})


@st.composite
def stacked(draw: st.DrawFn) -> Call:
    """Up to three tensors of one shape, and the place of a new dimension."""
    shape = draw(shapes(max_dims=2))
    inputs = draw(st.lists(tensors(shape), min_size=1, max_size=3))
    return Call(tuple(inputs), draw(new_axis(shape)))


@st.composite
def factors(draw: st.DrawFn) -> Call:
    """Vectors, matrices, or batches of matrices that broadcast."""
    drawn = draw(
        hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=1, max_side=3)
    )
    return Call(tuple(draw(tensors(shape)) for shape in drawn.input_shapes), {})


@st.composite
def vectors(draw: st.DrawFn, same_length: bool) -> Call:
    """Two vectors."""
    n = draw(st.integers(1, 3))
    m = n if same_length else draw(st.integers(1, 3))
    return Call((draw(tensors((n,))), draw(tensors((m,)))), {})


@st.composite
def matrices(draw: st.DrawFn, *batch: int) -> Call:
    """Two matrices, or batches of matrices, with a product."""
    n, k, m = (draw(st.integers(1, 2)) for _ in range(3))
    return Call((draw(tensors((*batch, n, k))), draw(tensors((*batch, k, m)))), {})


EQUATIONS = [
    *["ij,jk->ik", "bij,bjk->bik", "ij,jk,kl->il", "ij,kj", "bi,ij->bj", "ij,ij->j", "i,j->ji"],
    *["ij->", "ij->ji", "ii", "ii->i", "iji->j", "ij,j,k->ki", "ij,i->ij", "b a, a -> b"],
    *["...ij,...jk->...ik", "i...,i->...", "...,i", "i...j"],
]


@st.composite
def contracted(draw: st.DrawFn) -> Call:
    """An equation of `einsum`, and operands that fit, some with a length of 1 that broadcasts."""
    equation = draw(st.sampled_from(EQUATIONS))
    terms = equation.replace(" ", "").split("->")[0].split(",")
    sizes = {c: draw(st.integers(1, 2)) for c in "".join(terms) if c != "."}
    hidden = draw(broadcastable_shapes(len(terms), max_dims=2, max_side=2))
    drawn = [
        tuple(
            n for c in re.findall(r"\w|\.{3}", term) for n in (shape if c == "..." else [sizes[c]])
        )
        for term, shape in zip(terms, hidden)
    ]
    return Call(tuple(draw(tensors(size)) for size in drawn), {"equation": equation})


@st.composite
def dense(draw: st.DrawFn) -> Call:
    """x of any shape that ends in the features, a weight, and a bias or none."""
    out, features = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x = draw(tensors((*draw(shapes(max_dims=2)), features)))
    return Call(
        (
            x,
            draw(tensors((out, features))),
            *([draw(tensors((out,)))] if draw(st.booleans()) else []),
        ),
        {},
    )


@st.composite
def linear_systems(draw: st.DrawFn) -> Call:
    """A, far from singular by a large number in every row and column; B; batches broadcast.

    B may hold vectors, (n,) or as many as A has matrices.
    """
    n = draw(st.integers(1, 3))
    (batch_a, batch_b), k = draw(broadcastable_shapes(2, max_dims=1)), draw(st.integers(1, 2))
    large = 7 * np.eye(n)[draw(st.permutations(range(n)))]
    A = draw(tensors((*batch_a, n, n))).numpy() + large
    size = draw(st.sampled_from([(*batch_b, n, k), (*batch_a, n), (n,)]))
    return Call((Tensor(A, requires_grad=True), draw(tensors(size))), {})


@st.composite
def positive_definite(draw: st.DrawFn) -> Call:
    """Matrices whose symmetric parts have large diagonals."""
    n, batch = draw(st.integers(1, 3)), draw(shapes(max_dims=1, max_side=2))
    x = draw(tensors((*batch, n, n))).numpy() + 7 * np.eye(n)
    return Call((Tensor(x, requires_grad=True),), {})


@st.composite
def chosen(draw: st.DrawFn) -> Call:
    """Two tensors, and a condition to choose between them."""
    a, b, condition = draw(broadcastable_shapes(3))
    return Call(
        (draw(tensors(a)), draw(tensors(b))), {"condition": draw(hnp.arrays(bool, condition))}
    )


@st.composite
def looked_up(draw: st.DrawFn) -> Call:
    """A table, and indices of its rows."""
    rows = draw(st.integers(1, 3))
    indices = hnp.arrays(
        np.int64, shapes(max_dims=2), elements=st.integers(0, rows - 1), fill=st.nothing()
    )
    return Call((draw(tensors((rows, 2))),), {"indices": draw(indices)})


@st.composite
def convolved(draw: st.DrawFn, geometries: st.SearchStrategy) -> Call:
    """Images, a kernel, perhaps a bias: few numbers, for all second derivatives are checked."""
    geometry = draw(geometries.filter(lambda g: prod(g.x_shape) + prod(g.weight_shape) <= 25))
    sizes = [geometry.x_shape, geometry.weight_shape, geometry.bias_shape][
        : draw(st.integers(2, 3))
    ]
    return Call(tuple(draw(tensors(size)) for size in sizes), geometry.options)


@st.composite
def pooled(draw: st.DrawFn) -> Call:
    geometry = draw(pool_geometries())
    return Call((draw(tensors(geometry.x_shape, distinct=True)),), geometry.options)


@st.composite
def max_pooled(draw: st.DrawFn) -> Call:
    """A pool as above, also of windows with gaps, and of a last one that reaches over the edge."""
    inputs, options = draw(pooled())
    dilation = draw(st.sampled_from([1, 1, (1, 2)])) if options["padding"] in (0, (0, 0)) else 1
    H, W = inputs[0].shape[2:]
    if dilation != 1 and ref.pair(options["kernel_size"])[1] * 2 - 1 > W:
        dilation = 1
    return Call(inputs, options | {"dilation": dilation, "ceil_mode": draw(st.booleans())})


@st.composite
def gathered(draw: st.DrawFn) -> Call:
    """x, a dimension, and an index that is no longer in the others."""
    shape = draw(WITH_DIMENSIONS)
    dim = draw(axis(shape))
    size = [draw(st.integers(1, n)) for n in shape]
    size[dim] = draw(st.integers(1, 3))
    index = hnp.arrays(np.int64, tuple(size), elements=st.integers(0, shape[dim] - 1))
    return Call((draw(tensors(shape)),), {"dim": dim, "index": draw(index)})


@st.composite
def normalized(draw: st.DrawFn, *names: str) -> Call:
    """Images, with or without weight and bias, and the options called `names`."""
    geometry = draw(norm_geometries().filter(lambda g: prod(g.x_shape) <= 20))
    sizes = [geometry.x_shape] + draw(st.sampled_from([0, 2])) * [geometry.x_shape[1:2]]
    options = geometry.options | draw(SMOOTH) | {"silu": draw(st.booleans())}
    return Call(
        tuple(draw(tensors(size)) for size in sizes), {name: options[name] for name in names}
    )


@st.composite
def layers(draw: st.DrawFn) -> Call:
    shape = draw(WITH_DIMENSIONS)
    features = shape[draw(axis(shape)) :]
    return Call(tuple(draw(tensors(size)) for size in (shape, features, features)), draw(SMOOTH))


WITH_DIMENSIONS = shapes(min_dims=1)
SEVERAL = shapes(min_dims=1, min_side=2)
SMOOTH = named(eps=st.sampled_from([0.1, 1.0]))
"""An eps at which normalisation is smooth even where all values of a group happen to be equal."""


# Options that suit a shape


def axis(shape: Shape) -> st.SearchStrategy[int]:
    return st.integers(-len(shape), len(shape) - 1)


def some_axes(shape: Shape) -> st.SearchStrategy:
    """One, or a tuple of different ones."""
    several = st.lists(axis(shape), min_size=1, unique_by=lambda k: k % len(shape)).map(tuple)
    return axis(shape) | several if shape else st.just(())


def axes(shape: Shape) -> st.SearchStrategy:
    """All (None), one, or several."""
    return st.none() | some_axes(shape)


def flipped_axes(shape: Shape) -> Options:
    return named(dims=some_axes(shape))


def over_axes(shape: Shape) -> Options:
    return named(dim=some_axes(shape))


def reduction(shape: Shape) -> Options:
    return named(dim=axes(shape), keepdim=st.booleans())


def reduction_of_some(shape: Shape) -> Options:
    return named(dim=some_axes(shape), keepdim=st.booleans())


def reduction_of_one(shape: Shape) -> Options:
    return named(dim=axis(shape), keepdim=st.booleans())


def along_one(shape: Shape) -> Options:
    return named(dim=axis(shape))


def powers(shape: Shape) -> Options:
    p = st.sampled_from(["fro", 1, 2, 3, 1.5, np.inf, -np.inf])
    return named(p=p, dim=axes(shape), keepdim=st.booleans())


def variance(shape: Shape) -> Options:
    options = named(dim=axes(shape), keepdim=st.booleans(), correction=st.integers(0, 1))
    return options.filter(lambda o: np.ones(shape).sum(o["dim"]).max() > o["correction"])


def deviation(shape: Shape) -> Options:
    """Of two values at least, for at a deviation of 0 there is a kink."""
    return variance(shape).filter(lambda o: np.ones(shape).sum(o["dim"]).max() > 1)


def new_axis(shape: Shape) -> Options:
    return named(dim=st.integers(-len(shape) - 1, len(shape)))


def no_options(shape: Shape) -> Options:
    return named()


def one_diagonal(shape: Shape) -> Options:
    return named(diagonal=st.integers(-2, 2))


def shifts(shape: Shape) -> Options:
    """Along all dimensions, flattened; along one; along some."""
    one, far = axis(shape), st.integers(-4, 4)
    several = st.lists(axis(shape), min_size=1, unique_by=lambda k: k % len(shape))
    return st.one_of(
        named(shifts=far),
        named(shifts=far, dims=one),
        several.flatmap(
            lambda dims: named(shifts=st.tuples(*[far] * len(dims)), dims=st.just(tuple(dims)))
        ),
    )


def tiles(shape: Shape) -> Options:
    n = len(shape)
    return named(repeats=st.lists(st.integers(0, 2), min_size=n, max_size=n + 1).map(tuple))


def two_axes(shape: Shape) -> Options:
    return named(dim0=axis(shape), dim1=axis(shape))


def order(shape: Shape) -> Options:
    return named(dims=st.permutations(range(len(shape))).map(tuple))


def order_from_either_end(shape: Shape) -> Options:
    n = len(shape)
    ends = st.lists(st.booleans(), min_size=n, max_size=n)
    dims = st.builds(
        lambda dims, ends: tuple(d - n * end for d, end in zip(dims, ends)),
        st.permutations(range(n)),
        ends,
    )
    return named(dims=dims)


def neighbours(shape: Shape) -> Options:
    """The first and the last of a run of dimensions."""
    ends = st.tuples(axis(shape), axis(shape)).map(
        lambda ends: sorted(ends, key=lambda k: k % len(shape))
    )
    return ends.map(lambda ends: {"start_dim": ends[0], "end_dim": ends[1]})


def part(shape: Shape) -> Options:
    """A dimension, and where a part of it begins and how long it is."""
    bounds = axis(shape).flatmap(lambda k: st.tuples(st.just(k), *[st.integers(0, shape[k])] * 2))
    return bounds.map(lambda b: {"dim": b[0], "start": min(b[1:]), "length": abs(b[1] - b[2])})


def parts(shape: Shape) -> Options:
    return named(dim=axis(shape), chunks=st.integers(1, 4))


def sections(shape: Shape) -> Options:
    """A dimension, and a size of parts or the sizes of two."""
    sizes = axis(shape).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, shape[k])))
    listed = sizes.map(
        lambda s: {"dim": s[0], "split_size_or_sections": (s[1], shape[s[0]] - s[1])}
    )
    return listed | named(dim=axis(shape), split_size_or_sections=st.integers(1, 4))


def frame(shape: Shape) -> Options:
    widths = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=len(shape))
    return named(pad=widths.map(lambda pairs: sum(pairs, ())), value=st.sampled_from([0.0, -1.5]))


def same_size(shape: Shape) -> Options:
    return named(shape=st.sampled_from([(-1,), shape[::-1], (1, *shape), (prod(shape), 1)]))


def larger(shape: Shape) -> Options:
    """A shape to which `shape` broadcasts."""
    others = hnp.broadcastable_shapes(shape, max_dims=len(shape) + 1, max_side=3)
    return named(shape=others.map(lambda other: np.broadcast_shapes(shape, other)))


def scale(shape: Shape) -> Options:
    sides = st.integers(1, 3)
    sizes = st.tuples(sides, sides).map(lambda s: (s[0] * shape[2], s[1] * shape[3]))
    return named(scale_factor=sides | st.tuples(sides, sides)) | named(size=sizes)


# The table

POSITIVE = {"min_value": 0.1}
ZERO = {"min_value": 0.0, "max_value": 0.0}
AWAY_FROM_0 = {"kinks": (0,)}
BETWEEN = {"min_value": -2 + SPACING / 2}
"""Values half-way between those of other tensors, so that nothing ties."""

BETWEEN_OTHERS = {"min_value": -2 + SPACING / 4}
BETWEEN_1_AND_2 = {"min_value": 1.1, "max_value": 1.5}

ELEMENTWISE = {
    "add": Entry(tensor.add, np.add, elementwise({}, {})),
    "sub": Entry(tensor.sub, np.subtract, elementwise({}, {})),
    "mul": Entry(tensor.mul, np.multiply, elementwise({}, {})),
    "div": Entry(tensor.div, np.divide, elementwise({}, AWAY_FROM_0)),
    "neg": Entry(tensor.neg, np.negative, elementwise({})),
    "remainder": Entry(
        tensor.remainder,
        np.remainder,
        elementwise(BETWEEN_1_AND_2, {"min_value": 0.8, "max_value": 1}),
    ),
    "remainder of another sign": Entry(
        tensor.remainder, np.remainder, elementwise(BETWEEN_1_AND_2, {"max_value": -1.6})
    ),
    "floor_divide": Entry(
        tensor.floor_divide,
        np.floor_divide,
        elementwise(BETWEEN_1_AND_2, {"min_value": 0.8, "max_value": 1}),
    ),
    "reciprocal": Entry(tensor.reciprocal, np.reciprocal, elementwise(AWAY_FROM_0)),
    "pow": Entry(tensor.pow, np.power, elementwise(POSITIVE, AWAY_FROM_0)),
    "pow to the 0": Entry(tensor.pow, np.power, elementwise(POSITIVE, ZERO)),
    "pow to an integer": Entry(
        tensor.pow, ref.power, elementwise(AWAY_FROM_0, b=st.integers(-2, 3))
    ),
    "pow to a fraction": Entry(
        tensor.pow, ref.power, elementwise(POSITIVE, b=st.sampled_from([0.5, -1.5]))
    ),
    "pow of a number": Entry(power_of, power_of, elementwise({}, a=st.sampled_from([1, 2.5]))),
    "exp": Entry(tensor.exp, np.exp, elementwise({})),
    "expm1": Entry(tensor.expm1, np.expm1, elementwise({})),
    "log": Entry(tensor.log, np.log, elementwise(POSITIVE)),
    "log2": Entry(tensor.log2, np.log2, elementwise(POSITIVE)),
    "log10": Entry(tensor.log10, np.log10, elementwise(POSITIVE)),
    "log1p": Entry(tensor.log1p, np.log1p, elementwise({"min_value": -0.9})),
    "rsqrt": Entry(tensor.rsqrt, lambda x: 1 / np.sqrt(x), elementwise(POSITIVE)),
    "sqrt": Entry(tensor.sqrt, np.sqrt, elementwise(POSITIVE)),
    "square": Entry(tensor.square, np.square, elementwise({})),
    "sin": Entry(tensor.sin, np.sin, elementwise({})),
    "cos": Entry(tensor.cos, np.cos, elementwise({})),
    "tanh": Entry(tensor.tanh, np.tanh, elementwise({})),
    "erf": Entry(tensor.erf, ref.erf, elementwise({})),
    "sigmoid": Entry(tensor.sigmoid, ref.sigmoid, elementwise({})),
    "softplus": Entry(tensor.softplus, ref.softplus, elementwise({})),
    "relu": Entry(tensor.relu, ref.leaky_relu, elementwise(AWAY_FROM_0)),
    "leaky_relu": Entry(
        tensor.leaky_relu, ref.leaky_relu, elementwise(AWAY_FROM_0, negative_slope=st.floats(0, 2))
    ),
    "silu": Entry(tensor.silu, ref.silu, elementwise({})),
    "gelu": Entry(
        tensor.gelu, ref.gelu, elementwise({}, approximate=st.sampled_from(["none", "tanh"]))
    ),
    "abs": Entry(tensor.abs, np.abs, elementwise(AWAY_FROM_0)),
    "sign": Entry(tensor.sign, np.sign, elementwise(AWAY_FROM_0)),
    "floor": Entry(tensor.floor, np.floor, elementwise({"kinks": (-2, -1, 0, 1, 2)})),
    "ceil": Entry(tensor.ceil, np.ceil, elementwise({"kinks": (-2, -1, 0, 1, 2)})),
    "round": Entry(tensor.round, np.round, elementwise({"kinks": (-1.5, -0.5, 0.5, 1.5)})),
    "maximum": Entry(tensor.maximum, np.maximum, elementwise({}, BETWEEN)),
    "minimum": Entry(tensor.minimum, np.minimum, elementwise({}, BETWEEN)),
    "clamp": Entry(
        tensor.clamp,
        ref.clamp,
        elementwise({"kinks": (-1, 0.5)}, min=st.just(-1), max=st.just(0.5)),
    ),
    "clamp from below": Entry(
        tensor.clamp, ref.clamp, elementwise({"kinks": (-1,)}, min=st.just(-1))
    ),
    "clamp from above": Entry(
        tensor.clamp, ref.clamp, elementwise({"kinks": (0.5,)}, max=st.just(0.5))
    ),
    "clamp to tensors": Entry(tensor.clamp, ref.clamp, elementwise({}, BETWEEN, BETWEEN_OTHERS)),
    "where": Entry(where, ref.where, chosen()),
    "cast": Entry(cast, np.copy, elementwise({})),
}

REDUCTIONS = {
    "sum": Entry(tensor.sum, ref.total, one(reduction)),
    "mean": Entry(tensor.mean, ref.mean, one(reduction)),
    "var": Entry(tensor.var, ref.var, one(variance)),
    "std": Entry(tensor.std, ref.std, one(deviation, SEVERAL, distinct=True)),
    "norm": Entry(tensor.norm, ref.norm, one(powers, min_value=0.1, distinct=True)),
    "prod": Entry(tensor.prod, ref.prod, one(reduction_of_one, WITH_DIMENSIONS)),
    "prod of all": Entry(tensor.prod, ref.prod, one(no_options)),
    "cumsum": Entry(tensor.cumsum, ref.cumsum, one(along_one, WITH_DIMENSIONS)),
    "amax": Entry(tensor.amax, ref.largest, one(reduction, distinct=True)),
    "amin": Entry(tensor.amin, ref.smallest, one(reduction, distinct=True)),
    "max": Entry(largest, ref.largest, one(reduction_of_one, WITH_DIMENSIONS, distinct=True)),
    "min": Entry(smallest, ref.smallest, one(reduction_of_one, WITH_DIMENSIONS, distinct=True)),
    "max of all": Entry(tensor.max, ref.largest, one(no_options, distinct=True)),
    "min of all": Entry(tensor.min, ref.smallest, one(no_options, distinct=True)),
    "max of two": Entry(tensor.max, np.maximum, elementwise({}, BETWEEN)),
    "min of two": Entry(tensor.min, np.minimum, elementwise({}, BETWEEN)),
    "logsumexp": Entry(tensor.logsumexp, ref.logsumexp, one(reduction_of_some)),
    "softmax": Entry(tensor.softmax, ref.softmax, one(over_axes)),
    "log_softmax": Entry(tensor.log_softmax, ref.log_softmax, one(over_axes)),
}

SHAPING = {
    "broadcast_to": Entry(tensor.broadcast_to, np.broadcast_to, one(larger)),
    "cat": Entry(cat, ref.cat, joined()),
    "chunk": Entry(tensor.chunk, ref.chunk, one(parts, WITH_DIMENSIONS)),
    "expand": Entry(tensor.expand, np.broadcast_to, one(larger)),
    "flatten": Entry(tensor.flatten, ref.flatten, one(neighbours, WITH_DIMENSIONS)),
    "flip": Entry(tensor.flip, ref.flip, one(flipped_axes)),
    "gather": Entry(tensor.gather, ref.gather, gathered()),
    "getitem": Entry(tensor.getitem, ref.getitem, one(lambda shape: named(index=indices(shape)))),
    "narrow": Entry(tensor.narrow, ref.narrow, one(part, WITH_DIMENSIONS)),
    "pad": Entry(tensor.pad, ref.pad, one(frame, WITH_DIMENSIONS)),
    "permute": Entry(tensor.permute, ref.permute, one(order)),
    "permute from either end": Entry(tensor.permute, ref.permute, one(order_from_either_end)),
    "reshape": Entry(tensor.reshape, np.reshape, one(same_size)),
    "split": Entry(tensor.split, ref.split, one(sections, WITH_DIMENSIONS)),
    "squeeze": Entry(tensor.squeeze, ref.squeeze, one(over_axes, WITH_DIMENSIONS)),
    "squeeze all": Entry(tensor.squeeze, ref.squeeze, one(no_options)),
    "repeat": Entry(repeat, ref.repeat, one(tiles)),
    "roll": Entry(tensor.roll, ref.roll, one(shifts, WITH_DIMENSIONS)),
    "diag": Entry(tensor.diag, ref.diag, one(one_diagonal, shapes(1, 2))),
    "tril": Entry(tensor.tril, ref.tril, one(one_diagonal, shapes(2))),
    "triu": Entry(tensor.triu, ref.triu, one(one_diagonal, shapes(2))),
    "t": Entry(tensor.t, np.transpose, one(no_options, shapes(0, 2))),
    "stack": Entry(stack, ref.stack, stacked()),
    "transpose": Entry(tensor.transpose, ref.transpose, one(two_axes, WITH_DIMENSIONS)),
    "unsqueeze": Entry(tensor.unsqueeze, ref.unsqueeze, one(new_axis)),
}

NETWORKS = {
    "matmul": Entry(tensor.matmul, np.matmul, factors()),
    "mm": Entry(tensor.mm, np.matmul, matrices()),
    "bmm": Entry(tensor.bmm, np.matmul, matrices(2)),
    "dot": Entry(tensor.dot, np.dot, vectors(same_length=True)),
    "outer": Entry(tensor.outer, np.outer, vectors(same_length=False)),
    "einsum": Entry(einsum, ref.einsum, contracted()),
    "linear": Entry(tensor.linear, ref.linear, dense()),
    "solve": Entry(tensor.solve, ref.solve, linear_systems()),
    "cholesky": Entry(cholesky, ref.cholesky, positive_definite()),
    "conv2d": Entry(tensor.conv2d, ref.conv2d, convolved(conv_geometries())),
    "conv_transpose2d": Entry(
        tensor.conv_transpose2d, ref.conv_transpose2d, convolved(conv_transpose_geometries())
    ),
    "avg_pool2d": Entry(tensor.avg_pool2d, ref.avg_pool2d, pooled()),
    "max_pool2d": Entry(tensor.max_pool2d, ref.max_pool2d, max_pooled()),
    "upsample_nearest": Entry(
        tensor.upsample_nearest, ref.upsample_nearest, one(scale, shapes(4, 4, max_side=2))
    ),
    "embedding": Entry(embedding, ref.embedding, looked_up()),
    "group_norm": Entry(group_norm, ref.group_norm, normalized("num_groups", "eps", "silu")),
    "instance_norm": Entry(instance_norm, ref.instance_norm, normalized("eps")),
    "layer_norm": Entry(layer_norm, ref.layer_norm, layers()),
    "batch_norm": Entry(batch_norm, ref.batch_norm, normalized("eps")),
    "batch_norm evaluating": Entry(
        batch_norm_evaluating, ref.batch_norm_evaluating, normalized("eps")
    ),
}

TABLE: dict[str, Entry] = ELEMENTWISE | REDUCTIONS | SHAPING | NETWORKS
"""By the op's name; where an op has several entries, more words follow."""
