"""LISTA: TopK or BatchTopK, and then one trainable step of iterative thresholding."""

from typing import Literal

import torch
from torch import Tensor, nn

from sdlcore.model.activation import Encoder, Selecting, Weights
from sdlcore.model.activations.batchtopk import BatchTopK
from sdlcore.model.activations.topk import TopK
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.search import LargestPerBatch, LargestPerSample, Search
from sdlcore.sparse.support import together


class Lista(Encoder, Selecting):
    """sigma(z + eta W_E (x - W_D z - b_D)) with z = sigma(W_E x + b_E), where sigma is TopK or BatchTopK.

    One iteration of LISTA (Gregor and LeCun 2010), whose thresholding is the selection of k latents. ISTA steps along
    the decoder's rows; LISTA's step goes along the encoder's, and so is trained. eta is a step size for each latent: a
    trained factor times the setting ``ista_step``.
    """

    def __init__(self, n_q: int, k: int | None, ista_step: float, ista_selects: Literal["sample", "batch"]) -> None:
        super().__init__(k)
        self.log_step = nn.Parameter(torch.zeros(n_q, dtype=torch.float32))
        self.step = ista_step
        # with BatchTopK, each selection has a threshold for single samples
        self.selections = nn.ModuleList(TopK(k) if ista_selects == "sample" else BatchTopK(k) for _ in range(2))
        # the step adds at most k latents of a sample to the k that are there: of its 2 k largest, k are new
        self.proposals = (LargestPerSample if ista_selects == "sample" else LargestPerBatch)(2 * self.k)

    def both(self) -> tuple[TopK | BatchTopK, TopK | BatchTopK]:
        """Return the selections before and after the step."""
        first, second = self.selections
        assert isinstance(first, TopK | BatchTopK)
        assert isinstance(second, TopK | BatchTopK)
        return first, second

    def keep(self, k: int) -> None:
        super().keep(k)
        self.proposals.k = 2 * k
        for selection in self.both():
            selection.keep(k)

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        first, second = self.both()
        z = first(x @ weights.W_enc.T + weights.b_enc)
        residual = x - z @ weights.W_dec - weights.b_dec
        return second(z + self.log_step.exp() * self.step * (residual @ weights.W_enc.T))

    def search(self) -> Search:
        return self.both()[1].search()

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        first, second = self.both()
        W_enc, b_enc, *_ = tools.weights
        found = tools.find(first.search(), x, W_enc, b_enc)
        z = first.values(tools.products(x, W_enc, b_enc, found.support, found.pre), tools.shared(found.support))
        residual = x - tools.reconstruct(z, found.support)
        steps = self.step * self.log_step.exp()
        search = second.search()
        proposals = self.proposals if isinstance(search, LargestPerSample | LargestPerBatch) else search
        no_bias = torch.zeros_like(b_enc)
        proposed = tools.find(proposals, residual.detach(), steps.detach()[:, None] * W_enc.detach(), no_bias).support
        support, places = together(found.support, proposed)
        moved = support.per_latent(steps) * tools.products(residual, W_enc, no_bias, support)
        pre = moved.index_add(0, places, z)
        chosen, kept = tools.narrow(search, support, pre)
        return SparseCode(chosen, pre[kept], second.values(pre[kept], tools.shared(chosen)))


ACTIVATION = Lista
