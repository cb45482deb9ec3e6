"""Tables of finished runs: rows are added and replaced, and kept rows stay as they are written."""

import shutil
from pathlib import Path

import numpy as np

from studies import KEPT
from studies.anchoring_effect.runs import COLUMNS, scored_runs
from studies.tables import add, finished


def test_a_row_replaces_the_row_with_the_same_keys(tmp_path: Path) -> None:
    table = tmp_path / "new/runs.csv"
    add(table, [{"name": "a", "seed": 0, "value": 1.0}], ["name", "seed"])
    add(table, [{"name": "a", "seed": 0, "value": 2.0}, {"name": "b", "seed": 1, "value": np.nan}], ["name", "seed"])
    add(table, [{"name": "b", "seed": 2, "value": np.float32(1 / 3), "more": None}], ["name", "seed"])
    assert table.read_text() == "name,seed,value,more\na,0,2,\nb,1,,\nb,2,0.33333,\n"
    assert finished(table, ["name", "seed"]) == {("a", "0"), ("b", "1"), ("b", "2")}
    assert finished(tmp_path / "none.csv", ["name"]) == set()


def test_planned_runs_are_found_in_the_kept_table_which_keeps_its_text(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    shutil.copy(KEPT / "anchoring_effect_runs.csv", table)
    planned = scored_runs()
    assert finished(table, COLUMNS) == {run.key for run in planned}
    before = table.read_text()
    add(table, [dict(zip(COLUMNS, planned[0].key, strict=True)) | {"steps": "1"}], COLUMNS)
    assert table.read_text().startswith(before)
