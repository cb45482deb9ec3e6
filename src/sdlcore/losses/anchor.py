"""The anchor loss (eq. 25): it ties the first latents to given directions."""

from torch import Tensor

from sdlcore.losses.term import Given, Term


def anchor(W_enc_QP: Tensor, W_dec_QR: Tensor, w_p_KP: Tensor, w_r_KR: Tensor) -> Tensor:
    """|| W_E[1:k, :] - w_p ||_F^2 + || W_D[:, 1:k] - w_r ||_F^2 (eq. 25) for k anchors."""
    k = len(w_p_KP)
    return (W_enc_QP[:k] - w_p_KP).square().sum() + (W_dec_QR[:k] - w_r_KR).square().sum()


def _compute(given: Given) -> Tensor:
    if given.anchors is None:
        raise ValueError("lambda_anchor is given, but anchors are not")
    model = given.model
    W_enc, W_dec = given.held or (model.W_enc, model.W_dec)
    return model.processes.latents.sum(anchor(W_enc, W_dec, *given.anchors))


TERM = Term("anchor", _compute, "lambda_anchor")
