"""Schedules of learning rate and penalties, as pure functions of the step (counted from 0)."""

import math


def learning_rate(step: int, steps: int, peak: float, warmup: float, decay: float, shape: str = "linear") -> float:
    """Return the learning rate of a step: linear warm-up, constant peak, decay to zero over the last ``decay`` share.

    ``warmup`` is the warm-up's share of the steps. The decay is linear, or half a cosine period if ``shape`` is cosine.
    """
    rise = (step + 1) / (warmup * steps) if warmup else 1.0
    fall = min(1.0, (steps - step) / (decay * steps)) if decay else 1.0
    if shape == "cosine":
        fall = (1 - math.cos(math.pi * fall)) / 2
    return peak * min(1.0, rise, fall)


def penalty_share(step: int, steps: int, warmup: float) -> float:
    """Return the share of a penalty's weight in force: a linear rise over the first ``warmup`` share of the steps."""
    return min(1.0, (step + 1) / (warmup * steps)) if warmup else 1.0


def anchor_share(step: int, steps: int, until: float | None, fall: float) -> float:
    """Return the share of the anchors' weight in force: 1 at first, falling linearly to 0 over ``fall`` of the steps.
    It reaches 0 after the ``until`` share of the steps, or at the end if ``until`` is None."""
    left = (1.0 if until is None else until) * steps - step
    if left <= 0:
        return 0.0
    return min(1.0, left / (fall * steps)) if fall else 1.0
