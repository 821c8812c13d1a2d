"""Parameter, Module, Sequential: networks as trees of named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tensor.arrays import freeze, parse_device, to_device
from tensor.tensor import Tensor


class Parameter(Tensor):
    """A tensor that a module trains: a leaf with requires_grad=True."""

    __slots__ = ()

    def __init__(self, data, requires_grad: bool = True):
        super().__init__(data, requires_grad)


class Module:
    """A network, or a part of one.

    Tensors, modules and lists of modules that are set as attributes belong to it: `Parameter`s are trained, other tensors
    (buffers) are only kept. Names follow the attributes, as in PyTorch: `blocks.0.conv.weight`.
    """

    training = True

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any) -> Any:
        return self.forward(*args)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)):
                yield from ((f"{name}.{k}", item) for k, item in enumerate(value) if isinstance(item, Module))

    def modules(self) -> Iterator[Module]:
        """This module and all modules below it."""
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def named_tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """All parameters and buffers with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child.named_tensors(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names, a shared one once, under its first name."""
        first: dict[int, tuple[str, Parameter]] = {}
        for name, x in self.named_tensors():
            if isinstance(x, Parameter):
                first.setdefault(id(x), (name, x))
        return iter(first.values())

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, in the order of their names' appearance."""
        return (value for _, value in self.named_parameters())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            if parameter.requires_grad:
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

    def to(self, device_or_dtype) -> Module:
        """Move all parameters and buffers to a device, or cast the floating-point ones to a dtype. Gradients are dropped."""
        is_device = isinstance(device_or_dtype, str) and not device_or_dtype.startswith(("float", "int", "complex"))
        if is_device:
            parse_device(device_or_dtype)
        elif np.dtype(device_or_dtype) not in (np.float32, np.float64):
            raise TypeError(f"{np.dtype(device_or_dtype)} cannot be trained: use float32 or float64")
        for _, x in self.named_tensors():
            wanted = x.requires_grad
            x.requires_grad_(False)
            if is_device:
                x.data = to_device(x.data, device_or_dtype)
            elif x.dtype.kind == "f":
                x.data = freeze(x.data.astype(device_or_dtype))
            x.requires_grad_(wanted)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by name. Tensors are read-only, so this is a snapshot that training does not touch."""
        return {name: x.detach() for name, x in self.named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over values by name. If any does not fit, none is taken, and a KeyError or ValueError lists all."""
        own = dict(self.named_tensors())
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unexpected:
            raise KeyError(f"{type(self).__name__}: missing {missing}, unexpected {unexpected}")
        shapes = {name: np.shape(state[name]) if not isinstance(state[name], Tensor) else state[name].shape for name in own}
        wrong = [f"{name}: {shapes[name]} for {x.shape}" for name, x in own.items() if shapes[name] != x.shape]
        if wrong:
            raise ValueError(f"{type(self).__name__}: shapes differ: {'; '.join(wrong)}")
        for name, x in own.items():
            x.copy_(state[name])

    def __repr__(self) -> str:
        children = [f"  ({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        return f"{type(self).__name__}({self.extra_repr()}" + ("\n" + "\n".join(children) + "\n)" if children else ")")

    def extra_repr(self) -> str:
        """What `repr` says of the module itself: its plain attributes."""
        plain = {k: v for k, v in vars(self).items() if isinstance(v, (int, float, str, tuple)) and k != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in plain.items())


class Sequential(Module):
    """Modules one after the other; `model[k]` is the k-th."""

    def __init__(self, *modules: Module):
        for k, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: {module!r} is no module, wrap it in one")
            setattr(self, str(k), module)

    def __getitem__(self, k: int) -> Module:
        return [module for _, module in self.named_children()][k]

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def forward(self, x):
        for module in self:
            x = module(x)
        return x
