"""A recipe trains the dictionary that its batches would train, and identifies its run."""

import pytest
import torch

import sdlcore as sdl
from sdlcore.benches.config import SynthSource
from sdlcore.benches.synth import write_synth_recipe
from sdlcore.errors import SourceError
from sdlcore.inputs import open_batches
from sdlcore.storage.files import sha256_of

TOPK = {"activation": "topk", "k": 2, "n_q": 8, "steps": 6, "normalise": False, "resample_every": None}
TOPK |= {"device": "cpu", "progress": False}
SOURCE = {"n": 128, "n_p": 16, "roots": 1}


@pytest.fixture
def path(tmp_path):
    write_synth_recipe(tmp_path / "train.json", SynthSource(**SOURCE), 3, {"made": "here"})
    return tmp_path / "train.json"


def test_a_recipe_trains_on_its_samples_and_is_the_data_of_its_run(path, tmp_path):
    dictionary = sdl.fit(path, out=tmp_path / "run", batch_size=32, **TOPK)
    x = sdl.SynthBench.draw(seed=3, **SOURCE).samples(32 * 6).input
    expected = sdl.fit(lambda step: x[32 * step : 32 * step + 32], **TOPK)
    assert torch.equal(dictionary.W_dec, expected.W_dec)
    assert dictionary.provenance["identity"]["inputs"]["store"] == sha256_of(path)

    with open_batches(path, folder=tmp_path / "run") as batches:
        again = sdl.fit(batches, out=tmp_path / "run", batch_size=32, **TOPK)
    assert torch.equal(again.W_dec, dictionary.W_dec)
    write_synth_recipe(path, SynthSource(**SOURCE), 4, {"made": "here"})
    with pytest.raises(ValueError, match=r"another run: inputs\.store is "):
        sdl.fit(path, out=tmp_path / "run", batch_size=32, **TOPK)


def test_a_solver_needs_samples_and_a_recipe_must_be_readable(path):
    with pytest.raises(ValueError, match=r"train\.json: expected an \.npy file of np\.save, or an activation store"):
        sdl.solve(path, "kmeans", n_atoms=4, support=2, progress=False)
    path.write_text("[]")
    with pytest.raises(SourceError, match=r"train\.json: expected a recipe of samples"):
        sdl.fit(path, **TOPK)
