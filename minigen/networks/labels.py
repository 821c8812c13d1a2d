"""How a network sees the class of what it judges or makes."""

import numpy as np

import tensor as T
from tensor import Tensor
from tensor.arrays import check_indices

Labels = np.ndarray | None
"""Integers (N,), or None for a model that is not conditional."""


def labels_if_conditional(labels: Labels, classes: int) -> Labels:
    """The labels, for a model of so many classes; for one without, None."""
    return labels if classes else None


def one_hot(labels: Labels, classes: int, like: Tensor) -> Tensor:
    """Labels (N,) as rows (N, classes) of zeros with a one, with the dtype and device of `like`."""
    if labels is None:
        raise ValueError("this model is conditional: it needs labels")
    labels = np.asarray(labels)
    if labels.shape != (len(like),) or labels.dtype.kind not in "iu":
        raise ValueError(f"expected {len(like)} integer labels, got {labels.dtype} {labels.shape}")
    check_indices(labels, classes, "one_hot", "label", from_the_end=False)
    return Tensor(labels[:, None] == np.arange(classes), dtype=like.dtype, device=like.device)


def with_labels(x: Tensor, labels: Labels, classes: int) -> Tensor:
    """x (N, features, ...) and a feature for each class, all 1 or 0: (N, features + classes, ...).

    Without classes it is x itself, and there are no labels.
    """
    if not classes:
        if labels is not None:
            unconditional = "this model is not conditional, it takes no labels"
            raise ValueError(f"{unconditional}: make it with classes=K")
        return x
    N, _, *size = x.shape
    planes = one_hot(labels, classes, x).reshape(N, classes, *[1] * len(size))
    return T.cat([x, T.expand(planes, (N, classes, *size))], 1)
