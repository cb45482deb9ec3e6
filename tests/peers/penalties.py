"""Run by the interpreter that has SAELens: compare penalties, matching pursuit and AbsTopK with SAELens' own on equal
weights.

    python tests/peers/penalties.py

Prints JSON: for each form of JumpReLU's penalty, and for the two encoders, both numbers and the largest difference of
latents.
"""

import json
from typing import Any

import torch
from sae_lens import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
from sae_lens.saes.abstopk_sae import AbsTopKSAE, AbsTopKSAEConfig
from sae_lens.saes.matching_pursuit_sae import MatchingPursuitSAE, MatchingPursuitSAEConfig
from sae_lens.saes.sae import TrainStepInput

from sdlcore.config import LossConfig, ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.l0 import l0
from sdlcore.model.losses.term import TermInputs

N, N_Q, TARGET = 12, 40, 5.0


def compare(form: str) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    config = ModelConfig(activation="jumprelu", n_q=N_Q, bias=True, init_threshold=0.3, initialisation="tied")
    model = SparseCoder.from_config(config, (N,), (N,), generator)
    with torch.no_grad():
        for parameter in (model.W_enc, model.W_dec):
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    shape = {"d_in": N, "d_sae": N_Q, "apply_b_dec_to_input": False}
    target: dict[str, Any] = {"target_l0": TARGET} if form == "quadratic" else {}
    cfg = JumpReLUTrainingSAEConfig(
        **shape, jumprelu_sparsity_loss_mode=form, jumprelu_init_threshold=0.3, jumprelu_tanh_scale=4.0, **target
    )
    theirs = JumpReLUTrainingSAE(cfg)
    with torch.no_grad():
        theirs.W_enc.copy_(model.W_enc.T)
        theirs.W_dec.copy_(model.W_dec)
    x = torch.randn(100, N, generator=generator)
    out = model(x, norms=True)
    acts, pre = theirs.encode_with_hidden_pre(x)
    inputs = TrainStepInput(
        sae_in=x, coefficients={"l0": 1.0}, dead_neuron_mask=None, n_training_steps=0, is_logging_step=False
    )
    auxiliary = theirs.calculate_aux_loss(inputs, acts, pre, theirs.decode(acts))
    # they divide the square by target / 2, we by the target's square
    scale = 2 * TARGET if form == "quadratic" else 1.0
    ours = l0(TermInputs(model, x, out, LossConfig(l0=1.0, l0_form=form, target_l0=TARGET)))
    return {
        "ours": scale * float(ours),
        "theirs": float(auxiliary["l0_loss"]),
        "latents": float((out.latents() - acts).abs().max()),
    }


@torch.no_grad()
def compare_reconstructions(model: SparseCoder, theirs: Any, generator: torch.Generator) -> dict[str, float]:
    """Compare latents, and mean squared norms of the reconstructions."""
    x = torch.randn(100, N, generator=generator)
    out, latents = model(x), theirs.encode(x)
    return {
        "ours": float(out.x_hat.square().sum(1).mean()),
        "theirs": float(theirs.decode(latents).square().sum(1).mean()),
        "latents": float((out.latents() - latents).abs().max()),
        "least": float(latents.min()),
    }


def compare_pursuit(k: int = 6) -> dict[str, float]:
    config = ModelConfig(activation="matching_pursuit", k=k, n_q=N_Q, tied=True, decoder_norm="unit")
    model = SparseCoder.from_config(config, (N,), (N,), torch.Generator().manual_seed(0)).eval()
    shape = {"d_in": N, "d_sae": N_Q, "apply_b_dec_to_input": False}
    cfg = MatchingPursuitSAEConfig(**shape, residual_threshold=0, max_iterations=k, stop_on_duplicate_support=False)
    theirs = MatchingPursuitSAE(cfg)
    with torch.no_grad():
        theirs.W_dec.copy_(model.W_dec)
    return compare_reconstructions(model, theirs, torch.Generator().manual_seed(1))


def compare_abstopk(k: int = 6) -> dict[str, float]:
    config = ModelConfig(activation="abstopk", k=k, n_q=N_Q, bias=True)
    model = SparseCoder.from_config(config, (N,), (N,), torch.Generator().manual_seed(0)).eval()
    theirs = AbsTopKSAE(AbsTopKSAEConfig(d_in=N, d_sae=N_Q, k=k, apply_b_dec_to_input=False))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bias in (model.b_enc, model.b_dec):
            bias.copy_(0.4 * torch.randn(bias.shape, generator=generator))
        theirs.W_enc.copy_(model.W_enc.T)
        theirs.W_dec.copy_(model.W_dec)
        theirs.b_enc.copy_(model.b_enc)
        theirs.b_dec.copy_(model.b_dec)
    compared = compare_reconstructions(model, theirs, generator)
    assert compared["least"] < 0
    return compared


if __name__ == "__main__":
    losses = {form: compare(form) for form in ("step", "tanh", "quadratic")}
    print(json.dumps({**losses, "matching pursuit": compare_pursuit(), "abstopk": compare_abstopk()}))
