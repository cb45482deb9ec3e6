"""Propose candidates in bfloat16 for an exact float32 search of pre-activations.

A CPU with instructions for bfloat16 computes W_E x in it in less than half of float32's time, and how far it can be off
is known. With x' and w' for a sample x and an encoder row w as they are rounded,

    |w . x - w' . x'| = |w . (x - x') + (w - w') . x'| <= |w| |x - x'| + |w - w'| |x'|,

norms that cost one pass over both. With two more inputs that hold them, the product in bfloat16 is an upper bound of
every pre-activation. It excludes nearly all entries, for certain; those that it cannot exclude are computed in float32,
and what is wanted is chosen by that. Where this leaves open what a sample's largest are, its float32 product is
searched. What comes out is what a search of the float32 product gives, but for the order in which a dot product is
added up.
"""

from functools import cache

import torch
from torch import Tensor

from sdlcore.model.kernels import tiles
from sdlcore.model.kernels.interface import Kernels, Product, SparseRows

LEAST = 1 << 28
"""Multiplications of a product from which on looking at its factors first is worth its time."""
_CANDIDATES = 3
"""Times k: entries that bfloat16 proposes. With twice k, the float32 product of half of the samples has to be searched
where features are rare (S = .995, k = 128); with three times, that of a twelfth, and of none at S = .99."""
_DENSE = 0.1
"""Share of entries that exceed a bound from which on so many are to be computed in float32 that all may be."""
_SAMPLES, _LATENTS = 8, 16
"""Every which sample and latent that share is guessed by."""
_ABOVE = 1 + 2.0**-7
"""Times this, a positive number is no less once it is rounded to bfloat16, and a rounded one no less than it was."""
_BIAS = 2.0**-14
"""What rounding takes from a bias at most, as a share of it, which enters as the sum of two numbers in bfloat16."""
_VANISHED = 2.0**-62
"""More than a number whose square is too small for float32, and so in no norm."""


@cache
def pays() -> bool:
    """Whether this CPU has instructions for products in bfloat16 (AVX512-BF16 or AMX), as far as torch tells."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    known = tell() if tell is not None else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def largest(product: Product, k: int, kernels: Kernels) -> SparseRows:
    """Return the k largest positive entries of each row of a product in float32."""
    n_q = len(product.W)
    few = _CANDIDATES * k
    if few > n_q // 4:
        return kernels.largest(product, k)
    proposed = kernels.largest(_upper(product), few)
    offsets, columns, values = kernels.narrow(_computed(product, proposed, kernels), k)
    found = torch.diff(offsets)
    # what was not proposed is at most the least that was, as it was before it was rounded
    highest_B = _least(proposed) * _ABOVE
    certain_B = torch.diff(proposed.offsets) < few
    certain_B |= (found == k) & (_least(SparseRows(offsets, columns, values)) > highest_B)
    if certain_B.all():
        return SparseRows(offsets, columns, values)
    others = (~certain_B).nonzero().squeeze(1)
    searched = product._replace(x=product.x[others])
    # added up as the others are, lest bits depend on what was certain
    more = _computed(searched, kernels.largest(searched, k), kernels)
    starts = offsets[:-1].clone()
    starts[others] = len(columns) + more.offsets[:-1]
    found[others] = torch.diff(more.offsets)
    return tiles.gathered(starts, found, torch.cat([columns, more.columns]), torch.cat([values, more.values]))


def above(product: Product, bounds_Q: Tensor, kernels: Kernels) -> SparseRows:
    """Return the entries of a product in float32 that exceed their column's bound."""
    some = product.x[::_SAMPLES] @ product.W[::_LATENTS].T + product.b[::_LATENTS]
    if (some > bounds_Q[::_LATENTS]).float().mean() > _DENSE:
        return kernels.above(product, bounds_Q)
    # rounding keeps the order, so what exceeds a bound exceeds this once it is rounded
    candidates = kernels.above(_upper(product), bounds_Q - bounds_Q.abs() * (_ABOVE - 1))
    computed = _computed(product, candidates, kernels)
    return computed.where(computed.values > bounds_Q[computed.columns])


def _upper(product: Product) -> Product:
    """Return upper bounds of pre-activations, as a product in bfloat16: its own, and how far it can be off."""
    x, W, b, *_ = product
    n_p = x.shape[1]
    vanished = n_p**0.5 * _VANISHED
    norms_Q, lost_Q = (norm + vanished for norm in tiles.rounding(W))
    norms_B, lost_B = (norm + vanished for norm in tiles.rounding(x))
    # sums of n_p products in float32, those of either product and of the norms
    sums = 4 * (n_p + 8) * 2.0**-24
    of_samples = torch.stack([lost_B + sums * norms_B, norms_B + lost_B], 1)
    of_latents = torch.stack([norms_Q, lost_Q], 1)
    return Product(x, W, b + _BIAS * b.abs(), torch.bfloat16, (of_samples * _ABOVE, of_latents * _ABOVE))


def _computed(product: Product, entries: SparseRows, kernels: Kernels) -> SparseRows:
    """Return entries with the values that float32 has there."""
    x, W, b, *_ = product
    by_column = kernels.transpose(entries.offsets, entries.columns, len(W))
    return entries._replace(values=kernels.dots(*by_column, W, x) + b[entries.columns])


def _least(entries: SparseRows) -> Tensor:
    """Return the least value of each row, infinity where a row has none."""
    return torch.segment_reduce(entries.values, "min", offsets=entries.offsets, initial=torch.inf)
