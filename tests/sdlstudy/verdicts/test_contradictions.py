"""Contradictions among the paper's numbers are found, and consistent numbers raise none."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlstudy.verdicts.contradictions import (
    BOUNDS,
    GRANULARITY,
    KEEPS_K,
    L0_ABOVE_K,
    SAME_SETTING,
    TOLERANCE,
    accusations,
    is_share,
    remark,
)
from sdlstudy.verdicts.paper import NUMBER_COLUMNS, describe
from sdlstudy.verdicts.readings import TAUS
from tests.sdlstudy.verdicts.synthetic import contradictions, papers_numbers

RECOVERY = "gt_recovery_percent"


def frame(*rows):
    return pd.DataFrame(rows, columns=NUMBER_COLUMNS)


def row(number, paper, table="table1", method="ReLU SAE", anchoring="none", parameter="", value=np.nan):
    return (table, method, anchoring, parameter, value, number, paper)


def rows_of_the_paper(kind):
    """Return the numbers that a rule rejects under the judged reading, and what would excuse each."""
    numbers = papers_numbers()
    return {
        (describe(numbers.loc[index]), numbers.loc[index, "number"]): about.excuse
        for index, about in accusations(numbers).items()
        if any(finding.kind == kind for finding in about.findings)
    }


ANCHORED = ["TopK SAE", "BatchTopK SAE", "Matryoshka SAE"]


def test_recoveries_that_no_single_run_has():
    assert rows_of_the_paper(GRANULARITY) == {
        ("Table 1, Crosscoder, without anchors", RECOVERY): "",
        ("Table 1, Crosscoder, with anchors", RECOVERY): "",
        **{(f"Table 2, {method}, with anchors", RECOVERY): "" for method in ANCHORED},
        # whole numbers out of 970, as in Table 1, whose rows they repeat
        **{
            (
                f"Table 6, {method}, with anchors, S = 0.99",
                RECOVERY,
            ): "scored on features that are no anchors, 30 anchors"
            for method in ANCHORED
        },
    }


def test_table_1s_anchored_rows_are_whole_numbers_out_of_970():
    numbers = papers_numbers().query("table == 'table1' and number == @RECOVERY and anchoring == 'anchored'")
    whole = [percent for percent in numbers["paper"] if percent and is_share(percent, 970)]
    assert whole == [87.63, 89.38, 87.32, 25.05]
    assert not any(is_share(percent, 1000) or is_share(percent, 900) for percent in whole)


def test_settings_that_have_two_numbers():
    assert rows_of_the_paper(SAME_SETTING) == {
        ("Table 1, ReLU SAE, without anchors", "mip"): "",
        ("Table 4, ReLU SAE, without anchors, n = 1000", "mip"): "",
        ("Table 6, ReLU SAE, without anchors, S = 0.99", "mip"): "",
    }


def test_recoveries_that_the_mip_forbids_unless_they_are_of_cosines():
    assert rows_of_the_paper(BOUNDS) == {
        (f"Table 4, ReLU SAE, with anchors, n = {n}", number): "recovery by cosines"
        for n in (800, 900, 1000, 1100, 1200)
        for number in (RECOVERY, "mip")
    }


def test_more_active_latents_than_k_64():
    assert rows_of_the_paper(L0_ABOVE_K) == {
        (f"Table 1, Crosscoder, {anchoring} anchors", "l0"): "k = 128" for anchoring in ("with", "without")
    }


def test_8_numbers_of_the_paper_cannot_stand_under_any_reading():
    assert len(contradictions(papers_numbers())) == 8


def test_topk_in_table_1_agrees_with_k_128():
    """The paper does not state its k; only under k = 64 would Tables 1 and 6 contradict Table 7."""
    numbers = papers_numbers().query("method == 'TopK SAE' and table in ['table1', 'table7'] and number != 'l0'")
    assert not accusations(numbers)
    apart = {}
    for k in (64, 128):
        seven = numbers.query("value == @k").set_index(["anchoring", "number"])["paper"]
        one = numbers.query("table == 'table1'").set_index(["anchoring", "number"])["paper"]
        apart[k] = (seven - one).abs()
    assert (apart[128].xs("mip", level=1) <= TOLERANCE["mip"]).all()
    assert (apart[128].xs(RECOVERY, level=1) <= TOLERANCE[RECOVERY]).all()
    assert (apart[64].xs(RECOVERY, level=1) > TOLERANCE[RECOVERY]).all()


def test_reasons_quote_the_numbers():
    numbers = papers_numbers()
    for index, about in accusations(numbers).items():
        paper = numbers.loc[index, "paper"]
        assert all(f"{paper:g}" in finding.reason for finding in about.findings), about
    relu = numbers.query("table == 'table4' and number == 'mip' and value == 1000 and anchoring == 'none'").index[0]
    (finding,) = contradictions(numbers)[relu]
    assert "0.254 in Table 4 (n = 1000), 0.205 in Table 1, 0.205 in Table 6 (S = 0.99): 0.049 apart" in finding.reason


@given(st.integers(0, 1000), st.integers(1, 4))
def test_a_share_is_a_share_however_it_is_rounded(count, decimals):
    assert is_share(round(count / 10, decimals), 1000)


@given(st.integers(2, 2000), st.data())
def test_a_share_of_any_number_of_features_is_never_accused(n, data):
    percent = round(100 * data.draw(st.integers(0, n)) / n, 2)
    assert not contradictions(frame(row(RECOVERY, percent, "table4", parameter="n", value=float(n))))


@given(st.integers(1, 99))
def test_a_finer_number_than_a_share_is_accused(hundredths):
    percent = 50 + hundredths / 100
    assert bool(contradictions(frame(row(RECOVERY, percent)))) == (hundredths % 10 != 0)


@given(st.integers(0, 9900))
def test_an_anchored_row_may_leave_its_anchors_out(hundredths):
    percent = hundredths / 100
    findings = contradictions(frame(row(RECOVERY, percent, anchoring="anchored")))
    assert bool(findings) == (not any(is_share(percent, n) for n in (1000, 970, 900)))


def test_the_reason_names_the_fewest_runs_that_could_be_averaged():
    ((finding,),) = contradictions(frame(row(RECOVERY, 25.05))).values()
    assert "over at least 2 runs" in finding.reason


@given(st.lists(st.lists(st.floats(0, 1), min_size=10, max_size=10), min_size=1, max_size=4), st.sampled_from(TAUS))
def test_what_similarities_give_is_never_accused(rows, tau):
    """Recovery and MIP of any cosines are consistent at both thresholds that the paper names."""
    numbers = []
    for index, similarities in enumerate(rows):
        where = {"table": "table4", "parameter": "n", "value": 10.0 * (index + 1)}
        recovery = round(100 * float(np.mean(np.array(similarities) > tau)), 1)
        numbers += [row(RECOVERY, recovery, **where), row("mip", round(float(np.mean(similarities)), 3), **where)]
    assert not contradictions(frame(*numbers))


def test_tables_may_differ_by_as_much_as_runs():
    base, tolerance = 0.5, TOLERANCE["mip"]
    other = {"table": "table6", "parameter": "sparsity", "value": 0.99}
    just = frame(row("mip", base), row("mip", round(base + tolerance, 9), **other))
    more = frame(row("mip", base), row("mip", round(base + tolerance * 1.5, 9), **other))
    elsewhere = frame(row("mip", base), row("mip", base + 3 * tolerance, **(other | {"value": 0.9})))
    assert not contradictions(just)
    assert set(contradictions(more)) == {0, 1}
    assert not contradictions(elsewhere)


@pytest.mark.parametrize(
    "why",
    [
        {"number": RECOVERY, "why": "their tau may be another"},
        {"number": "mip", "anchoring": "anchored", "why": "their anchors may be others"},
        {"number": "mip", "method": "TopK SAE", "why": "their k may be another"},
    ],
    ids=lambda why: why["why"],
)
def test_tables_whose_readings_may_differ_accuse_each_other_of_nothing(why):
    where = {name: value for name, value in why.items() if name not in ("number", "why")}
    other = {"table": "table6", "parameter": "sparsity", "value": 0.99}
    high = 90.0 if why["number"] == RECOVERY else 0.9
    numbers = frame(row(why["number"], high / 9, **where), row(why["number"], high, **where, **other))
    assert not contradictions(numbers)


def test_only_those_that_disagree_are_accused():
    agree = {"table": "table6", "parameter": "sparsity", "value": 0.99}
    odd = {"table": "table4", "parameter": "n", "value": 1000.0}
    numbers = [row("mip", value, **at) for value, at in ((0.5, {}), (0.515, agree), (0.53, odd))]
    assert set(contradictions(frame(*numbers))) == {0, 2}


def test_less_than_k_is_odd_but_possible():
    numbers = papers_numbers()
    odd = {describe(r) for _, r in numbers.iterrows() if remark(r)}
    assert odd == {
        f"Table 1, {method}, {anchoring} anchors"
        for method in ("TopK SAE", "Transcoder")
        for anchoring in ("with", "without")
    }
    assert set(KEEPS_K) == {"TopK SAE", "Transcoder", "Crosscoder"}
    for method in KEEPS_K:
        assert not contradictions(frame(row("l0", 64.0, method=method)))
        assert accusations(frame(row("l0", 64.1, method=method)))[0].excuse == "k = 128"
        assert contradictions(frame(row("l0", 128.1, method=method)))
