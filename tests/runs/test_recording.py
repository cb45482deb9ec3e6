"""The log, TensorBoard and Weights & Biases show each row of a training once, whatever interrupts it."""

import contextlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from runs.folder import Run, Training
from runs.recording import recorder

ROWS = [
    {"step": 5 * i, "samples": 500 * i, "loss": 1 / i, "fvu": math.nan if i == 3 else 0.1 * i, "l0": 4.0}
    | {"dead_fraction": 0.25, "resampled": 0, "seconds": 0.5 * i}
    for i in range(1, 9)
]


class Died(Exception):
    pass


def record(folder, earlier=(), new=ROWS, dies=False, **places):
    """Pass rows on as `fit` does: first the rows of the checkpoint, which JSON restores, then new ones."""
    run = Run(3, folder / "train.h5", folder)
    with contextlib.suppress(Died), recorder(run, Training(**places), {"k": 4, "seed": 3}, {"stage": "train"}) as write:
        for row in [*json.loads(json.dumps(earlier)), *new]:
            write(row)
        if dies:
            raise Died


def test_a_line_of_the_log_has_the_step_and_the_scores(caplog, tmp_path):
    with caplog.at_level("INFO"):
        record(tmp_path, new=ROWS[:1])
    assert caplog.messages == ["step 5  loss 1  fvu 0.1  l0 4  dead_fraction 0.25  seconds 0.5"]


def tensorboard_content(folder):
    """Return the content that TensorBoard shows of a folder: name -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def expected(rows):
    return {name: [(row["step"], pytest.approx(row[name], rel=1e-6, nan_ok=True)) for row in rows] for name in rows[0]}


def test_tensorboard_shows_no_row_twice_after_resumes(tmp_path):
    place = {"tensorboard": tmp_path / "events"}
    for saved, stop in ((0, 2), (2, 5), (5, 5)):
        record(tmp_path, ROWS[:saved], ROWS[saved : stop + 2], dies=True, **place)
        time.sleep(1)  # TensorBoard orders files by name, which contains the second of creation
    record(tmp_path, ROWS[:5], ROWS[5:], **place)
    assert tensorboard_content(tmp_path / "events") == expected(ROWS)


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


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_resumed_training_goes_on_in_its_run_at_weights_and_biases(monkeypatch, ahead, tmp_path):
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    record(tmp_path, [], ROWS[: 3 + ahead], dies=True, wandb="sdlcore")
    record(tmp_path, ROWS[:3], ROWS[3:], wandb="sdlcore")
    assert [str(rows) for rows in service.runs.values()] == [str(ROWS)]  # a nan equals nothing
    assert service.exit_codes == [1, 0]
    assert service.settings == {"project": "sdlcore", "dir": str(tmp_path), "config": {"k": 4, "seed": 3}}


@pytest.mark.parametrize(
    ("package", "place", "requirement"),
    [
        ("wandb", {"wandb": "sdlcore"}, r"sdlcore\[wandb\]"),
        ("tensorboardX", {"tensorboard": Path("nowhere")}, r"sdlcore\[tensorboard\]"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, place, requirement, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"needs {package}, .* pip install '{requirement}'"):
        record(tmp_path, **place)


def test_packages_of_recorders_are_not_imported_with_the_module():
    code = "import sys, runs.recording; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorboardX", "wandb"} & set(done.stdout.split())
