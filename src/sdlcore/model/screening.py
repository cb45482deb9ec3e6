"""What a search of float32 pre-activations finds, found by a product in bfloat16.

A CPU with instructions for bfloat16 computes W_E x in it in less than half of float32's time, and how far it can be off
is known. With x' and w' for a sample x and an encoder row w as they are rounded,

    |w . x - w' . x'| = |w . (x - x') + (w - w') . x'| <= |w| |x - x'| + |w - w'| |x'|,

norms that cost one pass over both. So the product in bfloat16 excludes nearly all entries, for certain; those that it
cannot exclude are computed in float32, and what is wanted is chosen by that. Where certainty is not to be had for a
sample, its float32 product is searched. What comes out is what the float32 product's search gives, but for the order
in which a dot product is added up.
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
_CANDIDATES = 2
"""Times k: entries that bfloat16 proposes. Those that it cannot tell from the k largest are some two thirds as many as
these, on the bench."""
_DENSE = 0.1
"""Share of entries that exceed a bound from which on so many are to be computed in float32 that all may be."""


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
    proposed = pre_BQ.unscreened(torch.bfloat16).largest(few)
    candidates = proposed.support
    counts_B = torch.diff(candidates.offsets)
    offsets, columns, values = kernels.narrow(candidates.offsets, candidates.columns, _values(pre_BQ, candidates), k)
    found = torch.diff(offsets)
    # what was not proposed is at most this, before it was rounded to bfloat16 and after
    highest_B = torch.where(counts_B < few, 0.0, _least(proposed.pre, candidates.offsets)) * (1 + 2**-7)
    norms_Q, lost_Q, by_norm_B, by_lost_B = _reach(pre_BQ)
    highest_B += by_norm_B * norms_Q.max() + by_lost_B * lost_Q.max() + _BIAS * pre_BQ.b.abs().max()
    certain_B = (found == k) & (_least(values, offsets) > highest_B)
    if certain_B.all():
        return pre_BQ.entries(offsets, columns, values)
    others = (~certain_B).nonzero().squeeze(1)
    searched = pre_BQ.unscreened(samples=others)
    support = searched.largest(k).support
    starts = offsets[:-1].clone()
    starts[others] = len(columns) + support.offsets[:-1]
    found[others] = torch.diff(support.offsets)
    # added up as the others are, lest bits depend on what was certain
    columns, values = torch.cat([columns, support.columns]), torch.cat([values, _values(searched, support)])
    return pre_BQ.entries(*kernels.gathered(starts, found, columns, values))


def above(pre_BQ: "Preactivations", bounds_Q: Tensor) -> "Entries":
    """Return what `Preactivations.above` does."""
    some = pre_BQ.x[::8] @ pre_BQ.W[::16].T + pre_BQ.b[::16]
    if (some > bounds_Q[::16]).float().mean() > _DENSE:
        return pre_BQ.unscreened().above(bounds_Q)
    norms_Q, lost_Q, by_norm_B, by_lost_B = _reach(pre_BQ)
    lowest_Q = bounds_Q - by_norm_B.max() * norms_Q - by_lost_B.max() * lost_Q - _BIAS * pre_BQ.b.abs()
    # rounding keeps the order, so what exceeds it exceeds this once it is rounded
    lowest_Q -= lowest_Q.abs() * 2**-7
    candidates = pre_BQ.unscreened(torch.bfloat16).above(lowest_Q).support
    pre_N = _values(pre_BQ, candidates)
    support, places = keep(candidates, pre_N > bounds_Q[candidates.columns])
    return pre_BQ.entries(support.offsets, support.columns, pre_N[places])


_BIAS = 2.0**-14
"""What rounding takes from a bias at most, as a share of it, which enters as the sum of two numbers in bfloat16."""


def _reach(pre_BQ: "Preactivations") -> tuple[Tensor, ...]:
    """Return a, b (n_q each) and c, d (B each): the product in bfloat16 is off by c a + d b at most, but for biases."""
    norms_Q, lost_Q = kernels.rounding(pre_BQ.W)
    norms_B, lost_B = kernels.rounding(pre_BQ.x)
    # sums of n_p products in float32, those of either product and of the norms
    sums = 4 * (pre_BQ.x.shape[1] + 4) * 2.0**-24
    return norms_Q, lost_Q, lost_B + sums * norms_B, norms_B + lost_B


def _values(pre_BQ: "Preactivations", support: Support) -> Tensor:
    return kernels.dots(*support.by_latent, pre_BQ.W, pre_BQ.x) + pre_BQ.b[support.columns]


def _least(values_N: Tensor, offsets: Tensor) -> Tensor:
    """Return the least value of each row of a pattern, infinity where a row has none."""
    return torch.segment_reduce(values_N, "min", offsets=offsets, initial=torch.inf)
