"""Kernels over blocks of the batch: each row once and in order, the same bits on any threads."""

import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

import nn
import tensor as T
from tensor import (
    Tensor,
    conv2d,
    conv_transpose2d,
    correlation,
    get_num_threads,
    grad,
    group_norm,
    parallel,
    set_num_threads,
    winograd,
)
from tensor.parallel import map_blocks, one_blas_thread

thread_counts = st.integers(1, 4)


@contextmanager
def threads(n: int, block: int = 2**12) -> Iterator[None]:
    """Inside, `n` threads share blocks, into which more than `block` numbers are cut."""
    before = get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "BLOCK", block)
        patch.setattr(parallel, "WORTH_A_THREAD", min(block, parallel.WORTH_A_THREAD))
        set_num_threads(n)
        try:
            yield
        finally:
            set_num_threads(before)


def random(rng: np.random.Generator, *shape: int) -> Tensor:
    return Tensor(rng.standard_normal(shape), dtype=np.float32, requires_grad=True)


def a_small_network(seed: int = 0) -> list[np.ndarray]:
    """The output and the gradients of conv -> group norm -> SiLU."""
    rng = np.random.default_rng(seed)
    x, weight = random(rng, 7, 8, 15, 15), random(rng, 8, 8, 3, 3)
    y = T.silu(group_norm(conv2d(x, weight, padding=1), 2))
    return [t.numpy() for t in (y, *grad((y * y).sum(), [x, weight]))]


NETWORKS: dict[str, Callable[[Tensor], Tensor]] = {
    "group norm with SiLU": lambda x: group_norm(x, 4, eps=0.1, silu=True),
    "instance norm": T.instance_norm,
    "layer norm": lambda x: T.layer_norm(x, x.shape[1:]),
    "batch norm": lambda x: T.batch_norm(x, training=True),
    "statistics": lambda x: T.var(x, (0, 2, 3)) * T.mean(x, (0, 2, 3)) + T.sum(x, (1, 2, 3)).mean(),
    "GELU": T.gelu,
    "softplus": T.softplus,
    "sigmoid and erf": lambda x: T.sigmoid(x) * T.erf(x),
    "leaky ReLU": T.leaky_relu,
    "binary cross-entropy": lambda x: nn.binary_cross_entropy_with_logits(
        x, T.sigmoid(x.detach() * 2)
    ),
    "squared error": lambda x: nn.mse_loss(x, x.detach() * 2),
}
"""What has kernels, as functions of images (9, 16, 12, 12)."""

CONVOLUTIONS: dict[str, tuple[Callable, tuple[int, ...], dict[str, int]]] = {
    "3x3": (conv2d, (16, 16, 3, 3), {"padding": 1}),
    "3x3 of few channels": (conv2d, (3, 16, 3, 3), {"padding": 1}),
    "4x4 with stride 2": (conv2d, (16, 16, 4, 4), {"stride": 2, "padding": 1}),
    "3x3 with stride 2": (conv2d, (16, 16, 3, 3), {"stride": 2, "padding": 1}),
    "1x1": (conv2d, (33, 16, 1, 1), {}),
    "transposed": (T.conv_transpose2d, (16, 16, 4, 4), {"stride": 2, "padding": 1}),
}


def with_gradients(f: Callable[..., Tensor], *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """The output of f for normal random numbers of these shapes, and the gradients."""
    rng = np.random.default_rng(0)
    xs = [random(rng, *shape) for shape in shapes]
    y = f(*xs)
    return [t.numpy() for t in (y, *grad(y, xs, np.cos(np.arange(y.numel())).reshape(y.shape)))]


def three_steps() -> list[np.ndarray]:
    """Weights after three steps of each optimiser, and their average."""
    found = []
    for optimizer in (nn.SGD, nn.Adam, nn.AdamW):
        p = nn.Parameter(np.linspace(-1, 1, 70_000, dtype=np.float32))
        steps, ema = optimizer([p], lr=0.1), nn.EMA([p])
        for _ in range(3):
            p.grad = Tensor(np.sin(1e3 * p.numpy()))
            steps.step()
            ema.update()
        found += [p.numpy(), ema.average]
    return found


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def rows_of_blocks(n: int, numbers: int) -> list[list[int]]:
    return map_blocks(lambda rows: list(range(n))[rows], n, numbers)


@given(
    n=st.integers(0, 40),
    numbers_of_a_row=st.integers(0, 100),
    block=st.integers(1, 1000),
    count=thread_counts,
)
def test_blocks_cover_every_row_once_and_in_order(
    n: int, numbers_of_a_row: int, block: int, count: int
) -> None:
    with threads(count, block):
        blocks = rows_of_blocks(n, n * numbers_of_a_row)
    assert list(itertools.chain(*blocks)) == list(range(n)) and all(blocks[1:])
    assert all(
        len(rows) * numbers_of_a_row < block + numbers_of_a_row for rows in blocks if len(rows) > 1
    )


@given(n=st.integers(0, 40), numbers=st.integers(0, 10**7))
def test_blocks_do_not_depend_on_the_number_of_threads(n: int, numbers: int) -> None:
    found = []
    for count in range(1, 5):
        with threads(count, parallel.BLOCK):
            found.append(rows_of_blocks(n, numbers))
    assert found == found[:1] * 4


@given(n=st.integers(0, 1000), numbers=st.integers(0, parallel.WORTH_A_THREAD))
def test_what_is_not_worth_a_thread_is_one_block_on_this_thread(n: int, numbers: int) -> None:
    with threads(4, parallel.BLOCK):
        here = map_blocks(lambda rows: (rows.start, rows.stop, threading.get_ident()), n, numbers)
    assert here == [(0, n, threading.get_ident())]


def two_blocks_meet() -> None:
    """Raises BrokenBarrierError unless two blocks run at the same time."""
    meeting = threading.Barrier(2, timeout=10)
    map_blocks(lambda rows: meeting.wait(), 2, 10**6)


def test_several_threads_share_the_blocks() -> None:
    with threads(2):
        two_blocks_meet()


def assert_same_bits_for_any_number_of_threads(
    compute: Callable[[], list[np.ndarray]], block: int = 2**12
) -> None:
    with threads(1, block):
        expected = compute()
    for count in (2, 3, 4):
        with threads(count, block):
            assert same_bits(compute(), expected)


@pytest.mark.parametrize("f", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_number_of_threads_changes_no_bit(f: Callable[[Tensor], Tensor]) -> None:
    assert_same_bits_for_any_number_of_threads(lambda: with_gradients(f, (9, 16, 12, 12)))


@pytest.mark.parametrize(("f", "weight", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_the_number_of_threads_changes_no_bit_of_a_convolution(
    f: Callable, weight: tuple[int, ...], options: dict
) -> None:
    bias = weight[:1] if f is conv2d else weight[1:2]
    assert_same_bits_for_any_number_of_threads(
        lambda: with_gradients(lambda x, w, b: f(x, w, b, **options), (9, 16, 12, 12), weight, bias)
    )


def test_the_number_of_threads_changes_no_bit_of_a_network() -> None:
    assert_same_bits_for_any_number_of_threads(a_small_network)


def test_the_number_of_threads_changes_no_bit_of_an_optimizer() -> None:
    assert_same_bits_for_any_number_of_threads(three_steps)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_number_of_threads_changes_no_bit_of_large_products(kernel: int) -> None:
    """So large that BLAS, left alone, would share each of them among threads of its own."""

    def f(x: Tensor, weight: Tensor) -> Tensor:
        return conv2d(x, weight, padding=1)

    shapes = (8, 128, 16, 16), (128, 128, kernel, kernel)
    assert_same_bits_for_any_number_of_threads(lambda: with_gradients(f, *shapes), parallel.BLOCK)


@pytest.mark.parametrize("f", NETWORKS.values(), ids=NETWORKS.keys())
def test_blocks_change_only_roundings(f: Callable[[Tensor], Tensor]) -> None:
    whole = with_gradients(f, (9, 16, 12, 12))
    with threads(2):
        for y, expected in zip(with_gradients(f, (9, 16, 12, 12)), whole, strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


# When something goes wrong


@given(wrong=st.integers(0, 7), count=thread_counts)
def test_an_error_in_any_block_arrives(wrong: int, count: int) -> None:
    def kernel(rows: slice) -> int:
        if rows.start == wrong:
            raise ValueError(f"row {wrong}")
        return rows.start

    with threads(count, block=1):
        with pytest.raises(ValueError, match=f"row {wrong}"):
            map_blocks(kernel, 8, 8)
        assert map_blocks(lambda rows: rows.start, 8, 8) == list(range(8))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_errors_that_end_a_program_arrive_from_any_thread(error: type[BaseException]) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def kernel(rows: slice) -> None:
        meeting.wait()
        if threading.current_thread() is not threading.main_thread():
            raise error

    with threads(2):
        with pytest.raises(error):
            map_blocks(kernel, 2, 10**6)
        two_blocks_meet()


def test_no_kernel_runs_on_after_an_error() -> None:
    """The caller may free or reuse what the kernels write to."""
    meeting, finished = threading.Barrier(2, timeout=10), threading.Event()

    def kernel(rows: slice) -> None:
        meeting.wait()
        if threading.current_thread() is threading.main_thread():
            raise ValueError
        time.sleep(0.1)
        finished.set()

    with threads(2), pytest.raises(ValueError):
        map_blocks(kernel, 2, 10**6)
    assert finished.is_set()


def test_there_is_at_least_one_thread() -> None:
    with pytest.raises(ValueError, match="set_num_threads: expected at least 1, got 0"):
        set_num_threads(0)
    with pytest.raises(TypeError, match="integer"):
        set_num_threads(1.5)  # type: ignore[arg-type]


# Other threads, other processes


def test_threads_of_the_user_may_compute_at_once() -> None:
    with threads(2):
        expected = [a_small_network(seed) for seed in range(8)]
        with ThreadPoolExecutor(4) as pool:
            assert all(map(same_bits, pool.map(a_small_network, range(8)), expected))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_kernels_may_use_blocks_themselves(count: int) -> None:
    """To any depth, on helpers too, which do not wait for each other."""
    totals = []

    def total(depth: int, n: int) -> int:
        if not depth:
            time.sleep(1e-4)
            return n
        return sum(map_blocks(lambda rows: total(depth - 1, rows.stop - rows.start), n, 2**14))

    with threads(count, block=2**12):
        for _ in range(5):
            thread = threading.Thread(target=lambda: totals.append(total(3, 64)), daemon=True)
            thread.start()
            thread.join(timeout=20)
    assert totals == [64] * 5


def test_helpers_compute_in_the_context_of_the_caller() -> None:
    """What NumPy is to do at a division by 0, and whether gradients are recorded."""
    meeting = threading.Barrier(2, timeout=10)

    def kernel(rows: slice) -> tuple[str, bool]:
        meeting.wait()
        return np.geterr()["divide"], T.is_grad_enabled()

    with threads(2):
        for divide, mode in (("raise", T.no_grad), ("ignore", T.enable_grad)):
            with np.errstate(divide=divide), mode():
                assert map_blocks(kernel, 2, 10**6) == [(divide, mode is T.enable_grad)] * 2


def blas_threads() -> list[int]:
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_blas_multiplies_on_one_thread_inside_and_as_before_afterwards() -> None:
    before, one = blas_threads(), [1] * len(blas_threads())
    with one_blas_thread():
        assert blas_threads() == one
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            map_blocks(lambda rows: 1 // 0, 2, 10**6)
        assert blas_threads() == one
    assert blas_threads() == before


def test_convolutions_multiply_on_threads_of_their_own_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So their products are the same, to the bit, whatever BLAS was told before."""
    seen = []
    spied = parallel.map_blocks

    def spy(*arguments) -> list:
        seen.append(blas_threads())
        return spied(*arguments)

    monkeypatch.setattr(correlation, "map_blocks", spy)
    monkeypatch.setattr(winograd, "map_blocks", spy)
    before, x = blas_threads(), Tensor(np.ones((2, 8, 8, 8), np.float32), requires_grad=True)
    conv2d(
        conv_transpose2d(x, np.ones((8, 8, 4, 4), np.float32), None, 2),
        np.ones((8, 8, 3, 3), np.float32),
    ).sum().backward()
    assert (
        seen and all(threads == [1] * len(before) for threads in seen) and blas_threads() == before
    )


def test_blas_has_its_threads_back_when_several_threads_have_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They begin at the same time, which is stretched here, and end one after the other."""
    limit, meeting = ThreadpoolController.limit, threading.Barrier(2, timeout=10)

    def slow_limit(self: ThreadpoolController, **options: Any) -> Any:
        limited = limit(self, **options)
        time.sleep(0.002)
        return limited

    def work(who: int) -> None:
        for turn in range(12):
            meeting.wait()
            with one_blas_thread():
                time.sleep(0.005 * ((who + turn) % 2))

    monkeypatch.setattr(ThreadpoolController, "limit", slow_limit)
    before = blas_threads()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    after = blas_threads()
    threadpool_limits(limits=before[0] if before else None, user_api="blas")
    assert after == before


def test_blas_has_its_threads_back_when_the_first_to_begin_is_not_the_last_to_end() -> None:
    """And is still alive: threadpoolctl lets no other thread undo what it has set."""
    before, first_is_in, second_is_in, first_is_out, measured = (
        blas_threads(),
        *(threading.Event() for _ in range(4)),
    )
    inside: list[list[int]] = []

    def first() -> None:
        with one_blas_thread():
            first_is_in.set()
            second_is_in.wait(10)
        first_is_out.set()
        measured.wait(10)

    def second() -> None:
        first_is_in.wait(10)
        with one_blas_thread():
            second_is_in.set()
            first_is_out.wait(10)
            inside.append(blas_threads())

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(first)
        pool.submit(second).result()
        after = blas_threads()
        measured.set()
        waiting.result()
    with one_blas_thread():
        inside.append(blas_threads())
    assert inside == [[1] * len(before)] * 2 and after == before == blas_threads()


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    with threads(2):
        two_blocks_meet()
        child = multiprocessing.get_context("fork").Process(target=two_blocks_meet)
        child.start()
        child.join(timeout=30)
        child.kill()
    assert child.exitcode == 0


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_computes_the_same() -> None:
    with threads(2):
        expected = a_small_network()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert same_bits(pool.apply_async(a_small_network).get(timeout=30), expected)
