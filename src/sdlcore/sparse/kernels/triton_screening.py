"""Search a float32 product by screening it in float16 on tensor cores, which are many times faster.

Let x' and w' be the rounded sample x and encoder row w, each scaled by a power of two first. Then

    |w . x - w' . x'| = |w . (x - x') + (w - w') . x'| <= |w| |x - x'| + |w - w'| |x'|,

and the rounding errors of float32 sums are at most a small share of |w| |x|. Adding all of this to the float16 product
gives an upper bound of the float32 entry, and subtracting it gives a lower bound. The upper and lower bounds exclude
nearly all entries with certainty. The other entries are computed in float32, and the result is chosen from them.
Samples with too many remaining entries are searched in float32. `sdlcore.sparse.screening` does the same on CPUs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from sdlcore.sparse.kernels import triton_search
from sdlcore.sparse.kernels.interface import LOST_TO_BIAS, VANISHED, Product, SparseRows
from sdlcore.sparse.kernels.triton_search import Upper
from sdlcore.sparse.kernels.triton_sums import sums

LEAST = 1 << 33
"""Products are screened from this number of multiplications. In float32 they take a third of a millisecond on an H100
(some 50 TFLOP/s); rounding both factors and waiting for the GPU take about half of that."""
_CANDIDATES = 4
"""Factor on k: entries of each sample that float16 proposes. For normally distributed numbers in 4096 dimensions, the
bounds leave 1.6 k on average."""
_DENSE = 0.01
"""Share of entries above their bound beyond which all entries are computed in float32. A single entry takes as long as
30 entries of a dense product, by an H100's rates: 4 n_p bytes at 3 TB/s, and 2 n_p operations at 50 TFLOP/s."""
_SAMPLES, _LATENTS = 8, 16
"""Strides of the samples and latents from which that share of entries is estimated."""
_ADDING = 1.5 * 2.0**-23
"""Largest rounding error of tensor cores per summed product, as a share of |w| |x|. They truncate summands after the
24th bit of the largest, and add four or more products to a sum at once (Fasi et al. 2021)."""
_OTHERS = 64
"""Number of further products whose errors cover all other rounding: float32 sums, scales and norms."""
_MORE = 1 + 2.0**-6
"""Safety factor, because these bounds are rounded themselves, and x' may be longer than x."""


@triton.jit
def _round(x, halves, numbers, width, BLOCK: tl.constexpr):
    """Write a row as scaled float16, its scale, its norm, and the norm of its rounding error."""
    row, inner = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    value = tl.load(x + row * width + inner, mask=inner < width, other=0.0)
    # the scale is the power of two in the largest number's exponent, limited so that its inverse is one, too
    bits = tl.max(tl.abs(value)).to(tl.int32, bitcast=True) & 0x7F800000
    bits = tl.minimum(tl.maximum(bits, 1 << 23), 253 << 23)
    unit, inverse = bits.to(tl.float32, bitcast=True), ((254 << 23) - bits).to(tl.float32, bitcast=True)
    half = (value * inverse).to(tl.float16)
    lost = value - half.to(tl.float32) * unit
    tl.store(halves + row * width + inner, half, mask=inner < width)
    tl.store(numbers + row * 3, unit)
    tl.store(numbers + row * 3 + 1, tl.sqrt(tl.sum(value * value)))
    tl.store(numbers + row * 3 + 2, tl.sqrt(tl.sum(lost * lost)))


def pays(product: Product) -> bool:
    """Return whether screening is faster than the float32 product: for large products on NVIDIA's tensor cores."""
    x, W, *_ = product
    is_nvidia = x.is_cuda and torch.version.hip is None
    return is_nvidia and product.dtype == torch.float32 and x.numel() * len(W) >= LEAST


def largest(product: Product, k: int) -> SparseRows:
    """Return the k largest entries of each row, as `sdlcore.sparse.kernels.triton_search.largest` does."""
    n_rows, few = len(product.x), _CANDIDATES * k
    if few > len(product.W) // 4:
        return triton_search.largest(product, k)
    rounded, upper = _bounded(product)
    proposed = triton_search.largest(rounded, few, upper)
    columns, highest = proposed.columns.view(n_rows, few), proposed.values.view(n_rows, few)
    added = (upper.rows[:, None, 1:] * upper.columns[columns, 1:]).sum(2)
    # an entry whose bounds are NaN may be anything: it stays a candidate and excludes no other
    lowest = (highest - 2 * added).nan_to_num_(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    # at least k entries are not below this
    least = lowest.topk(k, dim=1).values[:, -1:]
    is_open = ~(highest < least)
    places = is_open.flatten().nonzero().squeeze(1)
    offsets = functional.pad(is_open.sum(1).cumsum(0), (1, 0))
    entries = _computed(product, offsets, proposed.columns[places])
    keys = torch.full((n_rows * few,), torch.iinfo(torch.int64).min, device=columns.device)
    keys[places] = triton_search.packed(entries.columns, entries.values)
    largest_entries = triton_search.rows_of(keys.view(n_rows, few).topk(k, dim=1, sorted=False).values)
    # entries that were not proposed are at most the smallest proposed one; if that is excluded, so are they
    others = is_open.all(1).nonzero().squeeze(1)
    if len(others):
        searched = product._replace(x=product.x[others])
        # summed in the same order as the others, so that bits do not depend on which samples were certain
        more = triton_search.largest(searched, k)
        more = _computed(searched, more.offsets, more.columns)
        largest_entries.columns.view(n_rows, k)[others] = more.columns.view(-1, k)
        largest_entries.values.view(n_rows, k)[others] = more.values.view(-1, k)
    return largest_entries


def above(product: Product, bounds: Tensor) -> SparseRows:
    """Return the entries that exceed their column's bound."""
    some = torch.addmm(product.b[::_LATENTS], product.x[::_SAMPLES], product.W[::_LATENTS].T)
    if (some > bounds[::_LATENTS]).float().mean() > _DENSE:
        return triton_search.above(product, bounds)
    rounded, upper = _bounded(product)
    candidates = triton_search.above(rounded, bounds, upper)
    computed = _computed(product, candidates.offsets, candidates.columns)
    return computed.where(computed.values > bounds[computed.columns])


def _bounded(product: Product) -> tuple[Product, Upper]:
    """Return the product in float16, and the numbers that make it an upper bound of the float32 product."""
    x, W, b, *_ = product
    (x_half, of_x), (W_half, of_W) = _rounded(x), _rounded(W)
    (unit_B, norm_B, lost_B), (unit_Q, norm_Q, lost_Q) = of_x.unbind(1), of_W.unbind(1)
    share = _ADDING * (x.shape[1] + _OTHERS)
    vanished = x.shape[1] ** 0.5 * VANISHED
    off = lost_B + vanished + share * (norm_B + vanished), norm_B + lost_B + 2 * vanished
    rows = torch.stack([unit_B, _MORE * off[0], _MORE * off[1], torch.ones_like(unit_B)], 1)
    columns = torch.stack([unit_Q, norm_Q + vanished, lost_Q + vanished, LOST_TO_BIAS * b.abs()], 1)
    return Product(x_half, W_half, b, torch.float16), Upper(rows, columns)


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows in float16, and three numbers for each row (`_round`)."""
    halves, numbers = x.new_empty(x.shape, dtype=torch.float16), x.new_empty(len(x), 3)
    width = x.shape[1]
    block = triton.next_power_of_2(width)
    _round[(len(x),)](x.contiguous(), halves, numbers, width, BLOCK=block, num_warps=min(16, max(1, block // 256)))
    return halves, numbers


def _computed(product: Product, offsets: Tensor, columns: Tensor) -> SparseRows:
    """Return the entries with their float32 values."""
    x, W, b, *_ = product
    return SparseRows(offsets, columns, sums(offsets, columns, None, W, x).dots + b[columns])
