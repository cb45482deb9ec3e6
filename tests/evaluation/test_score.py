import copy
import re

import numpy as np
import pytest
import torch

import sdlcore as sdl
from sdlcore.data.references import References
from sdlcore.model.coder import SparseCoder
from tests.refusals import no_warning
from tests.stores import write_store

QUIET = {"progress": False, "device": "cpu"}
TOPK = {"activation": "topk", "k": 3, "n_q": 24, "batch_size": 64, "steps": 20, "log_every": 10}


@pytest.fixture(scope="module")
def bench():
    return sdl.Bench.draw(seed=0, n=12, n_p=8, sparsity=0.85, max_interference=0.5)


@pytest.fixture(scope="module")
def x(bench):
    return bench.sample(1000)


@pytest.fixture(scope="module")
def sae(x):
    return sdl.fit(x, **TOPK, **QUIET)


@pytest.fixture(scope="module")
def true(bench, sae):
    """A dictionary whose rows are the true features."""
    dictionary = sdl.Dictionary(SparseCoder.from_config(sae.coder.config, (8,), (8,)))
    weights = {name: torch.zeros_like(tensor) for name, tensor in dictionary.coder.state_dict().items()}
    weights["W_enc"][:12] = weights["W_dec"][:12] = torch.from_numpy(bench.W_p.T.copy())
    dictionary.coder.load_state_dict(weights)
    return dictionary


def test_true_features_are_recovered_whole_and_print_so(true, bench):
    scores = sdl.evaluate(true, bench, n_samples=100)
    assert scores["gt_recovery_encoder"] == scores["gt_recovery_decoder"] == 1
    assert scores["mip_decoder"] == pytest.approx(1, abs=1e-5)
    assert re.search(r"^gt_recovery_decoder +1 ", repr(scores), re.MULTILINE)
    assert "more metrics in to_frame())" in repr(scores)


@pytest.mark.usefixtures("registry")
def test_metrics_of_plugins_are_printed_and_in_the_frame(sae, bench, x):
    @sdl.metric("decoder_norm", "Norm", "norm of the decoder")
    def decoder_norm(judged):
        return judged.model.W_dec.norm()

    for scores in (sdl.evaluate(sae, bench, n_samples=100), sdl.evaluate(sae, x=x)):
        value = float(sae.W_dec.norm())
        assert scores["decoder_norm"] == pytest.approx(value)
        assert scores.to_frame().loc["decoder_norm", "value"] == scores["decoder_norm"]
        assert re.search(rf"^decoder_norm +{value:.4g} ", repr(scores), re.MULTILINE)


def test_a_single_sample_has_no_variance_to_explain(sae, bench):
    scores = sdl.evaluate(sae, bench, n_samples=1, nulls=False)
    assert scores["fvu"] is None
    assert scores["oracle_fvu"] is None


def test_coefficients_of_other_features_than_the_references_score_nothing(sae, bench, tmp_path):
    drawn = bench.samples(100, "test")
    write_store(tmp_path / "test.h5", drawn.input, features=drawn.features)
    some, every = (
        sdl.evaluate(sae, bench.W_p.T[:n], tmp_path / "test.h5", nulls=False) for n in (5, bench.W_p.shape[1])
    )
    assert some["mip_decoder"] == pytest.approx(np.mean(every.features["decoder"][:5]), abs=1e-6)
    assert "macro_f1" in every
    assert "macro_f1" not in some


def test_a_bench_evaluates_on_samples_that_no_training_saw(sae, bench, x):
    drawn = bench.samples(100, "test")
    by_hand = sdl.evaluate(sae, x=drawn.input)
    assert sdl.evaluate(sae, bench, n_samples=100)["fvu"] == pytest.approx(by_hand["fvu"])
    assert set(by_hand) == {"l0", "fvu", "dead_fraction"}
    assert not by_hand.features


def test_classes_keep_their_names_where_test_samples_lack_one(sae, x):
    labels = np.array(["ant", "bee", "cow"])[np.arange(len(x)) % 3]
    means, some = sdl.class_means(x, labels), labels != "bee"
    two_classes = References(means.W_p[:, [0, 2]], classes=np.arange(2), class_names=["ant", "cow"])
    scores = sdl.evaluate(sae, means, x[some], labels=labels[some])
    assert scores["macro_f1"] == sdl.evaluate(sae, two_classes, x[some], labels=labels[some])["macro_f1"]


def test_rows_serve_as_references_and_as_anchors(sae, x, bench):
    rows = bench.W_p.T
    scores = sdl.evaluate(sae, rows, x, anchors=rows[:3])
    assert scores.features["anchored"] == [0, 1, 2]
    assert scores == sdl.evaluate(sae, References(bench.W_p), x, anchors=sdl.Anchors(rows[:3]))


def test_a_model_in_training_mode_is_evaluated_in_evaluation_mode(x):
    coder = sdl.fit(x, **TOPK | {"activation": "batchtopk"}, **QUIET).coder
    expected = sdl.evaluate(coder, x=x)
    assert sdl.evaluate(coder.train(), x=x) == expected
    assert coder.training


def test_anchored_and_unanchored_features_are_scored_separately(sae, bench):
    anchors = bench.anchors(4, seed=2)
    scores = sdl.evaluate(sae, bench, anchors=anchors, n_samples=100)
    assert sorted(scores.features["anchored"]) == sorted(anchors.feature)
    anchored, others = scores["mip_decoder_anchored"], scores["mip_decoder_unanchored"]
    assert scores["mip_decoder"] == pytest.approx((4 * anchored + 8 * others) / 12)


def with_nan(sae, name, *place):
    broken = copy.deepcopy(sae)
    broken.coder.get_parameter(name).data[place] = torch.nan
    return broken


def classes(x):
    return sdl.class_means(x, np.array(["ant", "cow"])[np.arange(len(x)) % 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda sae, bench, x: sdl.evaluate(sae, classes(x), x), "has no labels"),
        (
            lambda sae, bench, x: sdl.evaluate(sae, bench.samples(100, "test").input),
            "give them as x=.*, since the second argument is the ground truth",
        ),
        (
            lambda sae, bench, x: sdl.evaluate(sae, bench, n_samples=100)["mip_decodr"],
            r"there is no metric mip_decodr; did you mean mip_decoder\?; to_frame",
        ),
        (lambda sae, bench, x: sdl.evaluate(sae, x=x)["mip_decoder"], "no metric mip_decoder without ground truth"),
        (lambda sae, bench, x: sdl.evaluate(with_nan(sae, "b_dec", 4), bench), r"b_dec\[4\] is nan; train it again"),
        (lambda sae, bench, x: sdl.evaluate(sae, np.eye(5), x), r"truth: found \(5,\) dimensions, but .* \(8,\)"),
        (lambda sae, bench, x: sdl.evaluate(sae, bench, anchors=np.eye(5)), r"anchors: found \(5,\) dimensions, but x"),
        (lambda sae, bench, x: sdl.evaluate(sae, bench, x), "a bench draws its own samples; leave x out"),
        (lambda sae, bench, x: sdl.evaluate(sae, x=[x, x]), "the dictionary is an autoencoder, which reads one site"),
        (
            lambda sae, bench, x: sdl.evaluate(sdl.Dictionary(sdl.SparseCoder(8, 5, n_q=2)), x=x),
            r"x has sites of \(8,\) dimensions, but the transcoder \(8, 5\); a transcoder needs a target",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message, sae, bench, x):
    with pytest.raises((ValueError, KeyError), match=message):
        call(sae, bench, x)


def test_null_baselines_stand_beside_and_samples_hold_the_features_of_sparse_data():
    bench = sdl.Bench.draw(seed=0, n=32, n_p=24, sparsity=0.97, max_interference=0.4)
    sae = sdl.fit(bench.sample(2000), **TOPK | {"n_q": 512}, **QUIET)
    scores = sdl.evaluate(sae, bench, n_samples=1000, nulls=True)
    assert set(scores.nulls) == {"directions", "samples"}
    # a sample with a single active feature equals that feature
    assert scores.nulls["samples"]["gt_recovery_encoder"] > 0.9 > scores.nulls["directions"]["gt_recovery_encoder"]
    assert {"directions", "samples"} <= set(scores.to_frame().columns)
    assert "samples" in repr(scores)


def test_a_dictionary_knows_its_anchors_and_warns_of_unknown_ones(bench, x, tmp_path):
    anchors = bench.anchors(4, seed=2)
    sae = sdl.fit(x, anchors=anchors, lambda_anchor=1.0, **TOPK, **QUIET)
    scores = sdl.evaluate(sae, bench, n_samples=100)
    assert sorted(scores.features["anchored"]) == sorted(anchors.feature)
    assert "gt_recovery_decoder_unanchored" in repr(scores)
    sae.save(tmp_path / "run")
    assert np.array_equal(sdl.load(tmp_path / "run").anchors.feature, anchors.feature)
    sae.save(tmp_path / "alone.safetensors")
    with pytest.warns(UserWarning, match="its anchors are unknown"):
        sdl.evaluate(sdl.load(tmp_path / "alone.safetensors"), bench, n_samples=100)
    assert repr(anchors) == f"Anchors(4 in 8 dimensions, of features {', '.join(map(str, anchors.feature))})"


def test_means_of_classes_that_are_centred_otherwise_are_warned_of(x):
    labels = np.arange(len(x)) % 3
    small = {"activation": "topk", "k": 2, "n_q": 8, "steps": 1, "batch_size": 16, **QUIET}
    means = {centred: sdl.class_means(x - x.mean(0), labels, centred=centred) for centred in (True, False)}
    for normalise, message in (
        (True, "normalised activations, but .* are not centred; .*True"),
        (False, "raw .* centred; .*False"),
    ):
        sae = sdl.fit(x, normalise=normalise, **small)
        with pytest.warns(UserWarning, match=message):
            sdl.evaluate(sae, means[not normalise], x, labels=labels, nulls=False)
        with no_warning():
            sdl.evaluate(sae, means[normalise], x, labels=labels, nulls=False)


def test_null_baselines_of_a_centred_dictionary_are_samples_less_their_mean():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    x = (np.linalg.qr(rng.standard_normal((8, 8)))[0][labels] + 5 + 0.05 * rng.standard_normal((2000, 8))).astype("f4")
    means = sdl.class_means(x, labels, centred=True)
    means.centred = None  # unknown, as for a user's own
    recovered = []
    for normalise in (True, False):
        sae = sdl.fit(x, activation="topk", k=1, n_q=64, steps=2, batch_size=64, normalise=normalise, **QUIET)
        scores = sdl.evaluate(sae, means, x, labels=labels)
        recovered.append(scores.nulls["samples"]["gt_recovery_decoder"])
    # a training without the mean can start from these; with the mean, samples have nearly one direction
    assert recovered == [1.0, 0.0]
