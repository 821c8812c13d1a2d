"""Learning-rate schedules: pure functions of the step, as factors of the base rate. They have no state to save."""

from __future__ import annotations

import math


def warmup(step: int, warmup_steps: int) -> float:
    """A linear climb from 1/warmup_steps at step 0 to 1, and 1 from there on."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cosine(step: int, total_steps: int, floor: float = 0.0) -> float:
    """Half a cosine from 1 at step 0 to `floor` at total_steps (Loshchilov & Hutter 2017 eq. 5, without restarts)."""
    progress = min(1.0, step / total_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
