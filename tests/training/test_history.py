import contextlib
import csv
import json
import logging
import math
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.run import RunConfig
from sdlcore.training.history import History, csv_file, progress, progress_line, tensorboard, weights_and_biases

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


def test_rows_are_kept_and_go_to_every_sink_in_order():
    seen = {"a": [], "b": []}

    @contextlib.contextmanager
    def sink(name, rows):
        seen[name].extend(rows)
        yield seen[name].append

    assert record([partial(sink, "a"), partial(sink, "b")], ROWS[:3], ROWS[3:]) == ROWS
    assert seen == {"a": ROWS, "b": ROWS}


def test_a_row_with_other_keys_is_refused_by_their_names():
    with History(ROWS[:1]) as history, pytest.raises(ValueError, match=r"keys \['loss', 'step'\], expected .*'fvu'"):
        history.add({"step": 10, "loss": 1.0})


def test_sinks_that_are_open_are_closed_where_another_cannot_be_opened():
    closed = []

    @contextlib.contextmanager
    def good(rows):
        try:
            yield lambda row: None
        finally:
            closed.append(True)

    def bad(rows):
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), History([], [good, bad]):
        pass
    assert closed == [True]


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


# progress


def test_a_line_says_how_far_how_well_and_how_long(caplog):
    with caplog.at_level(logging.INFO):
        record([partial(progress, 80)], new=ROWS[:2])
    assert caplog.messages == [
        "step 5/80  loss 1.0000  fvu 0.1000  l0 4.0  dead 0.250  1000 samples/s  0:00:08 left",
        "step 10/80  loss 0.5000  fvu 0.2000  l0 4.0  dead 0.250  1000 samples/s  0:00:07 left",
    ]


def test_speed_is_that_of_this_process_and_of_its_recent_rows(caplog):
    slow = {**ROWS[0], "step": 100, "samples": 10_000, "seconds": 1e6}
    fast = [{**slow, "step": 100 + i, "samples": 10_000 + 100 * i, "seconds": 1e6 + 0.1 * i} for i in range(1, 13)]
    slower = [
        {**slow, "step": 112 + i, "samples": 11_200 + 100 * i, "seconds": fast[-1]["seconds"] + i} for i in range(1, 13)
    ]
    with caplog.at_level(logging.INFO):
        record([partial(progress, 200)], [slow], [*fast, *slower])
    assert "  1000 samples/s  " in caplog.messages[0]
    assert "  1000 samples/s  " in caplog.messages[11]
    assert caplog.messages[-1].endswith("  100 samples/s  0:01:16 left")


@given(steps=st.integers(0, 10**6), seconds=st.floats(0, 1e7), ahead=st.integers(1, 10**6))
def test_any_time_can_be_told(steps, seconds, ahead):
    row = {**ROWS[0], "step": ahead, "samples": ahead, "seconds": seconds}
    start = {"step": 0, "samples": 0, "seconds": 0.0}
    assert progress_line(row, start, ahead + steps).endswith(" left")


# TensorBoard, read as TensorBoard reads it


def shown(folder):
    """Return the content that TensorBoard shows of a folder: name -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected(rows):
    names = [name for name in rows[0] if name != "step"]
    return {name: [(row["step"], pytest.approx(row[name], rel=1e-6, nan_ok=True)) for row in rows] for name in names}


def test_tensorboard_shows_every_row(tmp_path):
    record([partial(tensorboard, tmp_path)])
    assert shown(tmp_path) == expected(ROWS)


@pytest.mark.parametrize("ahead", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_tensorboard_shows_no_row_twice_after_resumes(tmp_path, ahead):
    sink = partial(tensorboard, tmp_path)
    for saved, stop in ((0, 2), (2, 5), (5, 5)):
        die_after([sink], restored(ROWS[:saved]), ROWS[saved : stop + ahead])
        time.sleep(1)  # TensorBoard orders files by name, which contains the second of creation
    record([sink], restored(ROWS[:5]), ROWS[5:])
    assert shown(tmp_path) == expected(ROWS)


def test_tensorboard_forgets_a_training_that_another_one_replaces(tmp_path):
    record([partial(tensorboard, tmp_path)], new=[{**row, "loss": -1.0} for row in ROWS])
    time.sleep(1)
    record([partial(tensorboard, tmp_path)], new=ROWS[:2])
    assert shown(tmp_path) == expected(ROWS[:2])


def test_tensorboards_clock_is_that_of_training(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record([partial(tensorboard, tmp_path)], ROWS[:3], ROWS[3:])
    times = [event.wall_time for event in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")]
    assert [t - times[0] for t in times] == pytest.approx([row["seconds"] - 0.5 for row in ROWS], abs=1e-3)


# Weights & Biases


class Service:
    """A replacement for wandb and its stored runs: steps must grow, and it warns otherwise."""

    def __init__(self):
        self.runs, self.exit_codes, self.settings = {}, [], {}

    @contextlib.contextmanager
    def init(self, *, id, resume, **settings):
        self.settings, logged = settings, self.runs.setdefault(id, [])
        assert resume == "allow" or not logged

        def log(row, step):
            assert not logged or step > logged[-1]["step"], "a step is logged once, and later ones after it"
            logged.append(row)

        try:
            yield SimpleNamespace(step=logged[-1]["step"] + 1 if logged else 0, log=log)
        except BaseException:
            self.exit_codes.append(1)
            raise
        self.exit_codes.append(0)


def sent_to_service(folder):
    return partial(weights_and_biases, "sdlcore", "me", folder, RunConfig(), 3)


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    return service


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_resumed_training_goes_on_in_its_run(service, ahead, tmp_path):
    sink = sent_to_service(tmp_path)
    die_after([sink], [], ROWS[: 3 + ahead])
    record([sink], restored(ROWS[:3]), ROWS[3:])
    assert str(service.runs["me"]) == str(ROWS)  # a nan equals nothing
    assert service.exit_codes == [1, 0]
    assert service.settings == {
        "project": "sdlcore",
        "dir": str(tmp_path),
        "config": RunConfig().to_dict() | {"seed": 3},
    }


def test_rows_before_tracking_was_asked_for_are_sent_too(service, tmp_path):
    record([sent_to_service(tmp_path)], ROWS[:3], ROWS[3:])
    assert str(service.runs["me"]) == str(ROWS)


# packages


@pytest.mark.parametrize(
    ("package", "sink", "requirement"),
    [
        ("wandb", sent_to_service(Path("nowhere")), r"sdlcore\[wandb\]"),
        ("tensorboardX", partial(tensorboard, "nowhere"), r"sdlcore\[tensorboard\]"),
    ],
)
def test_a_package_that_is_not_there_is_named_with_how_to_get_it(monkeypatch, package, sink, requirement):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {package}, .* pip install '{requirement}'"):
        record([sink])


def test_packages_are_imported_only_when_they_are_wanted():
    code = "import sys, sdlcore.training.history; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "tensorboardX", "wandb"} & set(done.stdout.split())
