"""Loss terms as pure functions: sums over dimensions, means over the batch (eq. 3).

`total_loss` puts together those that a run asks for. Adding a term is a function here, a weight in
`sdlcore.run.LossConfig` and a line in `total_loss`.
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sdlcore.model.activations.gated import Gated
from sdlcore.model.activations.jumprelu import JumpReLU
from sdlcore.model.sparse import decode
from sdlcore.model.sparse_coder import Forward, SparseCoder
from sdlcore.run import LossConfig


def reconstruction(x_BR: Tensor, x_hat_BR: Tensor) -> Tensor:
    """E || x_r - x_r_hat ||^2 (eq. 3)."""
    return mse_loss(x_hat_BR, x_BR, reduction="sum") / len(x_BR)


def l1(model: SparseCoder, out: Forward, scale: str = "decoder") -> Tensor:
    """E sum_i x_q,i sum_sites || W_D[site, i] || (eq. 5); of Gated the gate's pre-activations instead of x_q.

    With ``scale`` decoder weighted by decoder norms, without which a free decoder makes the penalty vanish by growing;
    for a crosscoder by the sum of the sites' norms (Lindsey et al. 2024). With none, as eq. 5 has it, it is not.
    """
    penalised_N = model.sigma.penalised(out.pre, out.values)
    if scale == "decoder" and not model.decoder_is_unit:
        if out.norms is None:
            raise ValueError("l1 by decoder norms needs a pass that was asked for norms")
        penalised_N = penalised_N * out.norms.index_select(0, out.support.columns)
    return model.processes.latents.sum(penalised_N.sum()) / out.support.n_samples


def l0(out: Forward, sigma: JumpReLU) -> Tensor:
    """E || x_q ||_0 through the smoothed step (Rajamanoharan et al. 2024b)."""
    return sigma.processes.latents.sum(sigma.step(out.pre, out.support).sum()) / out.support.n_samples


def gate(model: SparseCoder, x_BR: Tensor, out: Forward) -> Tensor:
    """E || x_r - W_D relu(z) - b_D ||^2 of Gated's gates z, the decoder held fixed (Rajamanoharan et al. 2024a)."""
    decoded_BR = decode(torch.relu(out.pre), out.support, model.W_dec.detach()).rows.sum(1)
    return reconstruction(x_BR, model.processes.latents.sum(decoded_BR) + model.b_dec.detach())


def multi_scale(x_BR: Tensor, scales_BSR: Tensor) -> Tensor:
    """sum_i E || x_r - W_D sigma_i(W_E x_p) ||^2 over B x scales x n_r reconstructions (eq. 9, with lambda_i = 1)."""
    return mse_loss(scales_BSR, x_BR[:, None].expand_as(scales_BSR), reduction="sum") / len(x_BR)


def auxiliary(x_BR: Tensor, out: Forward, target: str) -> Tensor:
    """E || e - W_D sigma_Top-k_aux(W_E x_p) ||^2 over dead latents (eq. 8).

    The paper writes ``input`` for ``target``: e = x_r. Practice is ``residual``: what the living latents leave over,
    not differentiated (Gao et al. 2024). Zero while no latent is dead.
    """
    if out.aux is None:
        return x_BR.new_zeros(())
    return reconstruction(x_BR if target == "input" else (x_BR - out.x_hat).detach(), out.aux)


def anchor(W_enc_QP: Tensor, W_dec_QR: Tensor, w_p_KP: Tensor, w_r_KR: Tensor) -> Tensor:
    """|| W_E[1:k, :] - w_p ||_F^2 + || W_D[:, 1:k] - w_r ||_F^2 (eq. 25) for k anchors."""
    k = len(w_p_KP)
    return (W_enc_QP[:k] - w_p_KP).square().sum() + (W_dec_QR[:k] - w_r_KR).square().sum()


def total_loss(
    model: SparseCoder,
    x_BR: Tensor,
    out: Forward,
    config: LossConfig,
    anchors: tuple[Tensor, Tensor] | None = None,
    penalty: float | Tensor = 1.0,
    tied: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the ``loss`` to minimise and, by name, the unweighted terms that it is made of.

    Parameters
    ----------
    model, x_BR, out
        The model, the target and the model's pass over the input, with what ``config`` needs of it (`LossConfig.norms`,
        scales, auxiliary latents).
    config
        Which terms, with which weights.
    anchors
        k x n_p and k x n_r anchor directions, for ``lambda_anchor``, of the model's first k latents.
    penalty
        Factor of the l1 and l0 weights (their warm-up, and what holds ``target_l0``).
    tied
        k x n_p and k x n_r rows of encoder and decoder that the anchors' term reads, and sends its gradient to; None
        for the model's own.
    """
    terms = {"reconstruction": reconstruction(x_BR, out.x_hat)}
    loss = terms["reconstruction"]
    if config.multi_k or config.prefixes:
        loss = terms["multi_scale"] = multi_scale(x_BR, out.scales)
    if config.l1:
        terms["l1"] = l1(model, out, config.l1_scale)
        loss = loss + penalty * config.l1 * terms["l1"]
    if config.l0:
        if not isinstance(model.sigma, JumpReLU):
            raise TypeError(f"l0 needs activation jumprelu, found {model.config.activation}")
        terms["l0_penalty"] = l0(out, model.sigma)
        loss = loss + penalty * config.l0 * terms["l0_penalty"]
    if isinstance(model.sigma, Gated):
        terms["gate"] = gate(model, x_BR, out)
        loss = loss + terms["gate"]
    if config.lambda_aux:
        terms["aux"] = auxiliary(x_BR, out, config.aux_target)
        loss = loss + config.lambda_aux * terms["aux"]
    if anchors is not None and config.lambda_anchor:
        terms["anchor"] = model.processes.latents.sum(anchor(*(tied or (model.W_enc, model.W_dec)), *anchors))
        loss = loss + config.lambda_anchor * terms["anchor"]
    return {"loss": loss, **terms}
