"""Turns, the summary of their times, and memory."""

import mmap
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import machine
from benchmarks.cases import Case
from benchmarks.timing import L0Error, check_l0, summarise, turns


@given(st.integers(1, 6), st.integers(1, 12))
def test_every_library_has_one_turn_a_round_and_each_is_first_as_often(n, rounds):
    order = list(turns(range(n), rounds))
    assert all(sorted(once) == list(range(n)) for once in order)
    firsts = Counter(once[0] for once in order)
    assert max(firsts.values()) - min(firsts.get(i, 0) for i in range(n)) <= 1


def test_a_round_counts_by_its_mean_and_a_disturbed_round_does_not_count():
    summary = summarise([[10.0, 12.0], [11.0, 11.0], [500.0, 700.0]])
    assert summary == {"ms_per_step": 11.0, "ms_least": 11.0, "ms_most": 600.0, "rounds": 3, "steps": 6}


@pytest.mark.parametrize("l0", [62.0, 66.0, float("nan")])
def test_libraries_in_another_state_are_refused_by_name(l0):
    case = Case("saelens", "relu", 1024, "float32", 64)
    check_l0(case, 62.1)
    with pytest.raises(L0Error, match=rf"saelens was to be timed with 64 active latents and had {l0}"):
        check_l0(case, l0)


def test_a_peak_outlasts_its_memory_and_is_forgotten_on_request():
    machine.reset_peak()
    before = machine.resident()
    # from the system, because the allocator may have as much memory left from before
    with mmap.mmap(-1, 64 * 2**20) as fresh:
        for page in range(0, len(fresh), mmap.PAGESIZE):
            fresh[page] = 1
    assert machine.peak() - before > 60
    machine.reset_peak()
    assert machine.peak() - before < 30
