"""The files of a run with an imported dictionary."""

import csv
import json

import numpy as np
import pytest
import torch

from sdlcore.data.references import References, save_references
from sdlcore.interop.export import export
from sdlcore.model.saving import load_model, save_model
from tests.conftest import make_run
from tests.interop.models import WIDER, N, model_of, samples
from tests.stores import write_store


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "train.h5"
    x = samples("topk crosscoder", 200).numpy()
    write_store(path, x[:, :N], x[:, N:])
    return path


def run(tmp_path, store, watch=None, **settings):
    make_run(tmp_path / "run", store, settings, watch=watch)
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["topk", "relu transcoder to another width", "topk crosscoder"])
def test_a_dictionary_of_any_pair_becomes_a_run(kind, store, tmp_path):
    if "crosscoder" in kind:
        save_model(tmp_path / "theirs.safetensors", model_of(kind), {"seed": 3})
        theirs = tmp_path / "theirs.safetensors"
    else:
        theirs = export(model_of(kind), "saelens", tmp_path / "theirs")
    rows = np.eye(N, dtype=np.float32)[:5], np.eye(WIDER, dtype=np.float32)[:5]
    save_references(tmp_path / "references.safetensors", References(rows[0].T, rows[1].T), {})
    folder = run(tmp_path, store, tmp_path / "references.safetensors", model=str(theirs))
    model = load_model(folder / "model.safetensors")
    assert torch.equal(model.W_dec, model_of(kind).W_dec)
    made_from = json.loads((folder / "config.json").read_text())
    assert made_from["settings"]["model"] == str(theirs)
    assert made_from["imported"]["format"] == ("sdlcore" if "crosscoder" in kind else "saelens")
    configuration = {"seed": 3} if "crosscoder" in kind else json.loads((theirs / "cfg.json").read_text())
    assert made_from["imported"]["says"] == configuration
    with (folder / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["step"], row["samples"], row["seconds"]) == ("0", "0", "0")
    assert 0 <= float(row["gt_recovery_decoder"]) <= 1
    assert float(row["fvu"]) > 0


def test_another_width_and_a_missing_file_leave_no_run(store, tmp_path):
    wider = export(model_of("relu transcoder"), "saelens", tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"a relu transcoder of widths \(\(24,\), \(24,\)\), expected .* for"):
        run(tmp_path, store, model=str(wider))
    with pytest.raises(ValueError, match="gone: neither a file or folder on this machine"):
        run(tmp_path, store, model=str(tmp_path / "gone"))
    assert not (tmp_path / "run/model.safetensors").exists()
    assert not (tmp_path / "run/config.json").exists()
