"""A bench in the form of SAELens' evaluation, and that evaluation of dictionaries on it."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

import sdlcore as sdl
from sdlcore.config import ModelConfig
from sdlcore.data.arrays import Arrays
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.interop.export import export
from sdlcore.model.coder import SparseCoder
from tests.conftest import REPOSITORY

PYTHON = REPOSITORY / "cache/environments/saelens/bin/python"
SETTINGS = {"n": 40, "n_p": 512, "roots": 0, "rank": 0, "max_frequency": 0.05, "min_frequency": 0.05, "bias": 0.0}
SAMPLES, BATCH = 4000, 1000


def true_dictionary(bench):
    """Return a dictionary whose latents are exactly the bench's features."""
    n_p, n = bench.W_p.shape
    coder = SparseCoder.from_config(ModelConfig(activation="relu", n_q=n, bias=True), (n_p,), (n_p,))
    W = torch.from_numpy(bench.W_p.T.copy())
    weights = {"W_enc": W, "W_dec": W, "b_enc": torch.full((n,), -0.25), "b_dec": torch.zeros(n_p)}
    coder.load_state_dict(weights)
    return coder.eval()


def theirs(bench, coder, folder):
    """Return SAELens' evaluation of an exported dictionary on `bench.to_saelens()`."""
    assert PYTHON.exists(), f"{PYTHON} is missing: make interop-test sets it up"
    export(coder, "saelens", folder / "exported")
    drawn = {"seed": bench.seed, "settings": SETTINGS, "samples": SAMPLES, "batch": BATCH}
    (folder / "bench.json").write_text(json.dumps(drawn))
    command = [str(PYTHON), str(REPOSITORY / "tests/interop/evaluator.py"), str(folder)]
    env = {"HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def ours(bench, coder):
    """Return sdlcore's metrics on the same samples that SAELens draws."""
    features, generator = bench.to_saelens()
    x = torch.cat([generator.sample(BATCH) for _ in range(SAMPLES // BATCH)])
    samples = Arrays(features(x).numpy(), features=csr_array(x.numpy()))
    truth = GroundTruth(bench.references, np.zeros(0, dtype=np.int64))
    return evaluate_coder(coder, samples, truth, np.random.default_rng(0)).metrics


@pytest.mark.interop
def test_saelens_finds_the_true_features_to_be_the_true_features(tmp_path):
    bench = sdl.SynthBench.draw(seed=0, **SETTINGS)
    scores = theirs(bench, true_dictionary(bench), tmp_path)
    assert scores["mcc"] == pytest.approx(1, abs=1e-6)
    assert scores["uniqueness"] == 1
    assert scores["dead_latents"] == 0
    assert scores["true_l0"] == pytest.approx(2, abs=0.1)
    assert scores["classification"]["recall"] > 0.99


@pytest.mark.interop
@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "topk", "n_q": 24},
        {"activation": "batchtopk", "n_q": 64},
        {"activation": "lista", "n_q": 24},
        {"activation": "topk", "n_q": 40, "searched": True},
    ],
)
def test_saelens_and_we_agree_on_a_trained_dictionary(settings, tmp_path):
    bench = sdl.SynthBench.draw(seed=0, **SETTINGS)
    x, training = bench.sample(4000), {name: value for name, value in settings.items() if name != "searched"}
    trained = sdl.fit(x, **training, k=2, steps=150, progress=False)
    if settings != training:
        trained = sdl.search(trained, x, progress=False)
    coder = trained.coder.eval()
    their, our = theirs(bench, coder, tmp_path), ours(bench, coder)
    pairs = {
        "mcc": their["mcc"],
        "uniqueness": their["uniqueness"],
        "l0": their["sae_l0"],
        "detection_f1": their["classification"]["f1_score"],
        "detection_precision": their["classification"]["precision"],
        "detection_recall": their["classification"]["recall"],
    }
    assert {name: our[name] for name in pairs} == pytest.approx(pairs, abs=1e-3)
    assert 0.1 < our["detection_f1"] < 0.99  # neither no feature nor every feature was found
