"""The GPU benchmark, run on a CPU: its output, also if a library is missing or fails."""

import pytest

from benchmarks import gpu, gpu_study, results
from benchmarks.gpu import Way

TORCH = Way("sdlcore", "torch", kernels="torch")
TINY = ("--device", "cpu", "--tiny", "--results")


@pytest.mark.slow
def test_missing_and_failing_ways_are_named_and_the_others_are_stored(monkeypatch, tmp_path):
    # the test environment has no sparsify
    monkeypatch.setattr(gpu, "WAYS", (Way("saelens", "no_such_package"), Way("sparsify", "torch", "tf32"), TORCH))
    with pytest.raises(SystemExit, match="1 cases failed, and all others are in"):
        gpu.main([*TINY, str(tmp_path)])
    (row,) = results.read(tmp_path / "steps.csv")
    assert (row["library"], row["kernels"], float(row["l0"])) == ("sdlcore", "torch", 4.0)
    assert float(row["ms_per_step"]) > 0
    page = (tmp_path / "README.md").read_text()
    assert "not timed: no_such_package" in page
    assert "failed: sparsify tf32: 16 -> 96, batch 8: " in page
    assert "| 16 | 96 | 8 | sdlcore | torch | float32 |" in page


def test_a_run_ends_in_its_time_and_names_the_cases_that_it_skipped(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "WAYS", (TORCH,))
    gpu.main([*TINY, str(tmp_path), "--seconds", "0"])
    assert results.read(tmp_path / "steps.csv") == []
    assert "no time was left: sdlcore (torch) float32: 16 -> 96, batch 8" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("command", [gpu, gpu_study])
def test_a_missing_gpu_is_an_error(command, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU; --device cpu --tiny"):
        command.main([])


@pytest.mark.kernels
def test_tritons_kernels_are_timed(monkeypatch, tmp_path):
    pytest.importorskip("triton", reason="Triton has no package for this system")
    monkeypatch.setattr(gpu, "WAYS", tuple(way for way in gpu.WAYS if way.library == "sdlcore"))
    gpu.main([*TINY, str(tmp_path)])
    assert len(results.read(tmp_path / "steps.csv")) == 4
