"""Encode and decode at the entries of a support; backward passes compute nothing else."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.sparse.support import Support

DENSE = 0.6
"""Share of entries above which dense products are at least as fast as the sparse kernels."""


def encode_at(
    x_BP: Tensor,
    W_enc_QP: Tensor,
    b_enc_Q: Tensor,
    support: Support,
    pre_N: Tensor | None = None,
) -> Tensor:
    """Return the pre-activations W_E x_p + b_E at the entries of ``support`` (N), differentiably. For one group.

    ``pre_N`` are the pre-activations at these entries, if they are known already. The backward pass records the norms
    of the rows of the encoder's gradient (`GradientNorms`).
    """
    return _EncodeAt.apply(x_BP, W_enc_QP, b_enc_Q, support, pre_N)


class Decoded(NamedTuple):
    """Result of `decode_at`."""

    rows: Tensor
    """B x groups x n_r: codes times the dictionary."""
    norms: Tensor | None
    """n_q: the norm of each decoder row, summed over sites; None if no sites were given."""


def decode_at(
    values_N: Tensor,
    support: Support,
    W_dec_QR: Tensor,
    sites: Sequence[int] = (),
    n_scales: int = 1,
    detached: bool = False,
) -> Decoded:
    """Return the codes times the dictionary, for each row of ``support``.

    Norms and running sums are computed here, because elsewhere they would cost a second gradient of the whole
    dictionary, or copies of all reconstructions. The backward pass records the norms of the rows of the dictionary's
    gradient (`GradientNorms`).

    Parameters
    ----------
    values_N, support
        The codes.
    W_dec_QR
        The dictionary.
    sites
        Widths of the sites in n_r; if given, norms are computed.
    n_scales
        Number of first groups of each sample to accumulate: each adds the reconstruction of the one before.
    detached
        Give each of these groups the gradient of its own sum alone, as if the sum before it were detached.
    """
    return Decoded(*_Decode.apply(values_N, W_dec_QR, support, tuple(sites), n_scales, detached))


class _EncodeAt(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor, support: Support, pre: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, W)
        ctx.support = support
        if pre is not None:
            return pre.clone()
        return _dots(support, W, x) + b[support.columns]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, W = ctx.saved_tensors
        support = ctx.support
        to_x = to_W = to_b = None
        if ctx.needs_input_grad[0]:
            to_x = _gather_sum(support, gradient, W)
        if ctx.needs_input_grad[1]:
            to_W, squares = _scatter_sum(support, gradient, x)
            support.kernels.gradient_norms.note(W, to_W, squares)
        if ctx.needs_input_grad[2]:
            to_b = gradient.new_zeros(support.n_q).index_add(0, support.columns, gradient)
        return to_x, to_W, to_b, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        W: Tensor,
        support: Support,
        sites: tuple[int, ...],
        n_scales: int,
        detached: bool,
    ) -> tuple[Tensor, Tensor | None]:
        norms_QS = support.kernels.site_norms(W, sites) if sites else None
        ctx.save_for_backward(values, W, norms_QS)
        ctx.support, ctx.sites = support, sites
        ctx.n_scales = 1 if detached else n_scales
        parts = _gather_sum(support, values, W).view(support.n_samples, support.groups, W.shape[1])
        for group in range(1, n_scales):
            parts[:, group] += parts[:, group - 1]
        return parts, norms_QS.sum(1) if norms_QS is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, to_norms: Tensor | None) -> tuple[Tensor | None, ...]:
        values, W, norms_QS = ctx.saved_tensors
        if ctx.n_scales > 1:
            gradient = gradient.clone()
            for group in range(ctx.n_scales - 1, 0, -1):
                gradient[:, group - 1] += gradient[:, group]
        gradient = gradient.reshape(-1, W.shape[1])
        to_values, to_W, squares, products = _back_through(ctx.support, values, W, gradient, ctx.needs_input_grad)
        if to_W is not None and norms_QS is not None and to_norms is not None:
            # a zero row has no direction: its gradient is zero, as in torch
            factors = torch.where(norms_QS > 0, to_norms[:, None] / norms_QS, 0.0)
            ctx.support.kernels.add_scaled_sites(to_W, W, ctx.sites, factors)
        elif to_W is not None:
            ctx.support.kernels.gradient_norms.note(W, to_W, squares, products)
        return to_values, to_W, None, None, None, None


def _is_dense(support: Support) -> bool:
    return len(support) > DENSE * support.n_rows * support.n_q


def _gather_sum(support: Support, values: Tensor, W: Tensor) -> Tensor:
    if _is_dense(support):
        codes = _codes(support, values)
        out = codes @ W
        support.kernels.give(codes)
        return out
    return support.kernels.gather_sum(support.offsets, support.columns, values.contiguous(), W)


def _dots(support: Support, W: Tensor, x: Tensor) -> Tensor:
    if _is_dense(support):
        every = torch.mm(x, W.T, out=support.kernels.take((len(x), len(W)), x))
        values = every[support.rows, support.columns]
        support.kernels.give(every)
        return values
    return support.kernels.dots(*support.by_latent, W, x)


def _back_through(
    support: Support, values: Tensor, W: Tensor, gradient: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients with respect to codes and dictionary, each if needed.

    Also return the squared norms of the dictionary gradient's rows and their products with the dictionary's rows, each
    if it is a by-product of the kernel used.
    """
    if all(needs[:2]) and not _is_dense(support):
        return support.kernels.decode_backward(*support.by_latent, values.contiguous(), W, gradient)
    to_values = _dots(support, W, gradient) if needs[0] else None
    to_W, squares = _scatter_sum(support, values, gradient) if needs[1] else (None, None)
    return to_values, to_W, squares, None


def _scatter_sum(support: Support, values: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return codes^T times x, and the squared norms of its rows if the kernel computes them."""
    if _is_dense(support):
        codes = _codes(support, values)
        out = support.kernels.take((support.n_q, x.shape[1]), x)
        torch.mm(codes.T, x, out=out)
        support.kernels.give(codes)
        return out, None
    return support.kernels.scatter_sum(*support.by_latent, values, x)


def _codes(support: Support, values: Tensor) -> Tensor:
    """Return the codes as a dense matrix (rows x n_q), in a buffer that the caller must give back."""
    codes = support.kernels.take((support.n_rows, support.n_q), values).zero_()
    # added, since a latent may be in a sample twice: found by the search, and as an auxiliary latent
    return codes.index_put_((support.rows, support.columns), values, accumulate=True)
