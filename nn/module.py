"""Parameter, Buffer, Module, ModuleList, Sequential: networks as trees of named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nn.checks import check_only, fitting
from tensor.arrays import to_device
from tensor.base import devices_and_dtypes
from tensor.calls import words
from tensor.tensor import Tensor

M = TypeVar("M", bound="Module")
L = TypeVar("L", bound="_Modules")


class Parameter(Tensor):
    """A tensor that a module trains: a leaf with requires_grad=True."""

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        super().__init__(data, requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps, moves and saves, but does not train."""

    __slots__ = ()


class IncompatibleKeys(NamedTuple):
    """Which names a state lacks, and which it has beside those of the module."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A network, or a piece of one.

    The parameters, buffers and modules that are set as attributes belong to it, also those in
    lists, tuples and dicts, however nested. Names are paths of attributes, as in PyTorch:
    `blocks.0.conv.weight`. Other tensors do not belong to it, so TypeError for one that is set in
    the place of a parameter or buffer.
    """

    training = True

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is Tensor and isinstance(vars(self).get(name), (Parameter, Buffer)):
            kind = type(vars(self)[name]).__name__
            instead = f"give it new values with copy_(), or set another {kind}"
            raise TypeError(f"{type(self).__name__}.{name} is a {kind}: {instead}")
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set a `Buffer` with the values of `tensor` as an attribute."""
        check_only("register_buffer", True, persistent=persistent)
        setattr(self, name, None if tensor is None else Buffer(tensor))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            args, kwargs = words(type(self).forward).ours(type(self).__name__, args, kwargs)
        return self.forward(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one, a shared one under each of its names."""
        return ((name, x) for name, x in _members(vars(self)) if isinstance(x, Module))

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        return (child for _, child in self.named_children())

    def named_modules(self, memo: set | None = None, prefix: str = "") -> Iterator:
        """This module and all below it with their names, a shared one once; none in `memo`."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it."""
        return (module for _, module in self.named_modules())

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call `fn` on all modules, those below first: net.apply(init_weights)."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All parameters and buffers with their names."""
        for name, x in _members(vars(self), prefix):
            if isinstance(x, Tensor):
                yield name, x
        for name, child in self.named_children():
            yield from child.named_tensors(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names, a shared one once, under its first name."""
        seen = set()
        for name, x in self.named_tensors():
            if isinstance(x, Parameter) and id(x) not in seen:
                seen.add(id(x))
                yield name, x

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, in the order of their names' appearance."""
        return (value for _, value in self.named_parameters())

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters."""
        check_only("zero_grad", True, set_to_none=set_to_none)
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Let all parameters want a gradient, or none."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training, or evaluation, for dropout and batch
        norm."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation."""
        return self.train(False)

    def to(self: M, device=None, dtype=None) -> M:
        """Move all parameters and buffers to a device, cast the floating-point ones to a dtype, or
        both; a dtype may stand alone, in the place of the device.

        That drops gradients. Raises ValueError for a dtype that is not of floats.
        """
        targets = devices_and_dtypes(device, dtype)
        for target in targets:
            if isinstance(target, np.dtype) and target.kind != "f":
                raise ValueError(f"to: parameters are float32 or float64, got {target}")
        for _, x in self.named_tensors():
            wanted = x.requires_grad
            x.requires_grad_(False)
            for target in targets:
                if isinstance(target, str):
                    x.data = to_device(x.data, target)
                elif x.dtype.kind == "f":
                    x.data = x.data.astype(target)
            x.requires_grad_(wanted)
        return self

    def cpu(self: M) -> M:
        """to("cpu")"""
        return self.to("cpu")

    def cuda(self: M) -> M:
        """to("cuda")"""
        return self.to("cuda")

    def float(self: M) -> M:
        """to("float32")"""
        return self.to("float32")

    def double(self: M) -> M:
        """to("float64")"""
        return self.to("float64")

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by name, a snapshot: training never writes into a tensor.

        PyTorch's module of the same layers takes it over:
        `theirs.load_state_dict({k: torch.from_dlpack(x) for k, x in ours.state_dict().items()})`.
        """
        return {name: x.detach() for name, x in self.named_tensors()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Take over values by name. If any does not fit, none is taken, and a KeyError or
        ValueError lists all.

        With strict=False, names that only one side has are passed over, and returned. A state of
        PyTorch's will do, `theirs.state_dict()`, or `theirs.float().cpu().state_dict()` if it is
        bfloat16 or on a GPU: its `num_batches_tracked`, which batch norm does not need here, is
        always passed over.
        """
        owner = type(self).__name__
        if not isinstance(state_dict, Mapping):
            got = type(state_dict).__name__
            raise TypeError(f"{owner}: expected a dict of tensors by name, got {got}")
        own = dict(self.named_tensors())
        missing = sorted(own.keys() - state_dict.keys())
        others = sorted(state_dict.keys() - own.keys())
        unexpected = [name for name in others if not name.endswith("num_batches_tracked")]
        if strict and (missing or unexpected):
            raise KeyError(f"{owner}: missing {missing}, unexpected {unexpected}")
        arrays, wrong = {}, []
        for name in (name for name in own if name in state_dict):
            try:
                arrays[name] = fitting(name, state_dict[name], own[name].data)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError(f"{owner}: {'; '.join(wrong)}")
        for name, array in arrays.items():
            own[name].copy_(array)
        return IncompatibleKeys(missing, unexpected)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}({self.extra_repr()}"]
        for name, child in self.named_children():
            lines.append(f"  ({name}): {child!r}".replace("\n", "\n  "))
        return "\n".join(lines) + ("\n)" if len(lines) > 1 else ")")

    def extra_repr(self) -> str:
        """What `repr` says of the module itself: its plain attributes."""
        shown = []
        for name, value in vars(self).items():
            is_plain = isinstance(value, (int, float, str, tuple)) and not any(_members([value]))
            if is_plain and name != "training":
                shown.append(f"{name}={value!r}")
        return ", ".join(shown)


def _members(container: Any, prefix: str = "") -> Iterator[tuple[str, Parameter | Buffer | Module]]:
    """The parameters, buffers and modules in a dict, list or tuple, and in those that it holds,
    with their paths. ValueError for two of one path."""
    paths = set()
    for key, value in container.items() if isinstance(container, dict) else enumerate(container):
        found: Any = ()
        if isinstance(value, (Parameter, Buffer, Module)):
            found = [("", value)]
        elif isinstance(value, (dict, list, tuple)):
            found = _members(value, ".")
        for path, member in found:
            if not isinstance(key, (str, int)) or "." in str(key):
                rule = "the key of a part of a module must be an integer, or a str without a dot"
                raise ValueError(f"{key!r}: {rule}")
            if f"{key}{path}" in paths:
                raise ValueError(f"{key!r}: another part of the module has this name, as {key}")
            paths.add(f"{key}{path}")
            yield f"{prefix}{key}{path}", member


class _Modules(Module):
    """Modules in a row, named by their places: what ModuleList and Sequential share."""

    def append(self: L, module: Module) -> L:
        """Add a module at the end."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}: {module!r} is no module, wrap it in one")
        free = (k for k in map(str, count(len(self))) if k not in vars(self))
        setattr(self, next(free), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return (module for module in vars(self).values() if isinstance(module, Module))


class ModuleList(_Modules):
    """Modules in a list, a slice of which is another; a plain list as an attribute serves, too."""

    def __init__(self, modules: Iterable[Module] | None = None):
        for module in modules or ():
            self.append(module)

    def __getitem__(self, k: int | slice) -> Any:
        chosen: Any = list(self)[k]
        return ModuleList(chosen) if isinstance(k, slice) else chosen


class Sequential(_Modules):
    """Modules one after the other; `model[k]` is the k-th, a slice a Sequential of those."""

    def __init__(self, *modules: Module):
        for module in modules:
            self.append(module)

    def __getitem__(self, k: int | slice) -> Any:
        if not isinstance(k, slice):
            return list(self)[k]
        chosen = Sequential()
        vars(chosen).update(list(self.named_children())[k])
        return chosen

    def forward(self, x):
        for module in self:
            x = module(x)
        return x
