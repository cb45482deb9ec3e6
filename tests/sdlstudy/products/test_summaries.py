"""The numbers that products compute over runs: verdicts of the map, and ranks."""

import numpy as np
import pandas as pd
import pytest

from sdlstudy.products.anchoring_map import verdict
from sdlstudy.products.comparison import ranking


@pytest.mark.parametrize(
    ("with_", "without", "expected"),
    [
        ([3, 4, 5], [1, 1, 1], "helps"),
        ([1, 1, 1], [3, 4, 5], "harms"),
        ([1, 2, 9], [3, 4, 5], "cannot tell"),
        ([2, 2, 2], [2, 2, 2], "cannot tell"),
        ([0, 0, 0], [0, 0, 0], "no power"),
        ([100, 100, 100], [100, 100, 100], "no power"),
        ([100, 100, 100], [100, 100, 99], "cannot tell"),
        ([0, 0, 0], [100, 100, 100], "harms"),
        ([0, 0, np.nan], [0, 0, 0], "cannot tell"),
    ],
)
def test_a_verdict_is_that_of_the_interval_unless_no_difference_could_show(with_, without, expected):
    assert verdict(np.array(with_, float), np.array(without, float)) == expected
    other = {"helps": "harms", "harms": "helps"}.get(expected, expected)
    assert verdict(np.array(with_, float), np.array(without, float), better=-1) == other


RUNS = pd.DataFrame(
    [
        *[
            ("here", method, seed, 0.1 * (n + 1), l0, 64)
            for n, (method, l0) in enumerate([("a", 16), ("b", 20), ("c", 21), ("d", 16)])
            for seed in range(3)
        ],
        *[
            ("there", method, seed, 0.5 - 0.1 * n, 4, 64)
            for n, method in enumerate(["a", "c", "d"])
            for seed in range(3)
        ],
    ],
    columns=["ground", "method", "seed", "fvu", "l0", "latents"],
)
TABLE = ranking(RUNS, {"here": "fvu", "there": "fvu"}, ["d"], {"here": 16, "there": None})


def test_a_method_that_misses_the_l0_and_a_null_baseline_have_no_rank():
    """On the first ground c misses the target, an L0 of 16, by more than a quarter; the second has no target."""
    ranked = TABLE.set_index(["ground", "method"])
    ranks = ranked["rank"].to_dict()
    assert np.isnan([ranks.pop(("here", "c")), ranks.pop(("here", "d")), ranks.pop(("there", "d"))]).all()
    assert ranks == {("here", "a"): 1, ("here", "b"): 2, ("there", "a"): 2, ("there", "c"): 1}


def test_a_wider_dictionary_is_not_compared():
    """Its width is 1.5 times the median of all runs; one of 1.25 times the median is compared."""
    wide = RUNS.assign(latents=RUNS["method"].map({"a": 96, "b": 80, "c": 64, "d": 64}))
    table = ranking(wide, {"here": "fvu", "there": "fvu"}, ["d"], {"here": 16, "there": None})
    ranked = table.set_index(["ground", "method"])["rank"]
    assert np.isnan([ranked["here", "a"], ranked["there", "a"]]).all()
    assert ranked["here", "b"] == ranked["there", "c"] == 1


def test_a_rank_is_resolved_as_far_as_paired_differences_over_seeds_are():
    """b and c vary over seeds by more than they differ, a and b vary together."""
    errors = {"a": [0.10, 0.20, 0.30], "b": [0.11, 0.21, 0.311], "c": [0.30, 0.20, 0.10], "d": [0.90, 0.91, 0.92]}
    rows = [("here", m, seed, fvu, 16, 64) for m, values in errors.items() for seed, fvu in enumerate(values)]
    runs = pd.DataFrame(rows, columns=["ground", "method", "seed", "fvu", "l0", "latents"])
    table = ranking(runs, {"here": "fvu"}, [], {"here": 16}).set_index("method")
    bounds = table[["best_rank", "worst_rank"]].T.to_dict("list")
    assert bounds == {"a": [1, 2], "b": [2, 3], "c": [1, 3], "d": [4, 4]}
    two_seeds = ranking(runs[runs["seed"] < 2], {"here": "fvu"}, [], {"here": 16})
    assert (two_seeds["best_rank"] == 1).all()
    assert (two_seeds["worst_rank"] == 4).all()
