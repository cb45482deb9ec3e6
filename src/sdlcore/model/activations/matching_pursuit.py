"""Matching pursuit: latents are chosen one after the other, each by the residual of those before it."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sdlcore.model.activation import Encoder, Selecting, Weights
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.kernels.tiles import multiply
from sdlcore.sparse.search import LargestPerSample, Search

AT_ONCE = 1 << 20
"""Products with the residual that are in memory at once: as many as a cache holds."""
MOST = 1 << 15
"""Most latents whose products with each other are kept: 4 GiB in float32."""
KEPT = 1 << 14
"""Most latents whose products with each other are kept between calls: 1 GiB in float32."""
BLOCK = 1024
"""Latents of a block of these products."""
LEAST = 1e-6
"""Smallest product that adds to a latent, as a share of the norm of x - b_D times the largest norm of an encoder row.
Smaller products may be rounding errors."""


class MatchingPursuit(Encoder, Selecting):
    """k steps of matching pursuit with one matrix for encoder and decoder (Costa et al. 2025, arXiv 2506.03093).

    From r = x - b_D, each step takes the latent i of the largest product w_i . r, adds relu(w_i . r) to it and takes
    that times d_i from r. The encoder row w_i and the decoder row d_i are equal (``tied``) and of norm one until
    normalisation is folded into them. A latent may be chosen again. Gradients pass through all steps; the choice
    passes none. Products that rounding may have made add nothing (`LEAST`, which is ours). The number of steps is
    fixed, whereas SAELens also stops at a small residual, and at a step that chooses no new latent.
    """

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        residual = x - weights.b_dec
        least = least_products(residual, weights.W_enc, weights.W_dec)[:, None]
        latents = x.new_zeros(len(x), len(weights.W_enc))
        for _ in range(self.k):
            products = residual @ weights.W_enc.T
            chosen = products.argmax(dim=1, keepdim=True)
            amount = products.gather(1, chosen)
            amount = torch.where(amount > least, amount, 0.0)
            latents = latents.scatter_add(1, chosen, amount)
            residual = residual - amount * weights.W_dec[chosen.squeeze(1)]
        return latents

    def search(self) -> Search:
        return LargestPerSample(self.k)

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        W_enc, _, W_dec, b_dec = tools.weights
        residual = x - b_dec
        compiled = tools.kernels if isinstance(tools.kernels, NumbaKernels) else None
        chosen, amounts = pursue(residual, W_enc, W_dec, self.k, compiled)
        amounts = _Amounts.apply(residual, W_enc, W_dec, chosen, amounts, compiled)
        active = amounts.detach() > 0
        sample = torch.arange(len(x), device=x.device)[:, None].expand_as(chosen)[active]
        return tools.code(sample, chosen[active], amounts[active], len(x))


@torch.no_grad()
def pursue(
    residual_BP: Tensor, W_enc_QP: Tensor, W_dec_QP: Tensor, k: int, compiled: NumbaKernels | None = None
) -> tuple[Tensor, Tensor]:
    """Return the latents that k steps choose, and how much each adds (B x k).

    A step does not multiply the residual with the encoder again: it takes the chosen decoder row's products with all
    encoder rows from the sample's. These are computed once for all samples, if that is less work and they fit in
    memory; with ``compiled``, a compiled loop then takes the steps, for tensors on the CPU.
    """
    B, n_q = len(residual_BP), len(W_enc_QP)
    gram_QQ = gram(W_dec_QP, W_enc_QP, compiled) if n_q <= min(k * B, MOST) else None
    chosen_BK = torch.zeros(B, k, dtype=torch.int64, device=residual_BP.device)
    amounts_BK = residual_BP.new_zeros(B, k)
    least_B = least_products(residual_BP, W_enc_QP, W_dec_QP)
    rows = max(1, AT_ONCE // n_q)
    for start in range(0, B, rows):
        part = slice(start, start + rows)
        products = multiply(residual_BP[part], W_enc_QP)
        if compiled is not None and gram_QQ is not None:
            inputs = products, products.view(torch.int32 if products.itemsize == 4 else torch.int64), gram_QQ
            loops("cpu_pursuit").pursue(*map(array, (*inputs, least_B[part], chosen_BK[part], amounts_BK[part])))
            continue
        for step in range(k):
            chosen = products.argmax(dim=1)
            amounts = products.gather(1, chosen[:, None])
            amounts = torch.where(amounts > least_B[part, None], amounts, 0.0)
            chosen_BK[part, step], amounts_BK[part, step] = chosen, amounts.squeeze(1)
            change = W_dec_QP[chosen] @ W_enc_QP.T if gram_QQ is None else gram_QQ[chosen]
            products.addcmul_(change, amounts, value=-1)
    if compiled is not None and gram_QQ is not None:
        compiled.give(gram_QQ)
    return chosen_BK, amounts_BK


@torch.no_grad()
def least_products(residual_BP: Tensor, W_enc_QP: Tensor, W_dec_QP: Tensor) -> Tensor:
    """Return the product that each sample's steps must exceed (B): the share `LEAST` of the largest possible product.

    During training, encoder and decoder are one matrix, whose rows have norm 1.
    """
    largest = 1.0 if W_enc_QP is W_dec_QP else W_enc_QP.norm(dim=1).max()
    return LEAST * (residual_BP.norm(dim=1) * largest)


def gram(W_dec_QP: Tensor, W_enc_QP: Tensor, compiled: NumbaKernels | None = None) -> Tensor:
    """Return W_dec W_enc^T (n_q x n_q). Compiled, only the half below the diagonal of a tied model is multiplied."""
    if compiled is None or W_dec_QP is not W_enc_QP:
        return W_dec_QP @ W_enc_QP.T
    gram_QQ = compiled.take((len(W_enc_QP), len(W_enc_QP)), W_enc_QP)
    for start in range(0, len(W_enc_QP), BLOCK):
        block = slice(start, start + BLOCK)
        gram_QQ[start:, block] = multiply(W_enc_QP[start:], W_enc_QP[block])
    loops("cpu_pursuit").mirror(array(gram_QQ))
    return gram_QQ


class Gram:
    """Inner products of rows with each other, kept from call to call as long as the rows stay the same.

    They take n_q^2 numbers of memory: 64 MiB for 4,096 latents in float32, 1 GiB for `KEPT` latents. Beyond
    `KEPT` latents they are not kept. Copies start without them.
    """

    def __init__(self) -> None:
        self._rows, self._products = torch.empty(0), torch.empty(0)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Gram, ()

    def __call__(self, rows_QR: Tensor, compiled: bool) -> Tensor:
        """Return the inner products (n_q x n_q); ``compiled`` as in `gram`."""
        if not (rows_QR.device == self._rows.device and torch.equal(rows_QR, self._rows)):
            self._rows, self._products = torch.empty(0), torch.empty(0)  # frees memory before more is needed
            products_QQ = gram(rows_QR, rows_QR, NumbaKernels() if compiled else None)
            if len(rows_QR) > KEPT:
                return products_QQ
            self._rows, self._products = rows_QR.clone(), products_QQ
        return self._products


class _Amounts(torch.autograd.Function):
    """The amounts that the steps add, with the gradients of residual and weights through all steps."""

    @staticmethod
    def forward(
        ctx: Any,
        residual: Tensor,
        W_enc: Tensor,
        W_dec: Tensor,
        chosen: Tensor,
        amounts: Tensor,
        compiled: NumbaKernels | None,
    ) -> Tensor:
        ctx.save_for_backward(residual, W_enc, W_dec, chosen, amounts)
        ctx.compiled, ctx.tied = compiled, W_enc is W_dec
        return amounts.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        residual, W_enc, W_dec, chosen, amounts = ctx.saved_tensors
        if ctx.compiled is not None:
            rest, to_amounts, to_residual = (torch.empty_like(each) for each in (residual, amounts, residual))
            steps = [array(each) for each in (W_enc, W_dec, chosen, amounts)]
            written = [array(each) for each in (rest, to_amounts, to_residual)]
            loops("cpu_pursuit").pursue_backward(array(residual), *steps, array(gradient), *written)
            to_enc = ctx.compiled.take(tuple(W_enc.shape), W_enc)
            to_dec = to_enc if ctx.tied else torch.empty_like(W_dec)
            loops("cpu_pursuit").pursue_to_weights(array(rest), *steps, *map(array, (to_amounts, to_enc, to_dec)))
            return to_residual, to_enc, None if ctx.tied else to_dec, None, None, None
        k = chosen.shape[1]
        # forwards: the residual before each step
        residuals = residual.expand(k, *residual.shape).clone()
        for step in range(1, k):
            contribution = amounts[:, step - 1, None] * W_dec[chosen[:, step - 1]]
            torch.sub(residuals[step - 1], contribution, out=residuals[step])
        # backwards: the gradients of the residual after each step and of the amount that the step adds
        behind, of_amounts = torch.zeros_like(residuals), torch.empty_like(amounts)
        after = torch.zeros_like(residual)
        for step in range(k - 1, -1, -1):
            behind[step] = after
            decoded = W_dec[chosen[:, step]]
            of_amounts[:, step] = (gradient[:, step] - torch.linalg.vecdot(decoded, after)) * (amounts[:, step] > 0)
            after = torch.addcmul(after, of_amounts[:, step, None], W_enc[chosen[:, step]])
        flat = chosen.T.flatten()
        to_enc = torch.zeros_like(W_enc).index_add_(0, flat, (residuals * of_amounts.T[:, :, None]).flatten(0, 1))
        to_dec = torch.zeros_like(W_dec).index_add_(0, flat, (behind * -amounts.T[:, :, None]).flatten(0, 1))
        return after, to_enc, to_dec, None, None, None


ACTIVATION = MatchingPursuit
