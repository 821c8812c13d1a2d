"""cupyx: errstate."""

from collections.abc import Iterator
from contextlib import contextmanager

config = {"linalg": "ignore"}


@contextmanager
def errstate(*, linalg: str | None = None) -> Iterator[None]:
    """Inside, linear algebra that fails raises if `linalg` is "raise"."""
    before = config["linalg"]
    config["linalg"] = linalg or before
    try:
        yield
    finally:
        config["linalg"] = before
