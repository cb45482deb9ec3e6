"""Count the reference directions recovered during training, for pictures of convergence.

The counts go only into the history and do not affect the dictionary. This module does not import
`sdlcore.evaluation`, so that a change there does not force new trainings.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.data.pairs import make_direction_pair
from sdlcore.data.recovery_rule import recovered
from sdlcore.training.history import Row, Watch


def watch_directions(sites: Sequence[np.ndarray], pair: str) -> Watch:
    """Return a watch that computes ``gt_recovery_encoder`` and ``gt_recovery_decoder`` (M_GT, section 5.1).

    Parameters
    ----------
    sites
        The directions at each site: unit columns, width x n.
    pair
        Pair of the dictionary: sae, transcoder or crosscoder.
    """
    directions = make_direction_pair(pair, *(W.T for W in sites))
    true = {side: torch.from_numpy(rows) for side, rows in zip(("encoder", "decoder"), directions, strict=True)}

    @torch.no_grad()
    def watch(weights: Mapping[str, Tensor]) -> Row:
        recovery = {}
        for side, W_QD in weights.items():
            cosines_nQ = true[side].to(W_QD) @ normalize(W_QD).T
            recovery[f"gt_recovery_{side}"] = float(recovered(cosines_nQ.abs().amax(1)).float().mean())
        return recovery

    return watch
