"""The loss of a training: the reconstruction error and the configured terms (eq. 3)."""

from typing import TYPE_CHECKING

from torch import Tensor

from sdlcore.config import LossConfig
from sdlcore.model.encoding import Scales
from sdlcore.model.forward import Forward
from sdlcore.model.losses.reconstruction import reconstruction
from sdlcore.model.losses.term import Term, TermInputs, term_of
from sdlcore.sparse.products import decode_at

if TYPE_CHECKING:
    from sdlcore.model.coder import SparseCoder


def needs_norms(config: LossConfig) -> bool:
    """Return whether a term needs the norms of decoder rows from the forward pass."""
    return any(term_of(name).norms(config) for name in config.terms)


def scales_of(config: LossConfig, model: "SparseCoder") -> Scales:
    """Return the parts of each code whose reconstructions the terms need.

    HierarchicalTopK's loss needs none of its k on a CPU.
    """
    walks = config.hierarchical and model.W_dec.device.type == "cpu"
    return Scales() if walks else Scales.of(config, model.config)


def total_loss(inputs: TermInputs, penalty: float | Tensor = 1.0, anchoring: float = 1.0) -> dict[str, Tensor]:
    """Return the ``loss`` to minimise and its unweighted terms, by name.

    The summands are, in this order: the reconstruction error or the term that replaces it, penalties, the
    reconstruction error from gates, other terms. With ``loss_scale: mean``, squared errors are divided by n_r in the
    loss, but returned as sums over dimensions.

    Parameters
    ----------
    inputs
        Inputs of all terms. The pass over the batch has everything that the settings require (norms, see `needs_norms`;
        scales; auxiliary latents), and there are anchors with ``lambda_anchor``.
    penalty
        Factor on the weights of penalties, such as l1 and l0 (`sdlcore.training.schedules`).
    anchoring
        Factor on ``lambda_anchor`` (`sdlcore.training.schedules`).

    Raises
    ------
    ValueError
        If the encoder would not be trained, because latents without gates carry no gradient.
    """
    model, x_BR, out, config, *_ = inputs
    gates_N = model.sigma.gates(out.pre)
    if gates_N is None and out.pre.requires_grad and not out.values.requires_grad:
        raise ValueError(
            f"activation {model.config.activation} returned latents without a gradient, so the encoder would not be "
            "trained; compute them from pre by differentiable functions, without detach, or define gates(pre)"
        )
    if gates_N is not None and gates_N.shape != out.pre.shape:
        raise ValueError(f"activation {model.config.activation}: gates must have the shape of pre, {out.pre.shape}")
    extra_terms = [term_of(name) for name in config.terms]
    divisor = x_BR.shape[1] if config.loss_scale == "mean" else 1
    terms = {"reconstruction": reconstruction(x_BR, out.x_hat)}
    loss = terms["reconstruction"]
    for term in extra_terms:
        if term.weight is None:
            loss = terms[term.name] = term.compute(inputs)
    loss = loss / divisor
    for term in extra_terms:
        if term.is_penalty:
            terms[term.name] = term.compute(inputs)
            loss = loss + penalty * _weight(term, config) * terms[term.name]
    # the latents reconstruct only the part that a linear path leaves
    left_BR = x_BR if out.linear is None else x_BR - out.linear.detach()
    if gates_N is not None:
        terms["gate"] = gate(model, left_BR, out, gates_N)
        loss = loss + terms["gate"] / divisor
    for term in extra_terms:
        if term.weight is not None and not term.is_penalty:
            terms[term.name] = term.compute(inputs)
            weight = (anchoring if term.is_anchoring else 1.0) * _weight(term, config) / (divisor if term.error else 1)
            loss = loss + weight * terms[term.name]
    return {"loss": loss, **terms}


def _weight(term: Term, config: LossConfig) -> float:
    weight: float = getattr(config, term.weight or "")
    return weight


def gate(model: "SparseCoder", x_BR: Tensor, out: Forward, gates_N: Tensor) -> Tensor:
    """E || x_r - W_D gates - b_D ||^2, through which gates learn; with a fixed decoder (Rajamanoharan et al. 2024a).

    The error is summed over dimensions and averaged over samples. ``x_BR`` is the target without a transcoder's linear
    path, and ``gates_N`` are the gates from `Activation.gates`.
    """
    # each scale's entries form a row, which holds only the increment to the scale before, so rows are summed
    decoded_BR = decode_at(gates_N, out.support, model.W_dec.detach()).rows.sum(1)
    x_hat_BR = decoded_BR + model.b_dec.detach()
    return reconstruction(x_BR, x_hat_BR)
