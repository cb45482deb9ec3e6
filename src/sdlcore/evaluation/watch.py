"""How many reference directions a dictionary has while it is made, for pictures of convergence."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sdlcore.evaluation.recovery import best_match, gt_recovery, normalise_rows
from sdlcore.pairs import make_direction_pair
from sdlcore.references import load_references
from sdlcore.training.history import Row, Watch


def recovery_watch(references: str | Path, pair: str) -> Watch:
    """Return a function that tells ``gt_recovery_encoder`` and ``gt_recovery_decoder`` of weights (M_GT, section 5.1).

    What it tells is for the history; nothing that makes a dictionary hangs on it.

    Parameters
    ----------
    references
        File of a bench's feature matrices, or of means of classes (`sdlcore.references`).
    pair
        The dictionary's: sae, transcoder or crosscoder.
    """
    W_p, W_r, _ = load_references(references)
    true_p, true_r = make_direction_pair(pair, W_p.T, None if W_r is None else W_r.T)
    true = {"encoder": true_p, "decoder": true_r}

    def watch(weights: Mapping[str, Tensor]) -> Row:
        learned = {side: normalise_rows(W.detach().cpu().numpy()) for side, W in weights.items()}
        return {f"gt_recovery_{side}": gt_recovery(best_match(W, true[side])) for side, W in learned.items()}

    return watch
