"""Kernels that the project writes itself: `fuse`, `RawKernel` and `ElementwiseKernel`.

Nothing is compiled. A fused function is called as it is; for a kernel in CUDA, `_written.py` says
in NumPy what it does.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cupy import _events
from cupy._array import Variable, ndarray, view, written
from cupy._memory import array_operand, on_current_device, operand
from cupy._written import KERNELS


class _Number(float):
    """A number that a fused function was given: it may meet arrays, and no other number."""

    __slots__ = ()


def _with_arrays_alone(name: str) -> Callable:
    def method(self, *others):
        if others and isinstance(others[0], Variable):
            return NotImplemented
        raise TypeError("double of CuPy: cupy.fuse computes two numbers in float16")

    method.__name__ = name
    return method


for _operation in ("add", "sub", "mul", "truediv", "pow"):
    for _side in ("", "r"):
        setattr(_Number, f"__{_side}{_operation}__", _with_arrays_alone(_operation))
_Number.__neg__ = _with_arrays_alone("neg")  # type: ignore[method-assign]


def _traced(x):
    """What a fused function is given for an argument."""
    if isinstance(x, ndarray):
        return view(on_current_device(x), x)
    return _Number(operand(x)) if isinstance(x, (bool, int, float)) else operand(x)


def _untraced(results):
    """What a fused function returns: arrays, or several in a tuple, or None."""
    if isinstance(results, tuple):
        return tuple(map(_untraced, results))
    return results if results is None else view(results._values, results)


def fuse(*, kernel_name: str) -> Callable[[Callable], Callable]:
    """One kernel of a function that calls elementwise functions of arrays and nothing else."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def call(*args):
            if _events.fusing():
                return function(*args)
            _events.happened("launch", kernel_name)
            with _events.one_kernel():
                results = function(*map(_traced, args))
            return _untraced(results)

        return call

    return decorate


class RawKernel:
    """A kernel in CUDA: `_written.py` has the same in NumPy. TypeError for arguments of other types
    than the source declares, which CuPy would take for what they are not."""

    def __init__(self, code: str, name: str):
        self.name, self.compute = name, KERNELS[name]
        types = {name: kind for kind, name in re.findall(r"typedef (.+) (\w+);", code)}
        declared = re.search(rf"void {name}\(([^)]*)\)", code)[1].split(",")  # type: ignore[index]
        declared = [p.replace("const", "").replace("Form", "I").split()[0] for p in declared]
        self.kinds = [types.get(kind.rstrip("*"), kind.rstrip("*")) for kind in declared]
        self.pointers = [kind.endswith("*") for kind in declared]

    def __call__(self, grid: tuple, block: tuple, args: tuple) -> None:
        _events.happened("launch", self.name)
        if 0 in grid or len(args) != len(self.kinds):
            raise ValueError(f"double of CuPy: {self.name}: grid {grid}, {len(args)} arguments")
        for x, kind, pointer in zip(args, self.kinds, self.pointers):
            given = x.dtype if isinstance(x, ndarray) else np.dtype(type(x))
            null = pointer and type(x) is int and x == 0
            if not null and (given != _C_TYPES[kind] or pointer != isinstance(x, ndarray)):
                raise TypeError(f"double of CuPy: {self.name}: {given} for {kind}")
        with np.errstate(all="ignore"):
            self.compute(*map(operand, args))


_C_TYPES = {
    "bool": "?", "signed char": "b", "short": "h", "int": "i", "long": "l", "long long": "q",
    "unsigned char": "B", "unsigned short": "H", "unsigned int": "I", "unsigned long": "L",
    "unsigned long long": "Q", "float": "f", "double": "d",
}  # fmt: skip
"""As NumPy's characters."""


def _named(parameters: str, args: Sequence) -> dict[str, Any]:
    """The values of the parameters "float64 x, T y", by name. TypeError for another number of them,
    and for arrays of another dtype than is declared."""
    declared = [parameter.split()[-2:] for parameter in parameters.split(",")]
    if len(declared) != len(args):
        raise TypeError(f"Wrong number of arguments: expected {parameters}")
    generic: dict[str, np.dtype] = {}  # of an array: a number says nothing of it
    for (kind, _), x in zip(declared, args):
        if isinstance(x, ndarray) and len(kind) == 1:
            generic.setdefault(kind, x.dtype)
    for (kind, name), x in zip(declared, args):
        if isinstance(x, (ndarray, np.generic)):
            expected = generic[kind] if len(kind) == 1 else np.dtype(kind)
            if x.dtype != expected:
                raise TypeError(f"Type is mismatched. {name} {x.dtype} {expected}")
    return {name: operand(x) for (_, name), x in zip(declared, args)}


class ElementwiseKernel:
    """A kernel in C, of which only the name counts: `_written.py` has the same in NumPy."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str):
        self.inputs, self.parameters = in_params, f"{in_params}, {out_params}"
        self.name, self.compute = name, KERNELS[name]

    def __call__(self, *args):
        *inputs, out = args
        _events.happened("launch", self.name)
        array_operand(self.name, out)
        _named(self.parameters, args)
        return written(self.compute(**_named(self.inputs, inputs)), out)
