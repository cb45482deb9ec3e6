"""Find weights that are not finite. NaN activates no latent, so losses and scores may look good despite it."""

import math
from collections.abc import Mapping

from torch import Tensor


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Return the first weight of a model's state that is NaN or infinite, such as ``W_enc[3, 5] is nan``, or None."""
    for name, value in weights.items():
        if math.isfinite(value.sum()):  # one pass without a mask; the sum of finite numbers may still overflow
            continue
        wrong = ~value.isfinite()
        if bool(wrong.any()):
            place = wrong.nonzero()[0].tolist()
            where = f"[{', '.join(map(str, place))}]" if place else ""
            return f"{name}{where} is {float(value[tuple(place)]):g}"
    return None
