"""What is wrong with the paper's numbers, and that nothing is wrong with numbers that could be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.verdicts.contradictions import KEEPS_K, TAU, TOLERANCE, contradictions, is_share, remark
from sdlcore.verdicts.paper import NUMBER_COLUMNS, describe
from tests.verdicts.made_up import papers_numbers

RECOVERY = "gt_recovery_percent"


def frame(*rows):
    return pd.DataFrame(rows, columns=NUMBER_COLUMNS)


def row(number, paper, table="table1", method="ReLU SAE", anchoring="none", parameter="", value=np.nan):
    return (table, method, anchoring, parameter, value, number, paper)


def found_in_the_paper(kind):
    numbers = papers_numbers()
    findings = contradictions(numbers)
    return {
        (describe(numbers.loc[index]), numbers.loc[index, "number"])
        for index, about in findings.items()
        if any(finding.kind == kind for finding in about)
    }


def both_anchorings(text, number):
    return {(f"{text.replace('*', anchoring)}", number) for anchoring in ("without anchors", "with anchors")}


def test_recoveries_that_no_single_run_has():
    anchored = ["TopK SAE", "BatchTopK SAE", "Matryoshka SAE"]
    assert found_in_the_paper("granularity") == {
        *((f"Table 1, {method}, with anchors", RECOVERY) for method in [*anchored, "Transcoder", "Crosscoder"]),
        ("Table 1, Crosscoder, without anchors", RECOVERY),
        *((f"Table 2, {method}, with anchors", RECOVERY) for method in anchored),
        *((f"Table 6, {method}, with anchors, S = 0.99", RECOVERY) for method in anchored),
    }


def test_no_average_over_fewer_than_eight_runs_explains_table_1():
    numbers = papers_numbers()
    odd = [numbers.loc[i, "paper"] for i, about in contradictions(numbers).items() if about[0].kind == "granularity"]
    runs = [m for m in range(1, 20) if all(is_share(percent, 1000 * m) for percent in odd)]
    assert runs[0] == 8


def test_settings_that_have_two_numbers():
    relu = ["Table 1, ReLU SAE, *", "Table 4, ReLU SAE, *, n = 1000", "Table 6, ReLU SAE, *, S = 0.99"]
    topk = ["Table 1, TopK SAE, *", "Table 6, TopK SAE, *, S = 0.99", "Table 7, TopK SAE, *, k = 64"]
    assert found_in_the_paper("same setting") == {
        *(pair for text in relu for pair in both_anchorings(text, "mip")),
        *((text.replace("*", "with anchors"), RECOVERY) for text in relu),
        *(pair for text in topk for pair in both_anchorings(text, RECOVERY)),
    }


def test_recoveries_that_their_own_mip_forbids():
    assert found_in_the_paper("recovery x tau") == {
        (f"Table 4, ReLU SAE, with anchors, n = {n}", number)
        for n in (800, 900, 1000, 1100, 1200)
        for number in (RECOVERY, "mip")
    }


def test_table_4_has_no_single_tau():
    rows = ["without anchors, n = 800", "with anchors, n = 900", "with anchors, n = 1000"]
    assert found_in_the_paper("one tau") == {
        (f"Table 4, ReLU SAE, {text}", number) for text in rows for number in (RECOVERY, "mip")
    }


def test_more_active_latents_than_k():
    assert found_in_the_paper("L0 above k") == both_anchorings("Table 1, Crosscoder, *", "l0")


def test_37_numbers_of_the_paper_cannot_stand():
    assert len(contradictions(papers_numbers())) == 37


def test_reasons_are_made_of_the_numbers():
    numbers = papers_numbers()
    findings = contradictions(numbers)
    for index, about in findings.items():
        paper = numbers.loc[index, "paper"]
        assert all(f"{paper:g}" in finding.reason for finding in about), about
    topk = numbers.query("table == 'table7' and number == @RECOVERY and value == 64 and anchoring == 'none'").index[0]
    (finding,) = findings[topk]
    assert "84.9 in Table 1, 84.9 in Table 6 (S = 0.99), 93.9 in Table 7 (k = 64): 9 apart" in finding.reason


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


def test_the_fewest_runs_that_could_be_averaged_are_told():
    ((finding,),) = contradictions(frame(row(RECOVERY, 25.05))).values()
    assert "of 2 at the fewest" in finding.reason


@given(st.lists(st.lists(st.floats(0, 1), min_size=10, max_size=10), min_size=1, max_size=4), st.floats(TAU, 0.99))
def test_what_similarities_give_is_never_accused(rows, tau):
    """Recovery and MIP of any similarities, at any tau that the paper could mean, fit each other and one tau."""
    numbers = []
    for index, similarities in enumerate(rows):
        where = {"table": "table4", "parameter": "n", "value": 10.0 * (index + 1)}
        recovery = round(100 * float(np.mean(np.array(similarities) > tau)), 1)
        numbers += [row(RECOVERY, recovery, **where), row("mip", round(float(np.mean(similarities)), 3), **where)]
    assert not contradictions(frame(*numbers))


@pytest.mark.parametrize(("number", "tolerance"), TOLERANCE.items())
def test_tables_may_differ_by_as_much_as_runs(number, tolerance):
    base = 50.0 if number == RECOVERY else 0.5
    other = {"table": "table6", "parameter": "sparsity", "value": 0.99}
    just = frame(row(number, base), row(number, round(base + tolerance, 9), **other))
    more = frame(row(number, base), row(number, round(base + tolerance * 1.5, 9), **other))
    elsewhere = frame(row(number, base), row(number, base + 3 * tolerance, **(other | {"value": 0.9})))
    assert not contradictions(just)
    assert set(contradictions(more)) == {0, 1}
    assert not contradictions(elsewhere)


def test_only_those_that_disagree_are_accused():
    agree = {"table": "table6", "parameter": "sparsity", "value": 0.99}
    odd = {"table": "table7", "parameter": "k", "value": 64.0}
    numbers = [row("mip", value, method="TopK SAE", **at) for value, at in ((0.5, {}), (0.515, agree), (0.53, odd))]
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
        assert contradictions(frame(row("l0", 64.1, method=method)))
