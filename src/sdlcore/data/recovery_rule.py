"""The recovery rule and its threshold tau (section 5.1).

It stands below training and evaluation, since trainings count what they have recovered so far.
"""

from typing import Any

TAU = 0.9
"""The smaller of the paper's two thresholds of recovery, .9."""
TAU_STRICT = 0.95
"""The larger threshold, .95, which the later revision states for Table 1."""
TAUS = (TAU, TAU_STRICT)


def recovered(similarity: Any, tau: float = TAU) -> Any:
    """Return which features are recovered: their best match exceeds tau.

    Parameters
    ----------
    similarity
        An array or tensor of best matches, or one of them.

    Returns
    -------
    Booleans of the same shape.
    """
    return similarity > tau
