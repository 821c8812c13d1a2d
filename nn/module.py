"""Parameter, Buffer, Module, Sequential: networks as trees of named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nn.checks import fitting
from tensor.arrays import to_device
from tensor.base import device_or_dtype
from tensor.tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module trains: a leaf with requires_grad=True."""

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        super().__init__(data, requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps, moves and saves, but does not train."""

    __slots__ = ()


class Module:
    """A network, or a part of one.

    The parameters, buffers and modules that are set as attributes belong to it, also those in lists, tuples and dicts,
    however nested. Names are paths of attributes, as in PyTorch: `blocks.0.conv.weight`. Other tensors are no part of it.
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one."""
        return ((name, part) for name, part in _parts(vars(self)) if isinstance(part, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it."""
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All parameters and buffers with their names."""
        yield from (
            (name, part) for name, part in _parts(vars(self), prefix) if isinstance(part, Tensor)
        )
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

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Let all parameters want a gradient, or none."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all below it to training (or evaluation): dropout and batch norm differ."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch to evaluation."""
        return self.train(False)

    def to(self, target) -> Module:
        """Move all parameters and buffers to a device, or cast the floating-point ones to a dtype. That drops gradients."""
        target = device_or_dtype(target)
        if isinstance(target, np.dtype) and target.kind != "f":
            raise ValueError(f"to: parameters are float32 or float64, got {target}")
        for _, x in self.named_tensors():
            wanted = x.requires_grad
            x.requires_grad_(False)
            if isinstance(target, str):
                x.data = to_device(x.data, target)
            elif x.dtype.kind == "f":
                x.data = x.data.astype(target)
            x.requires_grad_(wanted)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by name. Tensors are read-only, so this is a snapshot that training does not touch."""
        return {name: x.detach() for name, x in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over values by name. If any does not fit, none is taken, and a KeyError or ValueError lists all.

        PyTorch's `num_batches_tracked`, which batch norm does not need here, is passed over.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{type(self).__name__}: expected a dict of tensors by name, got {type(state).__name__}"
            )
        own = dict(self.named_tensors())
        missing = sorted(own.keys() - state.keys())
        unexpected = sorted(
            name for name in state.keys() - own.keys() if not name.endswith("num_batches_tracked")
        )
        if missing or unexpected:
            raise KeyError(f"{type(self).__name__}: missing {missing}, unexpected {unexpected}")
        arrays, wrong = {}, []
        for name, x in own.items():
            try:
                arrays[name] = fitting(name, state[name], x.data)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError(f"{type(self).__name__}: {'; '.join(wrong)}")
        for name, x in own.items():
            x.copy_(arrays[name])

    def __repr__(self) -> str:
        children = [
            f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()
        ]
        return f"{type(self).__name__}({self.extra_repr()}" + (
            "\n" + "\n".join(children) + "\n)" if children else ")"
        )

    def extra_repr(self) -> str:
        """What `repr` says of the module itself: its plain attributes."""
        plain = {
            k: v
            for k, v in vars(self).items()
            if isinstance(v, (int, float, str, tuple)) and k != "training"
        }
        return ", ".join(
            f"{name}={value!r}" for name, value in plain.items() if not any(_parts([value]))
        )


def _parts(container: Any, prefix: str = "") -> Iterator[tuple[str, Parameter | Buffer | Module]]:
    """The parameters, buffers and modules in a dict, list or tuple, and in those that it holds, with their paths."""
    for key, value in container.items() if isinstance(container, dict) else enumerate(container):
        found: Any = [("", value)] if isinstance(value, (Parameter, Buffer, Module)) else ()
        for path, part in _parts(value, ".") if isinstance(value, (dict, list, tuple)) else found:
            if not isinstance(key, (str, int)) or "." in str(key):
                raise ValueError(
                    f"{key!r}: the key of a part of a module must be an integer, or a str without a dot"
                )
            yield f"{prefix}{key}{path}", part


class Sequential(Module):
    """Modules one after the other; `model[k]` is the k-th, and a slice is a Sequential that keeps their names."""

    def __init__(self, *modules: Module):
        for k, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: {module!r} is no module, wrap it in one")
            setattr(self, str(k), module)

    def __getitem__(self, k: int | slice) -> Any:
        if not isinstance(k, slice):
            return list(self)[k]
        part = Sequential()
        vars(part).update(list(self.named_children())[k])
        return part

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (module for module in vars(self).values() if isinstance(module, Module))

    def forward(self, x):
        for module in self:
            x = module(x)
        return x
