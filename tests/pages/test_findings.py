"""Recompute the numbers of docs/findings.md and of the README's findings from the expressions hidden behind them.

A page writes `.434<!-- expression -->`. The names of an expression are those of `names`.
"""

import re
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sdlcore import paired_interval
from sdlstudy.results.tables import read_csv
from tests.conftest import REPOSITORY

HIDDEN = re.compile(r"([+-]?\d*\.?\d+)<!-- (.*?) -->")
MOST_FINDINGS, MOST_WORDS = 25, 30
LONGEST = "TopK, 8000 steps"
SETTINGS = {"1,024", "1,400", "8,000", "10,058", "1000", "12", "16", "16,384", "24", "32", "100", "1", ".95"}
"""Numbers of settings, which no table contains."""


@cache
def kept(name: str) -> pd.DataFrame:
    return read_csv(REPOSITORY / f"resources/kept/{name}.csv")


def gap(runs: pd.DataFrame, column: str, first: str, second: str, value: str) -> tuple[float, float, float]:
    """Return the mean difference of two values of a column and its 95 % t interval, paired by seed."""
    by_seed = runs.pivot_table(index="seed", columns=column, values=value)
    return paired_interval((by_seed[first] - by_seed[second]).to_numpy())


def names(table: str) -> dict[str, Any]:
    """Return the names of expressions: ``t`` is the row's first table, ``w(column=value)`` its rows with these values.

    ``K(name)`` and ``w(name, column=value)`` read another table.
    """
    t = kept(table)
    trained = kept("paper_table1").query("protocol == 'paper' and anchoring == 'none'")

    def w(name: str = table, **where: Any) -> pd.DataFrame:
        chosen = kept(name)
        for column, value in where.items():
            chosen = chosen[chosen[column] == value]
        return chosen

    def effect(method: str, source: str, contrast: str, clip: bool = False, weight: float = 0.1) -> pd.DataFrame:
        rows = kept("anchoring_effect_effects").query("number == 100 and measure == 'recovery_90'")
        chosen = rows.query("method == @method and source == @source and contrast == @contrast and weight == @weight")
        return chosen[chosen["clip"] == clip]

    def kl(codes: str, rows: str = LONGEST) -> pd.Series:
        chosen = kept("codes_nulls_kl").query("rows == @rows and codes == @codes and target == '32' and layer == 12")
        return chosen.set_index("seed")["kl"]

    def auc(codes: str, rows: str = LONGEST) -> pd.Series:
        chosen = kept("codes_nulls_probes").query("rows == @rows and codes == @codes and k == 16")
        return chosen.filter(regex=r"^\d+_").mean()  # over seeds, by set

    def anchors(arm: str, penalty: float) -> list[float]:
        runs = kept("anchoring_tuned_runs").query("l1 == @penalty")
        return [100 * value for value in gap(runs, "arm", arm, "none", "recovery_90")]

    return {
        **{"kl": kl, "anchors": anchors, "auc": auc},
        **{"t": t, "w": w, "K": kept, "gap": gap, "effect": effect, "len": len},
        **{"ci": lambda values: paired_interval(values.to_numpy()), "paper": trained},
    }


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the numbered rows of a table."""
    lines = (REPOSITORY / page).read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if re.match(r"\| \d+ \|", line)]


ROWS = rows_of("docs/findings.md")


def check(text: str, table: str) -> int:
    """Recompute the numbers of a text, and return how many there are."""
    found = HIDDEN.findall(text)
    for number, expression in found:
        value = float(eval(expression, names(table)))
        digits = len(number.partition(".")[2])
        assert np.isclose(round(value, digits), float(number), atol=1e-9), (number, value, expression)
    return len(found)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_number_of_a_finding_is_recomputed(row):
    _, finding, interval, seeds, *_, tables = row
    assert check(" ".join(row), re.findall(r"`(\w+)`", tables)[0])
    assert re.fullmatch(r"\d+|none", seeds)
    visible = re.sub(r"\]\(.*?\)|`.*?`", "", HIDDEN.sub(" ", f"{finding} {interval}"))
    assert set(re.findall(r"(?<![\w.])\.?\d[\d,.]*\d|(?<![\w.,])\d(?![\w.])", visible)) <= SETTINGS, visible
    assert len(re.sub(r"<!--.*?-->", "", finding).split()) <= MOST_WORDS


def test_there_are_at_most_25_findings_in_order_each_with_all_columns():
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) <= MOST_FINDINGS
    assert {len(row) for row in ROWS} == {7}


def test_each_number_of_the_readmes_findings_is_recomputed():
    findings = (REPOSITORY / "README.md").read_text().partition("## Findings")[2].partition("\n## ")[0]
    assert check(findings, "paper_table1") >= 10
