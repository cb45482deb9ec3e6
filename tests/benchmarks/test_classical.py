"""The paths of a run's samples, and the page of means."""

from pathlib import Path

import pandas as pd

from benchmarks.classical import MEASURED, page, store_of


def test_samples_are_a_seeds_or_the_sources(tmp_path):
    run = Path("runs/lrb/acs/best/none/seed1")
    of_the_source = tmp_path / "activations/lrb/test.h5"
    assert store_of(tmp_path / run, "test") == of_the_source
    of_the_seed = tmp_path / "activations/lrb/seed1/test.h5"
    of_the_seed.parent.mkdir(parents=True)
    of_the_seed.touch()
    assert store_of(tmp_path / run, "test") == of_the_seed


def test_the_page_has_means_over_seeds_and_a_dash_where_nothing_was_measured():
    names = [*MEASURED, "fvu_pursuit_4", "fvu_pursuit_signed_4"]
    rows = [{"source": "lrb", "method": "acs", "seed": seed} | dict.fromkeys(names, seed / 2) for seed in (0, 1)]
    rows.append({"source": "real", "method": "acs", "seed": 0} | dict.fromkeys(names))
    table = [line for line in page(pd.DataFrame(rows), [4]).splitlines() if line.startswith("|")]
    means, nothing = ([cell.strip() for cell in line.strip("|").split("|")] for line in table[2:])
    assert means == ["lrb", "acs", "2", *["0.25"] * len(names)]
    assert nothing == ["real", "acs", "1", *["–"] * len(names)]
