"""Verdicts and the page, with constructed claims; tests/workflow/test_theory.py tests the real ones."""

import pandas as pd
import pytest

from sdlstudy.theory.claims import BOTH, CONDITIONAL, FAILS, HOLDS, LATER, PROJECT, VERSION_3, Claim, page

FALSE, TRUE = [True], [False]
MADE_UP = [
    Claim("Theorem 3.1", VERSION_3, "Up |is| down.", "All of it.", 5 * TRUE, "Nothing.", "not shown"),
    Claim(
        *("Theorem 3.1", LATER, "Left is right.", "Some.", 2 * FALSE + 2 * TRUE, "Half.", "x = 3", "x < 3", 4 * TRUE),
        condition_source="its proof",
    ),
    Claim("Example 3.8", BOTH, "One is two.", "Both.", FALSE, "No.", "1", origin=PROJECT),
]


@pytest.mark.parametrize(
    ("false", "false_then", "source", "verdict"),
    [
        (TRUE, [], "", HOLDS),
        (TRUE, FALSE, "", HOLDS),
        (FALSE, TRUE, "its proof", CONDITIONAL),
        (FALSE, TRUE, "", FAILS),
        (FALSE, FALSE + TRUE, "its proof", FAILS),
        (FALSE, [], "its proof", FAILS),
    ],
)
def test_a_verdict_follows_from_counts_and_from_where_the_condition_is_stated(false, false_then, source, verdict):
    claim = Claim("T", BOTH, "says", "checked", false, "seen", "", "if", false_then, source)
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("statement", "version", "later_statement"),
    [
        ("Theorem 3.7, proof", BOTH, "Theorem 3.6, proof"),
        ("Theorem 3.1 with Definition 3.9", BOTH, "Theorem 3.1 with Definition 3.2"),
        ("Theorem 3.4", BOTH, "Theorem 3.4"),
        ("Theorem 3.1", LATER, "Theorem 3.1"),
        ("Section 2.4", VERSION_3, ""),
    ],
)
def test_a_claim_has_the_later_revisions_number(statement, version, later_statement):
    assert Claim(statement, version, "says", "checked", TRUE, "seen").later_statement == later_statement


def test_the_page_shows_what_was_counted():
    text = page(pd.DataFrame([claim.row() for claim in MADE_UP]))
    assert "2 claims of the paper: 1 holds, 1 holds with a condition that the paper states elsewhere, 0 contra" in text
    assert "1 claims of this project: 0 holds, 0 holds with a condition that the paper states elsewhere, 1 con" in text
    assert "Of all 3, 1 of version 3 alone, 1 of the later revision alone, 1 of both versions." in text
    assert "| Up \\|is\\| down. " in text
    assert text.count("## Theorem 3.1") == 2
    assert text.count("Counterexample") == 2
