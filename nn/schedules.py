"""Learning-rate schedules: factors of the base rate, pure functions of the step, no state."""

from __future__ import annotations

import math

from nn.checks import check_range, check_sizes


def warmup(step: int, warmup_steps: int) -> float:
    """A linear climb from 1/warmup_steps at step 0 to 1, and 1 from there on."""
    check_range("warmup", step=step, warmup_steps=warmup_steps)
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def cosine(step: int, total_steps: int, floor: float = 0.0) -> float:
    """Half a cosine from 1 at step 0 to `floor` at total_steps (Loshchilov & Hutter 2017 eq. 5, but
    no restarts)."""
    check_range("cosine", step=step)
    check_sizes("cosine", total_steps=total_steps)
    progress = min(1.0, step / total_steps)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def linear(step: int, total_steps: int, start: int = 0) -> float:
    """1 until step `start`, and then a line down to 0 at total_steps."""
    check_range("linear", step=step)
    check_range("linear", below=total_steps, start=start)
    return min(1.0, max(0.0, (total_steps - step) / (total_steps - start)))
