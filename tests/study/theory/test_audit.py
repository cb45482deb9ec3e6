"""The page, from claims that are made up; the real ones are rendered in tests/workflow/test_theory.py."""

from sdlcore.study.theory.audit import COLUMNS, PARTS, _place, claims_frame
from sdlcore.study.theory.claim import BOTH, CONDITIONAL, FAILS, HOLDS, LATER, VERSION_3, Claim
from sdlcore.study.theory.markup import counts_sentence, theory_markdown

MADE_UP = [
    Claim("Theorem 1", VERSION_3, "Up |is| down.", "All of it.", 5, 0, "Nothing."),
    Claim("Theorem 1", LATER, "Left is right.", "Some.", 4, 2, "Half.", "x = 3", "x < 3", 4, 0),
    Claim("Example 3.8", BOTH, "One is two.", "Both.", 1, 1, "No.", "1"),
]


def test_a_row_has_the_verdict_that_follows_from_its_counts():
    frame = claims_frame(MADE_UP)
    assert list(frame.columns) == COLUMNS
    assert frame["verdict"].tolist() == [HOLDS, CONDITIONAL, FAILS]
    assert frame["violations"].tolist() == [0, 2, 1]


def test_the_page_says_what_was_counted():
    frame = claims_frame(MADE_UP)
    text = theory_markdown(frame)
    assert counts_sentence(frame) in text
    assert "3 claims: 1 holds, 1 holds with a further condition, 1 fails as stated." in text
    assert "1 of version 3 alone, 1 of the later revision alone, 1 of both versions." in text
    assert "Of version 3 alone." in text
    assert "Of both versions (there Example 3.7)." in text
    assert "| Up \\|is\\| down. " in text
    assert text.count("## Theorem 1") == 1
    assert "Violated in 2 of 4 instances." in text
    assert "- Condition: x < 3 Violated in 0 of 4 instances." in text
    assert text.count("Counterexample") == 2


def test_claims_stand_in_the_order_of_the_paper():
    statements = ["Section 2.4", "Theorem 3.2", "Example 3.5", "Theorem 3.10, proof", "Appendix F, certificate"]
    mixed = [statements[i] for i in (3, 0, 4, 2, 1)]
    assert sorted(mixed, key=_place) == statements


def test_every_part_has_claims_of_its_own():
    assert len({part.__name__ for part in PARTS}) == len(PARTS) == 6
