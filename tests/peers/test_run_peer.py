"""The files of a peer's run, with a fake library that only records its arguments."""

import csv
import json
from functools import partial
from importlib.metadata import version

import pytest
import torch

from peers import run_peer
from peers.settings import DISTRIBUTIONS
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References, save_references
from sdlcore.errors import DivergedError
from sdlcore.interop.weights import InteropWeights, sparse_coder
from sdlcore.model.saving import load_model
from sdlcore.random_streams import stream
from sdlcore.training.normalisation import fit_normalisation
from tests.conftest import make_run
from tests.stores import write_store

SETTINGS = {"peer": "sparsify", "activation": "topk", "k": 2, "n_q": 10, "steps": 7, "batch_size": 16, "log_every": 3}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "train.h5"
    write_store(path, stream(0, "rows").standard_normal((50, 6)).astype("float32"))
    return path


def model_of_the_library():
    W = torch.nn.functional.normalize(torch.randn(10, 6, generator=torch.Generator().manual_seed(0)))
    return sparse_coder(InteropWeights(W, torch.zeros(10), W, torch.zeros(6), torch.zeros(6)), "topk", 2)


def run(store, folder, monkeypatch, losses, watch=None, **settings):
    """Train with a fake library that reports these losses; return the batches that it received, and its seed."""
    received_batches, seeds = [], []

    def train(batches, dimension, config, seed, note):
        assert (dimension, config.k) == (6, 2)
        seeds.append(seed)
        model = model_of_the_library()
        for x, loss in zip(batches, losses, strict=True):
            received_batches.append(x.clone())
            x.zero_()  # a library may overwrite its batches
            note(torch.tensor(loss), lambda: model)
        return model

    monkeypatch.setattr(run_peer, "trainer_of", lambda peer: train)
    monkeypatch.setitem(DISTRIBUTIONS, "sparsify", "torch")
    make_run(folder, store, SETTINGS | settings, seed=5, watch=watch)
    return received_batches, seeds[0]


def test_a_library_gets_the_batches_of_our_trainings_and_leaves_the_files_of_any_run(store, tmp_path, monkeypatch):
    W = torch.nn.functional.normalize(torch.randn(6, 4), dim=0).numpy()
    save_references(tmp_path / "references.safetensors", References(W), {})
    losses = [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    batches, seed = run(store, tmp_path / "run", monkeypatch, losses, tmp_path / "references.safetensors")
    with ActivationStore(store) as opened:
        reader = BatchReader(opened, "sae", 16, partial(stream, 5, "order"))
        assert all(torch.equal(x, torch.from_numpy(reader(step)[0])) for step, x in enumerate(batches))
    # two passes have different orders
    assert not torch.equal(batches[0], batches[3])

    model = load_model(tmp_path / "run/model.safetensors")
    assert (model.config.activation, model.config.n_q, model.config.k) == ("topk", 10, 2)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["settings"]["peer"] == "sparsify"
    assert config["versions"]["torch"] == version("torch")  # as installed, without torch's suffix for the build
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), int(row["samples"]), float(row["loss"])) for row in rows] == [
        (3, 48, 6.0),
        (6, 96, 3.0),
        (7, 112, 1.0),
    ]
    x = batches[-1]
    fvu = (model(x).x_hat - x).square().sum() / (x - x.mean(0)).square().sum()
    assert float(rows[-1]["fvu"]) == pytest.approx(fvu.item())
    assert float(rows[-1]["l0"]) <= 2
    assert 0 <= float(rows[-1]["gt_recovery_decoder"]) <= 1
    assert float(rows[-1]["seconds"]) >= float(rows[0]["seconds"]) >= 0
    assert seed == run(store, tmp_path / "again", monkeypatch, losses)[1]


def test_a_normalised_training_leaves_a_dictionary_for_raw_activations(tmp_path, monkeypatch):
    x = stream(0, "rows").standard_normal((50, 6)).astype("float32")
    write_store(tmp_path / "train.h5", 30 * x + 100)
    batches, _ = run(tmp_path / "train.h5", tmp_path / "run", monkeypatch, [1.0] * 7, normalise=True)
    with ActivationStore(tmp_path / "train.h5") as opened:
        raw = torch.from_numpy(BatchReader(opened, "sae", 16, partial(stream, 5, "order"))(0)[0])
        expected_batch, _ = fit_normalisation(opened, "sae")(raw, raw)
    assert torch.equal(batches[0], expected_batch)
    trained = model_of_the_library()(expected_batch)
    saved = load_model(tmp_path / "run/model.safetensors")(raw)
    torch.testing.assert_close(saved.latents(), trained.latents(), rtol=0, atol=1e-4)
    assert (saved.x_hat - raw).norm() < (raw - raw.mean(0)).norm()


def test_a_loss_that_is_not_finite_ends_the_training_and_leaves_no_run(store, tmp_path, monkeypatch):
    losses = [1.0, 1.0, 1.0, 1.0, float("nan"), 1.0, 1.0]
    with pytest.raises(DivergedError, match="training with sparsify diverged in steps 4 to 6: loss is nan"):
        run(store, tmp_path / "run", monkeypatch, losses)
    assert not any((tmp_path / "run" / file).exists() for file in ("model.safetensors", "config.json", "history.csv"))
