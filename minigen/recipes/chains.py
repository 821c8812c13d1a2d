"""What the recipes of DDPM and NCSN share: chains of states that lead from noise to samples."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigen.evaluation.batches import finite, slices
from minigen.progress import Bar

BATCH = 500
"""How many chains run at once."""


def ends(chains: Callable[[slice], Iterator[Any]], n: int, length: int) -> np.ndarray:
    """The x of the last of each chain's states: float32 (n, ...).

    chains: the states, of `length` each, of the samples in these rows

    Raises FloatingPointError if one is not finite.
    """
    batches = []
    for rows in slices(n, BATCH):
        progress = f"sampling {rows.stop} of {n}"
        for state in Bar(chains(rows), desc=progress, total=length, leave=None):
            x = state.x
        batches.append(x.numpy())
    return finite(np.concatenate(batches))


def moments(last: int, n: int) -> list[int]:
    """n moments, evenly spread over 0..last, or all if there are fewer."""
    return np.unique(np.linspace(0, last, n).round().astype(int)).tolist()
