from itertools import product

import numpy as np
import pandas as pd
import pytest

from sdlcore.study.explain.distance import (
    CAP,
    READINGS,
    Reading,
    as_read,
    by_row,
    distances,
    errors,
    given_by_all_features,
    nearest,
)
from sdlcore.study.explain.looks import ABOVE, THRESHOLDS
from sdlcore.study.explain.protocols import Protocol
from sdlcore.study.results.tables import read_paper
from tests.conftest import REPOSITORY

SIDES = [f"{side}_{similarity}" for side, similarity in product(("encoder", "decoder"), ("cosine", "inner"))]
TOPK = {"gt_recovery_percent": 84.9, "mip": 0.983, "l0": 54.1}


@pytest.fixture(scope="module")
def paper():
    return read_paper(REPOSITORY / "resources/paper/table1.csv")


def look(step, method="topk", seed=0, anchored=False, **changed):
    """Return a look that is wrong everywhere except for the given values."""
    values = {f"l0_{above:g}": 1.0 for above in ABOVE}
    values |= {f"{side}_{tau:g}": 0.0 for side in SIDES for tau in THRESHOLDS} | {f"{side}_mip": 0.0 for side in SIDES}
    place = {
        "number": 0,
        "method": method,
        "anchored": anchored,
        "value": np.nan,
        "seed": seed,
        "step": step,
        "fvu": 0.1,
    }
    return place | values | {name: float(value) for name, value in changed.items()}


def the_papers(step, **changed):
    found = {"decoder_cosine_0.95": 0.849, "decoder_cosine_mip": 0.983, "l0_0": 54.1 / 4}
    return look(step, **{**found, **changed})


def test_the_papers_own_numbers_are_at_distance_zero(paper):
    found = nearest(Protocol(), pd.DataFrame([look(40), the_papers(80), look(120)]), paper, 4)
    assert (found.distance, found.given, found.numbers, found.step) == (pytest.approx(0, abs=1e-9), 3, 3, 80)
    assert (found.reading.side, found.reading.tau, found.reading.above) == ("decoder", 0.95, 0.0)


def test_an_error_is_counted_in_tolerances_and_at_most_ten(paper):
    rows = pd.DataFrame([the_papers(80, **{"decoder_cosine_0.95": 0.849 - 0.03, "l0_0": 0})])
    wrong = errors(rows, paper, 4).iloc[0]
    assert wrong["decoder_cosine_0.95"] == pytest.approx(1.5)
    assert wrong["l0_0"] == pytest.approx(1 / 0.05)
    found = nearest(Protocol(), rows, paper, 4)
    assert found.distance == pytest.approx((1.5 / CAP + 0 + 1) / 3)
    assert found.given == 1


def test_a_dictionary_of_all_features_gives_what_lies_at_the_ends(paper):
    # of TopK an MIP of .983, of ReLU neither
    assert given_by_all_features(pd.DataFrame([look(40), look(80), look(80, "relu")]), paper) == 1
    table7 = read_paper(REPOSITORY / "resources/paper/table7.csv")
    # recovery and MIP at k = 32, the MIP alone at 128
    rows = [look(80) | {"value": value} for value in (32.0, 128.0)]
    assert given_by_all_features(pd.DataFrame(rows), table7) == 3
    assert list(distances([Protocol()], pd.DataFrame(rows), table7, 1)["perfect"]) == [3]


def test_only_the_end_counts_where_the_rate_changes(paper):
    rows = pd.DataFrame([the_papers(80), look(120)])
    assert nearest(Protocol(steps=120), rows, paper, 4).step == 80
    assert nearest(Protocol(steps=120, schedule="linear"), rows, paper, 4).step == 120
    assert nearest(Protocol(steps=120), rows, paper, 4, step=120).step == 120


def test_a_row_that_diverged_is_wrong_in_all_numbers(paper):
    rows = pd.DataFrame([the_papers(80), look(40, "transcoder")])
    found = nearest(Protocol(), rows, paper, 4, step=80)
    assert (found.distance, found.given, found.numbers) == (pytest.approx(0.5), 3, 6)


def test_errors_are_means_over_seeds(paper):
    rows = pd.DataFrame([the_papers(80), the_papers(80, seed=1, **{"decoder_cosine_mip": 0.983 - 0.06})])
    found = nearest(Protocol(), rows, paper, 4)
    assert found.distance == pytest.approx(1.5 / CAP / 3)
    assert found.given == 2


def test_one_reading_serves_all_methods(paper):
    """Recovery of TopK is given by the decoder alone, of the transcoder by the encoder alone."""
    transcoder = {"encoder_inner_0.95": 0.236, "encoder_inner_mip": 0.838, "l0_0": 50.6 / 4}
    rows = pd.DataFrame([the_papers(80), look(80, "transcoder", **transcoder)])
    assert nearest(Protocol(), rows, paper, 4).given == 4
    both = {"decoder_inner_0.95": 0.849, "decoder_inner_mip": 0.983}
    rows = pd.DataFrame([the_papers(80, **both), look(80, "transcoder", **transcoder)])
    found = nearest(Protocol(), rows, paper, 4)
    assert (found.given, found.reading.side) == (6, "mixed")


def test_readings_are_as_many_as_the_page_says():
    assert len(set(READINGS)) == 81


def test_a_table_has_the_nearest_first(paper):
    protocols = [Protocol(), Protocol(lr=0.5)]
    rows = pd.DataFrame([look(80), the_papers(80) | {"number": 1}])
    table = distances(protocols, rows, paper, 4)
    assert list(table["number"]) == [1, 0]
    assert np.allclose(table["lr"], [0.5, Protocol().lr])


def test_tables_without_an_l0_are_judged_by_what_they_print():
    paper = read_paper(REPOSITORY / "resources/paper/table7.csv")
    given = {"decoder_cosine_0.95": 1.0, "decoder_cosine_mip": 0.999}
    rows = pd.DataFrame([look(80, **given) | {"value": 32.0}, look(80) | {"value": 64.0}])
    found = nearest(Protocol(), rows, paper, 4)
    assert (found.distance, found.given, found.numbers) == (pytest.approx(0.5), 2, 4)


def test_a_row_by_itself_is_given_by_more_protocols_than_all_rows(paper):
    protocols = [Protocol(), Protocol(lr=0.5), Protocol(lr=0.25)]
    transcoder = {"encoder_inner_0.95": 0.236, "encoder_inner_mip": 0.838, "l0_0": 50.6 / 4}
    # the first gives TopK, by the decoder; the second the transcoder, by raw encoder rows; the third nothing
    rows = [the_papers(80), look(80, "transcoder"), look(80) | {"number": 1}]
    rows += [look(80, "transcoder", **transcoder) | {"number": 1}, look(80) | {"number": 2}]
    rows.append(look(80, "transcoder") | {"number": 2})
    table = by_row(protocols, pd.DataFrame(rows), paper, 4).set_index("method")
    assert table[["protocols", "giving", "readings"]].to_numpy().tolist() == [[3, 1, 81], [3, 1, 81]]
    assert table["number"].to_dict() == {"topk": 0, "transcoder": 1}
    assert table["side"].to_dict() == {"topk": "decoder", "transcoder": "encoder"}


def test_numbers_as_read_are_in_the_papers_units_and_order(paper):
    reading = Reading("cosines", "cosines", 0.95, "decoder", 0.0)
    rows = [look(80, "transcoder", decoder_cosine_mip=0.5), the_papers(80, anchored=True), the_papers(80)]
    rows += [the_papers(80, seed=1, **{"decoder_cosine_0.95": 0.649}), look(120), look(40, "crosscoder")]
    found = as_read(pd.DataFrame(rows), paper, 4, 80, reading)
    assert found.columns.tolist() == ["method", "anchoring", "gt_recovery_percent", "mip", "l0"]
    assert found[["method", "anchoring"]].values.tolist() == [
        ["TopK SAE", "none"],
        ["TopK SAE", "anchored"],
        ["Transcoder", "none"],
    ]
    assert found.iloc[0, 2:].tolist() == pytest.approx([74.9, 0.983, 54.1]), "means over seeds"
    assert found.iloc[2, 2:].tolist() == pytest.approx([0, 0.5, 4])
