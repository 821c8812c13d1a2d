"""Settings: of the type that they declare, and within their ranges."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.settings import check


@dataclass
class Settings:
    count: int = 1
    rate: float = 0.5
    name: str = "a"
    folder: str | None = None


TYPES = {"count": (int,), "rate": (float, int), "name": (str,), "folder": (str, type(None))}
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(name=st.sampled_from(sorted(TYPES)), value=values)
def test_a_setting_has_its_type(name: str, value: Any) -> None:
    settings = Settings(**{name: value})
    if type(value) in TYPES[name]:
        check(settings)
    else:
        with pytest.raises(ValueError, match=f"{name} must be of type {TYPES[name][0].__name__}.*, got "):
            check(settings)


@given(value=st.integers(-3, 7) | st.floats())
def test_a_setting_lies_in_its_closed_range(value: float) -> None:
    settings = Settings(rate=value)
    if 1 <= value <= 5:
        check(settings, rate=(1, 5), count=(1, 1))
    else:
        with pytest.raises(ValueError, match="rate must lie between 1 and 5, got "):
            check(settings, rate=(1, 5), count=(1, 1))


def test_not_a_number_is_in_no_range() -> None:
    with pytest.raises(ValueError, match="rate .*, got nan"):
        check(Settings(rate=math.nan), rate=(-math.inf, math.inf))


def test_long_values_are_not_told_in_full() -> None:
    with pytest.raises(ValueError) as caught:
        check(Settings(count="9" * 10**4))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 120
