"""The level of chance in closed form."""

import numpy as np
import scipy.special


def chance_mip(n_latents: int, dimension: int, points: int = 20_001) -> float:
    """Expected MIP of random directions: the integral of Pr(best |cos| > t) for t in [0, 1]."""
    t = np.linspace(0, 1, points)[:-1]
    p = scipy.special.betainc((dimension - 1) / 2, 0.5, 1 - t**2)
    with np.errstate(divide="ignore"):  # at t = 0 every direction exceeds: log(0)
        exceeds = -np.expm1(n_latents * np.log1p(-p))
    return float(np.trapezoid(np.append(exceeds, 0.0), np.append(t, 1.0)))
