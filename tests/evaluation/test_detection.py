"""Latents as detectors of the features nearest to their decoder columns."""

import numpy as np
import pytest
import scipy.sparse

from sdlcore.evaluation.coefficient_scores import Detection
from sdlcore.random_streams import stream

N, N_R = 6, 8
W = np.linalg.qr(stream(0, "W").standard_normal((N_R, N_R)))[0][:N]
X = np.where(stream(0, "x").random((400, N)) < 0.3, stream(0, "c").random((400, N)) + 0.1, 0)


def judged(latents, W_dec, blocks=3):
    detection = Detection.of_nearest(W_dec, 2 * W)
    for rows in np.array_split(np.arange(len(X)), blocks):
        detection.add(scipy.sparse.csr_array(latents[rows]), scipy.sparse.csr_array(X[rows]))
    return detection


def test_the_true_features_detect_themselves_whatever_their_order_sign_and_number():
    order = [4, 1, 5]
    detection = judged(X[:, order], -3 * W[order])
    assert detection.features.tolist() == order
    assert set(detection.metrics().values()) == {1.0}


def test_scores_are_those_of_counts_latent_by_latent():
    latents = np.hstack([X[:, :3], np.zeros((len(X), 1))])
    latents[:, 1] = 1
    latents[::2, 2] = 0
    scores = judged(latents, W[:4]).metrics()
    active = X > 0
    precision = [1, active[:, 1].mean(), 1, 0]
    recall = [1, 1, active[1::2, 2].sum() / active[:, 2].sum(), 0]
    f1 = [2 * p * r / max(p + r, 1e-12) for p, r in zip(precision, recall, strict=True)]
    assert scores["detection_precision"] == pytest.approx(np.mean(precision))
    assert scores["detection_recall"] == pytest.approx(np.mean(recall))
    assert scores["detection_f1"] == pytest.approx(np.mean(f1))


def test_latents_that_share_a_feature_are_not_unique():
    scores = judged(X[:, [0, 0, 0, 1]], W[[0, 0, 0, 1]]).metrics()
    assert scores["uniqueness"] == 0.5
    assert scores["detection_f1"] == 1


def test_macro_f1_counts_all_batches_and_leaves_out_features_that_never_occur():
    rng = stream(1, "samples")
    latents, present = rng.random((50, 6)) < 0.4, rng.random((50, 4)) < 0.3
    present[:, 2] = False
    detectors = np.array([5, 0, 1, 5])
    detection = Detection(detectors, np.arange(4))
    assert detection.macro_f1() is None
    for rows in np.array_split(np.arange(50), 3):
        detection.add(*(scipy.sparse.csr_array(part[rows].astype(np.float32)) for part in (latents, present)))
    fires = latents[:, detectors]
    scores = 2 * (fires & present).sum(0) / np.maximum(1, fires.sum(0) + present.sum(0))
    assert detection.macro_f1() == np.delete(scores, 2).mean()
