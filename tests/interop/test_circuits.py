"""circuit-tracer attributes a logit to the features of an exported set; the example's checks hold on a tiny Llama."""

import csv
import os
import subprocess

import pytest

import sdlcore as sdl
from sdlcore.extraction.models import load_any
from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import SIZES, documents, save_tiny_llama
from tests.interop.test_peers import ENVIRONMENTS

SETTINGS = {"activation": "batchtopk", "k": 4, "n_q": 40, "batch_size": 64, "steps": 20}


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.interop
def test_parts_sum_to_the_logit_and_ablations_confirm_edges(tmp_path):
    lm = save_tiny_llama(tmp_path / "lm")
    reading = {"context_length": 16, "device": "cpu", "progress": False}
    model, layers = load_any(lm), range(SIZES["num_hidden_layers"])
    at = [(f"mlp_in.{layer}", f"mlp_out.{layer}") for layer in layers]
    stores = sdl.extract(model, documents(60), at=at, out=tmp_path / "stores", **reading)
    transcoders = [sdl.fit(store, pair="transcoder", device="cpu", progress=False, **SETTINGS) for store in stores]
    sdl.export_set(transcoders, "circuit_tracer", tmp_path / "set")
    python = ENVIRONMENTS / "circuit_tracer/bin/python"
    assert python.exists(), f"{python} is missing: make interop-test sets it up"
    script = REPOSITORY / "studies/synthetic/circuits.py"
    command = [python, script, "attribute", lm, tmp_path / "set", " river stone cloud lantern", tmp_path / "out"]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    parts = {row["part"]: row["value"] for row in read(tmp_path / "out/parts.csv")}
    # float32 sums of some hundred terms, written with six digits
    assert float(parts["sum of the parts"]) == pytest.approx(float(parts["logit minus the mean"]), rel=1e-4)
    assert float(parts["features"]) != 0
    for row in read(tmp_path / "out/ablations.csv"):
        assert float(row["edge"]) != 0
        assert float(row["frozen_change"]) == pytest.approx(-float(row["edge"]), rel=1e-3)
