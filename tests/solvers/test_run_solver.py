import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.model.saving import load_model
from tests.stores import write_store

SETTINGS = {"solver": "acs", "n_atoms": 100, "support": 6, "batch_size": 2048}


@pytest.fixture
def store(bench, tmp_path):
    path = tmp_path / "train.h5"
    write_store(path, bench.x.numpy(), target=3 * bench.x.numpy()[:, ::-1].copy())
    return path


def solve(store, folder, settings=None, watch=None, start=None):
    sdl.solve(store, out=folder, watch=watch, start=start, progress=False, **SETTINGS | (settings or {}))
    return load_model(folder / "model.safetensors")


def fvu(model, store):
    with ActivationStore(store) as opened:
        return evaluate_coder(model, opened).metrics["fvu"]


def test_a_run_has_the_files_of_any_run(bench, store, tmp_path):
    model = solve(store, tmp_path / "run")
    assert bench.recovery(model.W_dec.detach()) == 1.0
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["settings"]["solver"] == "acs"
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["atoms"]) == model.config.n_q
    assert float(rows[-1]["seconds"]) >= float(rows[0]["seconds"]) > 0
    assert fvu(model, store) < 0.15


@pytest.mark.parametrize("solver", ["acs", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ksvd", "odl"))])
def test_watching_tells_of_recovery_and_changes_nothing(bench, store, tmp_path, solver):
    settings = {"solver": solver, "max_steps": 8}
    alone = solve(store, tmp_path / "alone", settings)
    watched = solve(store, tmp_path / "watched", settings, References(bench.features.numpy().T))
    assert torch.equal(alone.W_dec, watched.W_dec)
    with (tmp_path / "watched/history.csv").open() as file:
        recovery = [float(row["gt_recovery_decoder"]) for row in csv.DictReader(file)]
    assert recovery[-1] == bench.recovery(watched.W_dec.detach())
    assert all(0 <= value <= 1 for value in recovery)


@pytest.mark.parametrize("pair", ["transcoder", "crosscoder"])
def test_other_pairs_are_solved_for(bench, store, tmp_path, pair):
    model = solve(store, tmp_path / pair, {"pair": pair, "normalise": pair == "transcoder"})
    n = 32 if pair == "transcoder" else 64
    assert model.W_dec.shape[1] == n
    assert fvu(model, store) < 0.2


def test_centred_and_scaled_activations_give_raw_reconstructions(bench, tmp_path):
    path = tmp_path / "moved.h5"
    write_store(path, 5 * bench.x.numpy() + np.float32(7))
    model = solve(path, tmp_path / "run", {"normalise": True})
    assert fvu(model, path) < 0.2


def test_a_solver_starts_from_another_ones_dictionary(bench, store, tmp_path):
    solve(store, tmp_path / "first")
    again = solve(store, tmp_path / "again", {"max_steps": 1}, start=tmp_path / "first/model.safetensors")
    assert bench.recovery(again.W_dec.detach()) == 1.0
    other = Path(tmp_path / "other.h5")
    write_store(other, torch.randn(100, 8).numpy())
    with pytest.raises(ValueError, match="start writes 32 dimensions, but the inputs have 8"):
        solve(other, tmp_path / "wrong", start=tmp_path / "first/model.safetensors")
