"""The verdict on a number: the rule at its borders, and messages for missing runs and errors in the paper."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sdlcore.evaluation.metric_names import Similarity
from sdlstudy.settings.runs import Run
from sdlstudy.verdicts.evidence import Evidence
from sdlstudy.verdicts.judging import (
    INCONSISTENT,
    NOT_READ,
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    VERDICT_COLUMNS,
    VERDICTS,
    matches,
    prediction_interval,
    verdicts,
)
from sdlstudy.verdicts.paper import KEY, MEASURES, bench_setting
from sdlstudy.verdicts.readings import JUDGED, stated
from tests.sdlstudy.verdicts.synthetic import (
    configuration,
    contradictions,
    evidence,
    papers_configuration,
    papers_numbers,
    papers_runs,
    together,
    with_setting,
)

RECOVERY = "gt_recovery_percent"
TABLE_1 = papers_numbers().query("table == 'table1'")
VALUES = st.lists(st.floats(0, 100), min_size=1, max_size=9)
NUMBER = st.sampled_from(list(MEASURES))


def least_reach(number, values):
    return {RECOVERY: 2.0, "mip": 0.02, "l0": 0.05 * np.mean(values)}[number]


@given(VALUES, NUMBER)
def test_the_interval_is_a_prediction_interval_widened_to_the_tolerance(values, number):
    low, high = prediction_interval(values, number)
    assert (low + high) / 2 == pytest.approx(np.mean(values))
    reach = least_reach(number, values)
    if len(values) > 1:
        m = len(values)
        # the textbook's scale of a new value's distance from the mean of the old ones
        scale = np.std(values, ddof=1) * np.sqrt(1 + 1 / m)
        reach = max(reach, scipy.stats.t(m - 1, scale=scale).interval(0.95)[1] if scale > 0 else 0)
    assert (high - low) / 2 == pytest.approx(reach, abs=1e-9)


@given(VALUES, NUMBER, st.floats(0.001, 0.999), st.floats(1.001, 3), st.sampled_from([-1, 1]))
def test_a_number_is_reproduced_inside_and_not_outside(values, number, inside, outside, sign):
    low, high = prediction_interval(values, number)
    middle, reach = (low + high) / 2, (high - low) / 2
    assert matches(middle + sign * inside * reach, values, number)
    assert matches(low, values, number)
    assert matches(high, values, number)
    if reach > 1e-3:
        assert not matches(middle + sign * outside * reach, values, number)


def test_the_tolerances_ends_belong_to_it():
    assert matches(87.0, [85.0], RECOVERY)
    assert not matches(87.01, [85.0], RECOVERY)
    assert matches(0.285, [0.265, 0.265], "mip")
    assert not matches(0.286, [0.265, 0.265], "mip")
    assert matches(105.0, [100.0], "l0")
    assert not matches(105.1, [100.0], "l0")


@pytest.mark.parametrize(("tables", "seeds"), [((), 1), (("table1", "table2"), 1), (("table5", "table6", "table7"), 4)])
def test_every_one_of_the_220_numbers_has_a_verdict(tables, seeds):
    runs = papers_runs(seeds=range(seeds))
    judged = verdicts(papers_numbers(), evidence({table: runs[table] for table in tables}))
    assert list(judged.columns) == VERDICT_COLUMNS
    pd.testing.assert_frame_equal(judged[KEY], papers_numbers()[KEY])
    assert set(judged["verdict"]) <= set(VERDICTS)
    assert judged["reason"].ne("").all()
    assert judged["reading"].eq(JUDGED).all()

    def setting(row):
        return bench_setting(row, stated(row["table"])[JUDGED])

    # rows of other tables with the same setting under their readings are the same runs
    run = {setting(row) for row in judged.to_dict("records") if row["table"] in tables} - {None}
    for row in judged.to_dict("records"):
        has_runs = row["table"] in tables or setting(row) in run
        assert (row["verdict"] in UNDECIDED) == (not has_runs)


def test_runs_that_have_the_papers_numbers_reproduce_all_that_can_be():
    judged = verdicts(papers_numbers(), evidence(papers_runs()))
    wrong = sorted(contradictions(papers_numbers()))
    assert list(judged.index[judged["verdict"] == INCONSISTENT]) == wrong
    assert judged.drop(index=wrong)["verdict"].eq(REPRODUCED).all()
    assert judged.loc[wrong, "note"].str.startswith("would have been reproduced").all()
    assert judged.loc[wrong, "contradiction"].ne("").all()
    assert judged.drop(index=wrong)["contradiction"].eq("").all()
    assert judged["reproduced_under"].str.startswith(JUDGED).all()
    assert np.allclose(judged["ours"], judged["paper"])
    assert judged["seeds"].eq(3).all()


def test_runs_that_have_other_numbers_reproduce_none():
    judged = verdicts(papers_numbers(), evidence(papers_runs(lambda row, seed: row["paper"] * 1.5 + 5)))
    assert judged["verdict"].isin([NOT_REPRODUCED, INCONSISTENT]).all()
    inconsistent_rows = judged[judged["verdict"] == INCONSISTENT]
    assert inconsistent_rows["note"].str.startswith("would not have been reproduced").all()


@settings(max_examples=20)
@given(st.floats(-0.999, 0.999), st.floats(1.001, 5), st.sampled_from([-1, 1]))
def test_one_seed_is_judged_by_the_tolerance_and_says_so(inside, outside, sign):
    numbers = papers_numbers().query("table == 'table1' and number == 'mip' and method == 'BatchTopK SAE'")
    for share, verdict in ((inside, REPRODUCED), (sign * outside, NOT_REPRODUCED)):
        runs = papers_runs(lambda row, seed, share=share: row["paper"] + share * 0.02, [7], numbers=numbers)
        judged = verdicts(numbers, evidence(runs))
        assert judged["verdict"].eq(verdict).all()
        assert judged["seeds"].eq(1).all()
        assert judged["reason"].str.contains("one seed").all()


def test_intervals_stay_within_possible_values():
    runs = papers_runs(lambda row, seed: row["paper"] * (1 + 0.3 * seed), numbers=TABLE_1)
    judged = verdicts(TABLE_1, evidence(runs))
    assert judged["low"].ge(0).all()
    assert judged.query("number == @RECOVERY")["high"].le(100).all()


def test_numbers_at_another_scale_stand_in_the_table_without_a_verdict():
    config = configuration()
    runs = {table: papers_runs()[table] for table in ("table1", "table2")}
    runs["table1"] = runs["table1"].replace("ground_truth_30", "ground_truth")
    runs["table2"] = runs["table2"].assign(source="fashion_clip")
    judged = verdicts(papers_numbers(), Evidence(config, runs))
    assert judged["verdict"].eq(NOT_RUN).all()
    here = judged["table"].isin(["table1", "table2"])
    assert np.allclose(judged.loc[here, "ours"], judged.loc[here, "paper"])
    assert judged.loc[judged["table"] == "table1", "reason"].str.contains("n is 128, the paper's 1000").all()
    assert judged.loc[judged["table"] == "table2", "reason"].str.contains("the paper's ImageNet-1K").all()
    assert judged.loc[~here, "ours"].isna().all()
    assert "no run of TopK SAE with anchors in Table 7 at k = 64" in set(judged["reason"])
    # an error in the paper is an error for any runs
    wrong = judged["contradiction"].ne("")
    assert wrong.sum() == 8
    assert judged.loc[wrong, "note"].str.startswith("inconsistent in the paper: ").all()


def test_numbers_under_another_protocol_stand_in_the_table_without_a_verdict():
    judged = verdicts(TABLE_1, evidence(papers_runs(protocol="best", numbers=TABLE_1)))
    assert judged["verdict"].eq(NOT_RUN).all()
    assert judged["reason"].eq("no run under the protocol paper").all()
    assert judged["protocol"].eq("best").all()
    assert np.allclose(judged["ours"], judged["paper"])


def other(row, seed):
    return row["paper"] * 1.5 + 5


@pytest.mark.parametrize("protocol", ["best", "leaked"])
def test_what_another_protocol_reproduces_is_noted(protocol):
    runs = together(papers_runs(protocol=protocol, numbers=TABLE_1), papers_runs(other, numbers=TABLE_1))
    config = papers_configuration()
    config = with_setting(config, "protocols", "leaked", value=config.protocols["paper"])
    judged = verdicts(TABLE_1, replace(evidence(runs), study=config))
    assert judged["protocol"].eq("paper").all()
    assert judged["verdict"].isin([NOT_REPRODUCED, INCONSISTENT]).all()
    assert judged["note"].str.contains(f"holds under protocol {protocol}: {JUDGED}").all()
    assert judged["reproduced_under"].eq("").all()


def beside(runs, more):
    """Return the runs, with missing metrics filled in from other runs."""
    return {
        table: frame.assign(**more[table][more[table].columns.difference(frame.columns)])
        for table, frame in runs.items()
    }


@pytest.mark.parametrize(
    ("changes", "numbers", "reading"),
    [
        (
            {"side": "decoder", "recovery": Similarity.COSINE, "mip": Similarity.COSINE},
            ["gt_recovery_percent", "mip"],
            "decoder, cosines",
        ),
        ({"recovery": Similarity.COSINE, "mip": Similarity.COSINE}, ["gt_recovery_percent", "mip"], "encoder, cosines"),
        ({"tau": 0.9}, ["gt_recovery_percent"], "encoder, inner products, tau = 0.9|version 3"),
    ],
)
def test_other_readings_that_reproduce_a_number_are_named_and_change_no_verdict(changes, numbers, reading):
    runs = beside(papers_runs(other, numbers=TABLE_1), papers_runs(numbers=TABLE_1, **changes))
    judged = verdicts(TABLE_1, evidence(runs))
    assert judged["verdict"].isin([NOT_REPRODUCED, INCONSISTENT]).all()
    concerned = judged["number"].isin(numbers)
    assert judged.loc[concerned, "reproduced_under"].str.contains(reading).all()
    assert judged.loc[concerned, "readings"].ge(2).all()
    assert judged.loc[judged["number"] == "l0", "reproduced_under"].eq("").all()


def test_runs_that_lack_the_readings_metric_are_not_run_under_it():
    runs = papers_runs(recovery=Similarity.COSINE, mip=Similarity.COSINE, numbers=TABLE_1)
    judged = verdicts(TABLE_1, evidence(runs)).query("number != 'l0'")
    assert judged["verdict"].eq(NOT_READ).all()
    assert judged["reason"].str.startswith("its runs have no ").all()
    assert judged["ours"].isna().all()
    assert judged["reproduced_under"].str.contains("cosines").all()


def test_runs_with_100_anchors_are_not_table_1s_under_the_later_revision():
    runs = papers_runs(n_anchors=100)["table1"]
    runs["anchoring"] = runs["anchoring"].replace("ground_truth_30", "ground_truth")
    judged = verdicts(TABLE_1, evidence({"table1": runs})).query("anchoring == 'anchored'")
    assert judged["verdict"].eq(NOT_READ).all()
    assert judged["reason"].eq("n_anchors is 100, the paper's 30").all()
    assert judged["reproduced_under"].str.contains("100 anchors|version 3").all()
    assert np.allclose(judged["ours"], judged["paper"])


def test_table_7s_runs_say_what_table_1s_topk_is_under_k_128():
    runs = papers_runs()["table7"]
    judged = verdicts(TABLE_1, evidence({"table7": runs}))
    topk = judged.query("method == 'TopK SAE' and anchoring == 'none' and number != 'l0'")
    assert topk["reproduced_under"].str.contains("k = 128").all()


def test_another_protocol_at_another_scale_is_not_noted():
    runs = together(papers_runs(protocol="best", numbers=TABLE_1), papers_runs(other, numbers=TABLE_1))
    path = ("protocols", "best", "methods", "matryoshka")
    config = with_setting(papers_configuration(), *path, value=Run(n_q=100))
    judged = verdicts(TABLE_1, replace(evidence(runs), study=config)).set_index("method")
    assert not judged.loc["Matryoshka SAE", "note"].str.contains("holds under").any()
    assert judged.loc["Transcoder", "note"].str.contains("holds under protocol best").all()


def test_tables_that_share_a_setting_lend_each_other_protocols():
    runs = {"table1": papers_runs(other, protocol="best")["table1"], "table6": papers_runs()["table6"]}
    judged = verdicts(TABLE_1, evidence(runs)).set_index(["table", "method", "anchoring", "number"])
    lent = judged.loc[("table1", "TopK SAE", "none", "mip")]
    assert (lent["protocol"], lent["verdict"]) == ("paper", REPRODUCED)
    assert judged.loc[("table1", "Crosscoder", "none", "mip"), "reason"] == "no run under the protocol paper"


def test_table_1s_runs_stand_in_only_where_they_have_the_value():
    runs = {"table1": papers_runs()["table1"]}
    numbers = papers_numbers().query("table == 'table4' and value == 1000 and anchoring == 'none'")
    judged = verdicts(numbers, evidence(runs))
    assert judged["verdict"].ne(NOT_RUN).all()
    config = with_setting(papers_configuration(), "sources", "bench", "lrb", "n", value=999)
    judged = verdicts(numbers, Evidence(config, runs))
    assert judged["ours"].isna().all()
    assert judged["reason"].str.startswith("no run of ReLU SAE").all()


@pytest.mark.parametrize(
    ("table", "printed"),
    [("table4", lambda value: value), ("table6", lambda value: 1 - value), ("table7", lambda value: value)],
)
def test_values_that_stand_for_the_papers_are_listed_but_not_judged(table, printed):
    runs = papers_runs()[table]
    runs["paper_value"] = runs["value"].map(printed)
    runs["value"] = runs["value"] / 8
    runs["source"] = "lrb_3d"
    judged = verdicts(papers_numbers().query("table == @table"), evidence({table: runs}))
    assert judged["verdict"].eq(NOT_RUN).all()
    assert np.allclose(judged["ours"], judged["paper"])
    if table == "table4":
        assert judged["reason"].str.contains("n is 4, the paper's 1[0-4]00|n is 4, the paper's [89]00").all()


@pytest.mark.parametrize("table", ["table4", "table5", "table6", "table7"])
def test_the_papers_values_are_judged_however_they_are_printed(table):
    runs = papers_runs()[table]
    numbers = papers_numbers().query("table == @table")
    plain = verdicts(numbers, evidence({table: runs}))
    same = verdicts(numbers, evidence({table: runs.assign(paper_value=runs["value"])}))
    pd.testing.assert_frame_equal(same, plain)
    if table == "table6":
        printed = runs.assign(paper_value=(1 - runs["value"]).round(9))
        pd.testing.assert_frame_equal(verdicts(numbers, evidence({table: printed})), plain)


def test_a_metric_that_a_seed_lacks_is_not_judged():
    runs = papers_runs()
    runs["table1"].loc[0, "mip_encoder_raw"] = math.nan
    judged = verdicts(TABLE_1, evidence({"table1": runs["table1"]}))
    assert judged.loc[1, "verdict"] == NOT_RUN
    assert judged.loc[1, "reason"] == "its runs have no mip_encoder_raw"
    assert judged.loc[4, "verdict"] == judged.loc[7, "verdict"] == REPRODUCED


@pytest.mark.parametrize("more", ["table1", "table7"])
def test_of_tables_that_share_a_setting_the_one_with_more_seeds_is_judged(more):
    numbers = papers_numbers().query("table in ['table1', 'table7']")
    runs = {name: papers_runs(seeds=(0, 1, 2) if name == more else (0,))[name] for name in ("table1", "table7")}
    judged = verdicts(numbers, evidence(runs))
    judged = judged[(judged["method"] == "TopK SAE") & judged["table"].isin(runs) & judged["number"].ne("l0")]
    judged = judged[judged["anchoring"] == "none"]
    shared = judged[(judged["table"] == "table1") | np.isclose(judged["value"], 64)]
    assert shared["seeds"].eq(3).all()
    assert set(judged.loc[np.isclose(judged["value"], 32), "seeds"]) == {3 if more == "table7" else 1}
