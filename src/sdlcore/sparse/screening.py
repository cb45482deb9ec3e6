"""Propose candidates in int8 for an exact float32 search of pre-activations.

A CPU with instructions for int8 computes W_E x in a fifth of float32's time once each sample and each encoder row is
rounded to whole steps of its own, and how far this can be off is known. With x' and w' for a sample x and an encoder
row w as they are rounded,

    |w . x - w' . x'| = |w . (x - x') + (w - w') . x'| <= |w| |x - x'| + |w - w'| |x'|,

norms that come with the rounding. Added to the product in int8 it makes an upper bound of every pre-activation. That
excludes nearly all entries, for certain; those that it cannot exclude are computed in float32, and what is wanted is
chosen by that. Where this leaves open what a sample's largest are, its float32 product is searched. What comes out is
what a search of the float32 product gives, but for the order in which a dot product is added up.
"""

import torch
from torch import Tensor

from sdlcore.sparse.kernels import tiles
from sdlcore.sparse.kernels.interface import LOST_TO_BIAS, Kernels, Product, SparseRows

LEAST = 1 << 28
"""Multiplications of a product from which on looking at its factors first is worth its time."""
_CANDIDATES = 6
"""Times k: entries that int8 proposes. With four times k, the float32 product of up to a fifth of the samples has to be
searched (TopK, k = 32 and 64, on the bench and a language model's activations), with six times that of a hundredth."""
_DENSE = 0.05
"""Share of entries that exceed a bound from which on so many are to be computed in float32 that all may be."""
_CENTRED = 0.1
"""Share of the samples' mean square that their mean's is, from which on it is taken off first."""
_SAMPLES, _LATENTS = 8, 16
"""Every which sample and latent that share is guessed by."""


def pays() -> bool:
    """Whether this CPU has fast products in int8: AVX512-VNNI or AMX, as torch reports them."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    known = tell() if tell is not None else {}
    return bool(known.get("avx512_vnni") or known.get("amx_int8"))


def largest(product: Product, k: int, kernels: Kernels) -> SparseRows:
    """Return the k largest positive entries of each row of a product in float32."""
    n_q = len(product.W)
    few = _CANDIDATES * k
    if few > n_q // 4:
        return kernels.largest(product, k)
    proposed = kernels.largest(upper(product), few)
    found = kernels.narrow(_computed(product, proposed, kernels), k)
    # what was not proposed is at most the least that was
    certain_B = torch.diff(proposed.offsets) < few
    certain_B |= (torch.diff(found.offsets) == k) & (_least(found) > _least(proposed))
    if certain_B.all():
        return found
    others = (~certain_B).nonzero().squeeze(1)
    searched = product._replace(x=product.x[others])
    keeping_nothing = type(kernels)()  # since another step has another number of them
    # added up as the others are, lest bits depend on what was certain
    return tiles.replaced(found, others, _computed(searched, keeping_nothing.largest(searched, k), keeping_nothing))


def above(product: Product, bounds_Q: Tensor, kernels: Kernels) -> SparseRows:
    """Return the entries of a product in float32 that exceed their column's bound."""
    some = product.x[::_SAMPLES] @ product.W[::_LATENTS].T + product.b[::_LATENTS]
    if (some > bounds_Q[::_LATENTS]).float().mean() > _DENSE:
        return kernels.above(product, bounds_Q)
    candidates = kernels.above(upper(product), bounds_Q)
    return tiles.exceeding(_computed(product, candidates, kernels), bounds_Q)


def upper(product: Product) -> Product:
    """Return upper bounds of a product, to be searched.

    Where samples are far from zero together, what is left without their mean is rounded in smaller steps.
    """
    x, W, b, *_ = product
    mean = x.mean(0)
    norm = float(mean.norm())
    if norm**2 > _CENTRED * float(x.square().sum(1).mean()):
        x, b = x - mean, b + W @ mean
    else:
        norm = 0.0
    return Product(x, W, b + LOST_TO_BIAS * b.abs(), torch.int8, norm)


def _computed(product: Product, entries: SparseRows, kernels: Kernels) -> SparseRows:
    """Return entries with the values that float32 has there."""
    x, W, b, *_ = product
    by_column = kernels.transpose(entries.offsets, entries.columns, len(W))
    return entries._replace(values=kernels.dots(*by_column, W, x) + b[entries.columns])


def _least(entries: SparseRows) -> Tensor:
    """Return the least value of each row, infinity where a row has none."""
    return torch.segment_reduce(entries.values, "min", offsets=entries.offsets, initial=torch.inf)
