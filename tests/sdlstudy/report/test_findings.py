import numpy as np
import pandas as pd
import pytest

from sdlstudy.report.findings import opening, percent, table1_answer
from sdlstudy.results.tables import effect_metrics


def table(**columns: list[float | str]) -> pd.DataFrame:
    rows = {"method": ["topk", "relu"], "anchoring": "none", "protocol": "best", "seeds": 3, "fvu_mean": [0.01, 0.3]}
    measured = [f"gt_recovery_{side}_mean" for side in ("encoder", "decoder")]
    numbers = dict.fromkeys(measured, 0.5) | {"chance_gt_recovery_decoder_mean": 0.0}
    activity = {"l0_mean": [16.0, 40.0], "dead_fraction_mean": [0.0, 0.125]}
    return pd.DataFrame(rows | activity | numbers | columns)


def effects(low: float, high: float, seeds: int = 3) -> pd.DataFrame:
    rows = [
        {"method": method, "protocol": "best", "metric": metric, "seeds": seeds}
        | {"difference_mean": (low + high) / 2, "difference_low": low, "difference_high": high}
        for method in ("topk", "relu")
        for metric in effect_metrics()
    ]
    return pd.DataFrame(rows)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_three_sentences_say_what_is_recovered_what_chance_has_and_what_anchoring_changes():
    frame = table(gt_recovery_decoder_mean=[0.99, 0.02], gt_recovery_encoder_mean=0.0, paper_gt_recovery=[0.849, 0.0])
    assert [plain(sentence) for sentence in opening(frame, effects(0.1, 0.2))] == [
        "2 methods: decoders recover 50.5 % (median; 2 to 99 %) of the features at cosines above 0.9, encoders 0 %.",
        "Chance alone recovers 0 %; the paper reports 0 to 84.9 % at its own scale, by inner products.",
        "Anchoring changes decoder recovery of features not given by +15 points. "
        "2 of 2 intervals (one for each method, over 3 seeds) exclude zero.",
    ]


def test_each_protocol_is_summarised_with_the_methods_that_recover_nothing():
    both = pd.concat([table(gt_recovery_decoder_mean=1.0), table(gt_recovery_decoder_mean=[0.5, 0.0])])
    both["protocol"] = ["best", "best", "paper", "paper"]
    assert plain(opening(both)[0]) == (
        "2 methods under protocol best: decoders recover 100 % of the features at cosines above 0.9, encoders 50 %. "
        "Under protocol paper: decoders recover 25 % (median; 0 to 50 %), encoders 50 %. "
        "Decoders of ReLU SAE recover none."
    )


def test_a_null_baseline_that_recovers_as_much_as_half_of_the_decoders_makes_recovery_prove_little():
    frame = pd.concat([table(), table(method=["gated", "random_samples"])], ignore_index=True)
    frame["gt_recovery_decoder_mean"] = [0.99, 0.9, 0.8, 0.97]
    frame["fvu_mean"] = [0.01, 0.3, 0.2, 76.2]
    second = plain(opening(frame, nulls=["random_samples"])[1])
    assert second.endswith(
        " That null equals or exceeds 2 of 3 decoders, so recovery alone proves little here: compare reconstruction, "
        "too (FVU 76.2, trained methods at most 0.3)."
    )
    frame["gt_recovery_decoder_mean"] = [0.99, 0.98, 0.8, 0.97]
    assert "proves" not in opening(frame, nulls=["random_samples"])[1]


def test_an_added_method_is_named_beside_the_built_in_ones():
    frame = table(method=["topk", "soft"], gt_recovery_decoder_mean=[0.9, 0.4])
    assert plain(opening(frame)[0]).endswith("encoders 50 %. The decoder of soft recovers 40 %.")
    unlabelled = frame[["method", "anchoring", "protocol", "seeds", "fvu_mean", "l0_mean", "dead_fraction_mean"]]
    assert plain(opening(unlabelled.assign(l0_mean=[16.0, 15.5]))[0]) == (
        "TopK SAE leaves 1 % of the held-out variance unexplained (L0 16), soft 30 % (L0 15.5)."
    )


def test_methods_of_unequal_l0_are_not_ranked():
    frame = table(fvu_mean=[0.454, 0.434], l0_mean=[16.0, 32.7])
    frame = frame[["method", "anchoring", "protocol", "seeds", "fvu_mean", "l0_mean", "dead_fraction_mean"]]
    assert plain(opening(frame)[0]) == (
        "TopK SAE leaves 45.4 % of the held-out variance unexplained (L0 16), ReLU SAE 43.4 % (L0 32.7). Their L0 "
        "differs, so this does not rank the methods."
    )


def test_many_methods_are_summarised_by_a_range():
    frame = pd.DataFrame({"method": list("abcdef"), "anchoring": "none", "protocol": "best", "seeds": 3})
    frame = frame.assign(fvu_mean=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], l0_mean=8.0, dead_fraction_mean=0.0)
    assert plain(opening(frame)[0]) == "Reconstructions leave 10 to 60 % of the held-out variance unexplained."


@pytest.mark.parametrize(
    ("verdicts", "answer"),
    [
        (
            {"not reproduced": 39, "inconsistent in the paper": 3},
            "Table 1 of the paper is not reproduced. Of 42 numbers, these runs reproduce none: 39 are not reproduced, "
            "and 3 contradict the paper itself.",
        ),
        ({"reproduced": 2}, "Table 1 of the paper is reproduced. Of 2 numbers, these runs reproduce all."),
        (
            {"reproduced": 2, "not reproduced": 1, "not run at this scale": 5},
            "Table 1 of the paper is reproduced in part. Of 3 numbers, these runs reproduce 2: 1 is not reproduced.",
        ),
        ({"not run at this scale": 42}, ""),
    ],
)
def test_the_report_answers_whether_table_1_holds(verdicts, answer):
    rows = [verdict for verdict, count in verdicts.items() for _ in range(count)]
    frame = pd.DataFrame({"table": "table1", "verdict": [*rows, "reproduced"]})
    frame.loc[len(rows), "table"] = "table4"
    assert table1_answer(frame, "these runs") == answer


def test_the_answer_on_table_1_comes_first():
    first = opening(table(), answer="Table 1 of the paper is not reproduced.")[0]
    assert plain(first).startswith("Table 1 of the paper is not reproduced. 2 methods: decoders recover 50 %")


def test_the_strongest_null_baseline_is_named_and_is_no_method():
    frame = table(gt_recovery_decoder_mean=[0.99, 0.52])
    first, second, _ = map(plain, opening(frame, nulls=["relu"]))
    assert "1 method: decoders recover 99 % of the features at cosines above 0.9" in first
    assert second == "The strongest null baseline (ReLU SAE) recovers 52 %, chance 0 %."


@pytest.mark.parametrize(
    ("low", "high", "seeds", "sentence"),
    [
        (
            -0.1,
            0.1,
            3,
            "by 0 points. None of 2 intervals (one for each method, over 3 seeds) "
            "excludes zero, so no change is shown.",
        ),
        (-0.3, -0.1, 3, "by −20 points. 2 of 2 intervals (one for each method, over 3 seeds) exclude zero."),
        (np.nan, np.nan, 1, "(L0 16), ReLU SAE 30 % (L0 40). Their L0 differs, so this does not rank the methods."),
    ],
)
def test_anchoring_is_summarised_or_the_sentence_is_about_variance(low, high, seeds, sentence):
    assert plain(opening(table(), effects(low, high, seeds))[2]).endswith(sentence)


def test_few_seeds_cannot_show_what_anchoring_does():
    few = effects(0.1, 0.2, seeds=1).assign(difference_low=np.nan, difference_high=np.nan)
    sentence = opening(table(), few)[2]
    assert sentence.endswith("by +15 points. 1 seed cannot show that it helps.")


def test_a_table_that_judges_nothing_is_opened_by_its_reconstruction():
    frame = table()[["method", "anchoring", "protocol", "seeds", "fvu_mean", "l0_mean", "dead_fraction_mean"]]
    assert [plain(sentence) for sentence in opening(frame)] == [
        "TopK SAE leaves 1 % of the held-out variance unexplained (L0 16), ReLU SAE 30 % (L0 40). "
        "Their L0 differs, so this does not rank the methods.",
        "A sample activates 16 to 40 latents.",
        "0 to 12.5 % of the latents are dead: no held-out sample activates them.",
    ]


def test_classes_stand_beside_what_anchors_alone_reach():
    frame = table(
        anchoring=["none", "class_means"],
        gt_recovery_decoder_unanchored_mean=[0.1, 0.6],
        gt_recovery_encoder_unanchored_mean=[0.0, 0.0],
        anchors_only_gt_recovery_decoder_unanchored_mean=[0.75, 0.75],
    )
    first, second, _ = map(plain, opening(frame, classes=True))
    assert "decoders match 10 % of the class means not given at cosines above 0.9, encoders 0 %." in first
    assert second == "The anchors alone, without any training, match 75 % of these class means."


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.9999, "over 99.9 %"), (0.0001, "under 0.1 %"), (0.5, "50 %"), (0.1234, "12.3 %")],
)
def test_only_all_is_100_per_cent_and_only_none_is_0(share, text):
    assert plain(percent(share)) == text
