"""`snakemake theory`, in a checkout of its own: the verdict of every claim, as in the kept table."""

import csv

import pytest

from sdlstudy.theory.claims import CONDITIONAL, HOLDS
from tests.conftest import REPOSITORY
from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("theory") / "sdl core")
    checkout.snakemake("theory")
    assert checkout.plan("theory").jobs == []
    tables = checkout.path / "results/tiny/tables"
    with (tables / "theory.csv").open() as file:
        return list(csv.DictReader(file)), (tables / "theory.md").read_text()


def test_each_claim_has_the_verdict_of_the_kept_table(page):
    with (REPOSITORY / "resources/kept/theory.csv").open() as file:
        stored = {row["claim"]: row for row in csv.DictReader(file)}  # with four claims that are no longer checked
    assert all(f"**{row['claim']}**" in page[1] and row["observed"] in page[1] for row in page[0])
    columns = ("statement", "version", "origin", "claim", "verdict", "condition_source")
    assert all(row[name] == stored[row["claim"]][name] for row in page[0] for name in columns)
    assert sum(row["origin"] == "paper" for row in page[0]) == 33


def test_a_false_claim_has_a_counterexample_and_a_repaired_one_a_condition_that_was_checked(page):
    for row in page[0]:
        false = row["verdict"] != HOLDS
        assert (int(row["violations"]) > 0) == bool(row["counterexample"]) == false, row["claim"]
        if row["verdict"] == CONDITIONAL:
            assert row["condition"]
            assert row["condition_source"]
            assert int(row["condition_instances"]) > int(row["condition_violations"]) == 0
