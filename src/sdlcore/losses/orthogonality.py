"""The penalty of OrtSAE: no decoder column may come near to another one."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sdlcore.losses.term import Term, TermInputs


def orthogonality(W_dec_QR: Tensor, chunk: int, step: int = 0) -> Tensor:
    """Return the mean over latents of max(0, max_j cos(d_i, d_j))^2 (Korznikov et al. 2025, arXiv 2509.22033).

    j runs over the other latents of a chunk. Chunks are drawn anew in every step, so that every pair is compared in
    time, and the cost grows linearly with the number of latents. The nearest columns are found without gradients; the
    gradient then goes through these n_q cosines alone.

    Parameters
    ----------
    W_dec_QR
        Decoder columns, by latent.
    chunk
        Number of latents that are compared with each other.
    step
        Number of the step, which the chunks are drawn by.
    """
    unit_QR = normalize(W_dec_QR)
    nearest_Q = torch.empty(len(unit_QR), dtype=torch.int64, device=unit_QR.device)
    with torch.no_grad():
        for members in drawn_chunks(len(unit_QR), chunk, step):
            members = members.to(unit_QR.device)
            rows = unit_QR[members]
            nearest_Q[members] = members[(rows @ rows.T).fill_diagonal_(-2.0).argmax(dim=1)]
    cosines_Q = (unit_QR * unit_QR[nearest_Q]).sum(dim=1)
    # a chunk of one latent compares it with itself
    alone_Q = nearest_Q == torch.arange(len(nearest_Q), device=nearest_Q.device)
    return cosines_Q.masked_fill(alone_Q, 0.0).clamp(min=0).square().mean()


def drawn_chunks(n_q: int, chunk: int, step: int) -> tuple[Tensor, ...]:
    """Return a random partition of the latents into chunks, for a step."""
    return torch.randperm(n_q, generator=torch.Generator().manual_seed(step)).split(chunk)


def _compute(inputs: TermInputs) -> Tensor:
    if inputs.model.processes.latents.size > 1:
        raise ValueError("orthogonality compares the latents of all processes; divide samples instead")
    return orthogonality(inputs.model.W_dec, inputs.config.orthogonality_chunk, inputs.step)


TERM = Term("orthogonality", _compute, "orthogonality")
