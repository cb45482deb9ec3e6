"""The benchmark of one pass for several layers, on a tiny model."""

import argparse
import json

import pytest

from benchmarks.layers import compare
from tests.sources.language.tiny_llama import documents, save_tiny_llama


@pytest.mark.slow
def test_it_tells_seconds_memory_and_whether_bits_are_equal(tmp_path):
    save_tiny_llama(tmp_path / "lm")
    (tmp_path / "words.json").write_text(json.dumps(documents(60)))
    options = {"layers": [1, 3], "tokens": 200, "threads": 1, "out": tmp_path}
    found = compare(argparse.Namespace(model=str(tmp_path / "lm"), text=str(tmp_path / "words.json"), **options))
    assert "2 layers (1, 3), 200 rows, 1 threads. Equal bits: yes." in found
    assert [line.split("|")[1].strip() for line in found.splitlines()[2:5]] == [
        "one pass for all",
        "the deepest layer alone (3)",
        "a pass for each",
    ]
