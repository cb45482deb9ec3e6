"""`snakemake theory`, in a checkout of its own: what the page says, it says by computation."""

import csv

import pytest

from sdlcore.study.theory.claim import CONDITIONAL, FAILS, HOLDS
from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.slow

VERDICTS = {
    ("Theorem 3.1", "|L - L~| is at most of order"): CONDITIONAL,
    ("Theorem 3.1, proof", "The error is bounded by a constant"): HOLDS,
    ("Theorem 3.1, proof", "The probability that two or more"): CONDITIONAL,
    ("Theorem 3.1, eq. (11)", "M_d = Pr"): CONDITIONAL,
    ("Theorem 3.1 with Definition 3.9", "L~ stands for L"): CONDITIONAL,
    ("Theorem 3.2, consequence", "SDL itself"): CONDITIONAL,
    ("Theorem 3.2", "Where the activation pattern"): HOLDS,
    ("Theorem 3.2, proof", "The Hessian in W_E is block-diagonal"): CONDITIONAL,
    ("Theorem 3.2, proof", "The Hessian in W_E is positive semidefinite"): HOLDS,
    ("Theorem 3.3", "At the ground truth"): CONDITIONAL,
    ("Theorem 3.3", "It holds for every sigma"): CONDITIONAL,
    ("Theorem 3.3, proof", "K_d"): CONDITIONAL,
    ("Theorem 3.3, proof", "The probability that exactly one"): CONDITIONAL,
    ("Theorem 3.3, proof", "The error of a feature"): CONDITIONAL,
    ("Section 3.3", "The ground truth is a global minimum"): CONDITIONAL,
    ("Section 3.3, beyond the paper", "The approximate loss attains"): CONDITIONAL,
    ("Theorem 3.4", "L~ = 0 if and only if"): CONDITIONAL,
    ("Theorem 3.4, consequence", "The n vector equations"): HOLDS,
    ("Theorem 3.4, consequence", "Some solutions"): HOLDS,
    ("Theorem 3.4, beyond the paper", "Where each feature"): HOLDS,
    ("Section 2.4", "ReLU, JumpReLU, TopK and BatchTopK"): CONDITIONAL,
    ("Example 3.5", "One latent for two"): HOLDS,
    ("Example 3.5", "Gradient descent is trapped"): HOLDS,
    ("Theorem 3.7", "Every realizable"): CONDITIONAL,
    ("Theorem 3.7, beyond the paper", "That condition is necessary"): HOLDS,
    ("Theorem 3.7, proof", "The encoder's gradient vanishes"): CONDITIONAL,
    ("Theorem 3.7, proof", "Its loss is positive"): CONDITIONAL,
    ("Theorem 3.7, consequence", "Gradient descent"): CONDITIONAL,
    ("Theorem 3.7, beyond the paper", "A group whose target features"): HOLDS,
    ("Theorem 3.10, proof", "The construction"): CONDITIONAL,
    ("Theorem 3.10", "If P is realizable"): CONDITIONAL,
    ("Theorem 3.10, hypothesis", "It takes a hierarchy"): FAILS,
    ("Theorem 3.10, consequence", "The patterns P' manifest"): CONDITIONAL,
    ("Appendix F, certificate", "Branch and bound proves global optimality: Top-1"): HOLDS,
    ("Appendix F, certificate", "Branch and bound proves global optimality to within"): HOLDS,
    ("Example 3.8", "A latent for one breed"): HOLDS,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("theory") / "sdl core")
    checkout.snakemake("theory")
    assert checkout.plan("theory").jobs == []
    tables = checkout.path / "results/tiny/tables"
    with (tables / "theory.csv").open() as file:
        return list(csv.DictReader(file)), (tables / "theory.md").read_text()


def test_each_claim_has_the_verdict_that_tests_of_its_module_bear_out(page):
    rows, _ = page
    found = {(row["statement"], row["claim"]): row["verdict"] for row in rows}
    assert len(found) == len(rows) == len(VERDICTS)
    for (statement, beginning), verdict in VERDICTS.items():
        (is_,) = [
            value for (where, claim), value in found.items() if where == statement and claim.startswith(beginning)
        ]
        assert is_ == verdict, (statement, beginning)


def test_what_is_false_has_a_counterexample_and_what_is_repaired_a_condition_that_was_checked(page):
    for row in page[0]:
        false = row["verdict"] != HOLDS
        assert (int(row["violations"]) > 0) == bool(row["counterexample"]) == false, row["claim"]
        if row["verdict"] == CONDITIONAL:
            assert row["condition"]
            assert int(row["condition_instances"]) > int(row["condition_violations"]) == 0


def test_the_page_shows_every_claim_in_the_summary_and_in_a_section(page):
    rows, text = page
    for row in rows:
        assert f"**{row['claim']}**" in text
        assert f" {row['claim']} ".replace("|", "\\|") in text
        assert row["observed"] in text
        assert row["counterexample"] in text
    assert f"{len(rows)} claims:" in text
