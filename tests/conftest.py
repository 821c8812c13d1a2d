"""What all tests share: Hypothesis profiles and the devices.

MINIGEN_PROFILE chooses how many examples a property sees: `dev` while you write; `ci`, the default,
with the same examples on every machine; or `thorough`.
"""

import os
import signal
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from matplotlib.figure import Figure

from tensor import kernels
from tensor.arrays import import_cupy
from tests.cuda import provide_cupy

signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background Ctrl-C is ignored

PROFILE = os.environ.get("MINIGEN_PROFILE", "ci")

settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=set(Phase) - {Phase.explain},  # after a failure, no search for what else it depends on
)
settings.register_profile("dev", settings.get_profile("unhurried"), max_examples=4)
settings.register_profile(
    "ci", settings.get_profile("unhurried"), max_examples=15, derandomize=True
)
settings.register_profile(
    "thorough", settings.get_profile("unhurried"), max_examples=500, print_blob=True
)
settings.load_profile(PROFILE)

CUPY = provide_cupy()


def pytest_report_header() -> list[str]:
    profile = f"Hypothesis profile: {PROFILE} (set MINIGEN_PROFILE to dev, ci or thorough)"
    return [profile, f"CuPy: {CUPY}"]


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; without a GPU, "cuda" is the double's."""
    return request.param


@pytest.fixture(scope="session")
def cupy() -> ModuleType:
    """CuPy, or its double."""
    return import_cupy()


@pytest.fixture(scope="session")
def double(cupy: ModuleType) -> ModuleType:
    """The double; where there is a GPU, the test is skipped."""
    if not hasattr(cupy, "events"):
        pytest.skip("there is a GPU: this test is of the double of CuPy, or counts its events")
    return cupy


@pytest.fixture(scope="session")
def loops() -> ModuleType:
    """The compiled loops; where there are none, the test is skipped and says why."""
    module = kernels.loops()
    if module is None:
        pytest.skip("there is no Numba, or MINIGEN_KERNELS=0 switches the compiled loops off")
    return module


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    saved: list[Figure] = []
    savefig = Figure.savefig

    def remember(figure: Figure, *arguments: Any, **options: Any) -> None:
        saved.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved
