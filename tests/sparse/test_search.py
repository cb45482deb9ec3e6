"""Searches find the entries of their masks, also if several processes share a batch."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.processes import Processes
from sdlcore.sparse.kernels.choice import kernels_for
from sdlcore.sparse.search import Above, LargestPerBatch, LargestPerSample
from sdlcore.sparse.support import Entries, full_support, subset
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


class Threads(Processes):
    """One of several threads, which exchange tensors through memory."""

    def __init__(self, rank, shared, barrier):
        self.rank, self.size, self.shared, self.barrier = rank, len(shared), shared, barrier

    def exchange(self, x):
        self.shared[self.rank] = x
        self.barrier.wait(60)
        parts = list(self.shared)
        self.barrier.wait(60)
        return parts

    def counts(self, n):
        return self.exchange(n)

    def gather(self, x_N):
        parts = self.exchange(x_N)
        longest = max(map(len, parts))
        return torch.stack([torch.nn.functional.pad(x, (0, longest - len(x)), value=-torch.inf) for x in parts])


def narrowed_and_ranked(search, values_BQ):
    support = full_support(*values_BQ.shape, kernels_for(values_BQ.device), values_BQ.device)
    narrowed, pre_N = search.narrow(Entries(support, values_BQ.flatten()))
    return narrowed.dense(pre_N), search.ranks(values_BQ.flatten(), support)


@given(seed=seeds, k=st.integers(1, 8), size=st.sampled_from([2, 3]))
def test_processes_find_the_largest_of_a_batch_whose_samples_they_divide(seed, k, size):
    # few distinct numbers, so that many are equal; positive, as entries are
    values_BQ = torch.randint(1, 6, (6, 8), generator=torch.Generator().manual_seed(seed)).float()
    shared, barrier = [None] * size, threading.Barrier(size)

    def work(rank):
        search = LargestPerBatch(k).among(Threads(rank, shared, barrier))
        return narrowed_and_ranked(search, values_BQ.split(6 // size)[rank])

    with ThreadPoolExecutor(size) as pool:
        mask, ranks = (torch.cat(each) for each in zip(*pool.map(work, range(size)), strict=True))
    expected, expected_ranks = narrowed_and_ranked(LargestPerBatch(k), values_BQ)
    assert torch.equal(mask, expected)
    assert torch.equal(ranks, expected_ranks)
