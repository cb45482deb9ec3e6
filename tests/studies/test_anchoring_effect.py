"""The experiment on anchors: its plan, its samples, its table and its test."""

import numpy as np
import pandas as pd

from studies import KEPT
from studies.anchoring_effect import judge, runs


def test_every_anchored_run_comes_after_its_run_without_anchors() -> None:
    planned = runs.scored_runs()
    assert len(planned) == len(set(planned))
    at = {run: number for number, run in enumerate(planned)}
    for run in planned:
        without = runs.replace(run, anchors="none", number=0, weight=0.0)
        assert at[without] <= at[run]
        if run.start:
            assert at[runs.replace(run, start=0)] < at[run]
    assert not {run.seed for run in planned} & set(runs.PILOT_SEEDS)


def test_features_of_split_samples_are_equally_frequent_and_apart() -> None:
    codes = runs.split_coefficients(30_000, 300, np.random.default_rng(0))
    active = (codes != 0).toarray()
    some = active[:, :100].any(1)
    beside, apart = active[:, 100::2], active[:, 101::2]
    assert not beside[~some].any()
    assert not apart[some].any()
    for part in (active[:, :100], beside, apart):  # a mean over n features has a standard error of .1 / sqrt(30,000 n)
        assert abs(part.mean() - 0.01) < 5 * 0.1 / np.sqrt(30_000 * part.shape[1])


def test_the_kept_tables_follow_from_the_kept_runs() -> None:
    for name, table in judge.tables():
        kept = pd.read_csv(KEPT / f"anchoring_effect_{name}.csv", keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(table.round(6), kept, check_dtype=False, atol=2e-6)
