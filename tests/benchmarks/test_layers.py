"""The benchmark of one pass for several layers, on a tiny model."""

import argparse
import json

import pytest

from benchmarks import layers
from tests.sources.language.tiny_llama import documents, save_tiny_llama


@pytest.mark.slow
def test_it_measures_seconds_and_memory_compares_bits_and_resumes(tmp_path, monkeypatch):
    save_tiny_llama(tmp_path / "lm")
    (tmp_path / "words.json").write_text(json.dumps(documents(60)))
    shared = {"layers": [1, 3], "tokens": 200, "threads": 1, "out": tmp_path / "stores", "csv": tmp_path / "a.csv"}
    options = argparse.Namespace(model=str(tmp_path / "lm"), text=str(tmp_path / "words.json"), deepest=True, **shared)
    report = layers.compare(options)
    assert "2 layers (1, 3), 200 rows, 1 threads. Equal bits: yes." in report
    ways = ["one pass for all", "the deepest layer alone (3)"]
    assert [line.split("|")[1].strip() for line in report.splitlines()[2:4]] == ways
    first = (tmp_path / "a.csv").read_text()

    options.deepest = False
    report = layers.compare(options)
    assert [line.split("|")[1].strip() for line in report.splitlines()[2:5]] == [*ways, "a pass for each"]
    assert (tmp_path / "a.csv").read_text().startswith(first)  # measured once
    monkeypatch.setattr(layers, "measured", None)
    assert layers.compare(options) == report
