"""`snakemake theory`, in a checkout of its own: the verdict of every claim."""

import csv

import pytest

from sdlstudy.theory.claims import CONDITIONAL, FAILS, HOLDS, LATER, VERSION_3
from tests.conftest import REPOSITORY
from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.slow

VERDICTS = {
    ("Theorem 3.1", "|L - L~| is at most of order"): FAILS,
    ("Theorem 3.1, proof", "The error is bounded by a constant"): HOLDS,
    ("Theorem 3.1, proof", "The probability that two or more features are active is at most (1 - S)^2"): FAILS,
    ("Theorem 3.1, definition of M_d", "M_d = Pr"): CONDITIONAL,
    ("Theorem 3.1 with Definition 3.9", "L~ approximates L in hierarchies"): CONDITIONAL,
    ("Theorem 3.2, consequence", "SDL itself"): CONDITIONAL,
    ("Theorem 3.2", "Where the activation pattern"): HOLDS,
    ("Theorem 3.2, proof", "The Hessian in W_E is block-diagonal"): FAILS,
    ("Theorem 3.2, proof", "The Hessian in W_E is positive semidefinite"): HOLDS,
    ("Theorem 3.3", "At the ground truth L~ = O"): CONDITIONAL,
    ("Theorem 3.3", "It holds for every sigma"): CONDITIONAL,
    ("Theorem 3.3, proof", "K_d"): FAILS,
    ("Theorem 3.3, proof", "The probability that exactly one"): FAILS,
    ("Theorem 3.3, proof", "The error of a feature"): CONDITIONAL,
    ("Section 3.3", "The ground truth is a global minimum"): FAILS,
    ("Theorem 3.4", "L~ = 0 if and only if"): CONDITIONAL,
    ("Theorem 3.4, consequence", "The n vector equations"): HOLDS,
    ("Theorem 3.4, consequence", "Some solutions"): HOLDS,
    ("Theorem 3.4, beyond the paper", "Where each feature"): HOLDS,
    ("Section 2.4", "ReLU, JumpReLU, TopK and BatchTopK"): FAILS,
    ("Example 3.5", "One latent for two"): HOLDS,
    ("Example 3.5", "Gradient descent is trapped"): HOLDS,
    ("Theorem 3.7", "Every realizable"): FAILS,
    ("Theorem 3.7, beyond the paper", "That condition is necessary"): HOLDS,
    ("Theorem 3.7, proof", "The encoder's gradient vanishes"): FAILS,
    ("Theorem 3.7, proof", "Its loss is positive"): CONDITIONAL,
    ("Theorem 3.7, consequence", "Gradient descent"): FAILS,
    ("Theorem 3.7, beyond the paper", "A group whose target features"): HOLDS,
    ("Theorem 3.10, proof", "The construction"): FAILS,
    ("Theorem 3.10", "If P is realizable with a threshold"): HOLDS,
    ("Theorem 3.10, under ReLU", "The same is true under ReLU"): CONDITIONAL,
    ("Theorem 3.10, hypothesis", "It takes a hierarchy"): FAILS,
    ("Theorem 3.10, consequence", "The patterns P' manifest"): FAILS,
    ("Appendix F, certificate", "Branch and bound proves global optimality, for Top-1"): HOLDS,
    ("Example 3.8", "A latent for one breed"): HOLDS,
    ("Theorem 3.1", "|L - L~| <= n^2 C"): FAILS,
    ("Theorem 3.1", "That bound needs no independence"): FAILS,
    ("Theorem 3.1, proof", "The probability that two or more features are active is at most n^2"): CONDITIONAL,
    ("Theorem 3.1, on the bench", "The paper's bench meets"): FAILS,
    ("Theorem 3.1, on the bench", "C, the supremum"): FAILS,
    ("Theorem 3.3", "At the ground truth L~ <= n^2 M^2"): CONDITIONAL,
    ("Theorem 3.3, on the bench", "Its bound is below"): FAILS,
    ("Theorem 3.4, proof, with Definition 3.9", "Each M_d is positive"): CONDITIONAL,
    ("Theorem 3.7", "Two orthonormal features"): FAILS,
    ("Theorem 3.10, proof", "(c + a_min) / 2"): FAILS,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("theory") / "sdl core")
    checkout.snakemake("theory")
    assert checkout.plan("theory").jobs == []
    tables = checkout.path / "results/tiny/tables"
    with (tables / "theory.csv").open() as file:
        return list(csv.DictReader(file)), (tables / "theory.md").read_text()


def test_each_claim_has_its_verdict(page):
    rows, text = page
    verdicts = {(row["statement"], row["claim"]): row["verdict"] for row in rows}
    assert len(verdicts) == len(rows) == len(VERDICTS)
    for (statement, beginning), verdict in VERDICTS.items():
        (is_,) = [
            value for (where, claim), value in verdicts.items() if where == statement and claim.startswith(beginning)
        ]
        assert is_ == verdict, (statement, beginning)
    assert all(f"**{row['claim']}**" in text and row["observed"] in text for row in rows)


def test_the_published_table_has_these_verdicts(page):
    with (REPOSITORY / "resources/kept/theory.csv").open() as file:
        stored = list(csv.DictReader(file))
    columns = ("statement", "version", "origin", "claim", "verdict", "condition_source")
    assert [[row[name] for name in columns] for row in page[0]] == [[row[name] for name in columns] for row in stored]


def test_a_false_claim_has_a_counterexample_and_a_repaired_one_a_condition_that_was_checked(page):
    for row in page[0]:
        false = row["verdict"] != HOLDS
        assert (int(row["violations"]) > 0) == bool(row["counterexample"]) == false, row["claim"]
        if row["verdict"] == CONDITIONAL:
            assert row["condition"]
            assert row["condition_source"]
            assert int(row["condition_instances"]) > int(row["condition_violations"]) == 0


def test_each_version_makes_its_claims(page):
    later = {row["statement"] for row in page[0] if row["version"] == LATER}
    assert later == {
        "Theorem 3.1",
        "Theorem 3.1, proof",
        "Theorem 3.1, on the bench",
        "Theorem 3.3",
        "Theorem 3.3, on the bench",
    }
    gone = {row["statement"] for row in page[0] if row["version"] == VERSION_3}
    assert {"Section 2.4", "Theorem 3.2, proof"} < gone
    assert "| Theorem 3.6 " in page[1]
