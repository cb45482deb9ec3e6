"""The anchor loss (eq. 25): it ties the first latents to given directions."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from sdlcore.config import AnchorForm
from sdlcore.model.losses.term import Term, TermInputs


def anchor(
    W_enc_QP: Tensor, W_dec_QR: Tensor, w_p_AP: Tensor, w_r_AR: Tensor, form: AnchorForm = "frobenius"
) -> Tensor:
    """|| W_E[1:A, :] - w_p ||_F^2 + || W_D[:, 1:A] - w_r ||_F^2 (eq. 25) for A anchors, unit rows.

    In the form ``matched``, each anchor is scaled to the norm of its row, which gets no gradient from that. The form
    ``cosine`` is sum (1 - cos) over the same 2 A pairs, which does not depend on norms.
    """
    A = len(w_p_AP)
    return _distance(W_enc_QP[:A], w_p_AP, form) + _distance(W_dec_QR[:A], w_r_AR, form)


def _distance(W_AD: Tensor, w_AD: Tensor, form: AnchorForm) -> Tensor:
    if form == "cosine":
        return (1 - cosine_similarity(W_AD, w_AD)).sum()
    if form == "matched":
        w_AD = w_AD * W_AD.detach().norm(dim=1, keepdim=True)
    return (W_AD - w_AD).square().sum()


def _compute(inputs: TermInputs) -> Tensor:
    assert inputs.anchors is not None, "lambda_anchor needs anchors"
    model = inputs.model
    W_enc, W_dec = inputs.anchored_rows or (model.W_enc, model.W_dec)
    return anchor(W_enc, W_dec, *inputs.anchors, inputs.config.anchor_form)


TERM = Term("anchor", _compute, "lambda_anchor", falls=True)
