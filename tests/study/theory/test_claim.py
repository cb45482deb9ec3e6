import pytest

from sdlcore.study.theory.claim import CONDITIONAL, FAILS, HOLDS, Claim


@pytest.mark.parametrize(
    ("violations", "instances_repaired", "violations_repaired", "verdict"),
    [(0, 0, 0, HOLDS), (1, 5, 0, CONDITIONAL), (1, 5, 1, FAILS), (1, 0, 0, FAILS), (0, 5, 1, HOLDS)],
)
def test_a_verdict_follows_from_counts(violations, instances_repaired, violations_repaired, verdict):
    claim = Claim("T", "says", "checked", 3, violations, "seen", "", "if", instances_repaired, violations_repaired)
    assert claim.verdict == verdict


def test_what_was_never_checked_has_no_verdict():
    with pytest.raises(ValueError, match="no instance"):
        _ = Claim("T", "says", "checked", 0, 0, "seen").verdict
