import numpy as np
import pytest
import torch

from sdlcore.benches.config import BenchSamples, Hierarchy
from sdlcore.benches.lrb import coefficients, feature_matrix, synthesise
from sdlcore.config import ModelConfig
from sdlcore.data.anchors import Anchors
from sdlcore.data.pairs import make_direction_pair, make_pair, pair_sites
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import References
from sdlcore.evaluation.evaluate import evaluate_coder
from sdlcore.evaluation.ground_truth import GroundTruth
from sdlcore.evaluation.metrics import BENCH, CLASSES, CROSSCODERS, EVERY_RUN, HIERARCHY, JUDGED, METRICS, WITH_ANCHORS
from sdlcore.evaluation.recovery import metrics_by_anchors, recovery_metrics
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from tests.coders import coder
from tests.evaluation.chance import chance_mip
from tests.stores import write_store

N, N_P, N_R = 20, 16, 14
W_p = feature_matrix(N_P, N, stream(0, "p"), 0.5).W
W_r = feature_matrix(N_R, N, stream(0, "r"), 0.5).W
ANCHORED = np.array([3, 4, 11])
TRUTH = GroundTruth(References(W_p, W_r), ANCHORED)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluate") / "store.h5"
    x = coefficients(1500, N, BenchSamples(sparsity=0.95), stream(0, "x"))
    write_store(path, synthesise(x, W_p), target=synthesise(x, W_r), features=x)
    with ActivationStore(path) as store:
        yield store


def ground_truth_model(pair, extra=5):
    """Return the configuration of Theorem 3.3, with ``extra`` latents that never fire."""
    w_p, w_r = make_direction_pair(pair, W_p.T, W_r.T)
    model = SparseCoder.from_config(ModelConfig(pair, "relu", N + extra), *pair_sites(pair, N_P, N_R)).eval()
    with torch.no_grad():
        model.W_enc[:N] = torch.from_numpy(w_p)
        model.W_dec[:N] = torch.from_numpy(w_r)
    return model


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_the_true_dictionary_is_recovered_whole_against_the_right_matrices(store, pair):
    model = ground_truth_model(pair)
    metrics, chance, *_ = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    for side, weights in (("encoder", model.W_enc), ("decoder", model.W_dec)):
        for suffix in ("", "_anchored", "_unanchored"):
            assert metrics[f"gt_recovery_{side}{suffix}"] == 1
            assert metrics[f"gt_recovery_{side}{suffix}_tau95"] == 1
            assert metrics[f"mip_{side}{suffix}"] == pytest.approx(1)
        assert metrics[f"hungarian_{side}"] == pytest.approx(1)
        # the best matches of 20 features to 25 random directions deviate by .1, and their mean by .02
        assert chance[f"mip_{side}"] == pytest.approx(chance_mip(*weights.shape), abs=0.05)
    assert metrics["dead_fraction"] == pytest.approx(5 / 25)
    sites = {name for name in metrics if "_site" in name}
    assert len(sites) == (8 if pair == "crosscoder" else 0)
    assert all(metrics[name] == pytest.approx(1) for name in sites)


def test_recovery_is_split_by_the_anchored_features(store):
    model = ground_truth_model("sae")
    with torch.no_grad():
        model.W_dec[:N] = torch.roll(model.W_dec[:N], 1, dims=1)  # all decoder rows are wrong ...
        model.W_dec[ANCHORED] = torch.from_numpy(W_p.T[ANCHORED])  # ... except the anchored ones
    metrics, *_ = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    assert metrics["gt_recovery_decoder_anchored"] == 1
    assert metrics["gt_recovery_decoder_unanchored"] == 0
    assert metrics["gt_recovery_decoder"] == pytest.approx(3 / N)
    assert metrics["gt_recovery_encoder"] == 1
    none, *_ = evaluate_coder(model, store, TRUTH._replace(anchored=np.zeros(0, int)), stream(0, "chance"))
    assert none["gt_recovery_decoder_anchored"] is None
    assert none["gt_recovery_decoder_unanchored"] == none["gt_recovery_decoder"]


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_sample_metrics_equal_their_definitions(store, pair):
    model = SparseCoder.from_config(
        ModelConfig(pair, "topk", 40, 3), *pair_sites(pair, N_P, N_R), torch_stream(0, "i")
    ).eval()
    metrics, chance, *_ = evaluate_coder(model, store)
    x_p, x_r = make_pair(pair, store.read("input"), store.read("target"))
    with torch.no_grad():
        out = model(torch.from_numpy(x_p))
    on = (out.latents() > 0).numpy()
    x_r, x_hat = x_r.astype(np.float64), out.x_hat.numpy()
    assert metrics["l0"] == pytest.approx(on.sum(1).mean())
    assert metrics["dead_fraction"] == pytest.approx((~on.any(0)).mean())
    assert metrics["fvu"] == pytest.approx(((x_r - x_hat) ** 2).sum() / ((x_r - x_r.mean(0)) ** 2).sum())
    assert metrics.keys() == {"l0", "dead_fraction", "fvu"}
    assert chance == {}


def test_an_encoder_of_best_read_outs_is_not_the_features_but_its_patterns_are(store):
    x = store.read("input").astype(np.float64)
    model = ground_truth_model("sae")
    with torch.no_grad():
        model.W_enc[:N] = torch.from_numpy(np.linalg.solve(np.cov(x.T), W_p).T)
    metrics, chance, *_ = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    assert metrics["mip_encoder_pattern"] > max(0.999, metrics["mip_encoder"])
    assert metrics["gt_recovery_encoder_pattern"] == metrics["gt_recovery_encoder_pattern_unanchored"] == 1
    assert 0 < chance["mip_encoder_pattern"] < 1


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Return a store of 600 samples from 8 classes, with class means in close pairs, and the true means."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("classes") / "store.h5"
    means = rng.standard_normal((4, N_P)).repeat(2, 0) + 0.1 * rng.standard_normal((8, N_P))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    labels = rng.integers(0, 8, 600)
    write_store(
        path, means[labels] + 0.01 * rng.standard_normal((600, N_P)), labels=labels, class_names=list("abcdefgh")
    )
    with ActivationStore(path) as store:
        means_of_8 = References(means.T.astype(np.float32), classes=np.arange(8), class_names="abcdefgh")
        yield store, GroundTruth(means_of_8, np.array([0, 1]))


def test_means_of_classes_are_judged_by_labels_and_beside_the_anchors_alone(classes):
    store, truth = classes
    model = coder(truth.references.W_p.T, truth.references.W_p.T, activation="topk", k=1)
    metrics, *_ = evaluate_coder(model, store, truth, stream(0, "chance"))
    assert metrics["gt_recovery_decoder"] == 1
    assert metrics["macro_f1"] > 0.99
    assert metrics["top_classes"] == pytest.approx(1, abs=0.2)
    assert metrics["top_purity_unanchored"] > 0.98
    # classes 0 and 1 are a close pair: their two directions recover no other class
    assert metrics["anchors_only_gt_recovery_decoder"] == 2 / 8
    assert metrics["anchors_only_gt_recovery_decoder_unanchored"] == 0
    # one of each pair recovers all classes
    spread, *_ = evaluate_coder(model, store, truth._replace(anchored=np.array([0, 2, 4, 6])), stream(0, "chance"))
    assert spread["anchors_only_gt_recovery_encoder"] == 1
    # anchors that are no class means are judged by their own directions
    free_anchors = Anchors(truth.references.W_p.T[[0, 2, 4]])
    scores, *_ = evaluate_coder(
        model, store, truth._replace(anchors=free_anchors, anchored=np.arange(6)), stream(0, "chance")
    )
    assert scores["anchors_only_gt_recovery_decoder"] == 6 / 8
    assert scores["anchors_only_gt_recovery_decoder_unanchored"] == 0
    assert spread["anchors_only_gt_recovery_encoder_unanchored"] == 1


@pytest.mark.parametrize("pair", ["sae", "transcoder", "crosscoder"])
def test_a_dictionary_of_what_orthogonal_features_are_is_not_split_shrunk_or_absorbed(tmp_path, pair):
    hierarchy, n = Hierarchy(2, 3), 10
    W = [np.linalg.qr(stream(4, side).standard_normal((12, n)))[0].astype(np.float32) for side in ("p", "r")]
    x = coefficients(1000, n, BenchSamples(sparsity=0.9, c_min=1.0, beta=0.25, hierarchy=hierarchy), stream(4, "x"))
    write_store(tmp_path / "store.h5", synthesise(x, W[0]), target=synthesise(x, W[1]), features=x)
    model = SparseCoder.from_config(ModelConfig(pair, "relu", 2 * n), *pair_sites(pair, 12, 12)).eval()
    inputs, targets = make_pair(pair, W[0].T, W[1].T)
    with torch.no_grad():
        for weights, rows in ((model.W_enc, inputs / np.square(inputs).sum(1, keepdims=True)), (model.W_dec, targets)):
            weights.zero_()
            weights[:n] = torch.from_numpy(rows)
        model.W_dec[n:] = model.W_dec[:n]  # dead copies
    truth = GroundTruth(References(W[0], W[1]), np.zeros(0, int), hierarchy=hierarchy)
    with ActivationStore(tmp_path / "store.h5") as store:
        whole, *_ = evaluate_coder(model, store, truth, stream(0, "chance"))
        plain, *_ = evaluate_coder(model, store, truth._replace(hierarchy=None), stream(0, "chance"))
        with torch.no_grad():
            model.W_enc[: n // 2] = 0
            model.W_enc[n : n + n // 2] = torch.from_numpy(inputs[: n // 2]) / np.square(inputs).sum(1)[0] / 4
        shrunk, *_ = evaluate_coder(model, store, truth, stream(0, "chance"))
    assert (whole["splitting"], whole["absorption"]) == (1, 0)
    assert whole["shrinkage"] == pytest.approx(0, abs=1e-5)
    assert "absorption" not in plain
    assert shrunk["splitting"] == 1
    assert shrunk["shrinkage"] == pytest.approx(0.375, abs=1e-4)  # half of the slopes are .25


def test_the_rarest_quarter_is_judged_by_itself(store):
    active = (store.features().toarray() > 0).sum(axis=0)
    rarest = np.argsort(active, kind="stable")[: N // 4]
    model = ground_truth_model("sae")
    with torch.no_grad():
        model.W_dec[rarest[0]] = -model.W_dec[:N].mean(0)  # one of five is lost
    metrics, *_ = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    assert metrics["gt_recovery_decoder_rarest"] == 0.8
    assert metrics["gt_recovery_decoder"] == pytest.approx(1 - 1 / N)


def test_fewer_latents_than_features_leave_absorption_open(store):
    model = SparseCoder.from_config(
        ModelConfig("sae", "relu", N - 1), *pair_sites("sae", N_P, N_R), torch_stream(0, "i")
    ).eval()
    metrics, *_ = evaluate_coder(model, store, TRUTH._replace(hierarchy=Hierarchy(2, 3)), stream(0, "chance"))
    assert metrics["absorption"] is None
    assert (metrics["splitting"], metrics["shrinkage"]) == (None, None)


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_inner_products_follow_the_rows_norms_and_cosines_do_not(store, scale):
    model = ground_truth_model("sae", extra=0)
    with torch.no_grad():
        model.W_enc *= scale
    metrics, _, features = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    assert metrics["gt_recovery_encoder"] == metrics["gt_recovery_encoder_tau95"] == 1
    for part in ("", "_anchored", "_unanchored"):
        assert (
            metrics[f"gt_recovery_encoder_raw{part}"] == metrics[f"gt_recovery_encoder_raw{part}_tau95"] == (scale > 1)
        )
        assert metrics[f"mip_encoder_raw{part}"] == pytest.approx(scale, rel=1e-6)
        assert metrics[f"mip_decoder_raw{part}"] == pytest.approx(1, rel=1e-6)
    for quantile in ("low", "median", "high"):
        assert metrics[f"norm_encoder_{quantile}"] == pytest.approx(scale, rel=1e-6)
        assert metrics[f"norm_decoder_{quantile}"] == pytest.approx(1, rel=1e-6)
    assert features["anchored"] == ANCHORED.tolist()
    assert features["encoder_raw"] == pytest.approx([scale] * N, rel=1e-6)


def test_best_matches_feature_by_feature_give_the_metrics(store):
    model = ground_truth_model("sae")
    with torch.no_grad():
        model.W_enc += 0.1 * torch.randn(model.W_enc.shape, generator=torch_stream(0, "noise"))
    metrics, _, features = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    anchored = np.array(features["anchored"])
    for directions in ("encoder", "decoder", "encoder_raw", "decoder_raw"):
        again = recovery_metrics(directions, np.array(features[directions]), anchored)
        assert {name: metrics[name] for name in again} == pytest.approx(again, abs=1e-6)
    again = metrics_by_anchors(features, anchored)
    assert len(again) == 2 * 2 * 2 * 3  # sides, similarities, feature sets; two recoveries and an MIP
    assert {name: metrics[name] for name in again} == pytest.approx(again, abs=1e-6)


def declared(*runs):
    return {name for name, metric in METRICS.items() if metric.runs in runs}


@pytest.mark.filterwarnings("ignore:divide by zero")  # these samples have no parents
def test_runs_measure_what_is_declared_for_them_and_nothing_else(store, classes):
    chance = stream(0, "chance")
    plain, *_ = evaluate_coder(ground_truth_model("sae"), store)
    assert plain.keys() == declared(EVERY_RUN)
    alone, *_ = evaluate_coder(ground_truth_model("sae"), store, TRUTH._replace(anchored=np.zeros(0, int)), chance)
    assert alone.keys() == declared(EVERY_RUN, JUDGED, BENCH)
    crosscoder, levels, _ = evaluate_coder(
        ground_truth_model("crosscoder"), store, TRUTH._replace(hierarchy=Hierarchy(2, 3)), chance
    )
    assert crosscoder.keys() == declared(EVERY_RUN, JUDGED, BENCH, WITH_ANCHORS, HIERARCHY, CROSSCODERS)
    assert levels.keys() >= {name for name, metric in METRICS.items() if metric.chance}
    pictures, truth = classes
    model = SparseCoder.from_config(ModelConfig("sae", "topk", 8, 1), (N_P,), (N_P,)).eval()
    labelled, *_ = evaluate_coder(model, pictures, truth, chance)
    assert labelled.keys() == declared(EVERY_RUN, JUDGED, WITH_ANCHORS, CLASSES)
    assert METRICS.keys() == crosscoder.keys() | labelled.keys()


def test_signed_latents_are_judged_by_what_is_defined_for_them(store):
    """Every second feature is found with the opposite sign: recovery and detection count it, splitting does not."""
    model = SparseCoder.from_config(ModelConfig("sae", "abstopk", N, k=1), (N_P,), (N_P,)).eval()
    with torch.no_grad():
        for weights in (model.W_enc, model.W_dec):
            weights.copy_(torch.from_numpy(W_p.T))
            weights[::2] *= -1
    metrics, *_ = evaluate_coder(model, store, TRUTH, stream(0, "chance"))
    twin = SparseCoder.from_config(ModelConfig("sae", "topk", N, k=1), (N_P,), (N_P,)).eval()
    with torch.no_grad():
        for weights in (twin.W_enc, twin.W_dec):
            weights.copy_(torch.from_numpy(W_p.T))
    expected, *_ = evaluate_coder(twin, store, TRUTH, stream(0, "chance"))
    for name in ("gt_recovery_decoder", "mcc", "l0", "macro_f1", "detection_f1", "oracle_fvu", "fvu"):
        assert metrics[name] == pytest.approx(expected[name], abs=0.02), name
    assert metrics["detection_f1"] > 0.5
    assert (metrics["splitting"], metrics["shrinkage"]) == (None, None)


def test_signed_latents_have_no_classes_at_their_top(classes):
    store, truth = classes
    model = SparseCoder.from_config(
        ModelConfig("sae", "abstopk", 12, k=2), (16,), (16,), torch_stream(0, "signed")
    ).eval()
    metrics, *_ = evaluate_coder(model, store, truth, stream(0, "chance"))
    assert metrics["top_classes"] is metrics["top_purity"] is None
