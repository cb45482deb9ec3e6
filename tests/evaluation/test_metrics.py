"""The list of metrics."""

import pytest

from sdlcore.evaluation.metrics import METRICS, declared


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        (
            "gt_recovery_encoder_raw_unanchored_tau95",
            "the share of features that are no anchors whose best absolute inner product exceeds τ = 0.95: rows of the "
            "encoder",
        ),
        (
            "anchors_only_mip_decoder",
            "the mean of the best absolute cosines, over all features: anchors instead of columns of the decoder",
        ),
        (
            "mip_encoder_pattern_anchored",
            "the mean of the best absolute cosines, over features that anchors give away: patterns of rows of the "
            "encoder",
        ),
    ],
)
def test_a_caption_follows_from_the_name(name, caption):
    assert METRICS[name].caption == caption


def test_a_crosscoder_may_have_any_number_of_sites():
    metric = declared("mip_decoder_site12")
    assert metric.caption == METRICS["mip_decoder_site1"].caption.replace("site 1", "site 12")
    assert declared("own_site12") is declared("own") is None
