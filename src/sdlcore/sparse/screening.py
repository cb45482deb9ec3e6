"""Propose candidates in int8 for an exact float32 search of pre-activations.

A CPU with int8 instructions computes W_E x in a fifth of float32's time, after rounding each sample and each encoder
row to multiples of a step size. The error of this product is bounded. Let x' and w' be the rounded sample x and encoder
row w. Then

    |w . x - w' . x'| = |w . (x - x') + (w - w') . x'| <= |w| |x - x'| + |w - w'| |x'|,

where the norms are by-products of the rounding. Adding this to the int8 product gives an upper bound of every
pre-activation, which excludes nearly all entries with certainty. The other entries are computed in float32, and the
result is chosen from them. If the bounds do not determine a sample's largest entries, its float32 product is searched.
The result equals a search of the float32 product, except for the order of additions in dot products.
"""

import torch
from torch import Tensor

from sdlcore.sparse.kernels import int8, tiles
from sdlcore.sparse.kernels.calling import array, loops
from sdlcore.sparse.kernels.interface import LOST_TO_BIAS, Kernels, Product, SparseRows

LEAST = 1 << 28
"""The factors of a product are examined for screening from this number of multiplications."""
_CANDIDATES = 6
"""Factor on k: entries that int8 proposes. With a factor of four, up to a fifth of the samples need a search of the
float32 product (TopK, k = 32 and 64, on the bench and on a language model's activations). With six, a hundredth do."""
_DENSE = 0.05
"""Share of entries above their bound beyond which all entries are computed in float32."""
_CENTRED = 0.1
"""Share of the samples' mean square that belongs to their mean, above which the mean is subtracted first."""
_AT_ONCE = 1024
"""Rows whose products with all rows are in memory at once."""
_SAMPLES, _LATENTS = 8, 16
"""Strides of the samples and latents that the share of entries above their bound is estimated on."""


def pays() -> bool:
    """Return whether this CPU has fast int8 products: AVX512-VNNI or AMX, as torch reports them."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    capabilities = tell() if tell is not None else {}
    return bool(capabilities.get("avx512_vnni") or capabilities.get("amx_int8"))


def largest(product: Product, k: int, kernels: Kernels, bounds: Tensor | None = None) -> SparseRows:
    """Return the k largest positive entries of each row of a float32 product (`Kernels.largest`)."""
    n_q = len(product.W)
    few = _CANDIDATES * k
    if few > n_q // 4:
        return kernels.largest(product, k, bounds)
    proposed = kernels.largest(upper(product), few, bounds)
    entries = kernels.narrow(_computed(product, proposed, kernels), k)
    # an entry that was not proposed is at most the smallest proposed one
    certain_B = torch.diff(proposed.offsets) < few
    certain_B |= (torch.diff(entries.offsets) == k) & (_least(entries) > _least(proposed))
    if certain_B.all():
        return entries
    others = (~certain_B).nonzero().squeeze(1)
    searched = product._replace(x=product.x[others])
    keeping_nothing = type(kernels)()  # no workspace, because the number of these samples differs from step to step
    # summed in the same order as the others, so that bits do not depend on which samples were certain
    return tiles.replaced(entries, others, _computed(searched, keeping_nothing.largest(searched, k), keeping_nothing))


def above(product: Product, bounds_Q: Tensor, kernels: Kernels) -> SparseRows:
    """Return the entries of a float32 product that exceed their column's bound."""
    sample = product.x[::_SAMPLES] @ product.W[::_LATENTS].T + product.b[::_LATENTS]
    if (sample > bounds_Q[::_LATENTS]).float().mean() > _DENSE:
        return kernels.above(product, bounds_Q)
    candidates = kernels.above(upper(product), bounds_Q)
    return tiles.exceeding(_computed(product, candidates, kernels), bounds_Q)


def nearest(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the other row of the largest inner product in float32 with each row, and this product.

    If no product of a row is positive, return the row itself and zero.
    """
    rounded = torch.empty_like(rows, dtype=torch.int8)
    steps, norms, lost = tiles.quantise(rows, rounded)
    errors = norms.max() * (lost + tiles.error_of_sums(rows.shape[1]) * norms) + lost.max() * (norms + lost)
    neighbours, largest = torch.arange(len(rows)), torch.zeros_like(steps)
    for start in range(0, len(rows), _AT_ONCE):
        part = rounded[start : start + _AT_ONCE]
        products = torch.empty(len(part), len(rows), dtype=torch.int32)
        int8.multiply(part, rounded, products)
        arrays = [array(each) for each in (products, steps, errors, neighbours, largest)]
        loops("cpu_select").find_nearest(array(rows), start, *arrays)
    return neighbours, largest


def upper(product: Product) -> Product:
    """Return a product whose entries are upper bounds of the given one's.

    If the samples' mean is far from zero, it is subtracted first, because the rest is rounded in smaller steps.
    """
    x, W, b, *_ = product
    mean = x.mean(0)
    norm = float(mean.norm())
    if norm**2 > _CENTRED * float(torch.linalg.vector_norm(x)) ** 2 / len(x):
        x, b = x - mean, b + W @ mean
    else:
        norm = 0.0
    return Product(x, W, b + LOST_TO_BIAS * b.abs(), torch.int8, norm)


def _computed(product: Product, entries: SparseRows, kernels: Kernels) -> SparseRows:
    """Return the entries with their float32 values."""
    x, W, b, *_ = product
    by_column = kernels.transpose(entries.offsets, entries.columns, len(W))
    return entries._replace(values=kernels.dots(*by_column, W, x) + b[entries.columns])


def _least(entries: SparseRows) -> Tensor:
    """Return the smallest value of each row; infinity for an empty row."""
    return torch.segment_reduce(entries.values, "min", offsets=entries.offsets, initial=torch.inf)
