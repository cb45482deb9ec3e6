"""The log, TensorBoard and Weights & Biases show each row of a training once, whatever interrupts it."""

import contextlib
import json
import logging
import math
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.recording import progress, progress_line, tensorboard, weights_and_biases

ROWS = [
    {"step": 5 * i, "samples": 500 * i, "loss": 1 / i, "fvu": math.nan if i == 3 else 0.1 * i, "l0": 4.0}
    | {"dead_fraction": 0.25, "resampled": 0, "seconds": 0.5 * i}
    for i in range(1, 9)
]


class Died(Exception):
    pass


def record(recorder, earlier=(), new=ROWS, dies=False):
    """Pass rows on as `fit` does: first the rows of the checkpoint, which JSON restores, then new ones."""
    with contextlib.suppress(Died), recorder as write:
        for row in [*json.loads(json.dumps(earlier)), *new]:
            write(row)
        if dies:
            raise Died


# the log


def test_a_line_says_how_far_how_well_and_how_long(caplog):
    with caplog.at_level(logging.INFO):
        record(progress(80), new=ROWS[:2])
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
        record(progress(200, earlier=100), [ROWS[0], slow], [*fast, *slower])
    assert len(caplog.messages) == len([*fast, *slower])
    assert "  1000 samples/s  " in caplog.messages[0]
    assert "  1000 samples/s  " in caplog.messages[11]
    assert caplog.messages[-1].endswith("  100 samples/s  0:01:16 left")


@given(steps=st.integers(0, 10**6), seconds=st.floats(0, 1e7), ahead=st.integers(1, 10**6))
def test_any_remaining_time_has_a_text(steps, seconds, ahead):
    row = {**ROWS[0], "step": ahead, "samples": ahead, "seconds": seconds}
    start = {"step": 0, "samples": 0, "seconds": 0.0}
    assert progress_line(row, start, ahead + steps).endswith(" left")


# TensorBoard, read as TensorBoard reads it


def tensorboard_content(folder):
    """Return the content that TensorBoard shows of a folder: name -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected(rows):
    names = [name for name in rows[0] if name != "step"]
    return {name: [(row["step"], pytest.approx(row[name], rel=1e-6, nan_ok=True)) for row in rows] for name in names}


def test_tensorboard_shows_every_row(tmp_path):
    record(tensorboard(tmp_path))
    assert tensorboard_content(tmp_path) == expected(ROWS)


@pytest.mark.parametrize("ahead", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_tensorboard_shows_no_row_twice_after_resumes(tmp_path, ahead):
    for saved, stop in ((0, 2), (2, 5), (5, 5)):
        record(tensorboard(tmp_path), ROWS[:saved], ROWS[saved : stop + ahead], dies=True)
        time.sleep(1)  # TensorBoard orders files by name, which contains the second of creation
    record(tensorboard(tmp_path), ROWS[:5], ROWS[5:])
    assert tensorboard_content(tmp_path) == expected(ROWS)


def test_tensorboard_forgets_a_training_that_another_one_replaces(tmp_path):
    record(tensorboard(tmp_path), new=[{**row, "loss": -1.0} for row in ROWS])
    time.sleep(1)
    record(tensorboard(tmp_path), new=ROWS[:2])
    assert tensorboard_content(tmp_path) == expected(ROWS[:2])


def test_tensorboards_clock_is_that_of_training(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    now = time.time()
    record(tensorboard(tmp_path, ROWS[2]["seconds"]), ROWS[:3], ROWS[3:])
    times = [event.wall_time for event in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")]
    assert [t - times[0] for t in times] == pytest.approx([row["seconds"] - 0.5 for row in ROWS], abs=1e-3)
    assert times[2] == pytest.approx(now, abs=10)


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
    return weights_and_biases("sdlcore", "me", folder, {"k": 4, "seed": 3})


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    return service


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_resumed_training_goes_on_in_its_run(service, ahead, tmp_path):
    record(sent_to_service(tmp_path), [], ROWS[: 3 + ahead], dies=True)
    record(sent_to_service(tmp_path), ROWS[:3], ROWS[3:])
    assert str(service.runs["me"]) == str(ROWS)  # a nan equals nothing
    assert service.exit_codes == [1, 0]
    assert service.settings == {"project": "sdlcore", "dir": str(tmp_path), "config": {"k": 4, "seed": 3}}


def test_rows_before_tracking_began_are_sent_too(service, tmp_path):
    record(sent_to_service(tmp_path), ROWS[:3], ROWS[3:])
    assert str(service.runs["me"]) == str(ROWS)


# packages


@pytest.mark.parametrize(
    ("package", "recorder", "requirement"),
    [
        ("wandb", partial(sent_to_service, Path("nowhere")), r"sdlcore\[wandb\]"),
        ("tensorboardX", partial(tensorboard, "nowhere"), r"sdlcore\[tensorboard\]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, recorder, requirement):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {package}, .* pip install '{requirement}'"):
        record(recorder())


def test_packages_of_recorders_are_not_imported_with_the_module():
    code = "import sys, runs.recording; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorboardX", "wandb"} & set(done.stdout.split())
