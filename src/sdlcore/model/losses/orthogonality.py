"""The penalty of OrtSAE: no decoder column may come near to another one."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.model.losses.term import Term, TermInputs
from sdlcore.sparse import screening
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.preactivations import Preactivations


def orthogonality(W_dec_QR: Tensor, chunk: int, step: int = 0, kernels: Kernels | None = None) -> Tensor:
    """Return the mean over latents of max(0, max_j cos(d_i, d_j))^2 (Korznikov et al. 2025, arXiv 2509.22033).

    j runs over the other latents of a chunk. Chunks are drawn anew in every step, so that every pair is compared in
    time, and the cost grows linearly with the number of latents. The nearest columns are found without gradients; the
    gradient then goes through these n_q cosines alone.

    Parameters
    ----------
    W_dec_QR
        Decoder columns, one row per latent.
    chunk
        Number of latents that are compared with each other.
    step
        Number of the step, which seeds the draw of chunks.
    kernels
        A training's kernels, which keep large buffers between steps; None for new ones.
    """
    return _MeanSquare.apply(
        W_dec_QR, drawn_chunks(len(W_dec_QR), chunk, step), kernels or kernels_for(W_dec_QR.device)
    )


class _MeanSquare(torch.autograd.Function):
    """The penalty for given chunks. Its gradient is a sparse matrix times W_D, because rows have few neighbours."""

    @staticmethod
    def forward(ctx: Any, W: Tensor, chunks: tuple[Tensor, ...], kernels: Kernels) -> Tensor:
        norms = kernels.squared_norms(W).sqrt().clamp(min=torch.finfo(W.dtype).tiny)
        nearest, cosines = torch.arange(len(W), device=W.device), torch.zeros_like(norms)
        for chunk in chunks:
            members = chunk.to(W.device)
            rows = W[members].div_(norms[members, None])
            products = Preactivations(rows, rows, rows.new_zeros(len(rows)), kernels=kernels)
            if products.screened:
                neighbours, cosines[members] = screening.nearest(rows)
                nearest[members] = members[neighbours]
                continue
            # the two largest positive cosines are a row's with itself and with the nearest other one
            support, values = products.largest(2)
            is_other = (support.columns != support.rows) & (values > 0)
            # two earlier copies of a row displace the row itself; either may be the neighbour
            one, other, values = support.rows[is_other], support.columns[is_other], values[is_other]
            nearest[members[one]], cosines[members[one]] = members[other], values
        ctx.save_for_backward(W, norms, nearest, cosines)
        ctx.kernels = kernels
        return cosines.square().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        W, norms, nearest, cosines = ctx.saved_tensors
        latents, slopes = torch.arange(len(W), device=W.device), 2 / len(W) * gradient * cosines
        across, along = slopes / (norms * norms[nearest]), -slopes * cosines
        keys = torch.cat([latents, nearest, latents, nearest]) * len(W)
        keys, order = (keys + torch.cat([nearest, latents, latents, nearest])).sort()
        values = torch.cat([across, across, along / norms.square(), along / norms[nearest].square()])[order]
        offsets = torch.searchsorted(keys, torch.arange(len(W) + 1, device=W.device) * len(W))
        return ctx.kernels.gather_sum(offsets, (keys % len(W)).int(), values, W), None, None


def drawn_chunks(n_q: int, chunk: int, step: int) -> tuple[Tensor, ...]:
    """Return a random partition of the latents into chunks, for a step."""
    return torch.randperm(n_q, generator=torch.Generator().manual_seed(step)).split(chunk)


def _compute(inputs: TermInputs) -> Tensor:
    return orthogonality(inputs.model.W_dec, inputs.config.orthogonality_chunk, inputs.step, inputs.out.support.kernels)


TERM = Term("orthogonality", _compute, "orthogonality")
