"""Where PyTorch is installed: each option has its name, place and default there, or is listed here.

Operands bear the letters of formulas here; they may also be given by PyTorch's names.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

import tensor
from tensor import Tensor
from tensor.calls import OURS as NAMES

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)

OPERANDS = {"x", "a", "b", "A", "B", "self", "condition", "indices", "operands", "other"}

NOT_COMPARED = {
    *["Tensor", "cast", "default_generator", "get_num_threads", "getitem", "set_num_threads"],
    *["detect_anomaly", "enable_grad", "is_grad_enabled", "manual_seed", "no_grad"],
    *["bool", "cpu", "cuda", "copy_", "double", "float", "int", "is_leaf", "item", "long", "numel"],
    *["Array", "array_module", "floating", "numpy", "op", "tolist"],
    "tensor_class",
}
"""What PyTorch has not, or has without options."""

OURS: dict[tuple[str, str], str] = {
    ("broadcast_to", "shape"): "is `size` in the schema, and `shape` in PyTorch's documentation",
    ("einsum", "operands"): "are a list in the schema, and `*operands` in the documentation",
    ("expand", "shape"): "is `size` in the method, and PyTorch has no function",
    ("from_dlpack", "x"): "is `ext_tensor`, by its place alone",
    ("group_norm", "silu"): "applies the activation in the same pass over memory",
    ("max_pool2d", "return_indices"): "makes another op of PyTorch's schemas",
    ("randint", "dtype"): "is int64 in the schema, and None in PyTorch's documentation",
    ("split", "split_size_or_sections"): "is `split_size` in the method, but not in the function",
    ("std", "correction"): "is 1 in the documentation, and None, which means 1, in the schema",
    ("var", "correction"): "as in std",
    ("view", "shape"): "is `size` in the schema, and `*shape` in the documentation",
    ("where", "condition"): "comes before the tensor in the schema of the method",
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


def means(theirs: Option, name: str) -> bool:
    """Whether PyTorch's operand, in its documentation or its schema, may be called so here."""
    written = {"self": "input", "mat1": "input"}.get(theirs.name, theirs.name)
    return written == name or name == "self" or name in NAMES.get(written, ())


def mistakes(ours: list[Option], theirs: list[Option]) -> list[str]:
    """The options that have another name, place or default in one of PyTorch's signatures."""
    by_name = {option.name: option for option in theirs}
    wrong = []
    for place, (name, keyword_only, default) in enumerate(ours):
        if name in OPERANDS:
            if place >= len(theirs) or theirs[place].keyword_only or not means(theirs[place], name):
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


def knows(theirs: list[Option], name: str, value: Any, place: int) -> bool:
    """Whether an option has this default in a signature of PyTorch's, by its name or its place.

    One that must be given has none there: PyTorch has another signature without it.
    """
    defaults = {option.name: option.default for option in theirs}
    if (
        not same(value, defaults.get(name, ...))
        and defaults.get(name) is not inspect.Parameter.empty
    ):
        return False
    (found,) = (option for option in theirs if option.name == name)
    return found.keyword_only or theirs.index(found) == place


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


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if hasattr(getattr(tensor, n), "only")])
def test_options_of_which_one_value_is_here_have_torchs_default(name: str) -> None:
    function = getattr(tensor, name)
    signatures = torchs(name, [torch.nn.functional, torch.linalg, torch])
    own = sum(not option.keyword_only for option in options(function))
    for place, (option, value) in enumerate(function.only.items(), own):
        assert any(knows(theirs, option, value, place) for theirs in signatures), option


def test_what_is_listed_differs() -> None:
    found = set().union(*map(unlike_functions, FUNCTIONS), *map(unlike_methods, METHODS))
    assert found == OURS.keys()
