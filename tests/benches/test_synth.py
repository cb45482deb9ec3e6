"""SynthSAEBench's distribution: random numbers, frequencies, trees, factors, magnitudes, recipes and streams."""

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.benches import synth
from sdlcore.benches.config import SynthSource
from sdlcore.benches.loops import philox
from sdlcore.benches.synth import (
    Sampler,
    candidacy,
    directions,
    draw_distribution,
    families,
    frequencies,
    synth_stream,
    write_synth_recipe,
)
from sdlcore.data.batches import Request
from sdlcore.data.reading import ActivationStore
from sdlcore.random_streams import stream
from tests.conftest import script

# Random123's known answers for Philox4x32-10: counter, key, result
ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), ANSWERS)
def test_random_words_are_philoxs_reference_words(counter, key, result):
    assert list(philox(*map(np.uint64, words(counter) + words(key)))) == words(result)


# two trees of 2 x (1 + 4 + 16) features, and 22 on their own
SMALL_SOURCE = SynthSource(n=64, n_p=24, roots=2, depth=2, train_samples=9000, test_samples=50)
N = 40000


def drawn(**changes):
    """Return settings, distribution and N samples (dense) of the small bench."""
    source = SMALL_SOURCE.changed(**changes)
    distribution = draw_distribution(source, stream(0, "law"))
    return source, distribution, sampler(source, distribution).coefficients(0, N).toarray()


def sampler(source, distribution):
    return Sampler(distribution, families(source), stream(0, "samples"))


def parents_of(source):
    """Return the parent of each feature that has one."""
    return {
        feature: above[place // source.branching]
        for above, below in zip(source.levels, source.levels[1:], strict=False)
        for place, feature in enumerate(below)
    }


def test_the_default_is_the_published_bench():
    published = SynthSource()
    assert not list(published.inconsistencies())
    assert [len(level) for level in published.levels] == [128, 512, 2048, 8192]
    expected = frequencies(published)
    assert expected[[0, -1]] == pytest.approx([0.4, 5e-4])
    # its documentation says 34 active features a sample, 25 of them among the 4096 most frequent
    distribution = draw_distribution(published, stream(0, "law"))
    active = sampler(published, distribution).coefficients(0, 400).toarray() > 0
    assert active.sum(axis=1).mean() == pytest.approx(34, abs=1.5)
    assert active[:, :4096].sum(axis=1).mean() == pytest.approx(25, abs=1.5)


def test_a_sample_does_not_depend_on_those_drawn_with_it():
    source, distribution, x = drawn()
    drawer = sampler(source, distribution)
    assert np.array_equal(drawer.coefficients(70, 200).toarray(), x[70:270])
    one_by_one = [drawer.coefficients(number, 1).toarray()[0] for number in range(20)]
    assert np.array_equal(one_by_one, x[:20])
    assert drawer.coefficients(5, 0).shape == (0, source.n)
    # far numbers have samples of their own, whose counters need more than 32 bits
    far = drawer.coefficients(2**32, 20).toarray()
    assert not np.array_equal(far, x[:20])
    other = Sampler(distribution, families(source), stream(1, "samples")).coefficients(0, 20).toarray()
    assert not np.array_equal(other, x[:20])


def test_indices_ascend_and_samples_with_many_active_features_are_whole():
    # a factor of this weight makes half of the features active in some samples, and none in most
    source, distribution, x = drawn(correlation=3.0, rank=1, roots=0, max_frequency=0.1, min_frequency=0.1)
    active = (x > 0).sum(axis=1)
    assert active.max() > 20  # more than thrice the mean
    coefficients = sampler(source, distribution).coefficients(0, N)
    assert coefficients.has_canonical_format
    assert coefficients.nnz == active.sum()
    assert (coefficients.data > 0).all()
    error = np.sqrt(0.1 * 0.9 / N)
    assert (np.abs((x > 0).mean(axis=0) - 0.1) < 5 * error).all()


def test_features_without_parents_have_their_frequencies_with_and_without_factors():
    for rank in (0, 25):
        source, distribution, x = drawn(roots=0, rank=rank)
        error = np.sqrt(distribution.frequencies * (1 - distribution.frequencies) / N)
        assert (np.abs((x > 0).mean(axis=0) - distribution.frequencies) < 5 * error).all()
        assert (distribution.candidacy == distribution.frequencies).all()
        assert distribution.factors.shape == (source.n, rank)


def test_a_child_is_active_only_with_its_parent_and_without_its_siblings():
    source, _, x = drawn()
    active, parents = x > 0, parents_of(source)
    assert len(parents) == 2 * (4 + 16)
    for child, parent in parents.items():
        assert active[:, child].any()
        assert not (active[:, child] & ~active[:, parent]).any()
    for below in source.levels[1:]:
        families = active[:, below.start : below.stop].reshape(N, -1, source.branching)
        assert families.sum(axis=2).max() == 1


def test_candidacy_makes_up_for_parents_and_siblings():
    source = SMALL_SOURCE.changed(n=10, roots=2, branching=2, depth=1)
    probabilities = np.array([0.4, 0.3, 0.1, 0.08, 0.06, 0.03, 0.02, 0.02, 0.02, 0.02])
    candidacies = candidacy(probabilities, source)
    assert candidacies[[0, 1, 6]] == pytest.approx(probabilities[[0, 1, 6]])
    assert candidacies[2] == pytest.approx(0.25 * (1 + 0.2))
    assert candidacies[5] == pytest.approx(0.1 * (1 + 0.2))
    # siblings that want more than their parent has are candidates in all samples at most
    assert candidacy(np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, *[0.1] * 4]), source).max() == 1


def test_a_lone_feature_s_magnitudes_have_the_mean_and_deviation_of_the_distribution():
    _, distribution, x = drawn(roots=0, max_frequency=0.3, min_frequency=0.3, deviation=0.4, deviation_spread=0.1)
    assert distribution.means[[0, -1]].tolist() == [5, 4]
    for feature in (0, 30, 63):
        magnitudes = x[x[:, feature] > 0, feature]
        error = distribution.deviations[feature] / np.sqrt(len(magnitudes))
        assert abs(magnitudes.mean() - distribution.means[feature]) < 5 * error
        assert magnitudes.std() == pytest.approx(distribution.deviations[feature], rel=0.05)


def test_a_child_scales_with_its_parent():
    source, distribution, x = drawn(deviation=0.4, deviation_spread=0.0)
    child = source.levels[1].start
    together = x[x[:, child] > 0][:, [0, child]]
    slope = (together[:, 0] * together[:, 1]).sum() / np.square(together[:, 0]).sum()
    assert slope == pytest.approx(distribution.means[child] / distribution.means[0], rel=0.02)
    assert np.corrcoef(together.T)[0, 1] > 0.5


def test_children_of_version_1_do_not_scale_with_their_parents():
    source, distribution, x = drawn(version=1, deviation=0.4, deviation_spread=0.0)
    child = source.levels[1].start
    together = x[x[:, child] > 0][:, [0, child]]
    n = len(together)
    assert n > 1000
    assert abs(together[:, 1].mean() - distribution.means[child]) < 5 * 0.4 / np.sqrt(n)
    # the standard error of the correlation of n independent pairs is 1 / sqrt(n)
    assert abs(np.corrcoef(together.T)[0, 1]) < 5 / np.sqrt(n)
    # only magnitudes differ between versions
    assert np.array_equal(x > 0, drawn(version=2, deviation=0.4, deviation_spread=0.0)[2] > 0)


def test_factors_make_features_fire_together_and_apart():
    source, distribution, x = drawn(roots=0, correlation=0.15, max_frequency=0.3, min_frequency=0.3)
    shared = distribution.factors @ distribution.factors.T
    together = np.corrcoef((x > 0).T)
    pairs = np.triu_indices(source.n, 1)
    assert np.corrcoef(shared[pairs], together[pairs])[0, 1] > 0.99
    assert together[pairs].min() < -0.1
    assert together[pairs].max() > 0.1


def test_directions_are_unit_and_interfere_less_than_random_ones():
    def interference(steps):
        W = directions(96, 24, steps, 3e-3, stream(0, "directions")).astype(float)
        assert np.linalg.norm(W, axis=0) == pytest.approx(np.ones(96), abs=1e-6)
        return np.square(W.T @ W).sum() - 96

    # no vectors have less than n^2 / d - n (Welch)
    assert 96**2 / 24 - 96 <= interference(100) < 0.95 * interference(0)


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


def test_evaluation_and_training_take_it(bench):
    sae = sdl.fit(bench.sample(), activation="topk", n_q=16, k=4, steps=20, watch=bench, progress=False)
    scores = sdl.evaluate(sae, bench, nulls=False)
    assert 0 <= scores["detection_f1"] <= 1
    assert "absorption" not in scores
    assert "gt_recovery_decoder" in sae.history[-1]


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


STREAMED = SynthSource(n=128, n_p=16, roots=1)


@pytest.fixture
def recipe(tmp_path):
    write_synth_recipe(tmp_path / "train.json", STREAMED, 3, {"made": "here"})
    return tmp_path / "train.json"


def test_batches_are_the_samples_of_the_bench_in_their_order(recipe, monkeypatch):
    monkeypatch.setattr(synth, "FIRST_ROWS", 50)
    x = sdl.SynthBench.draw(seed=3, n=128, n_p=16, roots=1).samples(50).input
    rows = synth_stream(recipe, Request("sae", 10, 0, 1))
    assert rows.widths == (16,)
    batches = [rows.batches(step) for step in (4, 0, 1, 2, 3)]  # a training may resume at any step
    assert all(x_r is x_p for x_p, x_r in batches)
    np.testing.assert_array_equal(np.concatenate([x_p for x_p, _ in [*batches[1:], batches[0]]]), x)
    np.testing.assert_array_equal(rows.sample().read("input", 0, 50), x)
