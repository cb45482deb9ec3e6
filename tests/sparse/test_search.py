"""Searches find the entries of their masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.sparse.search import Above, LargestPerBatch, LargestPerSample
from sdlcore.sparse.support import subset
from tests.preactivations import drawn, given_as

seeds = st.integers(0, 10_000)


@pytest.mark.parametrize(
    "search",
    [
        Above(0.2),
        Above(torch.linspace(-1, 1, 10)),
        LargestPerSample(3),
        LargestPerSample(3, signed=True),
        LargestPerBatch(2),
    ],
)
@given(seed=seeds, ties=st.booleans())
def test_a_search_finds_what_its_mask_has(search, seed, ties):
    z = drawn(seed)
    z = z.round() if ties else z
    selection, mask = search.find(given_as(z)), search.mask(z)
    selected = torch.zeros_like(mask)
    selected[selection.support.rows, selection.support.columns.long()] = True
    matters = z != 0 if getattr(search, "signed", False) else z > 0
    assert torch.equal(selected & matters, mask & matters)
    assert torch.equal(selection.pre, z[selection.support.rows, selection.support.columns.long()])


@given(seed=seeds, spread=st.floats(0, 3))
def test_the_largest_of_a_batch_are_selected_whatever_bound_is_tried(seed, spread):
    """Samples of very different scale make the guess bad; the result is still exact."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(300, 400, generator=generator) * torch.exp(spread * torch.randn(300, 1, generator=generator))
    search = LargestPerBatch(5)
    for batch in (z, z, 0.1 * z, 0 * z - 1, z):  # a batch's guess for the next may be wrong, too
        support, values = search.find(given_as(batch))
        expected = batch.flatten().sort().values[-1500:].clamp(min=0)
        assert torch.equal(values, batch[support.rows, support.columns.long()])
        assert torch.equal(values.sort().values, expected[expected > 0])


@given(seed=seeds, k=st.integers(1, 4))
@pytest.mark.parametrize("kind", [LargestPerSample, LargestPerBatch])
def test_ranks_say_what_a_smaller_k_would_keep(kind, seed, k):
    z = drawn(seed)
    large, small = kind(5), kind(k)
    support, values = large.find(given_as(z))
    part, places = subset(support, large.ranks(values, support) < k)
    expected = small.find(given_as(z)).support
    assert torch.equal(part.offsets, expected.offsets)
    assert torch.equal(part.columns, expected.columns)
    assert torch.equal(support.columns[places], part.columns)
