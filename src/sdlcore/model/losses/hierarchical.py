"""The loss of HierarchicalTopK: the mean reconstruction error over every number of latents up to k."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.model.losses.multi_scale import multi_scale
from sdlcore.model.losses.term import Term, TermInputs
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.support import Support, assemble


def hierarchical(inputs: TermInputs) -> Tensor:
    """1 / k sum_j=1..k E || x_r - W_D sigma_j(W_E x_p) - b_D ||^2 (Balagansky et al. 2025, arXiv 2505.24473).

    sigma_j keeps the j largest of the latents that sigma chose, so that one dictionary serves every sparsity up to k.
    This is the multi-scale loss of all these k, divided by their number. If the pass has only the last reconstruction,
    a loop takes its latents out one after the other (`sdlcore.sparse.kernels.cpu_tiles.nested_errors`).
    """
    x_BR, model, out, k = inputs.target, inputs.model, inputs.out, inputs.model.config.k or 1
    if out.scales.shape[1] == k:
        return multi_scale(inputs) / k
    search = model.sigma.search()
    if search is None:
        name = model.config.activation
        raise ValueError(f"activation {name} declares no search, which hierarchical needs; leave hierarchical out")
    ranks_N = search.among(model.processes).ranks(out.pre.detach(), out.support)
    # values of auxiliary latents are zero here, so their groups do not matter; there may be more than k of them
    group_N = ranks_N.clamp(max=k - 1)
    sample_N = out.support.samples
    shape = out.support.n_samples, k, out.support.n_q
    support, order = assemble(sample_N, out.support.columns, group_N, shape, out.support.kernels)
    alone_BR = x_BR - model.b_dec if out.linear is None else x_BR - model.b_dec - out.linear
    return _NestedErrors.apply(out.values[order], model.W_dec, alone_BR, x_BR - out.x_hat.detach(), support) / k


class _NestedErrors(torch.autograd.Function):
    """The errors of all parts, averaged over samples, and summed over dimensions and parts."""

    @staticmethod
    def forward(
        ctx: Any, values_N: Tensor, W_QR: Tensor, alone_BR: Tensor, residual_BR: Tensor, support: Support
    ) -> Tensor:
        tasks = -(-W_QR.shape[1] * W_QR.element_size() // loops("cpu_tiles").PIECE)
        errors, to_values = values_N.new_empty(tasks), values_N.new_empty(tasks, len(values_N))
        to_W, to_alone = support.kernels.take(tuple(W_QR.shape), W_QR), torch.empty_like(residual_BR)
        inputs = [array(tensor) for tensor in (support.offsets, support.columns, values_N, W_QR, residual_BR)]
        loops("cpu_tiles").nested_errors(*inputs, support.groups, *map(array, (errors, to_values, to_W, to_alone)))
        ctx.gradients, ctx.samples = (to_values.sum(0), to_W, to_alone), len(alone_BR)
        return errors.sum() / len(alone_BR)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.gradients:
            raise RuntimeError("the loss of hierarchical allows one backward pass; compute the loss again for another")
        # autograd copies a gradient that the context still refers to
        gradients, ctx.gradients = ctx.gradients, ()
        return *(each.mul_(2 * gradient / ctx.samples) for each in gradients), None, None


TERM = Term("hierarchical", hierarchical, None)
