"""Table 3, made from settings."""

import pytest

from sdlstudy.rendering.settings_table import settings_latex, settings_table
from sdlstudy.rendering.text_table import TextTable
from sdlstudy.results.runs import RunsError
from tests.conftest import REPOSITORY

PAPER = REPOSITORY / "resources/paper/table3.csv"
BENCH = {"n": 128, "n_p": 96, "n/n_p": 128 / 96, "N": 20000, "S": 0.97, "M": 0.2}


def test_markdown_and_latex_hold_every_row_and_the_caption():
    table, caption = settings_table(BENCH, PAPER), "Ours are of n_p = 96."
    text = TextTable(caption, table, 2).markdown()
    assert text.startswith(caption)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 6
    text = settings_latex(table, caption, "tab:table3")
    assert r"Superposition ratio & n/n\_p & 1.3 & 1.333 \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\caption{Ours are of n\_p = 96.}" in text


def test_a_file_that_is_not_the_papers_is_refused(tmp_path):
    path = tmp_path / "table3.csv"
    path.write_text("parameter,symbol\nx,n\n")
    with pytest.raises(RunsError, match=r"table3\.csv: column default is missing"):
        settings_table(BENCH, path)
    path.write_text("parameter,symbol,default\nx,Q,1\n")
    with pytest.raises(RunsError, match=r"table3\.csv: symbol Q is not known"):
        settings_table(BENCH, path)
