"""The files of a benchmark run that fails or is ended half-way."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, recovery, results, states, timing
from benchmarks.cases import groups
from tests.benchmarks.test_results import step


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command with a tiny bench, and a given function instead of the measurement of a group."""
    monkeypatch.setattr(states, "bench", lambda seed, n: states.Bench(np.eye(8, dtype=np.float32), np.zeros((9, 8))))
    monkeypatch.setattr(command, "LATENTS", 16)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")

    def run(measure, *arguments):
        monkeypatch.setattr(timing, "measure", measure)
        command.main(["--threads", "1", *arguments])

    return run


def measured(group, *failed):
    rows = [step("sdlcore", 200.0, method=group.method, batch=group.batch, state=group.state)]
    return rows, SimpleNamespace(versions={"torch": "2"}, failed=dict.fromkeys(failed, "it broke"))


def rows_in(folder):
    return [(row["method"], row["batch"]) for row in results.read(folder / "steps.csv")]


PART = ("--only", "topk", "relu", "--batch", "1024", "--skip-recovery")


@pytest.mark.parametrize("ending", [KeyboardInterrupt, MemoryError])
def test_rows_measured_before_the_end_are_stored(run, tmp_path, ending):
    def measure(group, *_):
        if group.method == "relu":
            raise ending
        return measured(group)

    with pytest.raises(ending):
        run(measure, *PART)
    folder = tmp_path / "results/partial"
    assert rows_in(folder) == [("topk", "1024")]
    assert "had not finished" in (folder / "README.md").read_text()


def test_after_a_case_that_failed_the_others_are_measured_and_the_command_says_which_it_was(run, tmp_path):
    with pytest.raises(SystemExit, match=r"these cases failed(?s:.*)saelens with topk"):
        run(lambda group, *_: measured(group, *["saelens with topk"][: group.method == "topk"]), *PART)
    folder = tmp_path / "results/partial"
    assert rows_in(folder) == [("topk", "1024"), ("relu", "1024"), ("relu", "1024")]
    assert "saelens with topk: it broke" in (folder / "README.md").read_text()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("part", [(), PART])
def test_only_a_whole_run_replaces_another_and_updates_the_page(run, monkeypatch, tmp_path, part, fails):
    pages = []
    monkeypatch.setattr(results, "show_all", lambda folder, page: pages.append((folder, page.name)))
    raced = SimpleNamespace(versions={}, failed={})
    monkeypatch.setattr(recovery, "run", lambda *arguments: raced)
    if fails:
        with pytest.raises(SystemExit):
            run(lambda group, *_: measured(group, "a case"), *part)
    else:
        run(lambda group, *_: measured(group), *part)
    assert len(rows_in(tmp_path / "results/partial")) == (3 if part else len(list(groups())))
    whole = not part and not fails
    stored_table = tmp_path / "results" / machine.processor(machine.describe()).lower().replace(" ", "-") / "steps.csv"
    assert stored_table.exists() == whole
    assert pages == ([(tmp_path / "results", "speed.md")] if whole else [])


@pytest.mark.slow
def test_a_race_leaves_its_rows_after_every_turn_and_goes_on_without_who_fails(monkeypatch, tmp_path):
    """Run real processes: two fail, and the third trains."""
    monkeypatch.setattr(
        recovery, "attempts", lambda libraries: [recovery.Attempt(name, 1e-3, "a rule") for name in libraries]
    )
    monkeypatch.setattr(recovery, "STEPS", 4)
    monkeypatch.setattr(recovery, "TURN", 2)
    monkeypatch.setattr(recovery, "_setting", lambda attempt: recovery.Setting(method="topk").toy)
    x = np.random.default_rng(0).standard_normal((64, 32), dtype=np.float32)
    np.save(tmp_path / "samples.npy", x)
    np.save(tmp_path / "features.npy", np.eye(32, dtype=np.float32))
    turns = []
    team = recovery.run(
        ["sdlcore", "no_such_library"], tmp_path / "samples.npy", tmp_path / "features.npy", 60, 1, 0, turns.append
    )
    assert [[row["steps"] for row in rows] for rows in turns] == [[2, 2], [4, 4]]
    assert {row["library"] for row in turns[-1]} == {"sdlcore"}
    assert ["no_such_library" in name for name in team.failed] == [True]
