"""Searches across processes find the same entries as a single process."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.parallel.groups import ALONE, Processes
from sdlcore.parallel.search import divided
from sdlcore.sparse.kernels.numba_kernels import NumbaKernels
from sdlcore.sparse.search import Above, LargestPerBatch, LargestPerSample
from sdlcore.sparse.support import Entries, Support
from tests.parallel.threads import together


def every_entry(values_BQ):
    B, Q = values_BQ.shape
    columns = torch.arange(Q, dtype=torch.int32).repeat(B)
    return Entries(Support(torch.arange(B + 1) * Q, columns, Q, NumbaKernels()), values_BQ.flatten())


def narrowed_and_ranked(search, values_BQ):
    entries = every_entry(values_BQ)
    support, pre_N = search.narrow(entries)
    return support.dense(pre_N), search.ranks(entries.pre, entries.support)


# few distinct whole numbers, so that many are equal; positive, as entries are
values = st.integers(0, 10_000).map(
    lambda seed: torch.randint(1, 6, (6, 8), generator=torch.Generator().manual_seed(seed)).float()
)


@given(values_BQ=values, k=st.integers(1, 8), processes=st.sampled_from([2, 4]))
def test_the_largest_of_a_sample_among_divided_latents(values_BQ, k, processes):
    parts = values_BQ.split(8 // processes, dim=1)

    def work(group):
        mask, ranks = narrowed_and_ranked(divided(LargestPerSample(k), Processes(latents=group)), parts[group.rank])
        return mask, ranks.view(parts[group.rank].shape)

    mask, ranks = (torch.cat(each, dim=1) for each in zip(*together(processes, work), strict=True))
    expected, expected_ranks = narrowed_and_ranked(LargestPerSample(k), values_BQ)
    assert torch.equal(mask, expected)
    assert torch.equal(ranks, expected_ranks.view(6, 8))


@given(values_BQ=values, k=st.integers(1, 8), processes=st.sampled_from([2, 3]))
def test_the_largest_of_a_batch_among_divided_samples(values_BQ, k, processes):
    parts = values_BQ.split(6 // processes)

    def work(group):
        return narrowed_and_ranked(divided(LargestPerBatch(k), Processes(samples=group)), parts[group.rank])

    mask, ranks = (torch.cat(each) for each in zip(*together(processes, work), strict=True))
    expected, expected_ranks = narrowed_and_ranked(LargestPerBatch(k), values_BQ)
    assert torch.equal(mask, expected)
    assert torch.equal(ranks, expected_ranks)


def test_searches_that_need_no_other_process_stay_as_they_are():
    for search in (Above(0.0), LargestPerSample(2), LargestPerBatch(2)):
        assert divided(search, ALONE) is search
