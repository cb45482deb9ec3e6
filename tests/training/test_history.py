"""The history as CSV: every number exactly, row by row, and the same after a kill."""

import contextlib
import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.training.history import History, csv_rows, read_history, write_history

ROWS = [
    {"step": 5 * i, "samples": 500 * i, "loss": 1 / i, "fvu": math.nan if i == 3 else 0.1 * i, "l0": 4.0}
    | {"dead_fraction": 0.25, "resampled": 0, "seconds": 0.5 * i}
    for i in range(1, 9)
]


class Died(Exception):
    pass


def record(path, rows, new, dies=False):
    """Write the rows of a checkpoint, and new ones, as a training does; a killed process does less."""
    with contextlib.suppress(Died), csv_rows(path) as write:
        history = History(rows, [write])
        history.show()
        for row in new:
            history.add(row)
        if dies:
            raise Died


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run/history.csv"


def test_the_csv_holds_every_number_exactly_and_a_copy_is_the_same_file(path):
    path.parent.mkdir()
    write_history(path, ROWS)
    with path.open() as file:
        read = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert str(read) == str([{key: float(value) for key, value in row.items()} for row in ROWS])  # NaN != NaN
    assert [p.name for p in path.parent.iterdir()] == ["history.csv"]
    write_history(path.with_name("copy.csv"), read_history(path))
    assert path.with_name("copy.csv").read_bytes() == path.read_bytes()


def test_each_row_can_be_read_at_once(path):
    with csv_rows(path) as write:
        history = History(sinks=[write])
        history.show()
        assert not path.exists()
        for count, row in enumerate(ROWS, 1):
            history.add(row)
            assert len(path.read_text().splitlines()) == 1 + count


@given(saved=st.integers(0, len(ROWS)), ahead=st.integers(0, 3))
def test_a_resumed_csv_equals_that_of_an_uninterrupted_training(tmp_path_factory, saved, ahead):
    folder = tmp_path_factory.mktemp("resumed")
    record(folder / "whole.csv", [], ROWS)
    record(folder / "resumed.csv", [], ROWS[: saved + ahead], dies=True)
    record(folder / "resumed.csv", json.loads(json.dumps(ROWS[:saved])), ROWS[saved:])
    assert (folder / "resumed.csv").read_bytes() == (folder / "whole.csv").read_bytes()
