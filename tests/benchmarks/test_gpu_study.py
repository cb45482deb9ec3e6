"""The study on a GPU, rehearsed on a CPU: which steps run, what they leave behind, and how a second call continues."""

import csv

import pytest

from benchmarks import gpu_measures, gpu_study
from benchmarks.gpu_study import Step

REHEARSAL = ("--device", "cpu", "--tiny", "--results")


def step(name, code, seconds=60.0):
    """A step that executes a line of Python."""
    return Step(name, "?", seconds, ("-c", f"import pathlib, sys, time; {code}"), ())


def states(folder):
    with (folder / "study.csv").open() as file:
        return {row["step"]: row["state"] for row in csv.DictReader(file)}


def test_a_second_call_runs_only_failed_and_skipped_steps(monkeypatch, tmp_path):
    count = f"pathlib.Path({str(tmp_path)!r}, 'runs').open('a').write('a')"
    steps = (step("good", count), step("bad", "sys.exit('broken')"), step("slow", "time.sleep(9)", seconds=0.5))
    monkeypatch.setattr(gpu_study, "STEPS", steps)
    with pytest.raises(SystemExit, match="a step failed"):
        gpu_study.main([*REHEARSAL, str(tmp_path)])
    assert states(tmp_path) == {"good": "passed", "bad": "failed", "slow": "out of time"}
    assert "broken" in (tmp_path / "bad.log").read_text()
    monkeypatch.setattr(gpu_study, "STEPS", (steps[0], step("bad", "print('1 passed')"), step("slow", "pass")))
    gpu_study.main([*REHEARSAL, str(tmp_path)])
    assert set(states(tmp_path).values()) == {"passed"}
    assert (tmp_path / "runs").read_text() == "a"


def test_a_call_without_time_starts_no_step(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_study, "STEPS", (step("good", "sys.exit(1)"),))
    gpu_study.main([*REHEARSAL, str(tmp_path), "--seconds", "5"])
    assert not (tmp_path / "study.csv").exists()


def test_rows_of_this_commit_are_reused_and_others_measured_again(monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    table = gpu_measures.Table(path, ("seed",), ("value",))
    table.add({"seed": 0, "value": 1.5, "other": 2})
    again = gpu_measures.Table(path, ("seed",), ("value",))
    assert not again.missing(0)
    assert again.missing(1)
    monkeypatch.setattr("benchmarks.machine.commit", lambda: "another")
    assert gpu_measures.Table(path, ("seed",), ("value",)).missing(0)


@pytest.mark.slow
def test_every_step_runs_in_a_rehearsal(tmp_path):
    pytest.importorskip("triton", reason="Triton has no package for this system")
    gpu_study.main([*REHEARSAL, str(tmp_path), "--seconds", "1000"])
    assert states(tmp_path) == {each.name: "passed" for each in gpu_study.STEPS}
    tables = {path.name for path in tmp_path.glob("*.csv")}
    assert {"equality.csv", "steps.csv", "memory.csv", "table1.csv", "extraction.csv"} <= tables
