"""Compare runs with several anchorings on the features that no anchoring gives away."""

from collections.abc import Collection, Mapping

import numpy as np

from sdlcore import Anchors, References
from sdlcore.data.recovery_rule import recovered
from sdlcore.evaluation.ground_truth import near_anchors
from sdlcore.evaluation.metric_names import mip_name, recovery_name


def unanchored_features(
    anchors: Mapping[str, Anchors], references: References, all_stable: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Return the features that no anchoring gives away, on which runs with several anchorings are compared.

    Parameters
    ----------
    anchors
        Name of the anchoring -> its anchors.
    references
        n reference directions.
    all_stable
        Anchorings that anchor every direction they find. Discovered anchors could leave no feature to compare on, so
        the features near their anchors are removed only for their own runs, not for runs with other anchorings.

    Returns
    -------
    Name of the anchoring, and "none" -> mask of n booleans.
    """
    near = {name: near_anchors(directions, references) for name, directions in anchors.items()}
    masks = [near[name] for name in near if name not in all_stable]
    remaining = ~np.any([np.zeros(references.W_p.shape[1], dtype=bool), *masks], axis=0)
    return {"none": remaining} | {name: remaining & ~near[name] for name in near}


def recovery_over(mask: np.ndarray, encoder: np.ndarray, decoder: np.ndarray) -> dict[str, float]:
    """Return recovery and MIP of encoder and decoder over some of n directions; NaN if there are none.

    Parameters
    ----------
    mask
        Mask of n booleans: the directions to count.
    encoder, decoder
        Best cosine of each direction with an encoder row, and with a decoder column.
    """
    metrics = {}
    for side, similarity in (("encoder", encoder), ("decoder", decoder)):
        match = similarity[mask]
        metrics[recovery_name(side)] = float(recovered(match).mean()) if len(match) else float("nan")
        metrics[mip_name(side)] = float(match.mean()) if len(match) else float("nan")
    return metrics
