"""Compare runs with several anchorings on the features that no anchoring gives away."""

from collections.abc import Collection, Mapping

import numpy as np

from sdlcore import Anchors, References
from sdlcore.pipeline import mip_name, near_anchors, recovered, recovery_name


def left_over(
    anchors: Mapping[str, Anchors], references: References, all_stable: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return the features that runs with several anchorings are compared on: those that none of them gives away.

    Parameters
    ----------
    anchors
        By the name of the anchoring.
    references
        n directions.
    all_stable
        Anchorings that take every direction that they find. They may leave nothing, so they do not narrow the features
        of others; they themselves are compared on what they leave of those.

    Returns
    -------
    n booleans each, by name; and under "none".
    """
    near = {name: near_anchors(found, references) for name, found in anchors.items()}
    given = [near[name] for name in near if name not in all_stable]
    left = ~np.any([np.zeros(references.W_p.shape[1], dtype=bool), *given], axis=0)
    return {"none": left} | {name: left & ~near[name] for name in near}


def recovery_over(left: np.ndarray, encoder: np.ndarray, decoder: np.ndarray) -> dict[str, float]:
    """Return recovery and MIP of encoder and decoder over some of n directions; NaN over none.

    Parameters
    ----------
    left
        n booleans: the directions to count.
    encoder, decoder
        Best cosine of each direction with an encoder row, and with a decoder column.
    """
    metrics = {}
    for side, similarity in (("encoder", encoder), ("decoder", decoder)):
        match = similarity[left]
        metrics[recovery_name(side)] = float(recovered(match).mean()) if len(match) else float("nan")
        metrics[mip_name(side)] = float(match.mean()) if len(match) else float("nan")
    return metrics
