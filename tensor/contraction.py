"""Einstein's summation, made of permutations, matrix products and sums."""

from __future__ import annotations

import math
from string import ascii_letters
from typing import TYPE_CHECKING

from tensor.arrays import array_module
from tensor.base import raw
from tensor.errors import composite, described
from tensor.products import matmul
from tensor.reductions import sum
from tensor.shaping import _getitem, permute, reshape, squeeze

if TYPE_CHECKING:
    from tensor.tensor import Tensor

Sizes = dict[str, int]
"""The length of each label."""


@composite
def einsum(equation: str, *operands) -> Tensor:
    """Products of the operands' elements, summed over the labels that the output does not have.

    `einsum("bik,bkj->bij", a, b)` is bmm(a, b). Each label is a letter, and names a dimension; a
    dimension of length 1 broadcasts. Without "->" the output has the labels that occur once, in
    alphabetical order. "..." names all other dimensions, from the last one on, and without "->"
    they come first in the output. Operands, one by one or in a list, are multiplied from left to
    right.
    """
    if not isinstance(equation, str):
        example = "an equation such as 'ij,jk->ik' first"
        raise TypeError(f"expected {example}, got {described(equation)}")
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        (operands,) = operands
    inputs, output = _parsed(equation, [x.shape for x in operands])
    terms = [_without_repeats(x, labels) for x, labels in zip(operands, inputs)]
    sizes: Sizes = {}
    for x, labels in terms:
        sizes |= {c: n for c, n in zip(labels, x.shape) if n != 1 or c not in sizes}
    terms = [_without_broadcasts(x, labels, sizes) for x, labels in terms]
    x, labels = terms[0]
    for k, (y, others) in enumerate(terms[1:], 2):
        kept = output + "".join(later for _, later in terms[k:])
        x, labels = _product(x, labels, y, others, kept, sizes)
    x, labels = _summed(x, labels, output)
    return permute(x, tuple(map(labels.index, output)))


def _parsed(equation: str, shapes: list) -> tuple[list[str], str]:
    """The labels of each operand, and of the output; ValueError where they do not fit."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs, dots = _without_dots(left.split(","), shapes, equation)
    output = output.replace("...", dots)
    if not arrow:
        output = dots + "".join(sorted(c for c in set(left) - {*",."} if left.count(c) == 1))
    if not all(labels.isalpha() or not labels for labels in [*inputs, output]):
        raise ValueError(f"expected letters, '...', ',' and '->', got {equation!r}")
    if [len(labels) for labels in inputs] != [len(shape) for shape in shapes]:
        raise ValueError(f"{equation!r} does not name the dimensions of operands {shapes}")
    if len(set(output)) < len(output) or not set(output) <= set("".join(inputs)):
        raise ValueError(f"output {output!r} repeats a label, or has one that no operand has")
    return inputs, output


def _without_dots(inputs: list[str], shapes: list, equation: str) -> tuple[list[str], str]:
    """The labels with letters in the place of "...", and all these letters: the last dimension has
    the same one everywhere, and so on."""
    free, dots, spelled = [c for c in ascii_letters if c not in equation], "", list(inputs)
    for k, (labels, shape) in enumerate(zip(inputs, shapes)):
        if "..." in labels:
            hidden = "".join(reversed(free[: max(0, len(shape) - len(labels) + 3)]))
            spelled[k], dots = labels.replace("...", hidden, 1), max(dots, hidden, key=len)
    return spelled, dots


def _without_repeats(x, labels: str) -> tuple:
    """The diagonal where an operand has a label twice."""
    for c in labels:
        while labels.count(c) > 1:
            both = labels.index(c), labels.rindex(c)
            others = [k for k in range(len(labels)) if k not in both]
            n, m = (x.shape[k] for k in both)
            if n != m:
                raise ValueError(f"label {c!r} has lengths {n} and {m} in one operand")
            k = array_module(raw(x)).arange(n)
            x = _getitem(permute(x, (*both, *others)), (k, k))
            labels = c + "".join(labels[k] for k in others)
    return x, labels


def _without_broadcasts(x, labels: str, sizes: Sizes) -> tuple:
    """The operand without the dimensions of length 1 whose label is longer elsewhere."""
    short = tuple(k for k, c in enumerate(labels) if x.shape[k] == 1 != sizes[c])
    labels = "".join(c for k, c in enumerate(labels) if k not in short)
    x = squeeze(x, short) if short else x
    if x.shape != tuple(sizes[c] for c in labels):
        raise ValueError(f"labels {labels!r} have lengths {x.shape}, and others elsewhere: {sizes}")
    return x, labels


def _summed(x, labels: str, kept: str) -> tuple:
    """Summed over the labels that are not kept."""
    gone = tuple(k for k, c in enumerate(labels) if c not in kept)
    return (sum(x, gone) if gone else x), "".join(c for c in labels if c in kept)


def _product(x, labels: str, y, others: str, kept: str, sizes: Sizes) -> tuple:
    """Two operands as one: a matrix product over the labels that both have and that are not kept.

    x becomes (batch, rows, inner) and y (batch, inner, columns).
    """
    x, labels = _summed(x, labels, kept + others)
    y, others = _summed(y, others, kept + labels)
    batch = [c for c in labels if c in others and c in kept]
    inner = [c for c in labels if c in others and c not in kept]
    rows = [c for c in labels if c not in others]
    columns = [c for c in others if c not in labels]

    def grouped(x, labels: str, *groups: list[str]):
        x = permute(x, tuple(labels.index(c) for group in groups for c in group))
        return reshape(x, tuple(math.prod(sizes[c] for c in group) for group in groups))

    z = matmul(grouped(x, labels, batch, rows, inner), grouped(y, others, batch, inner, columns))
    z_labels = "".join(batch + rows + columns)
    return reshape(z, tuple(sizes[c] for c in z_labels)), z_labels
