"""The anchor loss (eq. 25): it ties the first latents to given directions."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from sdlcore.config import AnchorForm
from sdlcore.model.losses.term import Term, TermInputs


def anchor(inputs: TermInputs) -> Tensor:
    """|| W_E[1:A, :] - w_p ||_F^2 + || W_D[:, 1:A] - w_r ||_F^2 (eq. 25) for A anchors, unit rows.

    In the form ``matched``, each anchor is scaled to the norm of its row, which gets no gradient from that. The form
    ``cosine`` is sum (1 - cos) over the same 2 A pairs, which does not depend on norms.
    """
    assert inputs.anchors is not None, "lambda_anchor needs anchors"
    rows = inputs.anchored_rows or (inputs.model.W_enc, inputs.model.W_dec)
    to_p, to_r = (_distance(W, w, inputs.config.anchor_form) for W, w in zip(rows, inputs.anchors, strict=True))
    return to_p + to_r


def _distance(W: Tensor, w_AD: Tensor, form: AnchorForm) -> Tensor:
    W_AD = W[: len(w_AD)]
    if form == "cosine":
        return (1 - cosine_similarity(W_AD, w_AD)).sum()
    if form == "matched":
        w_AD = w_AD * W_AD.detach().norm(dim=1, keepdim=True)
    return (W_AD - w_AD).square().sum()


TERM = Term("anchor", anchor, "lambda_anchor", is_anchoring=True)
