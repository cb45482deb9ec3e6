"""Intervals of means over seeds."""

import numpy as np
import scipy.special

LEVEL = 0.95


def paired_interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of paired differences, such as of two methods over seeds, and the ends of its 95 % t interval.

    The ends are NaN below three pairs.
    """
    differences = np.asarray(differences, float)
    mean = float(differences.mean())
    if len(differences) < 3:
        return mean, float("nan"), float("nan")
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    reach = float(scipy.special.stdtrit(len(differences) - 1, (1 + LEVEL) / 2) * error)
    return mean, mean - reach, mean + reach
