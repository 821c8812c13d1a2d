"""What both contestants share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Work = Callable[[], object]


def multiply_and_differentiate(x: Any, factor: Any, count: int) -> Work:
    """x times `factor`, `count` times, and back again."""

    def work() -> None:
        y = x
        for _ in range(count):
            y = y * factor
        y.backward()

    return work
