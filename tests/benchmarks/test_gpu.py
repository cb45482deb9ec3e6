"""The GPU benchmark, rehearsed on a CPU: its tables, what a second call skips, and what a failing case leaves."""

import pytest

from benchmarks import gpu, results

REHEARSAL = ("--device", "cpu", "--tiny", "--results")


def test_rows_of_this_commit_are_reused_and_others_measured_again(monkeypatch, tmp_path):
    path = tmp_path / "rows.csv"
    gpu.Table(path, ("seed",), ("value",)).add({"seed": 0, "value": 1.5, "other": 2})
    again = gpu.Table(path, ("seed",), ("value",))
    assert not again.missing(0)
    assert again.missing(1)
    monkeypatch.setattr("benchmarks.machine.commit", lambda: "another")
    assert gpu.Table(path, ("seed",), ("value",)).missing(0)


@pytest.mark.slow
def test_every_measurement_runs_in_a_rehearsal(tmp_path):
    pytest.importorskip("triton", reason="Triton has no package for this system")
    gpu.main([*REHEARSAL, str(tmp_path)])
    tables = {path.stem for path in tmp_path.glob("*.csv")}
    assert tables == {"equality", "steps"}
    assert len(results.read(tmp_path / "steps.csv")) == 4
