"""Where PyTorch is installed: what it has, too, is called with its names, in its order."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import nn
from tensor import Tensor

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed, there is nothing to compare with"
)

EXTENSIONS = {"GroupNorm": {"silu"}, "Dropout": {"generator"}}

OTHERWISE = {
    "Optimizer": "the base class takes lr and weight_decay; PyTorch's takes a dict of defaults",
    "Buffer": "it is made as a Tensor is",
}


def pairs() -> Iterator[tuple[str, Callable, Callable]]:
    """The public classes, functions and methods of both packages: name, ours, theirs.

    Left out is `forward`, which calls its tensor x, not input.
    """
    homes = (torch.nn, torch.nn.functional, torch.optim, torch.nn.utils, torch.nn.init)
    public = {name: getattr(nn, name) for name in nn.__all__}
    public |= {name: f for name, f in vars(nn.init).items() if inspect.isfunction(f)}
    for name, ours in public.items():
        theirs: Any = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
        if theirs is None or name.startswith("_"):
            continue
        if name not in OTHERWISE:
            yield name, ours, theirs
        of_nn = inspect.isclass(ours) and not issubclass(ours, Tensor)
        for method in dir(ours) if of_nn else ():
            both = getattr(ours, method), getattr(theirs, method, None)
            inherited = ours is not nn.Module and both[0] is getattr(nn.Module, method, None)
            if inherited or method == "forward" or method.startswith("_"):
                continue
            if all(map(inspect.isfunction, both)):
                yield f"{name}.{method}", *both


PAIRS = {name: (ours, theirs) for name, ours, theirs in pairs()}


def misplaced(name: str, ours: Callable, theirs: Callable) -> list[str]:
    """The options of ours that a call meant for theirs would take for something else.

    An option is in place if theirs has it with the same default, if there is one, and both are
    keyword-only or stand at the same position. One that is keyword-only here cannot be mistaken.
    """
    found = []
    expected = dict(inspect.signature(theirs).parameters)
    places = {option: place for place, option in enumerate(expected)}
    if any(p.kind is p.VAR_POSITIONAL for p in expected.values()):
        return []
    for place, (option, p) in enumerate(inspect.signature(ours).parameters.items()):
        if option in EXTENSIONS.get(name, ()) and p.kind is p.KEYWORD_ONLY:
            continue
        other = expected.get(option)
        if other is None or (p.kind is not p.KEYWORD_ONLY and places[option] != place):
            found.append(option)
        elif p.default is not p.empty and p.default != other.default:
            found.append(option)
    return found


def test_there_is_much_to_compare() -> None:
    assert {"Conv2d", "Adam", "kaiming_normal_", "clip_grad_norm_", "mse_loss"} <= set(PAIRS)
    assert {"Module.load_state_dict", "Optimizer.zero_grad", "ModuleList.append"} <= set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_options_have_torchs_names_places_and_defaults(name: str) -> None:
    assert not misplaced(name, *PAIRS[name])


def accepted(ours: Any) -> dict[str, Any]:
    """The options of a function or a constructor of which only one value is here."""
    return getattr(ours.__init__ if inspect.isclass(ours) else ours, "only", {})


@pytest.mark.parametrize("name", [name for name, (ours, _) in PAIRS.items() if accepted(ours)])
def test_options_of_which_one_value_is_here_have_torchs_place_and_default(name: str) -> None:
    """But for those behind `reduction`, which has to be given by name here."""
    ours, theirs = PAIRS[name]
    expected = inspect.signature(theirs).parameters
    names = list(expected)
    own = inspect.signature(ours).parameters.values()
    place = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in own)
    for option, value in accepted(ours).items():
        assert expected[option].default == value
        by_name = expected[option].kind is inspect.Parameter.KEYWORD_ONLY
        if not by_name and "reduction" not in names[: names.index(option)]:
            assert names[place] == option
            place += 1


def test_layers_take_torchs_default_and_refuse_other_values_by_name() -> None:
    assert nn.Conv2d(1, 1, 3, padding_mode="zeros", device=None).padding == 0
    assert nn.AvgPool2d(2, None, 0, False, True).kernel_size == 2
    with pytest.raises(ValueError, match="^Conv2d: padding_mode='reflect' is not supported, only"):
        nn.Conv2d(1, 1, 3, padding_mode="reflect")
    with pytest.raises(ValueError, match="^AdamW: amsgrad=True is not supported, only False"):
        nn.AdamW(nn.Linear(1, 1).parameters(), 1e-3, (0.9, 0.999), 1e-8, 0.0, True)
    with pytest.raises(ValueError, match="^cross_entropy: label_smoothing=0.1 is not supported"):
        nn.cross_entropy(Tensor([[1.0, 2.0]]), Tensor([0]), label_smoothing=0.1)
    with pytest.raises(TypeError, match="colour"):
        nn.Conv2d(1, 1, 3, colour=None)


def test_modules_take_their_input_by_torchs_name() -> None:
    x, y = Tensor([[1.0, 2.0]]), Tensor([[0.5, 1.0]])
    layer = nn.Linear(2, 1)
    assert layer(input=x).tolist() == layer(x).tolist()
    assert nn.MSELoss()(input=x, target=y).item() == nn.MSELoss()(x, y).item()


def test_functional_has_the_ops_and_losses_that_torchs_has() -> None:
    names = [name for name in vars(nn.functional) if not name.startswith("_")]
    assert "conv2d" in names and "mse_loss" in names
    assert all(hasattr(torch.nn.functional, name) for name in names)
