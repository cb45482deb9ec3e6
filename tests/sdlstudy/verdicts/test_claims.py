"""The verdict on a claim: its rule, and claims on constructed runs with a known answer."""

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.evaluation.metric_names import Similarity
from sdlstudy.verdicts.claim_rule import BLIND, CLAIM_COLUMNS, FAILS, HOLDS, OPEN, claims, judge
from sdlstudy.verdicts.claims import Comparison, Contrast
from sdlstudy.verdicts.evidence import Evidence, Place
from sdlstudy.verdicts.judging import NOT_READ, NOT_RUN
from sdlstudy.verdicts.observed import FIGURE6, Observed, papers_numbers, under
from sdlstudy.verdicts.readings import JUDGED, stated
from tests.sdlstudy.verdicts import synthetic

NUMBERS = synthetic.papers_numbers()
CLAIMS = synthetic.CLAIMS
OWN_TABLES = {
    "interference_gain": "TopK SAE at M = 0.2 1.6; BatchTopK SAE at M = 0.05 1.4",
    "interference_low": "BatchTopK SAE at M = 0.05 minus BatchTopK SAE at M = 0.1 1.3",
    "sparsity_gain": "Not: Matryoshka SAE at S = 0.995 6.8",
    "sparsity_near_perfect": "BatchTopK SAE at S = 0.9 95.6",
    "sparsity_matryoshka": "Not: TopK SAE at S = 0.9 minus Matryoshka SAE at S = 0.9 -0.4",
}
"""Claims that the paper's own tables do not support, each with a number that contradicts it."""
NO_NUMBER = {
    # from Table 1, whose anchored rows exclude anchors
    *("anchoring_recovery", "anchoring_mip", "anchoring_recovery_decoder_not_given"),
    *("penalised_fail_decoder", "sparsity_moderate", "resampling_loss"),
    *("k_minimal_not_given", "k_beneficial_not_given"),
    *("clip_recovery_not_given", "clip_recovery_decoder_not_given"),
    *("clip_beyond_anchors", "clip_beyond_anchors_decoder"),
}
"""Claims that the paper's tables say nothing about."""
UNTOLD = {
    "anchoring_recovery_not_given": "Cannot tell: ReLU SAE (both sides 0 % in every seed)",
    # .838 and .838
    "anchoring_mip_not_given": "Cannot tell: Transcoder 0 (by rounded numbers)",
    # a gain of 63 points, but JumpReLU recovers nothing at the other S, with and without anchors
    "sparsity_most": "Cannot tell: JumpReLU SAE at S = 0.995 minus JumpReLU SAE at S = 0.99 (both sides of a change",
}
"""Claims that those tables cannot decide: both sides are at the same end, or are rounded to the same number."""
RECOVERY, MIP = "gt_recovery_encoder_raw_tau95", "mip_encoder_raw"
"""The metrics that claims are judged by under the later revision's reading."""
RECOVERY_OF_OTHERS, DECODER_OF_OTHERS = (
    "gt_recovery_encoder_raw_unanchored_tau95",
    "gt_recovery_decoder_unanchored_tau95",
)


def band(**ends):
    return Comparison(table="table1", methods=["TopK SAE"], **ends).band


def above(least):
    return band(above=least)


def below(most):
    return band(below=most)


def between(*ends):
    return band(between=list(ends))


def contrast(*values):
    return Contrast("x", Observed(pd.Series(values, dtype=float)))


def judged(runs, *names, figure6=None):
    """Return the verdicts on the claims with these names, by default on all."""
    listed = [claim for claim in CLAIMS if not names or claim.name in names]
    return claims(NUMBERS, synthetic.evidence(runs, figure6), listed).set_index("claim")


def summary(with_=(1.0, 1.1, 0.9), without=(2.0, 2.2, 2.1), resampled=5):
    rows = [("with", seed, loss, resampled) for seed, loss in enumerate(with_)]
    rows += [("without", seed, loss, 0) for seed, loss in enumerate(without)]
    return pd.DataFrame(rows, columns=["variant", "seed", "final_loss", "resampled"])


VALUES = st.lists(st.floats(-10, 10), min_size=3, max_size=6).filter(lambda values: np.std(values) > 1e-3)


@given(VALUES, st.floats(-10, 10))
def test_a_claim_follows_the_t_interval(values, bound):
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    if min(abs(interval.low - bound), abs(interval.high - bound)) < 1e-6:
        return
    expected = HOLDS if interval.low > bound else FAILS if interval.high < bound else OPEN
    assert judge([contrast(*values)], above(bound)).verdict == expected
    mirrored = contrast(*(-value for value in values))
    assert judge([mirrored], below(-bound)).verdict == expected


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_a_claim_on_many_is_as_good_as_its_worst(groups):
    band = between(-3, 3)
    alone = [judge([contrast(*values)], band).verdict for values in groups]
    worst = FAILS if FAILS in alone else OPEN if OPEN in alone else HOLDS
    finding = judge([contrast(*values) for values in groups], band)
    assert finding.verdict == worst
    assert finding.sentence.startswith(f"{alone.count(HOLDS)} of {len(groups)} from -3 to 3")


@pytest.mark.parametrize(
    ("band", "value", "verdict"),
    [
        (above(0), 0.0, FAILS),
        (above(0), 1e-6, HOLDS),
        (below(0), 0.0, FAILS),
        (below(0), -1e-6, HOLDS),
        (between(2, 7), 2.0, HOLDS),
        (between(2, 7), 85.8 - 83.8, HOLDS),
        (between(2, 7), 7.0, HOLDS),
        (between(2, 7), 7.001, FAILS),
        (above(0), (0.1 + 0.2) - 0.3, FAILS),
    ],
)
def test_ends_of_bands_and_binary_dust(band, value, verdict):
    assert judge([contrast(value, value, value)], band).verdict == verdict


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=2))
def test_below_three_seeds_no_difference_is_decided(values):
    finding = judge([contrast(*values)], above(0))
    assert finding.verdict == OPEN
    assert finding.sentence.endswith("Below three seeds differences have no interval")


@pytest.mark.parametrize(
    ("values", "band", "verdict"),
    [
        ((0.0,), between(0, 2), HOLDS),
        ((1.0, 0.0), between(0, 2), OPEN),
        ((3.0,), between(0, 2), OPEN),
        ((4.5, 4.5), between(0, 2), FAILS),
        ((99.0,), between(97, 100), HOLDS),
        # three seeds have an interval of their own, cut off at the limits of shares
        ((0.0, 0.0, 0.9), between(0, 2), HOLDS),
        ((0.0, 0.0, 2.0), between(0, 2), OPEN),
    ],
)
def test_a_number_ends_where_it_can_and_has_its_tolerance_below_three_seeds(values, band, verdict):
    finding = judge([contrast(*values)._replace(number="gt_recovery_percent")], band)
    assert finding.verdict == verdict
    assert ("Below three seeds a number's interval is its tolerance" in finding.sentence) == (len(values) < 3)


@pytest.mark.parametrize(("off", "verdict"), [(0.0009, BLIND), (0.0011, FAILS), (-0.0001, HOLDS)])
def test_rounding_accuses_no_claim_of_the_papers_tables(off, verdict):
    digits = 0.0005
    change = Observed(pd.Series([0.838 - off]), rounding=digits) - Observed(pd.Series([0.838]), rounding=digits)
    judgement = judge([Contrast("x", change)], above(0), lambda values: (values[0],) * 3)
    assert judgement.verdict == verdict
    assert ("(by rounded numbers)" in judgement.sentence) == (verdict == BLIND)


def test_differences_are_paired_by_seed():
    first = Observed(pd.Series({2: 5.0, 0: 1.0}), ("a",))
    second = Observed(pd.Series({0: 0.5, 1: 9.0, 2: 1.0}), ("a", "b"))
    difference = first - second
    assert difference.values.to_dict() == {0: 0.5, 2: 4.0}
    assert difference.lacking == ("a", "b")


def test_claims_are_short_quotes_with_a_section_and_a_unique_name():
    assert len(CLAIMS) >= 15
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert len(claim.quote.split()) < 15
        assert claim.section.startswith(("5.", "Appendix"))
        test = claim.test
        assert [bool(metric) for metric in (test.level, test.change, test.beyond_anchors)].count(True) == 1
        assert [end is None for end in (test.above, test.below, test.between)].count(False) == 1


def test_the_papers_tables_judge_each_of_its_claims():
    table = judged({})
    for name, row in table.iterrows():
        if name in NO_NUMBER:
            assert row["paper"] == "no number"
        elif name in UNTOLD:
            assert row["paper"].startswith("cannot tell: ")
            assert UNTOLD[name] in row["paper"]
        elif name in OWN_TABLES:
            assert row["paper"].startswith("not borne out: ")
            assert OWN_TABLES[name] in row["paper"]
        else:
            assert row["paper"].startswith("borne out: "), name


def test_runs_with_the_papers_numbers_say_of_a_claim_what_its_tables_say():
    table = judged(synthetic.papers_runs())
    for name, row in table.iterrows():
        if name == "anchoring_mip_not_given":  # runs are not rounded
            assert (row["verdict"], row["reason"]) == (FAILS, "")
        elif name not in NO_NUMBER:
            assert row["verdict"] == (FAILS if name in OWN_TABLES else BLIND if name in UNTOLD else HOLDS), name
            assert row["evidence"] == row["paper"].split(": ", 1)[1]
            assert row["reason"] == ""


def test_without_runs_every_claim_has_a_verdict():
    table = claims(NUMBERS, synthetic.evidence({}), CLAIMS)
    assert list(table.columns) == CLAIM_COLUMNS
    assert list(table["claim"]) == [claim.name for claim in CLAIMS]
    assert table["verdict"].eq(NOT_RUN).all()
    assert table["reason"].ne("").all()
    assert table["evidence"].eq("").all()


def table1(not_given):
    """Return runs whose anchors recover their tenth of the features, and change the others by a given amount."""
    runs = synthetic.papers_runs()["table1"]
    rng = np.random.default_rng(0)
    anchored = runs["anchoring"] != "none"
    noise = rng.normal(0, 1e-4, len(runs))
    runs[RECOVERY] = 0.5 + 0.05 * anchored + noise
    for metric in (RECOVERY_OF_OTHERS, DECODER_OF_OTHERS, "mip_encoder_raw_unanchored"):
        runs[metric] = 0.5 + not_given * anchored + noise
    runs[MIP] = runs[RECOVERY]
    return runs


@pytest.mark.parametrize(("not_given", "verdict"), [(0.05, HOLDS), (-0.05, FAILS), (0.0, OPEN)])
def test_claims_on_anchored_and_on_other_features_have_separate_verdicts(not_given, verdict):
    table = judged({"table1": table1(not_given)}, *(claim.name for claim in CLAIMS[:5]))
    assert table.loc["anchoring_recovery", "verdict"] == HOLDS
    assert table.loc["anchoring_mip", "verdict"] == HOLDS
    for name in ("anchoring_recovery_not_given", "anchoring_recovery_decoder_not_given", "anchoring_mip_not_given"):
        assert table.loc[name, "verdict"] == verdict
    assert "7 of 7 above 0" in table.loc["anchoring_recovery", "evidence"]


def test_changes_compare_the_same_features_though_another_table_has_more_seeds():
    runs = {
        name: synthetic.papers_runs(seeds=seeds)[name] for name, seeds in (("table1", range(5)), ("table7", range(3)))
    }
    # Table 7's runs without anchors are Table 1's, here divided by its 30 anchors and there by 100
    plain = runs["table7"]["anchoring"] == "none"
    runs["table7"].loc[plain, RECOVERY_OF_OTHERS] = 0.86
    runs["table7"].loc[~plain, RECOVERY_OF_OTHERS] = 0.87
    runs["table1"][RECOVERY_OF_OTHERS] = 0.5
    row = judged(runs, "k_minimal_not_given").loc["k_minimal_not_given"]
    assert (row["verdict"], row["means"], row["reason"]) == (HOLDS, "1", "")


def test_features_that_other_anchors_divide_are_not_compared():
    runs = synthetic.papers_runs()["table7"].assign(**{RECOVERY_OF_OTHERS: 0.5})
    plain = runs["anchoring"] == "none"
    for beside, reason in (
        ([], "runs without anchors are compared with 0 anchorings, expected one"),
        (["ground_truth", "ground_truth_30"], "runs without anchors are compared with 2 anchorings, expected one"),
        (["ground_truth_30"], "n_anchors is 30, the paper's 100"),
    ):
        table7 = pd.concat([runs[plain], *(runs[~plain].assign(anchoring=name) for name in beside)])
        row = judged({"table7": table7}, "k_beneficial_not_given").loc["k_beneficial_not_given"]
        assert row["verdict"] == NOT_RUN
        assert reason in row["reason"]


def test_one_method_against_it_is_enough():
    runs = table1(0.05)
    spoilt = (runs["method"] == "crosscoder") & (runs["anchoring"] != "none")
    runs.loc[spoilt, RECOVERY] = 0.4
    row = judged({"table1": runs}, "anchoring_recovery").loc["anchoring_recovery"]
    assert row["verdict"] == FAILS
    assert "6 of 7 above 0" in row["evidence"]
    assert "Not: Crosscoder -" in row["evidence"]


def test_a_method_that_is_missing_leaves_a_claim_undone():
    runs = table1(0.05)
    row = judged({"table1": runs[runs["method"] != "relu"]}, "anchoring_recovery").loc["anchoring_recovery"]
    assert row["verdict"] == NOT_RUN
    assert row["reason"].startswith("no run of ReLU SAE with anchors in Table 1")


def test_what_is_missing_comes_before_what_is_different():
    runs = table1(0.05)
    runs = runs[runs["method"] != "crosscoder"].replace("ground_truth_30", "ground_truth")
    table = claims(NUMBERS, Evidence(synthetic.configuration(), {"table1": runs}), CLAIMS[:1])
    assert table["claim"][0] == "anchoring_recovery"
    assert table["reason"][0].startswith("no run of Crosscoder with anchors in Table 1; ")


def test_another_protocol_is_evidence_or_a_note_but_not_judged():
    best = {"table1": table1(0.05).assign(protocol="best")}
    row = judged(best, "anchoring_recovery").loc["anchoring_recovery"]
    assert row["verdict"] == NOT_RUN
    assert row["reason"] == "no run under the protocol paper"
    assert row["evidence"].startswith("by the runs that there are: holds, 7 of 7")
    assert row["protocol"] == "best"
    both = synthetic.together({"table1": table1(-0.05)}, best)
    row = judged(both, "anchoring_mip_not_given").loc["anchoring_mip_not_given"]
    assert row["verdict"] == FAILS
    assert row["protocol"] == "paper"
    assert row["note"].startswith("protocol best: holds, 7 of 7")


def test_runs_at_another_scale_than_the_papers_are_not_judged():
    runs = table1(0.05).replace("ground_truth_30", "ground_truth")
    evidence = Evidence(synthetic.configuration(), {"table1": runs})
    row = claims(NUMBERS, evidence, CLAIMS[:1]).set_index("claim").loc["anchoring_recovery"]
    assert row["verdict"] == NOT_RUN
    assert "n is 128, the paper's 1000" in row["reason"]
    assert row["evidence"].startswith("by the runs that there are: holds")
    assert row["note"] == ""


def test_where_encoders_have_nothing_decoders_may():
    runs = synthetic.papers_runs()["table1"].assign(gt_recovery_decoder_tau95=1.0)
    table = judged({"table1": runs}, "penalised_fail", "penalised_fail_decoder")
    assert table.loc["penalised_fail", "verdict"] == HOLDS
    assert table.loc["penalised_fail_decoder", "verdict"] == FAILS


def test_a_failure_that_all_methods_share_is_not_theirs_alone():
    runs = synthetic.papers_runs()["table1"]
    names = "penalised_fail", "penalised_fail_alone"
    assert judged({"table1": runs}, *names).loc["penalised_fail_alone", "verdict"] == HOLDS
    table = judged({"table1": runs.assign(**{RECOVERY: 0.0})}, *names)
    assert table.loc["penalised_fail", "verdict"] == HOLDS
    assert table.loc["penalised_fail_alone", "verdict"] == BLIND
    assert "(both sides 0 % in every seed)" in table.loc["penalised_fail_alone", "evidence"]
    assert "both sides" not in table.loc["penalised_fail", "evidence"]


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("against", [False, True])
def test_where_both_sides_stand_at_the_same_end_runs_cannot_tell(end, against):
    runs = table1(-0.05 if against else 0.05)
    stuck = runs["method"] == "topk"
    runs.loc[stuck, RECOVERY_OF_OTHERS] = end
    row = judged({"table1": runs}, "anchoring_recovery_not_given").loc["anchoring_recovery_not_given"]
    assert row["verdict"] == (FAILS if against else BLIND)
    assert f"Cannot tell: TopK SAE (both sides {100 * end:g} % in every seed)" in row["evidence"]
    # a single side at an end can be decided
    runs.loc[stuck & (runs["anchoring"] != "none"), RECOVERY_OF_OTHERS] = 0.5
    row = judged({"table1": runs}, "anchoring_recovery_not_given").loc["anchoring_recovery_not_given"]
    assert "Cannot tell" not in row["evidence"]


@pytest.mark.parametrize("stuck", ["none", "first", "second", "both"])
@pytest.mark.parametrize("end", [0.0, 100.0])
def test_a_change_between_equal_ends_says_nothing_beside_another_change(stuck, end):
    noise = pd.Series([0.0, 0.1, -0.1])
    change = Observed(noise + 53) - Observed(noise + 50)
    blind_change = Observed(noise * 0 + end, end=end) - Observed(noise * 0 + end, end=end)
    first, second = (blind_change if stuck in (which, "both") else change for which in ("first", "second"))
    compared = Contrast("x", first - second)
    assert compared.blind == (stuck != "none")
    judgement = judge([compared], above(0))
    assert judgement.verdict == (FAILS if stuck == "none" else BLIND)
    assert (f"(both sides of a change {end:g} % in every seed)" in judgement.sentence) == compared.blind
    # one level at an end beside another that is not can be decided
    assert not Contrast("x", Observed(noise * 0 + end, end=end) - Observed(noise + 50)).blind


def test_decoders_are_named_by_the_similarity_that_they_are_compared_by():
    runs = synthetic.papers_runs()["table1"].assign(gt_recovery_decoder_tau95=0.0, gt_recovery_decoder=1.0)
    row = judged({"table1": runs}, "penalised_fail_decoder").loc["penalised_fail_decoder"]
    assert row["other_readings"] == "cosines, tau = 0.9: does not hold, means 100"


def test_a_claim_says_what_it_would_be_under_other_readings():
    runs = table1(0.05).assign(gt_recovery_encoder_unanchored=0.0)
    runs["gt_recovery_encoder_unanchored_tau95"] = 0.5 - runs[RECOVERY_OF_OTHERS]
    row = judged({"table1": runs}, "anchoring_recovery_not_given").loc["anchoring_recovery_not_given"]
    assert row["verdict"] == HOLDS
    assert row["reading"] == JUDGED
    assert re.fullmatch(
        r"cosines, tau = 0\.95: does not hold, means -5\.\d+ to -4\.\d+; cosines, tau = 0\.9: cannot tell, means 0",
        row["other_readings"],
    )


def test_a_claim_whose_runs_lack_the_readings_metric_is_not_run_under_it():
    row = judged(synthetic.papers_runs(recovery=Similarity.COSINE), "k_perfect").loc["k_perfect"]
    assert row["verdict"] == NOT_READ
    assert row["reason"].startswith("its runs have no value of TopK SAE at k = 32")
    assert row["other_readings"].startswith("cosines, tau = 0.95: holds")


@pytest.mark.parametrize(
    ("metric", "changes", "name"),
    [
        ("gt_recovery_encoder", {}, "gt_recovery_encoder_raw_tau95"),
        ("gt_recovery_encoder_unanchored", {"tau": 0.9}, "gt_recovery_encoder_raw_unanchored"),
        ("gt_recovery_encoder", {"recovery": Similarity.COSINE}, "gt_recovery_encoder_tau95"),
        ("gt_recovery_decoder_unanchored", {}, "gt_recovery_decoder_unanchored_tau95"),
        ("anchors_only_gt_recovery_encoder", {}, "anchors_only_gt_recovery_encoder_tau95"),
        ("mip_encoder", {"recovery": Similarity.COSINE}, "mip_encoder_raw"),
        ("mip_encoder_unanchored", {"mip": Similarity.COSINE}, "mip_encoder_unanchored"),
        ("final_loss", {}, "final_loss"),
    ],
)
def test_a_reading_says_which_metric_a_claim_is_about(metric, changes, name):
    assert under(metric, stated("table1")[JUDGED]._replace(**changes)) == name


@pytest.mark.parametrize(("alone", "verdict"), [(0.1, HOLDS), (0.8, FAILS)])
def test_anchors_that_do_as_well_alone(alone, verdict):
    runs = synthetic.papers_runs()["table2"].assign(anchors_only_gt_recovery_encoder_tau95=alone)
    row = judged({"table2": runs}, "clip_beyond_anchors").loc["clip_beyond_anchors"]
    assert row["verdict"] == verdict
    assert row["evidence"].startswith(f"{3 if verdict == HOLDS else 0} of 3")


@pytest.mark.parametrize(
    ("figure6", "verdict", "reason"),
    [
        (summary(), HOLDS, ""),
        (summary(with_=(3.0, 3.1, 2.9)), FAILS, ""),
        (summary(with_=(1.0, 3.0, 2.0)), OPEN, ""),
        (summary(with_=(1.0, 1.1), without=(2.0, 2.1)), OPEN, ""),
        (summary(resampled=0), NOT_RUN, "resampling never fired"),
        (None, NOT_RUN, "no runs of Figure 6"),
    ],
)
def test_resampling(figure6, verdict, reason):
    row = judged({}, "resampling_loss", figure6=figure6).loc["resampling_loss"]
    assert (row["verdict"], row["reason"]) == (verdict, reason)


def test_the_papers_numbers_are_read_off_the_table_that_has_them():
    read = papers_numbers(NUMBERS)
    at = ("max_interference", 0.1)
    assert read(Place("table5", "TopK SAE", "none", *at), "gt_recovery_encoder").values.tolist() == [84.9]
    # Table 1's anchored rows exclude anchors; Table 6 repeats them
    assert read(Place("table5", "TopK SAE", "anchored", *at), "gt_recovery_encoder").values.tolist() == [87.63]
    assert read(Place("table1", "TopK SAE", "anchored"), "gt_recovery_encoder").values.empty
    assert read(Place("table1", "TopK SAE", "anchored"), "gt_recovery_encoder_unanchored").values.tolist() == [87.63]
    assert read(Place("table7", "TopK SAE", "anchored", "k", 64.0), "gt_recovery_encoder_unanchored").values.empty
    assert read(Place("table5", "TopK SAE", "none", at[0], 0.3), "gt_recovery_encoder").values.empty
    assert read(Place("table1", "TopK SAE"), "gt_recovery_decoder").values.empty
    assert read(Place(FIGURE6, "with"), "final_loss").values.empty
