"""Run by the interpreter that has dictionary_learning: compare p-annealing with its PAnnealTrainer on equal weights.

    python tests/peers/annealing.py

Prints JSON: for each exponent the penalty of both, and the largest difference of latents; for the change of the weight
from one exponent to the next, both factors.
"""

import json

import torch

import peers.dictionary_learning  # noqa: F401, lets the library import without nnsight
from sdlcore.config import LossConfig, ModelConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.losses.l1 import l1
from sdlcore.model.losses.term import TermInputs

N, N_Q, STEPS = 12, 40, 20


def compare() -> dict[str, dict[str, float]]:
    """Let their trainer anneal from 1 to .2 in four changes, and compare the penalty of each step with ours."""
    from dictionary_learning.trainers.p_anneal import PAnnealTrainer

    trainer = PAnnealTrainer(
        *(STEPS, N, N_Q, 0, "none"),
        sparsity_function="Lp^p",
        warmup_steps=0,
        sparsity_warmup_steps=None,
        initial_sparsity_penalty=0.1,
        anneal_start=4,
        p_end=0.2,
        n_sparsity_updates=4,
        sparsity_queue_length=1,
        device="cpu",
        seed=0,
    )
    config = ModelConfig(activation="relu", n_q=N_Q, bias=True)
    model = SparseCoder.from_config(config, (N,), (N,))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.W_enc.copy_(0.4 * torch.randn(N_Q, N, generator=generator))
        model.W_dec.copy_(0.4 * torch.randn(N_Q, N, generator=generator))
        trainer.ae.encoder.weight.copy_(model.W_enc)
        trainer.ae.encoder.bias.copy_(model.b_enc)
        trainer.ae.decoder.weight.copy_(model.W_dec.T)
        trainer.ae.bias.copy_(model.b_dec)
    losses: dict[str, dict[str, float]] = {}
    x = torch.randn(100, N, generator=generator)
    for step in range(STEPS):
        p, before = trainer.p, trainer.sparsity_coeff
        with torch.no_grad():
            _, _, latents, log = trainer.loss(x, step, logging=True)
            out = model(x)
            inputs = TermInputs(model, x, out, LossConfig(l1=1.0, l1_scale="none"), exponent=p)
            here = float(l1(inputs))
        apart = float((out.latents() - latents).abs().max())
        losses[f"exponent {p:.3f}"] = {"ours": here, "theirs": log["lp_loss"], "latents": apart}
        if trainer.p != p:  # the weight keeps the penalty of the batch as large
            ratio = here / float(l1(inputs._replace(exponent=trainer.p)).detach())
            theirs = trainer.sparsity_coeff / before
            losses[f"weight from {p:.3f} to {trainer.p:.3f}"] = {"ours": ratio, "theirs": theirs, "latents": apart}
    return losses


if __name__ == "__main__":
    print(json.dumps(compare()))
