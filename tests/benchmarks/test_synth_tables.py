"""Benchmarks of SynthSAEBench's distribution write their tables, in the environment with SAELens."""

import subprocess

import pandas as pd
import pytest

from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / "benchmarks/.venv/bin/python"


def measured(path, benchmark, *options):
    """Return the table that a benchmark writes."""
    command = [PYTHON, "-m", f"benchmarks.{benchmark}", "--csv", path, "--features", 1024, *options]
    done = subprocess.run([*map(str, command)], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(path)


@pytest.mark.peers
def test_sampling_times_both_libraries(tmp_path):
    rows = measured(tmp_path / "sampling.csv", "synth_sampling", "--batch", 8, "--rounds", 1)
    ways = [(library, result) for library in ("sdlcore", "saelens") for result in ("coefficients", "samples")]
    assert list(zip(rows["library"], rows["result"], strict=True)) == ways
    assert (rows["microseconds"] > 0).all()
