"""Numba loops that draw coefficients of nested and correlated features.

Every random number is a function of the key, the sample's number, and the place of the number within the sample. So a
sample does not depend on the samples around it. The compiler may not reorder sums, so a sample does not depend on the
processor either.

A feature is a candidate if its own normal number exceeds a bound, which depends on the sample's shared factors. Most
features are rare, so the loops do not draw a number for each. They visit the places of a block where a number exceeds
the block's lowest bound, and compare there. Nested features are only drawn below active parents.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
# a minimum does not depend on the order of comparisons, and reordering them makes it fast
_in_any_order = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"nnan", "nsz"})

BLOCK = 64
"""Features without a parent that are visited together."""
TOGETHER = 5
"""Factors whose products are subtracted in one pass; arrays are padded with zeros to a multiple."""
_GROUP = 8
"""Samples whose bounds are computed together, so that weights are read once for all of them."""
_MASK = np.uint64(0xFFFFFFFF)
_DRAWN, _ACTIVE = 0, 1
"""Places in `Sample.state`."""


class Law(NamedTuple):
    """The distribution of each of n features."""

    bounds: np.ndarray
    """A feature is a candidate if its own normal number exceeds this bound, less the inner product of its weights and
    the sample's factors (n, float32)."""
    weights: np.ndarray
    """Weights on shared factors (n x padded rank, float32)."""
    means: np.ndarray
    """Mean magnitudes (n, float32)."""
    deviations: np.ndarray
    """Standard deviations of magnitudes (n, float32)."""


class Free(NamedTuple):
    """Features that have neither a parent nor siblings, in blocks of `BLOCK`."""

    features: np.ndarray
    """Indices of these features."""
    bounds: np.ndarray
    """blocks x `BLOCK` bounds of `Law`; infinite beyond the last feature."""
    weights: np.ndarray
    """blocks x padded rank x `BLOCK` weights of `Law`."""


class Nested(NamedTuple):
    """Families of siblings. Family f has the members ``members[offsets[f]:offsets[f + 1]]``."""

    offsets: np.ndarray
    members: np.ndarray
    exclusive: np.ndarray
    """Whether at most one member of a family is active."""
    scaled: np.ndarray
    """Whether the magnitudes of a family are multiplied by the parent's, divided by the parent's mean."""
    under: np.ndarray
    """The families below feature i are ``families[under[i]:under[i + 1]]``. Families without a parent are listed
    under n, one more than the last feature."""
    families: np.ndarray


class Sample(NamedTuple):
    """A sample while it is drawn."""

    state: np.ndarray
    """How often random words were drawn, and the number of active features."""
    factors: np.ndarray
    """Shared factors (padded rank, float32)."""
    bounds: np.ndarray
    """Bounds of the free features (blocks x `BLOCK`, float32)."""
    columns: np.ndarray
    """The active features, at the front of n places."""
    values: np.ndarray
    """Their magnitudes."""


Word = Any
"""An unsigned 64-bit integer. mypy cannot express the types of numba."""


@_compiled
def philox(a: Word, b: Word, c: Word, d: Word, first: Word, second: Word) -> tuple[Word, Word, Word, Word]:
    """Return four random 32-bit words for a counter of four words and a key of two: Philox4x32-10 (Salmon et al. 2011,
    "Parallel random numbers: as easy as 1, 2, 3").

    All arguments and results are unsigned 64-bit integers below 2^32.
    """
    for _ in range(10):
        product_a, product_c = np.uint64(0xD2511F53) * a, np.uint64(0xCD9E8D57) * c
        a, c = (product_c >> np.uint64(32)) ^ b ^ first, (product_a >> np.uint64(32)) ^ d ^ second
        b, d = product_c & _MASK, product_a & _MASK
        first, second = (first + np.uint64(0x9E3779B9)) & _MASK, (second + np.uint64(0xBB67AE85)) & _MASK
    return a, b, c, d


@_compiled
def _words(key: Word, number: int, state: np.ndarray) -> tuple[Word, Word, Word, Word]:
    """Return the sample's next four random words."""
    low, high, shift = np.uint64(number) & _MASK, np.uint64(number) >> np.uint64(32), np.uint64(32)
    words = philox(low, high, np.uint64(state[_DRAWN]), np.uint64(0), key & _MASK, key >> shift)
    state[_DRAWN] += 1
    return words


@_compiled
def _pair(key: Word, number: int, state: np.ndarray) -> tuple[float, float]:
    """Return the sample's next two random numbers, uniform in (0, 1], in steps of 2^-53."""
    a, b, c, d = _words(key, number, state)
    first = ((a >> np.uint64(5)) * 67108864.0 + (b >> np.uint64(6)) + 0.5) / 9007199254740992.0
    second = ((c >> np.uint64(5)) * 67108864.0 + (d >> np.uint64(6)) + 0.5) / 9007199254740992.0
    return first, second


@_compiled
def _above(bound: Any) -> float:
    """Return the probability that a standard normal number exceeds a bound."""
    return 0.5 * math.erfc(bound * 0.7071067811865476)


@_compiled
def _normals(key: Word, number: int, state: np.ndarray) -> tuple[float, float]:
    """Return the sample's next two independent standard normal numbers (Box and Muller 1958)."""
    u, v = _pair(key, number, state)
    radius = math.sqrt(-2 * math.log(u))
    return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)


@_compiled
def _add(key: Word, number: int, sample: Sample, law: Law, feature: int, scale: float) -> bool:
    """Draw a candidate's magnitude, and add the feature to the sample if it is positive. Return whether it is."""
    normal, _ = _normals(key, number, sample.state)
    value = scale * (law.means[feature] + law.deviations[feature] * normal)
    if value <= 0:
        return False
    place = sample.state[_ACTIVE]
    sample.columns[place], sample.values[place] = feature, value
    sample.state[_ACTIVE] += 1
    return True


@_in_any_order
def _lowest(bounds: np.ndarray, block: int) -> Any:
    """Return the lowest bound of a block."""
    lowest = np.float32(np.inf)
    for j in range(BLOCK):
        lowest = min(lowest, bounds[block, j])
    return lowest


@_compiled
def _lower(free: Free, block: int, factors: np.ndarray, out: np.ndarray, g: int) -> None:
    """Write a block's bounds for the factors of sample g to ``out`` (samples x blocks x `BLOCK`)."""
    # rows are indexed and never sliced, since each slice would count references
    bounds, w = free.bounds, free.weights
    for j in range(BLOCK):
        out[g, block, j] = bounds[block, j]
    for k in range(0, factors.shape[1], TOGETHER):
        p, q, r, s, t = factors[g, k], factors[g, k + 1], factors[g, k + 2], factors[g, k + 3], factors[g, k + 4]
        for j in range(BLOCK):
            first = p * w[block, k, j] + q * w[block, k + 1, j]
            second = r * w[block, k + 2, j] + s * w[block, k + 3, j]
            out[g, block, j] -= first + second + t * w[block, k + 4, j]


@_compiled
def _draw_free(key: Word, number: int, sample: Sample, law: Law, free: Free) -> None:
    """Draw the features that have neither a parent nor siblings."""
    bounds = sample.bounds
    for block in range(len(bounds)):
        chance = _above(_lowest(bounds, block))
        u, v = _pair(key, number, sample.state)
        # (1 - chance)^BLOCK, the probability that no number exceeds the bound, is at least this
        if u <= 1 - BLOCK * chance:
            continue
        # the gap between two numbers above the bound has a geometric distribution
        scale = math.log1p(-chance)
        place = int(min(math.log(u) / scale, float(BLOCK)))
        while place < BLOCK:
            if v * chance < _above(bounds[block, place]):
                _add(key, number, sample, law, free.features[block * BLOCK + place], 1.0)
            u, v = _pair(key, number, sample.state)
            place += 1 + int(min(math.log(u) / scale, float(BLOCK)))


@_compiled
def _draw_family(key: Word, number: int, sample: Sample, law: Law, nested: Nested, family: int, scale: float) -> None:
    """Draw siblings below an active parent. Siblings that exclude each other compete for one place."""
    start, stop, exclusive = nested.offsets[family], nested.offsets[family + 1], nested.exclusive[family]
    before, rivals = sample.state[_ACTIVE], 0
    f, w = sample.factors, law.weights
    words = _words(key, number, sample.state)
    for i in range(stop - start):
        member = nested.members[start + i]
        if i and i % 4 == 0:
            words = _words(key, number, sample.state)
        bound = law.bounds[member]
        for k in range(0, len(f), TOGETHER):
            first = f[k] * w[member, k] + f[k + 1] * w[member, k + 1]
            second = f[k + 2] * w[member, k + 2] + f[k + 3] * w[member, k + 3]
            bound -= first + second + f[k + 4] * w[member, k + 4]
        # uniform in steps of 2^-32
        u = (words[i % 4] + 0.5) / 4294967296.0
        if u >= _above(bound) or not _add(key, number, sample, law, member, scale):
            continue
        rivals += 1
        if exclusive and rivals > 1:
            # the last of r rivals replaces the earlier choice with probability 1 / r, so all have equal chances
            v, _ = _pair(key, number, sample.state)
            if v * rivals < 1:
                sample.columns[before], sample.values[before] = sample.columns[before + 1], sample.values[before + 1]
            sample.state[_ACTIVE] -= 1


@_compiled
def _draw_nested(key: Word, number: int, sample: Sample, law: Law, nested: Nested) -> None:
    """Draw the families without a parent, then those below active features, generation by generation."""
    place = -1
    while place < sample.state[_ACTIVE]:
        parent = sample.columns[place] if place >= 0 else len(law.means)
        for i in range(nested.under[parent], nested.under[parent + 1]):
            family = nested.families[i]
            scale = sample.values[place] / law.means[parent] if nested.scaled[family] else 1.0
            _draw_family(key, number, sample, law, nested, family, scale)
        place += 1


@_compiled
def _sort(sample: Sample) -> None:
    """Sort the active features by their index. Most of them are in order."""
    columns, values = sample.columns, sample.values
    for i in range(1, sample.state[_ACTIVE]):
        column, value, j = columns[i], values[i], i
        while j > 0 and columns[j - 1] > column:
            columns[j], values[j] = columns[j - 1], values[j - 1]
            j -= 1
        columns[j], values[j] = column, value


@_compiled
def draw(
    key: Word,
    first: int,
    rank: int,
    law: Law,
    free: Free,
    nested: Nested,
    columns: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Draw consecutive samples.

    Parameters
    ----------
    key
        Key of the random numbers, an unsigned 64-bit integer.
    first
        Number of the first sample.
    rank
        Number of factors.
    law, free, nested
        The distribution.
    columns, values
        Written: the active features of each sample in ascending order, and their magnitudes (samples x capacity). Of
        a sample with more active features than the capacity, only some are written.
    counts
        Written: number of active features of each sample.
    """
    n, padded = law.weights.shape
    blocks = len(free.bounds)
    states, factors = np.zeros((_GROUP, 2), np.int64), np.zeros((_GROUP, padded), np.float32)
    bounds = np.empty((_GROUP, blocks, BLOCK), np.float32)
    active, magnitudes = np.empty(n + 1, np.int32), np.empty(n + 1, np.float64)
    for start in range(0, len(counts), _GROUP):
        size = min(_GROUP, len(counts) - start)
        states[:] = 0
        for g in range(size):
            for k in range(0, rank, 2):
                one, other = _normals(key, first + start + g, states[g])
                factors[g, k] = one
                if k + 1 < rank:
                    factors[g, k + 1] = other
        for block in range(blocks):
            for g in range(size):
                _lower(free, block, factors, bounds, g)
        for g in range(size):
            r = start + g
            sample = Sample(states[g], factors[g], bounds[g], active, magnitudes)
            _draw_free(key, first + r, sample, law, free)
            _draw_nested(key, first + r, sample, law, nested)
            _sort(sample)
            counts[r] = sample.state[_ACTIVE]
            for i in range(min(counts[r], columns.shape[1])):
                columns[r, i], values[r, i] = active[i], magnitudes[i]
