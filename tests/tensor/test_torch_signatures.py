"""Where PyTorch is installed: each option has its name, place and default there, or is listed here.

Operands bear the letters of formulas here: they are compared by their place alone.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

import tensor
from tensor import Tensor

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)

OPERANDS = {"x", "a", "b", "A", "B", "self", "condition", "indices", "operands", "other"}

NOT_COMPARED = {
    *["Tensor", "cast", "default_generator", "get_num_threads", "getitem", "set_num_threads"],
    *["detect_anomaly", "enable_grad", "is_grad_enabled", "manual_seed", "no_grad"],
    *["cpu", "cuda", "copy_", "double", "float", "is_leaf", "item", "numel", "numpy", "tolist"],
    "tensor_class",
}
"""What PyTorch has not, or has without options."""

OURS: dict[tuple[str, str], str] = {
    ("broadcast_to", "shape"): "is `size` in the schema, and `shape` in PyTorch's documentation",
    ("expand", "shape"): "is `size` in the method, and PyTorch has no function",
    ("group_norm", "silu"): "applies the activation in the same pass over memory",
    ("split", "split_size_or_sections"): "is `split_size` in the method, but not in the function",
    ("std", "correction"): "is 1 in the documentation, and None, which means 1, in the schema",
    ("to", "where"): "is a device or a dtype, for which PyTorch has a signature each",
    ("var", "correction"): "as in std",
    ("view", "shape"): "is `size` in the schema, and `*shape` in the documentation",
}
"""Options that differ from PyTorch's, and why."""

NOTHING = (None, False, [])


class Option(NamedTuple):
    name: str
    keyword_only: bool
    default: Any


def options(function: Callable) -> list[Option]:
    parameters = inspect.signature(function).parameters.values()
    return [Option(p.name, p.kind is p.KEYWORD_ONLY, p.default) for p in parameters]


def schemas(name: str) -> Iterable[list[Option]]:
    """The signatures of what PyTorch has not written in Python; `requires_grad` is added there."""
    required = inspect.Parameter.empty
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        found = [
            Option(a.name, a.kwarg_only, a.default_value if a.has_default_value() else required)
            for a in schema.arguments
        ]
        if "dtype" in [option.name for option in found]:
            found.append(Option("requires_grad", True, False))
        yield found


def torchs(name: str, places: list) -> list[list[Option]]:
    """All signatures that PyTorch has for the name."""
    written = [getattr(place, name, None) for place in places]
    found = [options(function) for function in written if inspect.isfunction(function)]
    return [*found, *schemas(name), *schemas(f"linalg_{name}")]


def mistakes(ours: list[Option], theirs: list[Option]) -> list[str]:
    """The options that have another name, place or default in one of PyTorch's signatures."""
    by_name = {option.name: option for option in theirs}
    wrong = []
    for place, (name, keyword_only, default) in enumerate(ours):
        if name in OPERANDS:
            if place >= len(theirs) or theirs[place].keyword_only:
                wrong.append(name)
            continue
        other = by_name.get(name)
        if other is None or other.keyword_only != keyword_only:
            wrong.append(name)
        elif not keyword_only and theirs.index(other) != place:
            wrong.append(name)
        elif other.default is not inspect.Parameter.empty and not same(default, other.default):
            wrong.append(name)
    return wrong


def same(a: Any, b: Any) -> bool:
    """Whether two defaults mean the same: one number stands for a pair of it."""
    return a == b or (a in NOTHING and b in NOTHING) or [a, a] == b


def unlike(name: str, ours: Callable, places: list) -> set[tuple[str, str]]:
    """The options that differ, and the name, compared to PyTorch's most similar signature."""
    signatures = torchs(name, places)
    assert signatures, f"PyTorch has no signature of {name!r}: list it in NOT_COMPARED"
    wrong = min((mistakes(options(ours), theirs) for theirs in signatures), key=len)
    return {(name, option) for option in wrong}


def unlike_functions(name: str) -> set[tuple[str, str]]:
    places = [torch.nn.functional, torch.linalg, torch]
    return unlike(name, getattr(tensor, name), [torch.autograd] if name == "grad" else places)


def unlike_methods(name: str) -> set[tuple[str, str]]:
    return unlike(name, getattr(Tensor, name), [torch.Tensor])


FUNCTIONS = [n for n in tensor.__all__ if callable(getattr(tensor, n)) and n not in NOT_COMPARED]
METHODS = [
    name
    for name in dir(Tensor)
    if not name.startswith("_") and callable(getattr(Tensor, name)) and name not in NOT_COMPARED
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_torchs_options(name: str) -> None:
    assert unlike_functions(name) <= OURS.keys()


@pytest.mark.parametrize("name", METHODS)
def test_methods_have_torchs_options(name: str) -> None:
    assert unlike_methods(name) <= OURS.keys()


def test_what_is_listed_differs() -> None:
    found = set().union(*map(unlike_functions, FUNCTIONS), *map(unlike_methods, METHODS))
    assert found == OURS.keys()
