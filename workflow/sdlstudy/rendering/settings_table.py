"""Format Table 3: the settings of a bench beside the paper's."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from sdlstudy.rendering.latex import latex_escape, latex_float
from sdlstudy.results.runs import RunsError

SETTINGS_COLUMNS = ["parameter", "symbol", "paper", "ours"]


def settings_table(ours: Mapping[str, float], paper: str | Path) -> pd.DataFrame:
    """Return the rows of Table 3: the paper's settings and ours, in the paper's order.

    Parameters
    ----------
    ours
        The settings of a bench, by the paper's symbols.
    paper
        CSV file with columns parameter, symbol and default.

    Returns
    -------
    DataFrame
        Columns `SETTINGS_COLUMNS`; numbers are text, as `setting_text` writes them.

    Raises
    ------
    RunsError
        If a column is missing, or a symbol is not in ``ours``.
    """
    table = pd.read_csv(paper, dtype=str)
    for column in ("parameter", "symbol", "default"):
        if column not in table:
            raise RunsError(f"{paper}: column {column} is missing, expected the paper's Table 3")
    unknown = [name for name in table["symbol"] if name not in ours]
    if unknown:
        raise RunsError(f"{paper}: symbol {unknown[0]} is not known, expected one of {', '.join(ours)}")
    texts = [setting_text(ours[name]) for name in table["symbol"]]
    return table.rename(columns={"default": "paper"}).assign(ours=texts)[SETTINGS_COLUMNS]


def settings_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """Return Table 3 as a LaTeX ``table`` that needs only the package booktabs."""
    rows = [" & ".join(map(latex_escape, row)) + r" \\" for row in table.itertuples(index=False)]
    body = [
        r"\begin{tabular}{llrr}",
        r"\toprule",
        " & ".join(SETTINGS_COLUMNS) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return latex_float(body, caption, label)


def setting_text(value: float) -> str:
    """Return a setting as text: whole numbers as they are, others with four digits."""
    return f"{int(value)}" if float(value).is_integer() else f"{value:.4g}"
