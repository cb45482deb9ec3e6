"""Orthogonal matching pursuit on known decoder rows, with codes that are never negative."""

import torch
from torch import Tensor

from sdlcore.model.activation import Encoder, Selecting, Weights
from sdlcore.model.activations.matching_pursuit import MOST, Gram
from sdlcore.model.encoding_tools import EncodingTools, SparseCode
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.kernels.interface import Kernels
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.search import LargestPerSample, Search

AT_ONCE = 2**22
"""Products with the residual in memory at once."""
RIDGE = 1e-6
"""Ridge of least squares beside the rows' squared norms of 1, which keeps systems of dependent rows solvable."""
LEAST = 1e-5
"""Smallest product of a new latent, as a share of the norm of x - b_D. It is above `RIDGE`: the ridge leaves that share
of a code in the residual, and rounding must not decide whether a copy of an active row becomes active, too."""


class OMP(Encoder, Selecting):
    """k steps of orthogonal matching pursuit (Pati et al. 1993), for latents that are never negative.

    From r = x - b_D, each step chooses the latent whose decoder row, scaled to norm 1, has the largest positive product
    with r. It then sets the codes of all chosen latents by least squares. Latents with negative codes are removed, and
    the remaining codes are solved again (Bruckstein et al. 2008 solve non-negative least squares exactly). So at most k
    latents are active. No gradient passes.

    A step adds no latent if no product exceeds the buffer ``threshold``, in the unit of the samples, or the share
    `LEAST` of the norm of x - b_D. With a threshold above zero, the number of active latents varies
    (`sdlcore.codes.search.search`).

    If k steps of a batch are more work than the inner products of all latents, these are computed and kept (`Gram`).
    They take n_q^2 numbers of memory, 1 GiB at 16,000 latents. Above `MOST` latents (4 GiB), each step multiplies the
    residuals by all rows instead. Products with samples take `AT_ONCE` numbers, 16 MiB.
    """

    def __init__(self, k: int | None) -> None:
        super().__init__(k)
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float32))
        self._gram = Gram()

    def encode(self, x: Tensor, weights: Weights) -> Tensor:
        latents, values = self.greedy(x, weights, kernels_for(x.device))
        return x.new_zeros(len(x), len(weights.W_dec)).scatter_add(1, latents, values)

    def greedy(self, x: Tensor, weights: Weights, kernels: Kernels) -> tuple[Tensor, Tensor]:
        """Return the latents that the steps choose, and their codes, as the function `greedy` does."""
        return greedy(x - weights.b_dec, weights.W_dec, self.k, float(self.threshold), kernels, self._gram)

    def search(self) -> Search:
        return LargestPerSample(self.k)

    def encode_at(self, x: Tensor, tools: EncodingTools) -> SparseCode:
        latents, codes = self.greedy(x, tools.weights, tools.kernels)
        active = codes > 0
        sample = torch.arange(len(x), device=x.device)[:, None].expand_as(latents)[active]
        return tools.code(sample, latents[active], codes[active], len(x))


def _solve(active: Tensor, products: Tensor, inner: Tensor) -> Tensor:
    """Return the least-squares codes of the chosen latents (B x s), after removing latents with negative codes.

    Parameters
    ----------
    active
        Whether each latent may be active; modified in place.
    products
        Products of the latents' rows with the samples.
    inner
        Inner products of the latents' rows (B x s x s).
    """
    solved = _least_squares(active, products, inner)
    while (rows := (solved < 0).any(1)).any():
        active[rows] &= solved[rows] >= 0
        solved[rows] = _least_squares(active[rows], products[rows], inner[rows])
    return solved


def _least_squares(active: Tensor, products: Tensor, inner: Tensor) -> Tensor:
    """Return the least-squares codes of the active latents (B x s), and zero for the others."""
    systems = inner * (active[:, :, None] & active[:, None, :])
    systems.diagonal(dim1=1, dim2=2).copy_(torch.where(active, 1 + RIDGE, 1.0))
    return torch.linalg.solve(systems, torch.where(active, products, 0.0)[:, :, None]).squeeze(2)


@torch.no_grad()
def greedy(
    x_BR: Tensor,
    W_dec_QR: Tensor,
    k: int,
    threshold: float,
    kernels: Kernels,
    gram: Gram,
) -> tuple[Tensor, Tensor]:
    """Return the latents that k steps choose, and their codes, 0 or more (B x k).

    On a CPU, a compiled loop takes the steps of a sample, if the inner products of all latents are known.

    Parameters
    ----------
    x_BR
        Samples, minus b_D.
    W_dec_QR
        Decoder rows of any norm.
    k
        Number of steps. Each chooses a latent that is not yet active.
    threshold
        A step adds no latent if no product with the residual exceeds this number, or `LEAST` of the sample's norm.
    kernels
        Kernels of the samples' device.
    gram
        Keeps the inner products of all latents for other calls.
    """
    norms_Q = W_dec_QR.norm(dim=1)
    rows_QR = W_dec_QR / norms_Q.clamp(min=torch.finfo(norms_Q.dtype).tiny)[:, None]
    B, n_q = len(x_BR), len(rows_QR)
    compiled = isinstance(kernels, NumbaKernels)
    least_B = (LEAST * x_BR.norm(dim=1)).clamp(min=threshold)
    # known for all pairs of latents if that is less work than products of each residual, and fits into memory
    gram_QQ = gram(rows_QR, compiled) if n_q <= min(k * B, MOST) else None

    def steps(part_BR: Tensor, least_B: Tensor) -> tuple[Tensor, Tensor]:
        if compiled and gram_QQ is not None:
            return _compiled(part_BR, rows_QR, gram_QQ, k, least_B)
        return _greedy(part_BR, rows_QR, gram_QQ, k, least_B, kernels)

    at_once = max(1, AT_ONCE // n_q)
    parts = [steps(*part) for part in zip(x_BR.split(at_once), least_B.split(at_once), strict=True)]
    latents_BK, codes_BK = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return latents_BK, codes_BK / norms_Q.clamp(min=torch.finfo(norms_Q.dtype).tiny)[latents_BK]


def _compiled(x_BR: Tensor, rows_QR: Tensor, gram_QQ: Tensor, k: int, least_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `_greedy` returns, in a compiled loop; latents that are not active are 0."""
    latents_BK, codes_BK = torch.zeros(len(x_BR), k, dtype=torch.int64), x_BR.new_zeros(len(x_BR), k)
    inputs = array(x_BR @ rows_QR.T), array(gram_QQ), array(least_B)
    loops("cpu_pursuit").pursue_orthogonally(*inputs, RIDGE, array(latents_BK), array(codes_BK))
    return latents_BK, codes_BK


def _greedy(
    x_BR: Tensor, rows_QR: Tensor, gram_QQ: Tensor | None, k: int, least_B: Tensor, kernels: Kernels
) -> tuple[Tensor, Tensor]:
    B = len(x_BR)
    products_BQ = x_BR @ rows_QR.T
    latents_BK = torch.zeros(B, k, dtype=torch.int64, device=x_BR.device)
    codes_BK, inner_BKK = x_BR.new_zeros(B, k), x_BR.new_zeros(B, k, k)
    residual_BQ = products_BQ
    for step in range(k):
        so_far = latents_BK[:, :step]
        open_BS = residual_BQ.gather(1, so_far).masked_fill(codes_BK[:, :step] > 0, 0.0)
        product_B, chosen_B = residual_BQ.scatter_reduce(1, so_far, open_BS, "amin").max(1)
        latents_BK[:, step] = chosen_B
        latents = latents_BK[:, : step + 1]
        if gram_QQ is not None:
            inner = gram_QQ[chosen_B[:, None], latents]
        else:
            inner = (rows_QR[latents] @ rows_QR[chosen_B][:, :, None]).squeeze(2)
        inner_BKK[:, step, : step + 1] = inner_BKK[:, : step + 1, step] = inner
        part = slice(0, step + 1)
        active = codes_BK[:, part] > 0
        active[:, -1] = product_B > least_B
        codes = _solve(active, products_BQ.gather(1, latents), inner_BKK[:, part, part])
        codes_BK[:, part] = codes
        if step + 1 == k:
            break
        offsets = torch.arange(0, B * (step + 1) + 1, step + 1, device=x_BR.device)
        columns, order = latents.sort(dim=1)  # as kernels expect
        entries = offsets, columns.int().flatten(), codes.gather(1, order).flatten()
        if gram_QQ is not None:
            residual_BQ = products_BQ - kernels.gather_sum(*entries, gram_QQ)
        else:
            residual_BQ = (x_BR - kernels.gather_sum(*entries, rows_QR)) @ rows_QR.T
    return latents_BK, codes_BK


ACTIVATION = OMP
