import pytest

from sdlcore.study.theory.claim import BOTH, CONDITIONAL, FAILS, HOLDS, LATER, VERSION_3, Claim


@pytest.mark.parametrize(
    ("violations", "instances_repaired", "violations_repaired", "verdict"),
    [(0, 0, 0, HOLDS), (1, 5, 0, CONDITIONAL), (1, 5, 1, FAILS), (1, 0, 0, FAILS), (0, 5, 1, HOLDS)],
)
def test_a_verdict_follows_from_counts(violations, instances_repaired, violations_repaired, verdict):
    claim = Claim(
        "T", BOTH, "says", "checked", 3, violations, "seen", "", "if", instances_repaired, violations_repaired
    )
    assert claim.verdict == verdict


def test_what_was_never_checked_has_no_verdict():
    with pytest.raises(ValueError, match="no instance"):
        _ = Claim("T", BOTH, "says", "checked", 0, 0, "seen").verdict


@pytest.mark.parametrize(
    ("statement", "version", "there"),
    [
        ("Theorem 3.7, proof", BOTH, "Theorem 3.6, proof"),
        ("Theorem 3.1 with Definition 3.9", BOTH, "Theorem 3.1 with Definition 3.2"),
        ("Example 3.8", BOTH, "Example 3.7"),
        ("Theorem 3.4", BOTH, "Theorem 3.4"),
        ("Theorem 3.1", LATER, "Theorem 3.1"),
        ("Section 2.4", VERSION_3, ""),
    ],
)
def test_a_claim_says_where_the_later_revision_has_it(statement, version, there):
    assert Claim(statement, version, "says", "checked", 1, 0, "seen").later_statement == there


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="expected one of 3, later, both"):
        _ = Claim("T", "4", "says", "checked", 1, 0, "seen").later_statement
