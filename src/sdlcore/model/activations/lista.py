"""LISTA: TopK, and then one trainable step of iterative thresholding."""

import torch
from torch import Tensor, nn

from sdlcore.model.activation import Encoder, Selecting, Weights
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.search import LargestPerSample, largest
from sdlcore.sparse.support import together


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
        W_enc, b_enc, *_ = tools.weights
        entries = tools.find(self.search(), x, W_enc, b_enc)
        z = torch.relu(tools.products(x, W_enc, b_enc, entries.support, entries.pre))
        residual = x - tools.reconstruct(z, entries.support)
        steps = self.step * self.log_step.exp()
        no_bias = torch.zeros_like(b_enc)
        # which latents are chosen passes no gradient, so that the others need none
        with torch.no_grad():
            scaled = tools.kernels.take(tuple(W_enc.shape), W_enc)
            torch.mul(steps[:, None], W_enc, out=scaled)
            # the step adds at most k latents of a sample to the k that are there: of its 2 k largest, k are new
            proposed = tools.find(LargestPerSample(2 * self.k), residual, scaled, no_bias).support
            tools.kernels.give(scaled)
            support, places = together(entries.support, proposed)
            products = tools.products(residual, W_enc, no_bias, support)
            moved = (support.per_latent(steps) * products).index_add(0, places, z)
            chosen, indices = tools.narrow(self.search(), support, moved)
        z = z.new_zeros(len(support)).index_add(0, places, z)[indices]
        pre = z + chosen.per_latent(steps) * tools.products(residual, W_enc, no_bias, chosen, products[indices])
        return SparseCode(chosen, pre, torch.relu(pre))


ACTIVATION = Lista
