"""Non-negative pursuit: an iterative encoder that computes codes in several steps.

Pursuit solves non-negative least squares over the latents that sigma chose, by coordinate descent, like classical
sparse coders, which LISTA imitates (Gregor and LeCun 2010). Each sweep sets every latent to its best value, given the
others.
"""

import torch
from torch import Tensor

from sdlcore.sparse.support import Support

ENTRIES_AT_ONCE = 2**24
"""Entries of Gram matrices in memory at the same time."""


@torch.no_grad()
def refined(x_BR: Tensor, W_dec_QR: Tensor, support: Support, sweeps: int) -> Tensor:
    """Return the latents c >= 0 (N) that minimise |x_r - c W_D|, starting at zero, by sweeps of coordinate descent.

    Parameters
    ----------
    x_BR
        The target, minus b_D.
    W_dec_QR
        Decoder rows.
    support
        The latents of each of B samples; with a single group.
    sweeps
        Number of times that each latent is set.
    """
    numbers_B = torch.diff(support.offsets)
    place_N = torch.arange(len(support), device=x_BR.device) - support.offsets[support.rows]
    shape = len(x_BR), int(numbers_B.max()) if len(support) else 0
    columns_BK = torch.zeros(shape, dtype=torch.long, device=x_BR.device)
    columns_BK[support.rows, place_N] = support.columns.long()
    there_BK = place_N.new_tensor(range(shape[1])) < numbers_B[:, None]
    gram_QQ = W_dec_QR @ W_dec_QR.T
    at_once = max(1, ENTRIES_AT_ONCE // max(1, shape[1]) ** 2)
    values = []
    for start in range(0, len(x_BR), at_once):
        part = slice(start, start + at_once)
        columns, in_support = columns_BK[part], there_BK[part]
        G = gram_QQ[columns[:, :, None], columns[:, None, :]]
        curvature = G.diagonal(dim1=1, dim2=2).clamp(min=torch.finfo(G.dtype).tiny)
        slope = (x_BR[part] @ W_dec_QR.T).gather(1, columns)
        c = torch.zeros_like(slope)
        for _ in range(sweeps):
            for i in range(shape[1]):
                new = (c[:, i] + slope[:, i] / curvature[:, i]).clamp(min=0) * in_support[:, i]
                slope -= (new - c[:, i])[:, None] * G[:, :, i]
                c[:, i] = new
        values.append(c)
    return torch.cat(values)[there_BK]
