"""The CuPy of the tests: the real one where there is a GPU, else the double in tests/double."""

import sys
from pathlib import Path

from tensor.arrays import import_cupy


def provide_cupy() -> str:
    """Make `import cupy` work on any machine; says which CuPy it finds, and why."""
    try:
        return f"the real one, {import_cupy().__version__}"
    except RuntimeError as error:
        use_double()
        return f"a double on the CPU ({error})"


def use_double() -> None:
    """From now on `import cupy` finds the double."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
        del sys.modules[name]
    sys.path.insert(0, str(Path(__file__).parent / "double"))
