"""The recovery rule and its threshold tau (section 5.1).

The module is separate from evaluation, because trainings also count recovered features.
"""

from typing import Any

TAU = 0.9
"""The smaller of the paper's two recovery thresholds, .9."""
TAU_STRICT = 0.95
"""The larger recovery threshold, .95, which the paper's later revision uses for Table 1."""


def recovered(similarity: Any, tau: float = TAU) -> Any:
    """Return which features are recovered: the best match must exceed tau.

    Parameters
    ----------
    similarity
        Best match of each feature: an array, a tensor or a number.

    Returns
    -------
    Booleans of the same shape.
    """
    return similarity > tau
