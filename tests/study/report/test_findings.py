import pandas as pd
import pytest

from sdlcore.study.report.findings import findings
from sdlcore.study.results.tables import effect_metrics


def table(**columns: list[float]) -> pd.DataFrame:
    rows = {"method": ["topk", "relu"], "anchoring": ["none", "none"], "protocol": ["best", "best"]}
    names = [f"{metric}_{side}_mean" for metric in ("gt_recovery", "mip") for side in ("encoder", "decoder")]
    return pd.DataFrame(rows | {name: [0.5, 0.5] for name in names} | columns)


def effects(low: float, high: float, seeds: int = 3) -> pd.DataFrame:
    rows = [
        {"method": method, "protocol": "best", "metric": metric, "seeds": seeds}
        | {"difference_mean": (low + high) / 2, "difference_low": low, "difference_high": high}
        for method in ("topk", "relu")
        for metric in effect_metrics()
    ]
    return pd.DataFrame(rows)


def only(**frames: pd.DataFrame) -> str:
    (found,) = findings(frames)
    return found.sentence


def test_nothing_is_found_in_nothing():
    assert findings({}) == []


def test_methods_that_recover_far_less_are_named():
    frame = table(gt_recovery_decoder_mean=[0.99, 0.02], gt_recovery_encoder_mean=[0.0, 0.0])
    assert "decoders of the 2 methods recover 0.990 (but ReLU SAE 0.020) of the features, encoders 0.000;" in only(
        table1=frame
    )


def test_null_baselines_are_no_methods_that_recover():
    frame = table(gt_recovery_decoder_mean=[0.99, 0.02], gt_recovery_encoder_mean=[0.0, 0.0])
    (found,) = findings({"table1": frame}, nulls=["relu"])
    assert "decoders of the 1 methods recover 0.990 of the features" in found.sentence


def test_recovery_is_a_range_over_methods_without_anchors_a_finding_a_protocol():
    frame = table(gt_recovery_decoder_mean=[0.9, 1.0], gt_recovery_encoder_mean=[0.0, 0.0])
    frame = pd.concat([frame, frame.assign(anchoring="ground_truth", gt_recovery_decoder_mean=0.1)])
    assert "decoders of the 2 methods recover 0.900 to 1.000 of the features, encoders 0.000;" in only(table1=frame)
    both = pd.concat([frame, frame.assign(protocol="paper")])
    assert [found.headline.split("by ")[1] for found in findings({"table1": both})] == [
        "the field’s practice",
        "the paper’s text",
    ]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "decoder recovery rises in 2 of 2 methods (by 0.1500)"),
        (-0.2, -0.1, "decoder recovery falls in 2 of 2 methods (by 0.1500)"),
        (-0.1, 0.1, "decoder recovery is not shown to change in any method"),
    ],
)
def test_anchoring_is_counted_where_intervals_exclude_zero(low, high, said):
    assert said in only(table1_effects=effects(low, high))


def test_few_seeds_tell_nothing_of_anchoring():
    assert only(table1_effects=effects(float("nan"), float("nan"), seeds=1)) == "1 seed is too few to tell."


def test_classes_stand_beside_what_anchors_alone_reach():
    frame = pd.DataFrame(
        {
            "anchoring": ["none", "class_means"],
            "gt_recovery_decoder_unanchored_mean": [0.1, 0.6],
            "anchors_only_gt_recovery_decoder_unanchored_mean": [0.75, 0.75],
        }
    )
    assert "0.100 without anchors and 0.600 with them, but the anchors alone" in only(table2=frame)
    assert "without any training, have 0.750:" in only(table2=frame)
    assert findings({"table2": frame[:1]}) == []


def test_resampling_compares_means_over_seeds():
    values = {"final_loss": [2.0, 4.0, 5.0, 7.0], "fvu": [0.1, 0.3, 0.4, 0.6], "dead_fraction": [0.0, 0.0, 0.5, 0.5]}
    frame = pd.DataFrame({"variant": ["with", "with", "without", "without"], **values})
    said = only(figure6_summary=frame)
    assert "squared training error a sample, at the end 3.000 against 6.000, held-out variance" in said
    assert "held-out variance unexplained 0.200 against 0.500" in said
