"""Kernels over blocks of the batch: each row once and in order, and the same bits whatever the number of threads."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensor import Tensor, conv2d, get_num_threads, grad, group_norm, parallel, set_num_threads, silu
from tensor.parallel import map_blocks

thread_counts = st.integers(1, 4)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside, `n` threads share the blocks, and arrays of any size are cut into blocks."""
    before = get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "WORTH_A_THREAD", 0)
        set_num_threads(n)
        try:
            yield
        finally:
            set_num_threads(before)


def a_small_network(seed: int = 0) -> list[np.ndarray]:
    """The output and the gradients of conv -> group norm -> SiLU."""
    rng = np.random.default_rng(seed)
    x, weight = (Tensor(rng.standard_normal(s), dtype=np.float32) for s in ((31, 8, 32, 32), (8, 8, 3, 3)))
    x.requires_grad, weight.requires_grad = True, True
    y = silu(group_norm(conv2d(x, weight, padding=1), 2))
    return [t.numpy() for t in (y, *grad((y * y).sum(), [x, weight]))]


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


@given(n=st.integers(0, 40), block_bytes=st.sampled_from([8, 24, 100, 10**6]), count=thread_counts)
def test_blocks_cover_every_row_once_and_in_order(n: int, block_bytes: int, count: int) -> None:
    x = np.arange(n)
    with threads(count):
        blocks = map_blocks(lambda rows: x[rows].copy(), x, 1.0, block_bytes)
    assert np.array_equal(np.concatenate(blocks), x)
    assert all(8 * len(block) <= max(8, block_bytes) for block in blocks) and (len(blocks) > 1 or n < 2)


@pytest.mark.parametrize("shape", [(), (3,), (0, 3)])
def test_small_arrays_and_numbers_are_one_block(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape)
    assert [block.shape for block in map_blocks(lambda rows: x[rows], x, 1.0)] == [shape]


def two_blocks_meet() -> None:
    """Raises BrokenBarrierError unless two blocks run at the same time."""
    meeting = threading.Barrier(2, timeout=10)
    map_blocks(lambda rows: meeting.wait(), np.zeros(2), 1.0, 8)


def test_several_threads_share_the_blocks() -> None:
    with threads(2):
        two_blocks_meet()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_number_of_threads_changes_no_bit(count: int) -> None:
    with threads(1):
        expected = a_small_network()
    with threads(count):
        assert same_bits(a_small_network(), expected)


def test_blocks_change_only_roundings() -> None:
    whole = a_small_network()
    with threads(2):
        for y, expected in zip(a_small_network(), whole, strict=True):
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


# When something goes wrong


@given(wrong=st.integers(0, 7), count=thread_counts)
def test_an_error_in_any_block_arrives(wrong: int, count: int) -> None:
    x = np.arange(8)

    def kernel(rows: slice) -> np.ndarray:
        if wrong in x[rows]:
            raise ValueError(f"row {wrong}")
        return x[rows]

    with threads(count):
        with pytest.raises(ValueError, match=f"row {wrong}"):
            map_blocks(kernel, x, 1.0, 8)
        assert np.array_equal(np.concatenate(map_blocks(lambda rows: x[rows], x, 1.0, 8)), x)


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
        map_blocks(kernel, np.zeros(2), 1.0, 8)
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


def test_kernels_may_use_blocks_themselves() -> None:
    x = np.arange(16)
    with threads(2):
        sums = map_blocks(lambda rows: sum(map_blocks(lambda r: x[rows][r].sum(), x[rows], 1.0, 8)), x, 1.0, 64)
    assert sums == [28, 92]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    with threads(2):
        two_blocks_meet()
        child = multiprocessing.get_context("fork").Process(target=two_blocks_meet)
        child.start()
        child.join(timeout=30)
        child.kill()
    assert child.exitcode == 0


def test_libraries_that_cannot_be_opened_are_left_alone() -> None:
    code = "import ctypes, numpy\ndef refuse(*name): raise OSError\nctypes.CDLL = refuse\nimport tensor"
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
