"""`python -m tests.surface` writes docs/api.md: all that is public, from the docstrings."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
MODULES = {
    "minigen": "from Python",
    "minigen.data": "data sets",
    "minigen.testing": "checks for a student's functions; for Hypothesis",
    "tensor": "tensors and ops",
    "tensor.testing": "derivatives against finite differences",
    "tensor.strategies": "what Hypothesis draws",
    "nn": "layers, losses, optimisers",
    "nn.init": "first weights",
    "nn.distributions": "densities and divergences",
    "nn.safetensors": "weights in files",
    "nn.schedules": "learning rates",
}
METHODS = (
    "minigen.TrainedModel",
    "tensor.Tensor",
    "nn.Module",
    "nn.Optimizer",
    "nn.distributions.Distribution",
)
"""The classes whose methods are listed."""


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The functions and classes that a module offers: those in __all__, or else its own."""
    for name in sorted(getattr(module, "__all__", vars(module)), key=str.lower):
        value = getattr(module, name)
        own = hasattr(module, "__all__") or getattr(value, "__module__", "") == module.__name__
        listed = callable(value) and hasattr(value, "__module__") and value is not Any
        if own and listed and not name.startswith("_"):
            yield name, value


def entry(name: str, value: Any) -> str:
    """A line for a function, a class or a property: its name, its arguments, its first sentence."""
    first = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return f"- `{name}{arguments(value)}`" + (f": {first}" if first else "")


def arguments(value: Any) -> str:
    """`(x, dim=None)`, without types."""
    if isinstance(value, property) or (inspect.isclass(value) and issubclass(value, Exception)):
        return ""
    signature = inspect.signature(value)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature([p for p in bare if p.name != "self"]))


def page() -> str:
    """The page."""
    parts = ["# What is public", "Made from the docstrings by `python -m tests.surface`."]
    for path, purpose in MODULES.items():
        parts += [f"## `{path}`: {purpose}"]
        names = list(public(importlib.import_module(path)))
        parts += ["\n".join(entry(name, value) for name, value in names)]
        for name, value in names:
            if f"{path}.{name}" in METHODS:
                parts += [f"### Methods of `{name}`", "\n".join(methods(value))]
    return "\n\n".join(parts) + "\n"


def methods(cls: type) -> Iterator[str]:
    """The public methods and properties of a class, those that it inherits among them."""
    for name in sorted(dir(cls)):
        value = inspect.getattr_static(cls, name)
        if not name.startswith("_") and (callable(value) or isinstance(value, property)):
            yield entry(name, value)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
