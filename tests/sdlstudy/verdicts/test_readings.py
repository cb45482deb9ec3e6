"""Readings of the paper's numbers: what the text says, and other possible meanings."""

import pytest

from sdlcore.evaluation.metric_names import FeatureSet, Similarity
from sdlstudy.verdicts.readings import (
    JUDGED,
    LATER,
    VERSION_3,
    Question,
    describe,
    question,
    questions,
    readings,
    stated,
)
from sdlstudy.verdicts.scale import SWEPT
from tests.sdlstudy.verdicts.synthetic import papers_numbers


def row(table="table1", method="TopK SAE", anchoring="anchored", number="gt_recovery_percent", parameter=""):
    return {"table": table, "method": method, "anchoring": anchoring, "number": number, "parameter": parameter}


@pytest.mark.parametrize("table", SWEPT)
def test_every_table_has_the_readings_that_both_versions_state_and_alternatives(table):
    listed = readings(table)
    assert listed[:2] == list(stated(table).values())
    assert list(stated(table)) == [JUDGED, VERSION_3] == [LATER, VERSION_3]
    assert len(set(listed)) == len(listed) > 10
    # both versions define recovery by inner products of encoder rows
    assert {(reading.recovery, reading.mip, reading.side) for reading in listed[:2]} == {
        (Similarity.INNER, Similarity.INNER, "encoder")
    }
    assert [reading.tau for reading in listed[:2]] == [0.95, 0.9]


def test_table_1_alone_leaves_30_anchors_out():
    left_out = {table: (stated(table)[LATER].scored, stated(table)[LATER].n_anchors) for table in SWEPT}
    assert left_out.pop("table1") == (FeatureSet.UNANCHORED, 30)
    assert left_out.pop("table2") == (FeatureSet.ALL, 30)
    assert set(left_out.values()) == {(FeatureSet.ALL, 100)}


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        (row(), {}, Question("gt_recovery_encoder_raw_unanchored_tau95", 30, 64)),
        (row(anchoring="none"), {}, Question("gt_recovery_encoder_raw_tau95", None, 64)),
        (row(number="mip"), {"tau": 0.9}, Question("mip_encoder_raw_unanchored", 30, 64)),
        (row(number="mip"), {"mip": Similarity.COSINE, "side": "decoder"}, Question("mip_decoder_unanchored", 30, 64)),
        (row(number="l0", method="ReLU SAE"), {}, Question("l0", 30, None)),
        (row(table="table7", parameter="k"), {}, Question("gt_recovery_encoder_raw_tau95", 100, None)),
        (
            row(table="table6"),
            {"tau": 0.9, "scored": FeatureSet.UNANCHORED},
            Question("gt_recovery_encoder_raw_unanchored", 100, 64),
        ),
    ],
)
def test_a_reading_names_the_runs_and_the_metric_of_a_number(row, changes, expected):
    assert question(row, stated(row["table"])[JUDGED]._replace(**changes)) == expected


def test_readings_that_do_not_differ_on_a_number_count_once():
    numbers = papers_numbers()
    for row in numbers.to_dict("records"):
        readings_by_question = questions(row)
        assert next(iter(readings_by_question.values())) == stated(row["table"])[JUDGED]
        assert (
            len({describe(row, reading) for reading in readings_by_question.values()}) >= len(readings_by_question) - 1
        )
    relu = numbers.query("table == 'table1' and method == 'ReLU SAE' and anchoring == 'none'").to_dict("records")
    # tau x similarity x side; similarity x side; nothing
    assert [len(questions(row)) for row in relu] == [8, 4, 1]


def test_a_reading_is_described_as_far_as_a_number_hangs_on_it():
    text = stated("table1")[JUDGED]
    assert describe(row(), text) == "later revision"
    assert describe(row(), stated("table1")[VERSION_3]) == "version 3"
    decoder = text._replace(side="decoder", recovery=Similarity.COSINE)
    assert describe(row(), decoder) == (
        "decoder, cosines, tau = 0.95, features that are no anchors, 30 anchors, k = 64"
    )
    assert describe(row(method="ReLU SAE", anchoring="none"), decoder) == "decoder, cosines, tau = 0.95"
    assert describe(row(number="l0", anchoring="none"), text._replace(k=128)) == "k = 128"
