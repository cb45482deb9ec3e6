"""LISTA: TopK, and then one trainable step of iterative thresholding."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sdlcore.model.activation import Encoder, Selecting, Weights
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.products import decode_at, encode_at
from sdlcore.sparse.search import LargestPerSample, largest
from sdlcore.sparse.support import Support, subset, union


class Lista(Encoder, Selecting):
    """sigma(z + eta W_E (x - W_D z - b_D)) with z = sigma(W_E x + b_E), where sigma is TopK.

    One iteration of LISTA (Gregor and LeCun 2010), whose thresholding is the selection of k latents. ISTA steps along
    the decoder's rows; LISTA's step goes along the encoder's, and so is trained. eta is a step size for each latent: a
    trained factor times the setting ``ista_step``.
    """

    def __init__(self, n_q: int, k: int | None, ista_step: float) -> None:
        super().__init__(k)
        self.log_step = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))
        self.step = ista_step

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        z = self._top_k(x @ weights.W_enc.T + weights.b_enc)
        residual = x - z @ weights.W_dec - weights.b_dec
        return self._top_k(z + self.log_step.exp() * self.step * (residual @ weights.W_enc.T))

    def _top_k(self, pre: Tensor) -> Tensor:
        return torch.where(largest(pre, self.k), torch.relu(pre), 0.0)

    def search(self) -> LargestPerSample:
        return LargestPerSample(self.k)

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        steps = self.step * self.log_step.exp()
        moved = self._move(x, steps.detach(), tools)
        pre = _Moved.apply(x, *tools.weights, steps, moved)
        return SparseCode(moved.support, pre, torch.relu(pre))

    @torch.no_grad()
    def _move(self, x: Tensor, steps: Tensor, tools: EncodingTools) -> "_Move":
        W_enc, b_enc, W_dec, b_dec = tools.weights
        first, pre = tools.find(self.search(), x, W_enc, b_enc)
        z, no_bias = torch.relu(pre), torch.zeros_like(b_enc)
        residual = x - (decode_at(z, first, W_dec).rows.squeeze(1) + b_dec)
        products = encode_at(residual, W_enc, no_bias, first)
        moved = z + first.per_latent(steps) * products
        # where k latents are there, a new one must exceed the smallest of them
        least = torch.segment_reduce(moved, "min", offsets=first.offsets, initial=torch.inf)
        least = torch.where(torch.diff(first.offsets) == self.k, least, 0.0).clamp(min=0.0)
        scaled = torch.mul(steps[:, None], W_enc, out=tools.kernels.take(tuple(W_enc.shape), W_enc))
        # of a sample's 2 k largest, at least k are new
        new = tools.find(LargestPerSample(2 * self.k, above=least), residual, scaled, no_bias)
        tools.kernels.give(scaled)
        support, origin = union(first, new.support)
        products = torch.cat([products, new.pre / new.support.per_latent(steps)])[origin]
        moved = torch.cat([moved, new.pre])[origin]
        support, places = subset(support, (self.search().ranks(moved, support) < self.k) & (moved > 0))
        return _Move(first, z, residual, support, origin[places], products[places], moved[places])


class _Move(NamedTuple):
    """LISTA's step of a batch."""

    first: Support
    """The entries that TopK chooses."""
    z: Tensor
    """The latents there."""
    residual: Tensor
    """B x n_r."""
    support: Support
    """The entries that are chosen after the step."""
    origin: Tensor
    """The places of these entries in ``first``; larger numbers for new latents."""
    products: Tensor
    """The products of residual and encoder at ``support``."""
    pre: Tensor
    """Pre-activations at ``support``."""


class _Moved(torch.autograd.Function):
    """Pre-activations after the step. The gradients of the encoder from both encodings are summed in one matrix."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, steps: Tensor, move: _Move
    ) -> Tensor:
        ctx.save_for_backward(x, W_enc, W_dec, steps)
        ctx.move = move
        return move.pre.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc, W_dec, steps = ctx.saved_tensors
        first, z, residual, support, origin, products, _ = ctx.move
        kernels, was_there = first.kernels, origin < len(first)
        to_products = support.per_latent(steps) * gradient
        to_decoded = kernels.gather_sum(support.offsets, support.columns, -to_products, W_enc)
        to_z, to_dec, *_ = kernels.decode_backward(*first.by_latent, z, W_dec, to_decoded)
        to_z = torch.where(z > 0, to_z.index_add(0, origin[was_there], gradient[was_there]), 0.0)
        offsets = torch.cat([first.offsets, support.offsets[1:] + len(first)])
        both = Support(offsets, torch.cat([first.columns, support.columns]), first.n_q, kernels)
        to_enc, _ = kernels.scatter_sum(*both.by_latent, torch.cat([to_z, to_products]), torch.cat([x, residual]))
        to_b_enc = torch.zeros_like(steps).index_add(0, first.columns, to_z)
        to_steps = torch.zeros_like(steps).index_add(0, support.columns, products * gradient)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = kernels.gather_sum(first.offsets, first.columns, to_z, W_enc) - to_decoded
        return to_x, to_enc, to_b_enc, to_dec, to_decoded.sum(0), to_steps, None


ACTIVATION = Lista
