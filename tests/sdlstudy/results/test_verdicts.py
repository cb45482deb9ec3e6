"""The paper's numbers beside our runs."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from sdlstudy.results.tables import PAPER_METHODS, read_csv
from sdlstudy.results.verdicts import (
    COLUMNS,
    SWEPT,
    UNITS,
    judge,
    metrics_of,
    prediction_interval,
    scale_differences,
)
from sdlstudy.settings.cells import Cell
from tests.conftest import REPOSITORY
from tests.sdlstudy.products import studies

NUMBERS = read_csv(REPOSITORY / "resources/paper/numbers.csv")
KEPT = REPOSITORY / "resources/kept"
PAPERS = studies.configuration(None, "paper")


def test_the_interval_is_that_of_one_more_run_and_no_narrower_than_the_tolerance():
    values = np.array([80.0, 85.0, 90.0])
    reach = scipy.stats.t.ppf(0.975, 2) * values.std(ddof=1) * math.sqrt(1 + 1 / 3)
    assert prediction_interval(values, "gt_recovery_percent") == pytest.approx((85 - reach, 85 + reach))
    assert prediction_interval([50.0, 50.1, 50.2], "gt_recovery_percent") == pytest.approx((48.1, 52.1))
    assert prediction_interval([0.265], "mip") == pytest.approx((0.245, 0.285))
    assert prediction_interval([200.0], "l0") == pytest.approx((190, 210))


def test_the_papers_rule_and_our_decoder():
    rule, decoder = metrics_of("table1", "ground_truth_30", "gt_recovery_percent")
    assert (rule, decoder) == ("gt_recovery_encoder_raw_unanchored_tau95", "gt_recovery_decoder_unanchored")
    assert metrics_of("table1", "none", "mip") == ("mip_encoder_raw", "mip_decoder")
    assert metrics_of("table4", "ground_truth", "gt_recovery_percent")[0] == "gt_recovery_encoder_raw_tau95"
    assert metrics_of("table1", "none", "l0") == ("l0", None)


def test_kept_runs_of_table_1_give_the_kept_numbers():
    """The kept table was written by rules for every reading; this module has the one that judges."""
    kept = read_csv(KEPT / "paper_verdicts.csv").query("table == 'table1'")
    judged = judge("table1", NUMBERS, read_csv(KEPT / "paper_table1_runs.csv")).query("protocol == 'paper'")
    assert list(judged) == COLUMNS
    assert len(judged) == len(kept) == 42
    judged = judged.assign(anchoring=judged["anchoring"].where(judged["anchoring"] == "none", "anchored"))
    both = kept.merge(judged, on=["method", "anchoring", "number"], suffixes=("_kept", ""))
    for column in ("paper", "ours", "low", "high", "seeds"):
        np.testing.assert_allclose(both[column], both[f"{column}_kept"], err_msg=column)
    assert not both["inside"].any()
    assert both["reason"].str.contains("contradicts the paper").sum() == 3
    topk = judged.set_index(["method", "anchoring", "number"]).loc[("TopK SAE", "none", "gt_recovery_percent")]
    assert (topk["ours"], topk["decoder"]) == (0, 100)


def runs_with(values, metric="l0", **fields):
    """Return runs of TopK in Table 1's setting, a seed for each value of one metric."""
    plain = {"source": "lrb", "method": "topk", "protocol": "paper", "anchoring": "none", "paper_method": "TopK SAE"}
    return pd.DataFrame([plain | fields | {"seed": seed, metric: value} for seed, value in enumerate(values)])


def l0(verdicts):
    return verdicts.set_index("number").loc["l0"]


def test_a_number_inside_the_interval_and_one_outside():
    assert l0(judge("table1", NUMBERS, runs_with([54.0, 54.2, 54.1]), PAPERS))["inside"]
    assert not l0(judge("table1", NUMBERS, runs_with([64.0, 64.0, 64.0]), PAPERS))["inside"]
    one = l0(judge("table1", NUMBERS, runs_with([54.0]), PAPERS))
    assert (one["inside"], one["seeds"], one["reason"]) == (True, 1, "one seed, so the interval is the tolerance")


def test_runs_at_another_scale_or_without_the_metric_are_not_judged():
    small = l0(judge("table1", NUMBERS, runs_with([54.1] * 3), studies.configuration()))
    assert pd.isna(small["inside"])
    assert small["ours"] == pytest.approx(54.1)
    assert small["reason"].startswith("another scale: n 128, the paper's 1000, n_p 96, the paper's 768")
    lacking = judge("table1", NUMBERS, runs_with([54.1] * 3), PAPERS).set_index("number").loc["mip"]
    assert (lacking["seeds"], lacking["reason"]) == (0, "the runs have no mip_encoder_raw")
    assert pd.isna(lacking["inside"])


def test_methods_that_the_paper_lacks_are_left_out():
    assert judge("table1", NUMBERS, runs_with([1.0], paper_method=None), PAPERS).empty
    assert judge("table1", NUMBERS, runs_with([1.0], paper_method="Random samples"), PAPERS).empty


@pytest.mark.parametrize("table", ["table1", *SWEPT])
def test_the_configuration_of_the_paper_is_at_its_scale(table):
    asked = PAPERS.tables[table]
    for point in asked.points(PAPERS):
        for method in asked.methods:
            for anchoring in asked.anchorings:
                cell = Cell(point.source, point.methods[method], "paper", anchoring, 0)
                run = pd.Series(vars(cell) | {"paper_method": PAPER_METHODS[method], "paper_value": point.paper_value})
                assert list(scale_differences(PAPERS, table, run)) == [], cell


def test_table_2_needs_imagenet():
    quick = studies.configuration()
    run = {"source": "fashion_clip", "method": "topk_real", "protocol": "best", "anchoring": "class_means", "seed": 0}
    differences = list(scale_differences(quick, "table2", pd.Series(run | {"paper_method": "TopK SAE"})))
    assert "the paper's ViT-B/32 on ImageNet-1K" in differences[0]


def test_the_numbers_that_contradict_the_paper_do():
    """Eight numbers: five are no multiple of 1/n, three have another value in the same setting."""
    wrong = NUMBERS[NUMBERS["contradicts"].notna()]
    assert len(NUMBERS) == 220
    assert len(wrong) == 8
    shares = wrong[wrong["number"] == "gt_recovery_percent"]
    features = np.where(shares["table"].eq("table1") & shares["anchoring"].eq("anchored"), 970, 1000)
    counts = shares["paper"] * features / 100
    assert (abs(counts - counts.round()) > 0.005 * features / 100).all()
    relu = wrong[wrong["number"] == "mip"].set_index("table")["paper"]
    assert relu.to_dict() == {"table1": 0.205, "table4": 0.254, "table6": 0.205}
    assert UNITS.keys() == set(NUMBERS["number"])
