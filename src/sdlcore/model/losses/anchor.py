"""The anchor loss (eq. 25): it ties the first latents to given directions."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from sdlcore.config import AnchorForm
from sdlcore.model.losses.term import Term, TermInputs


def anchor(
    W_enc_QP: Tensor, W_dec_QR: Tensor, w_p_KP: Tensor, w_r_KR: Tensor, form: AnchorForm = "frobenius"
) -> Tensor:
    """|| W_E[1:k, :] - w_p ||_F^2 + || W_D[:, 1:k] - w_r ||_F^2 (eq. 25) for k anchors, unit rows.

    In the form ``matched``, each anchor is scaled to the norm of its row, which gets no gradient from that. The form
    ``cosine`` is sum (1 - cos) over the same 2 k pairs, which does not depend on norms.
    """
    k = len(w_p_KP)
    return _distance(W_enc_QP[:k], w_p_KP, form) + _distance(W_dec_QR[:k], w_r_KR, form)


def _distance(W_KD: Tensor, w_KD: Tensor, form: AnchorForm) -> Tensor:
    if form == "cosine":
        return (1 - cosine_similarity(W_KD, w_KD)).sum()
    if form == "matched":
        w_KD = w_KD * W_KD.detach().norm(dim=1, keepdim=True)
    return (W_KD - w_KD).square().sum()


def _compute(inputs: TermInputs) -> Tensor:
    assert inputs.anchors is not None, "lambda_anchor needs anchors"
    model = inputs.model
    W_enc, W_dec = inputs.anchored_rows or (model.W_enc, model.W_dec)
    return model.processes.latents.sum(anchor(W_enc, W_dec, *inputs.anchors, inputs.config.anchor_form))


TERM = Term("anchor", _compute, "lambda_anchor", falls=True)
