"""`sdl.SynthBench`: the pipeline's worlds in Python."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.data.reading import ActivationStore
from tests.conftest import script

SMALL = {"n": 64, "n_p": 24, "roots": 2, "depth": 2, "train_samples": 5000, "test_samples": 200}


@pytest.fixture(scope="module")
def bench():
    return sdl.SynthBench.draw(seed=3, **SMALL)


def test_it_draws_the_pipelines_features_and_samples(bench, tmp_path):
    paths = {part: tmp_path / f"{part}.h5" for part in ("train", "test")}
    outputs = paths | {"feature_matrix": tmp_path / "W.safetensors"}
    script("synth")(kind="synth", source=bench.settings.to_dict(), seed=3, **outputs)
    for part, rows in (("train", 5000), ("test", 200)):
        drawn = bench.samples(rows, part)
        with ActivationStore(paths[part]) as store:
            assert np.array_equal(store.read("input"), drawn.input)
            assert np.array_equal(store.features().toarray(), drawn.features.toarray())


def test_samples_continue_from_any_number(bench):
    x = bench.samples(300)
    assert np.array_equal(bench.samples(100, first=150).input, x.input[150:250])
    assert np.array_equal(bench.sample(), bench.samples(5000).input)
    assert not np.array_equal(bench.sample(200, "test"), x.input[:200])


def test_versions_share_features_and_differ_in_magnitudes(bench):
    other = sdl.SynthBench.draw(seed=3, version=1, **SMALL)
    assert np.array_equal(other.W_p, bench.W_p)
    one, two = other.samples(2000).features, bench.samples(2000).features
    assert np.array_equal(one.indices, two.indices)
    roots = one.indices < 2
    assert np.array_equal(one.data[roots], two.data[roots])
    assert (one.data != two.data).any()


def test_evaluation_and_training_take_it(bench):
    sae = sdl.fit(bench.sample(), activation="topk", n_q=16, k=4, steps=20, watch=bench, progress=False)
    scores = sdl.evaluate(sae, bench, nulls=False)
    assert 0 <= scores["detection_f1"] <= 1
    assert "absorption" not in scores
    assert "gt_recovery_decoder" in sae.history_frame()


def test_saelens_gets_new_samples_with_each_call_and_their_bias(bench):
    features, generator = bench.to_saelens()
    first, second = generator.sample(50), generator.sample(50)
    both = bench.to_saelens()[1].sample(100)
    assert torch.equal(torch.cat([first, second]), both)
    assert np.array_equal(features.feature_vectors.numpy(), bench.W_p.T)
    expected = both.numpy() @ bench.W_p.T + bench.distribution.bias
    # sums of at most 64 float32 products of size 10
    assert np.allclose(features(both).numpy(), expected, atol=1e-4)
    for part in ("train", "test"):
        assert not np.array_equal(bench.samples(50, part).features.toarray(), first)
