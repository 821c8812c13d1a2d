"""Compiled loops: as right as their definitions, whatever the input; processes with and without."""

import json
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np
import pytest

import nn
import tensor as T
from tensor import Tensor, grad, kernels
from tensor.base import wrap

ROOT = Path(__file__).parents[2]
F = Callable[[np.ndarray], np.ndarray]
Numbers = np.ndarray | float
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# Element by element


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-abs(x))
    return np.where(x > 0, 1, small) / (1 + small)


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[float])(x)


def upper_tail(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erfc, otypes=[float])(x / math.sqrt(2)) / 2


def density(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.minimum(x * x / 2, 700)) / math.sqrt(2 * math.pi)


FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], F, F]] = {
    "sigmoid": (T.sigmoid, sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "softplus": (T.softplus, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))), sigmoid),
    "silu": (T.silu, lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "gelu": (T.gelu, lambda x: x * upper_tail(-x), lambda x: upper_tail(-x) + x * density(x)),
    "erf": (T.erf, erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-np.minimum(x * x, 700))),
    "leaky_relu": (
        T.leaky_relu,
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda x: np.where(x > 0, 1, 0.01),
    ),
}
"""An op, and its value and its slope in float64."""

every_function = pytest.mark.parametrize(
    ("f", "value", "slope"), FUNCTIONS.values(), ids=FUNCTIONS.keys()
)


def wide_range(dtype: type) -> np.ndarray:
    """Zeros, and numbers of both signs from the smallest to 1e4, most of a usual size."""
    sizes = np.concatenate(
        [10.0 ** np.arange(-37, 5), [100, 88.5, 104, 710, 750], np.linspace(0, 100, 2001)]
    )
    x = np.concatenate([sizes, -sizes, np.random.default_rng(0).normal(0, 3, 10_000)])
    return x.astype(dtype)


def assert_within_ulps(
    found: np.ndarray,
    expected: np.ndarray,
    ulps: float,
    scale: Numbers = 0.0,
    factor: Numbers = 1.0,
) -> None:
    """In units of the last place of the expected value, or of `scale` if that is larger.

    What is less than `factor` times the least normal number may be anything as small as that.
    """
    limits = np.finfo(found.dtype)
    error, size = abs(found.astype(np.float64) - expected), np.maximum(abs(expected), scale)
    wrong = error > ulps * (limits.eps * size + limits.tiny * np.maximum(1, factor))
    assert not wrong.any(), (found[wrong], expected[wrong])


@every_function
@both_dtypes
def test_functions_are_right_to_the_last_places(
    f: Callable, value: F, slope: F, dtype: type
) -> None:
    x = Tensor(wide_range(dtype), requires_grad=True)
    y, exact = f(x), x.numpy().astype(np.float64)
    (g,) = grad(y.sum(), x)
    assert y.dtype == g.dtype == dtype
    factor = (
        abs(exact) if f in (T.silu, T.gelu) else 0.0
    )  # x times a share, which may be too small for a number
    assert_within_ulps(y.numpy(), value(exact), 4, factor if f is T.gelu else 0.0, factor)
    assert_within_ulps(g.numpy(), slope(exact), 4, np.maximum(1, factor))


@both_dtypes
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_the_cost_of_a_bernoulli_is_right_to_the_last_places(dtype: type, target: float) -> None:
    x = wide_range(dtype)
    exact, targets = x.astype(np.float64), np.full_like(x, target)
    y = nn.binary_cross_entropy_with_logits(Tensor(x), Tensor(targets), reduction="none").numpy()
    expected = abs(exact) * np.where(exact > 0, 1 - target, target) + np.log1p(np.exp(-abs(exact)))
    assert_within_ulps(y, expected, 4)


LIMITS: dict[str, tuple[float, float]] = {
    "sigmoid": (0, 1),
    "softplus": (0, np.inf),
    "erf": (-1, 1),
    "leaky_relu": (-np.inf, np.inf),
    "silu": (np.nan, np.inf),
    "gelu": (np.nan, np.inf),
}
"""Values at -infinity and infinity, by the formulas: -infinity times 0 is not a number."""


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
@both_dtypes
def test_what_is_not_finite_comes_through(name: str, dtype: type) -> None:
    """At every place of a long array, for several numbers are computed at once."""
    f, _, _ = FUNCTIONS[name]
    for k in range(67):
        array = np.ones(67, dtype)
        array[k] = np.nan
        x = Tensor(array, requires_grad=True)
        y = f(x)
        (g,) = grad(y, x, np.ones(67))
        assert np.flatnonzero(np.isnan(y.numpy())).tolist() == [k], "values"
        if name != "leaky_relu":
            assert np.flatnonzero(np.isnan(g.numpy())).tolist() == [k], "slopes"
    y = f(Tensor(np.array([-np.inf, np.inf], dtype))).numpy()
    np.testing.assert_array_equal(y, LIMITS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_that_is_not_a_number_stays_none(name: str) -> None:
    x, g = Tensor(np.ones(67, np.float32), requires_grad=True), np.ones(67, np.float32)
    g[13] = np.nan
    assert np.flatnonzero(np.isnan(grad(FUNCTIONS[name][0](x), x, g)[0].numpy())).tolist() == [13]


@both_dtypes
def test_a_cost_is_0_where_there_is_no_error_and_infinite_or_no_number_elsewhere(
    dtype: type,
) -> None:
    logits = np.array([np.inf, -np.inf, np.inf, -np.inf, np.nan, np.nan], dtype)
    targets = np.array([1, 0, 0, 1, 0, 1], dtype)
    y = nn.binary_cross_entropy_with_logits(
        Tensor(logits), Tensor(targets), reduction="none"
    ).numpy()
    np.testing.assert_array_equal(y, [0, 0, np.inf, np.inf, np.nan, np.nan])


# Sums

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "channels last": lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1),
    "every other": lambda x: x.repeat(2, -1)[..., ::2],
    "backwards": lambda x: x[..., ::-1],
    "upside down": lambda x: np.asfortranarray(x)[::-1],
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def laid_out(
    x: np.ndarray, layout: Callable[[np.ndarray], np.ndarray]
) -> tuple[Tensor, np.ndarray]:
    """x as a tensor in some order in memory, and the same in float64."""
    x = layout(x)
    return wrap(x), x.astype(np.float64)


def all_dims(ndim: int) -> Iterator[tuple[int, ...]]:
    for n in range(1, ndim + 1):
        yield from combinations(range(ndim), n)


@every_layout
@pytest.mark.parametrize(
    "shape",
    [
        (3, 5, 4, 2),
        (6, 16, 20, 17),
        (2, 3, 90, 90),
        (4000, 3, 1, 2),
        (4000, 1, 2, 1),
        (1, 9001, 2, 1),
    ],
)
def test_sums_means_and_variances_are_right(layout: Callable, shape: tuple[int, ...]) -> None:
    """Of numbers around 3, over any dimensions, in any order in memory."""
    x, exact = laid_out(np.random.default_rng(0).normal(3, 2, shape).astype(np.float32), layout)
    for dims in all_dims(4):
        np.testing.assert_allclose(T.sum(x, dims).numpy(), exact.sum(dims), rtol=1e-6)
        np.testing.assert_allclose(
            T.mean(x, dims, keepdim=True).numpy(), exact.mean(dims, keepdims=True), rtol=1e-6
        )
        if math.prod(shape[k] for k in dims) > 1 and exact.var(dims).min() > 0.1:
            np.testing.assert_allclose(T.var(x, dims).numpy(), exact.var(dims, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_so_many_ones_are_counted_that_float32_cannot(dim: int | None) -> None:
    """2^24 + 1 is no float32: counted one by one they would stop there."""
    n = 2**24 + 1000
    x = wrap(np.broadcast_to(np.float32(1), (n, 2) if dim == 0 else (2, n)))
    assert (T.sum(x, dim) == (2 * n if dim is None else n)).numpy().all()


def test_ones_that_lie_in_memory_are_counted_too() -> None:
    assert (
        T.sum(wrap(np.ones((2**24 + 1000, 2), np.float32)), 0).numpy().tolist()
        == [2**24 + 1000] * 2
    )


def test_the_mean_of_large_grey_images_is_their_grey() -> None:
    """Channels-last in memory, so that all pixels of a channel are far from each other."""
    grey = np.array([0.1, 0.5, 0.9], np.float32)
    images = wrap(np.broadcast_to(grey, (4, 1024, 1024, 3)).copy().transpose(0, 3, 1, 2))
    np.testing.assert_allclose(T.mean(images, (0, 2, 3)).numpy(), grey, rtol=1e-6)
    np.testing.assert_allclose(T.var(images, (0, 2, 3)).numpy(), 0, atol=1e-12)


BROADCASTS: dict[
    str,
    tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...], tuple[int, ...]],
] = {
    "a row": (lambda x, b: x + b, (40_000, 3), (3,), (0,)),
    "a column": (lambda x, b: x + b, (3, 40_000), (3, 1), (1,)),
    "channels": (lambda x, b: x + b, (8, 5, 60, 60), (5, 1, 1), (0, 2, 3)),
    "a number": (lambda x, b: x + b, (8, 5, 60, 60), (), (0, 1, 2, 3)),
    "the bias of a convolution": (
        lambda x, b: T.conv2d(x, np.ones((5, 5, 1, 1)), b),
        (8, 5, 60, 60),
        (5,),
        (0, 2, 3),
    ),
    "the bias of a linear map": (
        lambda x, b: T.linear(x, np.ones((3, 3)), b),
        (40_000, 3),
        (3,),
        (0,),
    ),
    "the bias of a norm": (
        lambda x, b: T.group_norm(x, 1, None, b),
        (8, 5, 60, 60),
        (5,),
        (0, 2, 3),
    ),
    "the bias of a norm of many items": (
        lambda x, b: T.layer_norm(x, 3, None, b),
        (40_000, 3),
        (3,),
        (0,),
    ),
}


@pytest.mark.parametrize(("f", "x", "b", "dims"), BROADCASTS.values(), ids=BROADCASTS.keys())
@pytest.mark.parametrize("layout", [LAYOUTS["C"], LAYOUTS["Fortran"]], ids=["C", "Fortran"])
def test_gradients_of_what_was_broadcast_are_right(
    f: Callable, x: tuple, b: tuple, dims: tuple, layout: Callable
) -> None:
    g, exact = laid_out(np.random.default_rng(0).normal(3, 2, x).astype(np.float32), layout)
    bias = T.zeros(b).requires_grad_()
    found = grad(f(T.ones(x), bias), bias, g)[0].numpy()
    np.testing.assert_allclose(found, exact.sum(dims).reshape(b), rtol=1e-6)


@every_layout
def test_running_statistics_are_right(layout: Callable) -> None:
    x, exact = laid_out(
        np.random.default_rng(0).normal(3, 2, (6, 5, 40, 40)).astype(np.float32), layout
    )
    mean, var = T.zeros(5), T.ones(5)
    T.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(mean.numpy(), exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.numpy(), exact.var((0, 2, 3), ddof=1), rtol=1e-6)


# Norms of numbers of any size

Norm = Callable[..., Tensor]
NORMS: dict[str, tuple[Norm, tuple[int, ...]]] = {
    "group_norm": (lambda x, w, b, eps: T.group_norm(x, 2, w, b, eps), (4,)),
    "group_norm with SiLU": (lambda x, w, b, eps: T.group_norm(x, 2, w, b, eps, silu=True), (4,)),
    "instance_norm": (lambda x, w, b, eps: T.instance_norm(x, weight=w, bias=b, eps=eps), (4,)),
    "layer_norm": (lambda x, w, b, eps: T.layer_norm(x, (4, 11, 13), w, b, eps), (4, 11, 13)),
    "batch_norm": (
        lambda x, w, b, eps: T.batch_norm(x, None, None, w, b, training=True, eps=eps),
        (4,),
    ),
}
every_norm = pytest.mark.parametrize(("norm", "affine"), NORMS.values(), ids=NORMS.keys())


def assert_exact_norm(
    norm: Norm, affine: tuple[int, ...], x: np.ndarray, eps: float, tolerance: float = 2e-6
) -> None:
    """The output and the gradients in float32 are those in float64, by the definition, relative to
    their largest value."""
    rng = np.random.default_rng(1)
    weight, bias, g = (
        rng.normal(1, 1, shape).astype(np.float32) for shape in (affine, affine, x.shape)
    )
    single = [Tensor(a, requires_grad=True) for a in (x, weight, bias)]
    double = [Tensor(a.astype(np.float64), requires_grad=True) for a in (x, weight, bias)]
    y = norm(*single, eps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "loops", lambda: None)
        exact = norm(*double, eps)
        expected = [exact, *grad(exact, double, g)]
    found = [y, *grad(y, single, g)]
    assert {t.dtype for t in found} == {np.dtype(np.float32)}
    errors = [
        abs(a.numpy() - e.numpy()).max() / abs(e.numpy()).max()
        for a, e in zip(found, expected, strict=True)
    ]
    assert max(errors) <= tolerance, dict(
        zip(("y", "gx", "g_weight", "g_bias"), errors, strict=True)
    )


def spread(rng: np.random.Generator) -> np.ndarray:
    """Images (N, C, H, W), every channel with a mean and a scale of its own."""
    return rng.normal(rng.normal(0, 1, (4, 1, 1)), rng.uniform(0.5, 2, (4, 1, 1)), (3, 4, 11, 13))


@every_norm
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e20, 1e30])
def test_norms_of_numbers_of_any_size(
    loops: ModuleType, norm: Norm, affine: tuple[int, ...], scale: float
) -> None:
    x = (scale * spread(np.random.default_rng(0))).astype(np.float32)
    assert_exact_norm(norm, affine, x, 1e-5 * scale**2)


@every_norm
@pytest.mark.parametrize("offset", [1e2, 1e4, -1e6])
def test_norms_of_numbers_far_from_0(
    loops: ModuleType, norm: Norm, affine: tuple[int, ...], offset: float
) -> None:
    x = (offset + spread(np.random.default_rng(0))).astype(np.float32)
    assert_exact_norm(norm, affine, x, 1e-5)


@every_norm
@pytest.mark.parametrize("largest", [1e20, 3.4e38])
def test_norms_of_the_largest_numbers(
    loops: ModuleType, norm: Norm, affine: tuple[int, ...], largest: float
) -> None:
    """Whose differences and squares overflow, beside which eps is nothing."""
    x = np.random.default_rng(0).uniform(-largest, largest, (3, 4, 11, 13)).astype(np.float32)
    assert_exact_norm(norm, affine, x, 1e-5)


@every_norm
def test_a_pixel_that_is_not_a_number_makes_all_that_is_normalised_with_it_none(
    norm: Norm, affine: tuple[int, ...]
) -> None:
    x = spread(np.random.default_rng(0)).astype(np.float32)
    x[1, 2, 3, 4] = np.nan
    leaves = [
        Tensor(a, requires_grad=True)
        for a in (x, np.ones(affine, np.float32), np.zeros(affine, np.float32))
    ]
    y = norm(*leaves, 1e-5)
    assert (
        np.isnan(y.numpy()[1, 2]).all()
        and np.isfinite(y.numpy()[:, 0]).all() | np.isfinite(y.numpy()[0]).all()
    )
    gx, gw, _ = (g.numpy() for g in grad(y, leaves, np.ones(x.shape)))
    assert np.isnan(gx[1, 2]).all() and np.isnan(gw[2]).any()


# Optimisers


@both_dtypes
def test_steps_and_averages_are_right_to_the_last_places(dtype: type) -> None:
    """Of gradients of any size whose squares are numbers, and of weights of any size."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (2, 5000))
    p, g = (signs * 10.0 ** rng.uniform([[-30], [-18]], [[4], [15]], (2, 5000))).astype(dtype)
    start, slope = p.astype(np.float64), g.astype(np.float64)
    lr, b1, b2, eps = 0.1, 0.8, 0.9, 1e-8
    m, v = (1 - b1) * slope, (1 - b2) * slope**2
    adam = lr * (m / (1 - b1)) / (np.sqrt(v / (1 - b2)) + eps)
    for optimizer, change in (
        (lambda q: nn.SGD(q, lr, momentum=0.9), lr * slope),
        (lambda q: nn.SGD(q, lr, momentum=0.9, nesterov=True), lr * 1.9 * slope),
        (lambda q: nn.Adam(q, lr, (b1, b2), eps), adam),
    ):
        parameter = nn.Parameter(p)
        ema, step = nn.EMA([parameter], 0.15), optimizer([parameter])
        parameter.grad = Tensor(g)
        step.step()
        ema.update()
        moved = parameter.numpy()
        assert_within_ulps(moved, start - change, 4, np.maximum(abs(start), abs(change)))
        assert_within_ulps(
            ema.average, 0.15 * start + 0.85 * moved, 4, np.maximum(abs(start), abs(moved))
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("optimizer", [nn.SGD, nn.Adam, nn.AdamW])
def test_a_gradient_that_is_not_finite_makes_a_weight_that_is_none(
    optimizer: Callable, value: float
) -> None:
    parameter = nn.Parameter(np.ones(67, np.float32))
    parameter.grad = Tensor(np.where(np.arange(67) == 13, np.float32(value), np.float32(1)))
    ema = nn.EMA([parameter])
    with np.errstate(invalid="ignore"):
        optimizer([parameter], lr=0.1).step()
    ema.update()
    for found in (parameter.numpy(), ema.average):
        assert np.flatnonzero(~np.isfinite(found)).tolist() == [13]


def a_network(
    weight: np.ndarray | None = None, image: np.ndarray | None = None
) -> list[np.ndarray]:
    """The loss of a small network with everything that has kernels, and its gradients."""
    rng = np.random.default_rng(0)
    shapes = [(4, 8, 12, 12), (8, 8, 3, 3), (8, 8, 4, 4), (8, 8, 1, 1), (8, 5, 2, 2)]
    xs = [
        Tensor(rng.standard_normal(shape), dtype=np.float32, requires_grad=True) for shape in shapes
    ]
    if weight is not None:
        xs[1] = Tensor(weight, requires_grad=True)
    if image is not None:
        xs[0] = Tensor(image, requires_grad=True)
    x, w, strided, small, back = xs
    y = T.group_norm(T.conv2d(x, w, padding=1), 2, silu=True)
    y = T.gelu(T.batch_norm(T.conv2d(y, strided, stride=2, padding=1), training=True))
    y = T.silu(T.instance_norm(T.conv2d(y, small))) * T.sigmoid(T.layer_norm(y, y.shape[1:]))
    y = T.leaky_relu(T.softplus(T.conv_transpose2d(y, back, stride=2))) - T.erf(y.mean())
    loss = nn.binary_cross_entropy_with_logits(
        y, np.linspace(0, 1, y.numel(), dtype=np.float32).reshape(y.shape)
    )
    return [t.numpy() for t in (loss, *grad(loss, xs))]


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (3, 7, 2, 2)])
def test_what_is_not_a_number_is_a_loss_that_is_none(place: tuple[int, ...]) -> None:
    """In a weight or in a pixel: training notices it at once."""
    for name, shape in (("weight", (8, 8, 3, 3)), ("image", (4, 8, 12, 12))):
        array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        array[place] = np.nan
        with np.errstate(invalid="ignore"):
            assert np.isnan(a_network(**{name: array})[0])


# Without the loops


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * abs(np.asarray(b)).max())


def test_with_the_loops_and_without_them_networks_compute_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_loops = a_network()
    monkeypatch.setattr(kernels, "loops", lambda: None)
    assert_close(a_network(), with_loops)


def in_a_process(code: str, *options: str, **environment: str) -> list[str]:
    """The lines that some code prints in a Python of its own, in the folder of this repository."""
    command, here = [sys.executable, *options, "-c", code], {"PYTHONPATH": str(ROOT), **environment}
    process = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | here, timeout=120
    )
    assert process.returncode == 0 and not process.stderr, process.stderr
    return process.stdout.splitlines()


NETWORK = """
import json
from tensor import kernels
from tests.tensor.test_kernels import a_network
print(json.dumps([array.tolist() for array in a_network()]))
print(kernels.loops() is None, "numba" in sys.modules and sys.modules["numba"] is not None)
"""


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("import sys", {"MINIGEN_KERNELS": "0"}),
        ("import sys; sys.modules['numba'] = None", {"MINIGEN_KERNELS": "1"}),
        (
            "import sys; sys.modules['numba'] = sys.modules['threadpoolctl'] = None",
            {"MINIGEN_KERNELS": "1"},
        ),
    ],
    ids=["switched off", "without Numba", "without Numba and threadpoolctl"],
)
def test_a_process_without_the_loops_computes_the_same(
    before: str, environment: dict[str, str]
) -> None:
    network, state = in_a_process(before + NETWORK, **environment)
    assert_close([np.array(values) for values in json.loads(network)], a_network())
    assert state == "True False"


# Importing changes nothing


def test_importing_changes_no_threads_and_does_not_import_numba() -> None:
    code = """
import sys, os, time, numpy as np
from pathlib import Path
from threadpoolctl import threadpool_info
def threads(): return [l["num_threads"] for l in threadpool_info() if l["user_api"] == "blas"]
def seconds():
    tasks = Path("/proc/self/task").glob("*")
    return {t: int((t / "schedstat").read_text().split()[0]) for t in tasks}
def at_work():
    "How many threads of this process have multiplied for more than a hundredth of a second."
    if not Path("/proc/self/schedstat").exists(): return 0
    before = seconds()
    np.ones((2000, 2000)) @ np.ones((2000, 2000))
    return sum(s - before.get(t, 0) > 1e7 for t, s in seconds().items())
print(threads(), at_work())
import tensor, nn, minigen, minigen.models.ddpm, minigen.training.loop, minigen.training.process
print(threads(), at_work())
print("numba" in sys.modules)
x = tensor.ones(8, 8, 64, 64).requires_grad_()
tensor.grad(tensor.silu(tensor.group_norm(x, 2)).sum(), x)
print(threads(), at_work())
"""
    before, imported, numba, used = in_a_process(code)
    assert before == imported == used and numba == "False"


# Loops in every process


def test_a_loop_calls_no_compiled_function_of_another_file(loops: ModuleType) -> None:
    """Numba takes a loop from its cache if its own file is unchanged, whatever else has changed."""
    from numba.core.dispatcher import Dispatcher

    import nn.loops

    def codes(code: CodeType) -> Iterator[CodeType]:
        yield code
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from codes(constant)

    for module in (loops, nn.loops):
        own = [f.py_func for f in vars(module).values() if isinstance(f, Dispatcher)]
        assert own
        for function in own:
            assert function.__module__ == module.__name__
            for name in {name for code in codes(function.__code__) for name in code.co_names}:
                used = function.__globals__.get(name)
                if isinstance(used, Dispatcher):
                    assert used.py_func.__code__.co_filename == function.__code__.co_filename, (
                        function,
                        name,
                    )
                elif isinstance(used, ModuleType):
                    assert used in (math, np), (function, name)


FIRST_CALLS = """
from concurrent.futures import ThreadPoolExecutor
from numba.core import event
import numpy as np, tensor
def work(k): return tensor.sigmoid(np.linspace(-3, 3, 999, dtype=np.float32)).tobytes()
with event.install_recorder("numba:compile") as recorder, ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(work, range(8)))), len(recorder.buffer))
"""


def test_a_second_process_compiles_nothing(loops: ModuleType, tmp_path: Path) -> None:
    """And in the first, several threads may ask for a loop at once."""
    first, second = (
        in_a_process(FIRST_CALLS, NUMBA_CACHE_DIR=str(tmp_path))[0].split() for _ in range(2)
    )
    assert first[0] == second[0] == "1" and int(first[1]) > 0 and int(second[1]) == 0


@pytest.mark.parametrize("where", ["a file", "nowhere"])
def test_loops_work_where_no_cache_can_be_written(
    loops: ModuleType, tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").touch()
    nowhere = (
        "import numba.core.caching as c\nc.CacheImpl._locator_classes = []\n"
        if where == "nowhere"
        else ""
    )
    code = (
        nowhere
        + "import numpy as np, tensor\n"
        + "print(tensor.sigmoid(np.zeros(3, np.float32)), tensor.kernels.loops() is None)"
    )
    assert in_a_process(code, NUMBA_CACHE_DIR=str(tmp_path / "file")) == ["[0.5 0.5 0.5] False"]


def test_loops_work_where_assertions_are_left_out() -> None:
    (line,) = in_a_process(
        "from tests.tensor.test_kernels import *\n"
        "print(json.dumps([a.tolist() for a in a_network()]))",
        "-O",
    )
    assert_close([np.array(values) for values in json.loads(line)], a_network())


def test_several_threads_compute_the_same_at_once() -> None:
    expected = a_network()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda k: a_network(), range(8)):
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_computes_the_same() -> None:
    expected = a_network()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in [pool.apply_async(a_network) for _ in range(2)]:
            assert all(
                np.array_equal(a, b) for a, b in zip(found.get(timeout=60), expected, strict=True)
            )
