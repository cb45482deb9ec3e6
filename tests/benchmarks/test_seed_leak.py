"""The table of the effects of using a seed twice."""

import pandas as pd

from benchmarks import seed_leak as benchmark
from benchmarks.shown import ENDS
from sdlstudy.results.tables import read_csv


def test_the_table_has_means_over_seeds_and_the_start_by_itself():
    facts = {"initialisation": "tied", "leak": True, **dict.fromkeys(benchmark.METRICS, 0.5)}
    rows = [{"lr": float("nan"), "fvu": 1.0}, {"lr": 1e-4, "fvu": 0.2}, {"lr": 1e-4, "fvu": 0.4}]
    lines = benchmark.table(pd.DataFrame([facts | row for row in rows])).splitlines()
    assert lines[2:] == [
        "| normal | yes | 0.0001 | 0.500 (0.500) | 0.500 (0.500) | 0.500 | 0.300 |",
        "| normal | yes | not trained | 0.500 (0.500) | 0.500 (0.500) | 0.500 | 1.000 |",
    ]


def test_the_page_shows_what_was_measured():
    text = benchmark.PAGE.read_text()
    page_table = text.partition(benchmark.BEGINS)[2].partition(ENDS)[0].strip()
    rows = read_csv(benchmark.CSV)
    assert page_table == benchmark.table(rows)
    assert sorted(set(rows["seed"])) == [0, 1, 2]
