"""Settings: of the type that they declare, and within their ranges."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.training.settings import check, setting, with_default


@dataclass
class Settings:
    count: int = 1
    rate: float = 0.5
    name: str = "a"
    folder: str | None = None


TYPES = {"count": (int,), "rate": (float, int), "name": (str,), "folder": (str, type(None))}
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.integers(), max_size=2)
)


@given(name=st.sampled_from(sorted(TYPES)), value=values)
def test_a_setting_has_its_type(name: str, value: Any) -> None:
    settings = Settings(**{name: value})
    if type(value) in TYPES[name]:
        check(settings)
    else:
        with pytest.raises(
            ValueError, match=f"{name} must be of type {TYPES[name][0].__name__}.*, got "
        ):
            check(settings)


@dataclass
class Limited:
    rate: float = setting(1.0, "a rate", within=(1, 5))
    kind: str = setting("a", "a kind", choices=("a", "b"))


@given(value=st.integers(-3, 7) | st.floats())
def test_a_setting_lies_in_its_closed_range(value: float) -> None:
    if 1 <= value <= 5:
        check(Limited(rate=value))
    else:
        with pytest.raises(ValueError, match="rate must lie between 1 and 5, got "):
            check(Limited(rate=value))


def test_a_setting_is_one_of_its_choices() -> None:
    check(Limited(kind="b"))
    with pytest.raises(ValueError, match="kind must be one of a, b, got 'c'"):
        check(Limited(kind="c"))


def test_long_values_are_not_told_in_full() -> None:
    with pytest.raises(ValueError) as caught:
        check(Settings(count="9" * 10**4))  # type: ignore[arg-type]
    assert len(str(caught.value)) < 120


def test_another_default_keeps_what_a_setting_may_be() -> None:
    @dataclass
    class Other(Limited):
        rate: float = with_default(Limited, "rate", 2.0)

    assert Other().rate == 2.0
    check(Other())
    with pytest.raises(ValueError, match="rate must lie between 1 and 5, got 6"):
        check(Other(rate=6.0))
