"""The names in the list of metrics."""

import pytest

from sdlcore.data.recovery_rule import TAU_STRICT
from sdlcore.evaluation.metric_names import (
    MIP,
    Baseline,
    FeatureSet,
    Matched,
    Similarity,
    mip_name,
    part_name,
    recovery_name,
)
from sdlcore.evaluation.metrics import METRICS


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (recovery_name("encoder"), "gt_recovery_encoder"),
        (
            recovery_name("encoder", Similarity.INNER, FeatureSet.UNANCHORED, tau=TAU_STRICT),
            "gt_recovery_encoder_raw_unanchored_tau95",
        ),
        (recovery_name("encoder", Similarity.PATTERN), "gt_recovery_encoder_pattern"),
        (recovery_name("decoder", site=1), "gt_recovery_decoder_site1"),
        (
            mip_name("encoder", features=FeatureSet.UNANCHORED, baseline=Baseline.ANCHORS_ONLY),
            "anchors_only_mip_encoder_unanchored",
        ),
        (mip_name("decoder", Similarity.INNER, FeatureSet.ANCHORED), "mip_decoder_raw_anchored"),
        (part_name("top_classes", FeatureSet.UNANCHORED), "top_classes_unanchored"),
    ],
)
def test_names_are_those_of_metrics_files(name, expected):
    assert name == expected
    assert METRICS[name].name == name


def test_a_metrics_name_is_that_of_its_match():
    for name, metric in METRICS.items():
        assert metric.matched is None or metric.matched.name == name
    assert METRICS["mip_encoder_raw"].matched == Matched("encoder", Similarity.INNER, measure=MIP)
