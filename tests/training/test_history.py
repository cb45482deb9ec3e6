import contextlib
import csv
import json
import math
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.training.history import History, csv_file

ROWS = [
    {"step": 5 * i, "samples": 500 * i, "loss": 1 / i, "fvu": math.nan if i == 3 else 0.1 * i, "l0": 4.0}
    | {"dead_fraction": 0.25, "resampled": 0, "seconds": 0.5 * i}
    for i in range(1, 9)
]


def record(sinks, rows=(), new=ROWS):
    with History(rows, sinks) as history:
        for row in new:
            history.add(row)
    return history.rows


class Died(Exception):
    pass


def die_after(sinks, rows, new):
    """Do the work of a process that fails; a killed process does less."""
    with contextlib.suppress(Died), History(rows, sinks) as history:
        for row in new:
            history.add(row)
        raise Died


def restored(rows):
    """Return rows as a checkpoint restores them."""
    return json.loads(json.dumps(rows))


def test_the_history_and_every_sink_have_all_rows_in_order():
    rows_by_sink = {"a": [], "b": []}

    @contextlib.contextmanager
    def sink(name, rows):
        rows_by_sink[name].extend(rows)
        yield rows_by_sink[name].append

    assert record([partial(sink, "a"), partial(sink, "b")], ROWS[:3], ROWS[3:]) == ROWS
    assert rows_by_sink == {"a": ROWS, "b": ROWS}


# CSV


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run/history.csv"


def test_the_csv_holds_every_number_exactly(path):
    record([partial(csv_file, path)])
    with path.open() as file:
        read = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [list(row) for row in read] == [list(row) for row in ROWS]
    assert str(read) == str([{key: float(value) for key, value in row.items()} for row in ROWS])  # NaN != NaN
    assert [p.name for p in path.parent.iterdir()] == ["history.csv"]


def test_each_row_can_be_read_at_once_and_the_file_appears_at_the_end(path):
    with History([], [partial(csv_file, path)]) as history:
        for count, row in enumerate(ROWS, 1):
            history.add(row)
            lines = path.with_name("history.part.csv").read_text().splitlines()
            assert len(lines) == 1 + count
            assert not path.exists()
    assert path.exists()


@given(saved=st.integers(0, len(ROWS)), ahead=st.integers(0, 3))
def test_a_resumed_csv_equals_that_of_an_uninterrupted_training(tmp_path_factory, saved, ahead):
    folder = tmp_path_factory.mktemp("resumed")
    record([partial(csv_file, folder / "whole.csv")])
    resumed = partial(csv_file, folder / "resumed.csv")
    die_after([resumed], [], ROWS[: saved + ahead])
    assert not (folder / "resumed.csv").exists()
    record([resumed], restored(ROWS[:saved]), ROWS[saved:])
    assert (folder / "resumed.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert len(list(folder.iterdir())) == 2, "nothing is left behind"


def test_a_failed_training_leaves_its_rows_to_look_at_and_the_old_file_as_it_was(path):
    path.parent.mkdir()
    path.write_text("old")
    die_after([partial(csv_file, path)], [], ROWS[:3])
    assert path.read_text() == "old"
    assert len(path.with_name("history.part.csv").read_text().splitlines()) == 4


def test_a_killed_process_leaves_whole_rows(path):
    code = f"""
from functools import partial
from sdlcore.training.history import History, csv_file
with History([], [partial(csv_file, {str(path)!r})]) as history:
    for step in range(10**9):
        history.add({{"step": step, "loss": 1 / (step + 1)}})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    part = path.with_name("history.part.csv")
    while not part.exists() or part.stat().st_size < 10_000:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    header, *lines = part.read_text().splitlines(keepends=True)
    assert header == "step,loss\n"
    assert all(line == f"{step},{1 / (step + 1)}\n" for step, line in enumerate(lines))
    assert not path.exists()


def test_importing_the_history_imports_neither_torch_nor_numpy():
    code = "import sys, sdlcore.training.history; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy"} & set(done.stdout.split())
