"""Learning-rate schedules: where they begin and end, and their shape in between."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nn.schedules import cosine, linear, warmup

steps = st.integers(1, 1000)


@given(n=steps)
def test_warmup_climbs_in_equal_steps_to_1_and_stays(n: int) -> None:
    assert warmup(0, n) == pytest.approx(1 / n)
    assert [warmup(k, n) for k in range(n)] == pytest.approx([(k + 1) / n for k in range(n)])
    assert warmup(n - 1, n) == warmup(n, n) == warmup(10 * n, n) == 1


def test_no_warmup_is_1_from_the_start() -> None:
    assert warmup(0, 0) == warmup(7, 0) == 1


@given(n=steps, floor=st.floats(0, 1))
def test_cosine_falls_from_1_to_the_floor_and_stays(n: int, floor: float) -> None:
    rates = [cosine(k, n, floor) for k in range(n + 1)]
    assert rates[0] == 1 and rates[-1] == cosine(n + 1, n, floor) == pytest.approx(floor)
    assert rates == sorted(rates, reverse=True)


@given(n=steps, k=steps, floor=st.floats(0, 1))
def test_cosine_is_symmetric_about_its_middle(n: int, k: int, floor: float) -> None:
    assert cosine(k % n, n, floor) + cosine(n - k % n, n, floor) == pytest.approx(1 + floor)


def test_cosine_is_a_cosine() -> None:
    """cos(pi/3) = 1/2, so a third of the way 3/4 are left."""
    assert cosine(1, 3) == pytest.approx(0.75) and cosine(1, 3, floor=0.2) == pytest.approx(0.8)


@given(n=steps, data=st.data())
def test_linear_stays_at_1_and_falls_in_equal_steps_to_0(n: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, n - 1))
    assert [linear(k, n, start) for k in range(start + 1)] == [1] * (start + 1)
    assert [linear(k, n, start) for k in range(start, n + 1)] == pytest.approx(
        [1 - k / (n - start) for k in range(n - start + 1)]
    )
    assert linear(n, n, start) == linear(n + 7, n, start) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: warmup(0, -1), r"warmup: warmup_steps must lie in \[0, inf\), got -1"),
        (lambda: warmup(-1, 10), r"warmup: step must lie in \[0, inf\), got -1"),
        (lambda: cosine(0, 0), "cosine: total_steps must be a positive integer, got 0"),
        (lambda: linear(-1, 10), r"linear: step must lie in \[0, inf\), got -1"),
        (lambda: linear(0, 10, 10), r"linear: start must lie in \[0, 10\), got 10"),
        (lambda: cosine(-1, 10), r"cosine: step must lie in \[0, inf\), got -1"),
    ],
)
def test_steps_are_counted_from_0(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
