"""Rows of the benchmark of alternating convex search: contents and updates."""

import numpy as np
import pandas as pd

from benchmarks.convex_search import CASES, DEVELOPMENT_SEEDS, UNSEEN_SEEDS, Case, draw, picture, replaced
from benchmarks.searched import searched
from sdlcore.solvers.settings import SolverConfig

FOUND = {"seconds": 2.0, "processor_seconds": 3.5, "recovery": 1.0, "atoms": 1000, "steps": 14, "peak_mb": 1024.0}
FACTS = {"cpu": "a processor", "threads": 2, "load": 0.1}


def row(n=1000, seed=500, **changes):
    return {**Case(n, 768, 100_000, 2 * n, 8192, seed)._asdict(), **FOUND, **FACTS, **changes}


def test_no_case_has_a_seed_of_the_development():
    assert not {case.seed for case in CASES} & set(DEVELOPMENT_SEEDS)
    assert sorted(case.seed for case in CASES if case.n == 1000) == list(UNSEEN_SEEDS)


def test_a_case_is_drawn_and_its_features_are_recovered(tmp_path):
    store, features = tmp_path / "train.h5", tmp_path / "features.npy"
    draw(Case(40, 32, 8192, 100, 4096, 1000), store, features)
    assert np.load(features).shape == (40, 32)
    row = searched(str(store), str(features), SolverConfig(n_atoms=100, support=8, batch_size=4096), 1000)
    assert row["recovery"] > 0.9
    assert row["peak_mb"] > 0
    assert row["processor_seconds"] > 0


def test_a_row_takes_the_place_of_that_of_its_case_and_of_no_other():
    rows = pd.DataFrame()
    for each in (row(seed=501), row(), row(n=2000), row(seconds=9.0)):
        rows = replaced(rows, each)
    assert rows[["n", "seed", "seconds"]].values.tolist() == [[1000, 500, 9.0], [1000, 501, 2.0], [2000, 500, 2.0]]


def test_the_picture_has_every_case_in_both_panels():
    rows = pd.DataFrame([row(), row(seed=501, seconds=3.0), row(n=2000, recovery=0.5)])
    seconds, recovery = picture(rows).axes
    assert [len(line.get_xdata()) for line in seconds.lines] == [3, 2]
    assert recovery.get_ylim()[0] < 0.5
