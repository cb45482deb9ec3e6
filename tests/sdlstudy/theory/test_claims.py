"""Verdicts, the table and the page; tests/workflow/test_theory.py tests the real checks."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from sdlstudy.theory import claims
from sdlstudy.theory.claims import CONDITIONAL, FAILS, HOLDS, Result, page

FALSE, TRUE = [True], [False]
TEXTS = yaml.safe_load(Path(claims.__file__).with_name("claims.yaml").read_text())


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
    assert Result("name", false, false_then=false_then).verdict(source) == verdict


def test_a_claim_without_a_result_and_a_result_without_a_claim_are_refused():
    with pytest.raises(ValueError, match=r"compare nowhere, theorem_3_2.biconvex"):
        claims.table([Result("nowhere", FALSE), *(Result(name, TRUE) for name in TEXTS if "biconvex" not in name)])


def test_the_page_shows_what_was_counted():
    texts = {"statement": "Theorem 3.7, proof", "later_statement": "Theorem 3.6, proof", "version": "both"}
    texts |= {
        "claim": "Up |is| down.",
        "checked": "All of it.",
        "observed": "{:.1f} of {{1, 2}}.",
        "counterexample": "{}",
    }
    rows = [
        Result("a", FALSE + TRUE, [0.25], [3], TRUE).row(
            texts | {"condition_source": "its proof", "condition": "x < 3"}
        ),
        Result("b", TRUE, [0.5], [3]).row(texts | {"origin": "project", "version": "3"}),
    ]
    assert (rows[0]["later_statement"], rows[1]["later_statement"]) == ("Theorem 3.6, proof", "")
    assert (rows[0]["counterexample"], rows[1]["counterexample"]) == ("3", "")
    text = page(pd.DataFrame(rows))
    assert "| Up \\|is\\| down. " in text
    assert "- Observed: 0.2 of {1, 2}." in text
    assert text.count("Counterexample") == 1
