"""Intervals of means over seeds, against scipy's, and what has no interval."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sdlcore as sdl


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_an_interval_of_paired_differences_is_that_of_the_t_test(kind):
    numbers = [0.1, 0.3, 0.2, 0.25, 0.05]
    interval = stats.ttest_1samp(numbers, 0).confidence_interval()
    np.testing.assert_allclose(sdl.paired_interval(kind(numbers)), [0.18, interval.low, interval.high], rtol=1e-12)


def test_fewer_than_three_pairs_have_a_mean_without_an_interval():
    np.testing.assert_equal(sdl.paired_interval([1, 2]), (1.5, np.nan, np.nan))
