"""Zipf-distributed frequencies of features.

Without numpy: configurations are checked by it, and need not load that.
"""


def zipf_probabilities(n: int, mean: float, exponent: float) -> list[float]:
    """Return n probabilities proportional to (1 + index)^-exponent, whose mean is ``mean``.

    Raises
    ------
    ValueError
        If the first would exceed 1.
    """
    weights = [(1 + index) ** -exponent for index in range(n)]
    scale = mean * n / sum(weights)
    if scale > 1:
        raise ValueError(
            f"{exponent:g} makes the most frequent of {n} features active with probability {scale:.3g}, where all are "
            f"with {mean:.3g} on average; lower it, or raise sparsity"
        )
    return [scale * weight for weight in weights]
