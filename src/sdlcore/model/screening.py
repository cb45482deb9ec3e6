"""What a search of float32 pre-activations finds, found by a product in bfloat16.

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
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdlcore.model import kernels
from sdlcore.model.support import Support, keep

if TYPE_CHECKING:
    from sdlcore.model.preactivations import Entries, Preactivations

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


def largest(pre_BQ: "Preactivations", k: int) -> "Entries":
    """Return what `Preactivations.largest` does."""
    n_q = pre_BQ.shape[1]
    few = _CANDIDATES * k
    if few > n_q // 4:
        return pre_BQ.unscreened().largest(k)
    proposed = _upper(pre_BQ).largest(few)
    candidates = proposed.support
    offsets, columns, values = kernels.narrow(candidates.offsets, candidates.columns, _values(pre_BQ, candidates), k)
    found = torch.diff(offsets)
    # what was not proposed is at most the least that was, as it was before it was rounded
    highest_B = _least(proposed.pre, candidates.offsets) * _ABOVE
    certain_B = (torch.diff(candidates.offsets) < few) | ((found == k) & (_least(values, offsets) > highest_B))
    if certain_B.all():
        return pre_BQ.entries(offsets, columns, values)
    others = (~certain_B).nonzero().squeeze(1)
    searched = pre_BQ.unscreened(others)
    support = searched.largest(k).support
    starts = offsets[:-1].clone()
    starts[others] = len(columns) + support.offsets[:-1]
    found[others] = torch.diff(support.offsets)
    # added up as the others are, lest bits depend on what was certain
    columns, values = torch.cat([columns, support.columns]), torch.cat([values, _values(searched, support)])
    return pre_BQ.entries(*kernels.gathered(starts, found, columns, values))


def above(pre_BQ: "Preactivations", bounds_Q: Tensor) -> "Entries":
    """Return what `Preactivations.above` does."""
    some = pre_BQ.x[::_SAMPLES] @ pre_BQ.W[::_LATENTS].T + pre_BQ.b[::_LATENTS]
    if (some > bounds_Q[::_LATENTS]).float().mean() > _DENSE:
        return pre_BQ.unscreened().above(bounds_Q)
    # rounding keeps the order, so what exceeds a bound exceeds this once it is rounded
    candidates = _upper(pre_BQ).above(bounds_Q - bounds_Q.abs() * (_ABOVE - 1)).support
    pre_N = _values(pre_BQ, candidates)
    support, places = keep(candidates, pre_N > bounds_Q[candidates.columns])
    return pre_BQ.entries(support.offsets, support.columns, pre_N[places])


def _upper(pre_BQ: "Preactivations") -> "Preactivations":
    """Return upper bounds of pre-activations, as a product in bfloat16: its own, and how far it can be off."""
    n_p = pre_BQ.x.shape[1]
    vanished = n_p**0.5 * _VANISHED
    norms_Q, lost_Q = (norm + vanished for norm in kernels.rounding(pre_BQ.W))
    norms_B, lost_B = (norm + vanished for norm in kernels.rounding(pre_BQ.x))
    # sums of n_p products in float32, those of either product and of the norms
    sums = 4 * (n_p + 8) * 2.0**-24
    of_samples = torch.stack([lost_B + sums * norms_B, norms_B + lost_B], 1)
    of_latents = torch.stack([norms_Q, lost_Q], 1)
    b_Q = pre_BQ.b + _BIAS * pre_BQ.b.abs()
    return type(pre_BQ)(
        pre_BQ.x, pre_BQ.W, b_Q, torch.bfloat16, screened=False, added=(of_samples * _ABOVE, of_latents * _ABOVE)
    )


def _values(pre_BQ: "Preactivations", support: Support) -> Tensor:
    return kernels.dots(*support.by_latent, pre_BQ.W, pre_BQ.x) + pre_BQ.b[support.columns]


def _least(values_N: Tensor, offsets: Tensor) -> Tensor:
    """Return the least value of each row of a pattern, infinity where a row has none."""
    return torch.segment_reduce(values_N, "min", offsets=offsets, initial=torch.inf)
