"""Intervals of means over seeds."""

import numpy as np
import scipy.special
from numpy.typing import ArrayLike

LEVEL = 0.95


def paired_interval(differences: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of paired differences, such as of two methods over seeds, and the ends of its 95 % t interval.

    The differences of one measure, a number for each pair. The ends are NaN below three pairs.

    Raises
    ------
    ValueError
        If there are none, or if they are a scalar or a table.
    """
    values = np.asarray(differences, float)
    if values.ndim != 1 or not len(values):
        shape = f"a table of shape {values.shape}; call paired_interval for each column"
        found = shape if values.ndim > 1 else "none" if values.ndim else repr(differences)
        raise ValueError(f"paired_interval: expected a sequence of numbers, a difference for each pair, got {found}")
    mean = float(values.mean())
    if len(values) < 3:
        return mean, float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values))
    reach = float(scipy.special.stdtrit(len(values) - 1, (1 + LEVEL) / 2) * error)
    return mean, mean - reach, mean + reach
