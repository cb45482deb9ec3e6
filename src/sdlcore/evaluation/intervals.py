"""Intervals of means over seeds."""

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

LEVEL = 0.95


def paired_interval(differences: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of paired differences, such as of two methods over seeds, and the ends of its 95 % t interval.

    ``differences`` is a sequence of numbers, one for each pair. The ends are NaN below three pairs.
    """
    values = np.asarray(differences, float)
    if values.ndim != 1:
        raise ValueError(f"differences have shape {values.shape}, expected one for each pair; call it for each column")
    mean = float(values.mean())
    if len(values) < 3:
        return mean, float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = float(scipy.special.stdtrit(len(values) - 1, (1 + LEVEL) / 2) * error)
    return mean, mean - reach, mean + reach
