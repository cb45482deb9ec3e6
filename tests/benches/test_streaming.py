"""Trainings on a recipe read the same samples as `sdl.SynthBench` draws, and no sample twice."""

import json

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.benches import synth
from sdlcore.benches.config import SynthSource
from sdlcore.benches.synth import open_synth_stream, write_synth_recipe
from sdlcore.data.batches import Request
from sdlcore.errors import SourceError

SOURCE = SynthSource(n=128, n_p=16, roots=1)


@pytest.fixture
def recipe(tmp_path):
    write_synth_recipe(tmp_path / "train.json", SOURCE, 3, {"made": "here"})
    return tmp_path / "train.json"


def opened(path, batch_size=10):
    return open_synth_stream(path, Request("sae", batch_size, 0, 1), path.parent, torch.device("cpu"))


def test_batches_are_the_samples_of_the_bench_in_their_order(recipe, monkeypatch):
    monkeypatch.setattr(synth, "FIRST_ROWS", 50)
    x = sdl.SynthBench.draw(seed=3, n=128, n_p=16, roots=1).samples(50).input
    with opened(recipe) as rows:
        assert rows.widths == (16,)
        batches = [rows.batches(step) for step in (4, 0, 1, 2, 3)]  # a training may resume at any step
        sample = rows.sample().read("input", 0, 50)
    assert all(x_r is x_p for x_p, x_r in batches)
    np.testing.assert_array_equal(np.concatenate([x_p for x_p, _ in [*batches[1:], batches[0]]]), x)
    np.testing.assert_array_equal(sample, x)


def test_other_files_are_refused(recipe):
    content = json.loads(recipe.read_text())
    for text, problem in (
        ("{", "delimiter|property name"),
        (json.dumps(content | {"format": "x"}), "its format is 'x'"),
    ):
        recipe.write_text(text)
        with (
            pytest.raises(SourceError, match=f"train.json: expected an sdlcore stream .*({problem}).*make it anew"),
            opened(recipe),
        ):
            pass
