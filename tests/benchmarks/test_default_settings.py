"""The table behind the default settings."""

import pandas as pd

from benchmarks import default_settings as benchmark
from benchmarks.shown import ENDS
from sdlcore.run import RunConfig
from sdlstudy.results.tables import read_csv


def test_the_chosen_candidate_is_the_default():
    default = RunConfig.from_dict({"activation": "topk", "k": 1}).to_dict()
    assert {name: default[name] for name in benchmark.RESAMPLED} == benchmark.RESAMPLED


def test_candidates_and_methods_are_settings_of_a_run():
    for method in benchmark.METHODS:
        for candidate in benchmark.CANDIDATES:
            settings = candidate | benchmark.method_settings(method, 16, candidate)
            assert settings == {name: RunConfig.from_dict(settings).to_dict()[name] for name in settings}


def test_the_table_has_a_mean_for_each_candidate():
    old, resampled = map(benchmark.label, (benchmark.OLD, benchmark.RESAMPLED))
    rows = [(old, 0, 0.2, 0.5), (old, 1, 0.4, 0.7), (resampled, 0, 0.1, 0.0), ("another", 0, 9.0, 0.9)]
    frame = pd.DataFrame(rows, columns=["settings", "seed", "fvu", "dead_fraction"])
    lines = benchmark.table(frame.assign(data="CLIP", method="topk")).splitlines()
    assert lines[2:] == ["| CLIP, topk (2) | 0.300, 60% |  | 0.100, 0% |"]


def test_the_page_shows_what_was_measured():
    page_table = benchmark.PAGE.read_text().partition(benchmark.BEGINS)[2].partition(ENDS)[0].strip()
    assert page_table == benchmark.table(read_csv(benchmark.CSV))
