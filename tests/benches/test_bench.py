import numpy as np
import pytest

import sdlcore as sdl
from sdlcore.benches.config import BenchFeatures, BenchSamples
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import load_references
from tests.conftest import script

SMALL = {"n": 12, "n_p": 8, "sparsity": 0.8, "max_interference": 0.5}


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=3, n_r=6, noise=0.1, correlation=0.5, group_size=3, **SMALL)


def test_a_bench_is_the_pipelines_for_the_same_settings_and_seed(bench, tmp_path):
    features = BenchFeatures(n=12, n_p=8, n_r=6, max_interference=0.5)
    script("feature_matrix")(bench=features, seed=3, output=tmp_path / "features.safetensors")
    drawn = BenchSamples(9000, 50, sparsity=0.8, noise=0.1, correlation=0.5, group_size=3)
    paths = {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"}
    script("samples")(bench=drawn, seed=3, feature_matrix=tmp_path / "features.safetensors", **paths)

    assert np.array_equal(bench.W_p, load_references(tmp_path / "features.safetensors").W_p)
    for part, rows in (("train", 9000), ("test", 50)):
        samples = bench.samples(rows, part)
        with ActivationStore(paths[part]) as store:
            assert np.array_equal(samples.input, store.read("input"))
            assert np.array_equal(samples.target, store.read("target"))
            assert np.array_equal(samples.features.toarray(), store.features().toarray())


def test_samples_are_their_coefficients_times_the_features():
    bench = sdl.Bench.draw(seed=0, **SMALL)
    samples = bench.samples(100)
    assert np.allclose(samples.input, samples.features.toarray() @ bench.W_p.T, atol=1e-5)
    assert samples.target is None


def test_a_bench_with_one_representation_gives_one_array_and_one_with_two_gives_two(bench):
    assert sdl.Bench.draw(seed=0, **SMALL).sample(5).shape == (5, 8)
    x, target = bench.sample(5)
    assert (x.shape, target.shape) == ((5, 8), (5, 6))


def test_parts_are_independent_and_each_is_the_same_every_time(bench):
    first, again, other = bench.sample(20)[0], bench.sample(20)[0], bench.sample(20, "test")[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_anchors_are_true_features_and_more_of_them_keep_the_fewer(bench):
    few, many = bench.anchors(2, seed=1), bench.anchors(5, seed=1)
    assert np.array_equal(few.w_p, bench.W_p.T[few.feature])
    assert np.array_equal(few.w_r, bench.W_r.T[few.feature])
    assert np.array_equal(many.feature[:2], few.feature)
    assert len(bench.anchors(0.25).feature) == 3


def test_a_standard_bench_is_the_same_every_time_and_has_a_second_representation():
    first, again = sdl.standard_bench("lrb-s"), sdl.standard_bench("lrb-s")
    assert np.array_equal(first.W_p, again.W_p)
    assert first.W_p.shape == first.W_r.shape == (96, 128)
    assert np.array_equal(first.sample(50)[0], again.sample(50)[0])
