"""Encoding and decoding at the entries of a support, with gradients that touch nothing else."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.model import kernels
from sdlcore.model.kernels import workspace
from sdlcore.model.support import Support

DENSE = 0.2
"""Share of entries above which dense products are faster than the kernels."""


def encode_at(x_BP: Tensor, W_enc_QP: Tensor, b_enc_Q: Tensor, support: Support, pre_N: Tensor | None = None) -> Tensor:
    """Return the pre-activations W_E x_p + b_E at the entries of ``support`` (N), differentiably.

    ``pre_N`` are these numbers where they are known already.
    """
    return _EncodeAt.apply(x_BP, W_enc_QP, b_enc_Q, support, pre_N)


def decode(values_N: Tensor, support: Support, W_dec_QR: Tensor) -> Tensor:
    """Return the codes times the dictionary for each row of ``support`` (B groups x n_r)."""
    return _Decode.apply(values_N, W_dec_QR, support, None)[0]


def decode_with_norms(
    values_N: Tensor, support: Support, W_dec_QR: Tensor, sites: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return what `decode` does, and the sum over sites of the norm of each decoder row there (n_q).

    Together, because one gradient of the whole dictionary is much cheaper than two that have to be added.
    """
    return _Decode.apply(values_N, W_dec_QR, support, tuple(sites))


def nested_sums(parts_BGR: Tensor) -> Tensor:
    """Return the running sum over dimension 1."""
    return _NestedSums.apply(parts_BGR)


class _NestedSums(torch.autograd.Function):
    """torch's cumsum, whose passes over inner dimensions take longer than the decoding does."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor) -> Tensor:
        sums = parts.clone()
        for group in range(1, parts.shape[1]):
            sums[:, group] += sums[:, group - 1]
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        for group in range(gradient.shape[1] - 1, 0, -1):
            gradient[:, group - 1] += gradient[:, group]
        return gradient


class _EncodeAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, support: Support, pre: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, W)
        ctx.support = support
        if pre is not None:
            return pre.clone()
        return _dots(support, W, x, support.groups) + b[support.columns]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        support = ctx.support
        to_x = to_W = to_b = None
        if ctx.needs_input_grad[0]:
            to_x = _gather_sum(support, gradient, W).view(len(x), support.groups, -1).sum(1)
        if ctx.needs_input_grad[1]:
            to_W = _scatter_sum(support, gradient, x, support.groups)
        if ctx.needs_input_grad[2]:
            to_b = gradient.new_zeros(support.n_q).index_add(0, support.columns, gradient)
        return to_x, to_W, to_b, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, W: Tensor, support: Support, sites: tuple[int, ...] | None
    ) -> tuple[Tensor, Tensor | None]:
        norms_QS = kernels.site_norms(W, sites) if sites else None
        ctx.save_for_backward(values, W, norms_QS)
        ctx.support = support
        ctx.sites = sites
        return _gather_sum(support, values, W), norms_QS.sum(1) if norms_QS is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, to_norms: Tensor | None) -> tuple[Tensor | None, ...]:
        values, W, norms_QS = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_values = _dots(ctx.support, W, gradient, 1) if ctx.needs_input_grad[0] else None
        to_W = _scatter_sum(ctx.support, values, gradient, 1) if ctx.needs_input_grad[1] else None
        if to_W is not None and norms_QS is not None and to_norms is not None:
            # a row of zeros has no direction: its gradient is zero, as torch's
            factors = torch.where(norms_QS > 0, to_norms[:, None] / norms_QS, 0.0)
            kernels.add_scaled_sites(to_W, W, ctx.sites, factors)
        return to_values, to_W, None, None


def _is_dense(support: Support) -> bool:
    return len(support) > DENSE * support.n_rows * support.n_q


def _gather_sum(support: Support, values: Tensor, W: Tensor) -> Tensor:
    if _is_dense(support):
        codes = _codes(support, values)
        out = codes @ W
        workspace.give(codes)
        return out
    return kernels.gather_sum(support.offsets, support.columns, values.contiguous(), W)


def _dots(support: Support, W: Tensor, x: Tensor, groups: int) -> Tensor:
    if _is_dense(support):
        every = torch.mm(x, W.T, out=workspace.take((len(x), len(W)), x.dtype, x.device))
        values = every[support.rows // groups, support.columns]
        workspace.give(every)
        return values
    return kernels.dots(support.offsets, support.columns, W, x, groups)


def _scatter_sum(support: Support, values: Tensor, x: Tensor, groups: int) -> Tensor:
    if _is_dense(support):
        codes = _codes(support, values)
        out = workspace.take((support.n_q, x.shape[1]), x.dtype, x.device)
        torch.mm(codes.T, x.repeat_interleave(groups, dim=0) if groups > 1 else x, out=out)
        workspace.give(codes)
        return out
    offsets, rows, order = support.by_latent
    return kernels.scatter_sum(offsets, rows, values[order], x, groups)


def _codes(support: Support, values: Tensor) -> Tensor:
    codes = workspace.take((support.n_rows, support.n_q), values.dtype, values.device).zero_()
    codes[support.rows, support.columns] = values
    return codes
