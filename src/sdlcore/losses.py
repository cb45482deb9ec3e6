"""Loss terms as pure functions: sums over dimensions, means over the batch (eq. 3).

`total_loss` puts together those that a run asks for. Adding a term is a function here, a weight in
`sdlcore.run.LossConfig` and a line in `total_loss`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdlcore.model import Forward, SparseCoder
from sdlcore.model.sigma import BatchTopK, JumpReLU, TopK
from sdlcore.run import LossConfig


def reconstruction(x_BR: Tensor, x_hat_BR: Tensor) -> Tensor:
    """E || x_r - x_r_hat ||^2 (eq. 3)."""
    return (x_BR - x_hat_BR).square().sum(-1).mean()


def l1(latents_BQ: Tensor, W_dec_QR: Tensor, target_sites: Sequence[int]) -> Tensor:
    """E sum_i x_q,i sum_sites || W_D[site, i] || (eq. 5).

    Weighted by decoder norms, without which a free decoder makes the penalty vanish by growing; for a crosscoder by the
    sum of the sites' norms (Lindsey et al. 2024).
    """
    norms_Q = torch.stack([site.norm(dim=-1) for site in W_dec_QR.split(list(target_sites), dim=-1)]).sum(0)
    return (latents_BQ * norms_Q).sum(-1).mean()


def l0(pre_BQ: Tensor, sigma: JumpReLU) -> Tensor:
    """E || x_q ||_0 through the smoothed step (Rajamanoharan et al. 2024b)."""
    return sigma.step(pre_BQ).sum(-1).mean()


def multi_scale(
    x_BR: Tensor,
    out: Forward,
    sigma: TopK | BatchTopK,
    decode: Callable[[Tensor], Tensor],
    multi_k: Sequence[int],
) -> Tensor:
    """sum_i E || x_r - W_D sigma_Top-k_i(W_E x_p) ||^2 (eq. 9, with lambda_i = 1)."""
    scales = [out.x_hat if k == sigma.k else decode(sigma.select(out.pre, k)) for k in multi_k]
    return torch.stack([reconstruction(x_BR, x_hat_BR) for x_hat_BR in scales]).sum()


def anchor(W_enc_QP: Tensor, W_dec_QR: Tensor, w_p_KP: Tensor, w_r_KR: Tensor) -> Tensor:
    """|| W_E[1:k, :] - w_p ||_F^2 + || W_D[:, 1:k] - w_r ||_F^2 (eq. 25) for k anchors."""
    k = len(w_p_KP)
    return (W_enc_QP[:k] - w_p_KP).square().sum() + (W_dec_QR[:k] - w_r_KR).square().sum()


def total_loss(
    model: SparseCoder,
    x_BR: Tensor,
    out: Forward,
    config: LossConfig,
    anchors: tuple[Tensor, Tensor] | None,
    penalty: float = 1.0,
) -> dict[str, Tensor]:
    """Return the ``loss`` to minimise and, by name, the unweighted terms that it is made of.

    Parameters
    ----------
    model, x_BR, out
        The model, the target and the model's pass over the input.
    config
        Which terms, with which weights.
    anchors
        k x n_p and k x n_r anchor directions, for ``lambda_anchor``.
    penalty
        Share of the l1 and l0 weights in force (they are warmed up).
    """
    terms = {"reconstruction": reconstruction(x_BR, out.x_hat)}
    loss = terms["reconstruction"]
    if config.multi_k:
        if not isinstance(model.sigma, TopK | BatchTopK):
            raise TypeError(f"multi_k needs activation topk or batchtopk, found {model.config.activation}")
        loss = terms["multi_scale"] = multi_scale(x_BR, out, model.sigma, model.decode, config.multi_k)
    if config.l1:
        terms["l1"] = l1(out.latents, model.W_dec, model.target_sites)
        loss = loss + penalty * config.l1 * terms["l1"]
    if config.l0:
        if not isinstance(model.sigma, JumpReLU):
            raise TypeError(f"l0 needs activation jumprelu, found {model.config.activation}")
        terms["l0_penalty"] = l0(out.pre, model.sigma)
        loss = loss + penalty * config.l0 * terms["l0_penalty"]
    if anchors is not None and config.lambda_anchor:
        terms["anchor"] = anchor(model.W_enc, model.W_dec, *anchors)
        loss = loss + config.lambda_anchor * terms["anchor"]
    return {"loss": loss, **terms}
