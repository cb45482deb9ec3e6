import numpy as np
import pytest

from sdlcore.study.explain.looks import looks, representation, scaled
from sdlcore.study.explain.protocols import Protocol, Scale

TINY = Scale(40, 25, 19, 400, 1, 0.5, sparsity=0.9, samples=3000)
SHORT = Protocol(steps=90, batch_size=256, lr=3e-3, k=240)


SLOW = ("relu", "jumprelu", "batchtopk", "matryoshka", "transcoder", "crosscoder")


@pytest.mark.parametrize("method", ["topk", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_training_is_looked_at_every_forty_steps_and_at_its_end(method):
    found = looks(SHORT, method, TINY, seed=0)
    assert [look["step"] for look in found] == [40, 80, 90]
    assert found[-1]["fvu"] < found[0]["fvu"]
    for look in found:
        assert look["l0_0"] >= look["l0_0.01"] >= look["l0_0.1"] > 0
        for name in ("encoder_cosine", "encoder_inner", "decoder_cosine", "decoder_inner"):
            assert look[f"{name}_0.9"] >= look[f"{name}_0.95"] >= look[f"{name}_0.97"] >= 0
        assert 0 < look["encoder_cosine_mip"] <= 1 + 1e-6


@pytest.mark.slow
def test_a_training_is_the_same_each_time_and_its_looks_change_nothing():
    whole = looks(SHORT, "batchtopk", TINY, seed=1)
    assert whole == looks(SHORT, "batchtopk", TINY, seed=1) != looks(SHORT, "batchtopk", TINY, seed=2)
    first = looks(Protocol(**{**vars(SHORT), "steps": 40}), "batchtopk", TINY, seed=1)
    assert first == whole[:1]


@pytest.mark.slow
def test_of_an_autoencoder_the_target_changes_nothing():
    one, other = (
        looks(Protocol(**{**vars(SHORT), "target": target}), "topk", TINY, seed=0) for target in ("same", "rotated")
    )
    assert one == other


def test_targets_are_what_they_are_called():
    x = {which: representation(TINY, which, False, 0) for which in ("input", "independent", "rotated", "same")}
    assert np.array_equal(x["same"].W, x["input"].W)
    np.testing.assert_allclose(x["rotated"].W.T @ x["rotated"].W, x["input"].W.T @ x["input"].W, atol=1e-5)
    assert np.abs((x["independent"].W * x["input"].W).sum(0)).max() < 0.99
    for drawn in x.values():
        np.testing.assert_allclose(np.linalg.norm(drawn.W, axis=0), 1, atol=1e-5)
        assert np.linalg.matrix_rank(drawn.x[:200], tol=1e-3) <= TINY.n


def test_inputs_are_scaled_as_they_say():
    x = np.random.default_rng(0).standard_normal((3010, 19)).astype(np.float32) + 3
    unit = scaled(x, "unit", 3000)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    centred = scaled(x, "scaled", 3000)[:3000]
    np.testing.assert_allclose(centred.mean(0), 0, atol=1e-3)
    assert np.linalg.norm(centred, axis=1).mean() == pytest.approx(19**0.5, rel=1e-3)


def test_tied_rows_are_read_alike_on_both_sides_and_anchored_features_are_left_out():
    """With every feature anchored but a few, and anchors that hold, only those few are scored."""
    tied = looks(Protocol(**{**vars(SHORT), "tied": True}), "topk", TINY, seed=0)[-1]
    assert tied["encoder_cosine_mip"] == tied["decoder_cosine_mip"]
    anchored = looks(Protocol(**{**vars(SHORT), "lambda_anchor": 100.0}), "topk", TINY, seed=0, anchored=True)[-1]
    assert anchored["decoder_cosine_mip"] < 0.999


def test_a_training_that_diverges_is_looked_at_no_more():
    found = looks(Protocol(**{**vars(SHORT), "lr": 1e4}), "topk", TINY, seed=0)
    assert len(found) < 3


@pytest.mark.slow
def test_leaked_features_are_near_the_first_latents():
    leaked = Protocol(**{**vars(SHORT), "seed_leak": True, "initialisation": "tied", "lr": 1e-9})
    drawn = Protocol(**{**vars(leaked), "seed_leak": False})
    near, far = (looks(p, "topk", TINY, seed=0)[0]["encoder_cosine_mip"] for p in (leaked, drawn))
    assert near > 0.9 > far


@pytest.mark.parametrize("method", ["topk", "transcoder"])
def test_rows_start_as_samples(method):
    still = Protocol(**{**vars(SHORT), "steps": 40, "lr": 1e-9, "initialisation": "samples", "init_scale": 1.0})
    (look,) = looks(still, method, TINY, seed=0)
    # of sparse data, samples are near features; random rows of as few dimensions have .77
    assert look["encoder_cosine_mip"] > 0.85
    assert look["encoder_cosine_mip"] == pytest.approx(look["encoder_inner_mip"], abs=1e-3)
