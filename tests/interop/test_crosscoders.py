"""Crosscoders are written and read in the form of the fork that papers on model diffing use."""

import json

import pytest
import torch

import sdlcore as sdl
from sdlcore.interop.export import export
from sdlcore.interop.load import load
from tests.interop.crosscoder_fork import computed
from tests.interop.models import agreement, model_of, samples

KINDS = ["relu crosscoder of one width", "batchtopk crosscoder of one width"]


def changed(folder, **trainer):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"trainer": config["trainer"] | trainer}))


@pytest.mark.parametrize("kind", KINDS)
def test_the_forks_formulas_compute_the_exported_crosscoder(kind, tmp_path):
    model, x = model_of(kind), samples(kind)
    out = model(x)
    same, error = agreement((out.latents(), out.x_hat), computed(export(model, "dictionary_learning", tmp_path), x))
    assert (same, error < 1e-5) == (len(x), True)
    assert 1 < float((out.latents() > 0).sum(1).float().mean()) < model.config.n_q


@pytest.mark.parametrize("norm", ["CROSSCODER", "SAE", "NONE"])
def test_thresholds_weighted_by_decoder_norms_are_read(norm, tmp_path):
    model, x = model_of(KINDS[1]), samples(KINDS[1])
    model.state_dict()["sigma.threshold"].fill_(3.0)
    changed(export(model, "dictionary_learning", tmp_path), code_normalization=norm)
    dictionary, expected = sdl.load(tmp_path), computed(tmp_path, x)
    with torch.no_grad():
        same, error = agreement((dictionary.encode(x), dictionary(x)), expected)
    assert same >= len(x) - 1  # rounding of float32 decides at a threshold
    assert error < 1e-5 or same < len(x)
    assert dictionary.coder.config.activation == ("batchtopk" if norm == "NONE" else "jumprelu")
    assert expected[0].any()


def test_what_the_fork_cannot_select_here_is_named(tmp_path):
    folder = export(model_of(KINDS[1]), "dictionary_learning", tmp_path)
    changed(folder, code_normalization="DECOUPLED")
    with pytest.raises(ValueError, match="code_normalization DECOUPLED is not supported; expected CROSSCODER, SAE or"):
        load(folder)
    changed(folder, code_normalization="NONE")
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(state | {"threshold": torch.tensor(-1.0)}, folder / "ae.pt")
    with pytest.raises(ValueError, match=r"ae\.pt: has no threshold before its first training batch"):
        load(folder)
