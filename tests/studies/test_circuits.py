"""The kept parts and ablations of circuits agree with each other."""

import csv

import pytest

from studies import KEPT


def read(name):
    with (KEPT / f"circuits_{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def parts():
    return {row["part"]: row["value"] for row in read("parts")}


def test_parts_sum_to_the_logit_and_frozen_ablations_equal_edges(parts):
    assert float(parts["sum of the parts"]) == pytest.approx(float(parts["logit minus the mean"]), rel=1e-4)
    for row in read("ablations"):
        assert float(row["frozen_change"]) == pytest.approx(-float(row["edge"]), rel=1e-3)
