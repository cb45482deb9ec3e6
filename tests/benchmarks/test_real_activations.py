"""The table of settings on real activations."""

import pandas as pd

from benchmarks import real_activations as benchmark
from benchmarks.shown import ENDS
from sdlcore.run import RunConfig
from sdlstudy.results.tables import read_csv


def test_the_table_has_means_and_half_the_range_over_seeds():
    rows = [("a", 0.2, 0.5), ("b", 0.1, 0.0), ("a", 0.3, 0.7)]
    lines = benchmark.table(pd.DataFrame(rows, columns=["settings", "fvu", "dead_fraction"])).splitlines()
    assert lines[2:] == ["| a | 0.2500 ± 0.0500 | 60.0% |", "| b | 0.1000 ± 0.0000 | 0.0% |"]


def test_all_ways_are_settings_of_a_run():
    runs = {str(RunConfig.from_dict(benchmark.COMMON | settings).used()) for settings in benchmark.WAYS}
    assert len(runs) == len(benchmark.WAYS)


def test_the_page_shows_what_was_measured():
    text = benchmark.PAGE.read_text()
    page_table = text.partition(benchmark.BEGINS)[2].partition(ENDS)[0].strip()
    rows = read_csv(benchmark.CSV)
    assert page_table == benchmark.table(rows)
    assert set(rows["settings"]) == set(map(benchmark.label, benchmark.WAYS))
