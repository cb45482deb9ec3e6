"""Table 3: the settings of a bench, beside the paper's."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sdlcore.study.products.markup import latex_escape
from sdlcore.study.results.runs import RunsError

SETTINGS_COLUMNS = ["parameter", "symbol", "paper", "ours"]
# by the paper's symbols
_OURS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "n": lambda bench: bench["n"],
    "n_p": lambda bench: bench["n_p"],
    "n/n_p": lambda bench: bench["n"] / bench["n_p"],
    "N": lambda bench: bench["train_samples"],
    "S": lambda bench: bench["sparsity"],
    "M": lambda bench: bench["max_interference"],
}


def settings_table(bench: Mapping[str, Any], paper: str | Path) -> pd.DataFrame:
    """Return the settings of a bench in the paper's words, in its order.

    Parameters
    ----------
    bench
        The settings of a source of kind bench.
    paper
        CSV file with columns parameter, symbol and default.

    Returns
    -------
    DataFrame
        Columns `SETTINGS_COLUMNS`; numbers are text, as `setting_text` writes them.

    Raises
    ------
    RunsError
        If a column is missing, or the file has a symbol that no setting is known for.
    """
    table = pd.read_csv(paper, dtype=str)
    for column in ("parameter", "symbol", "default"):
        if column not in table:
            raise RunsError(f"{paper}: column {column} is missing, expected the paper's Table 3")
    unknown = [name for name in table["symbol"] if name not in _OURS]
    if unknown:
        raise RunsError(f"{paper}: symbol {unknown[0]} is not known, expected one of {', '.join(_OURS)}")
    ours = [setting_text(_OURS[name](bench)) for name in table["symbol"]]
    return table.rename(columns={"default": "paper"}).assign(ours=ours)[SETTINGS_COLUMNS]


def settings_caption(name: str, source: str) -> str:
    """Return what Table 3 shows, of which configuration and source."""
    return (
        "Default parameters of the Linear Representation Bench: the paper's, and those of this run "
        f"(configuration {name}, source {source})."
    )


def settings_markdown(table: pd.DataFrame, caption: str) -> str:
    """Return Table 3 as GitHub-flavoured Markdown, caption above."""
    text = table.to_markdown(index=False, colalign=["left", "left", "right", "right"], disable_numparse=True)
    return f"{caption}\n\n{text}\n"


def settings_latex(table: pd.DataFrame, caption: str, label: str) -> str:
    """Return Table 3 as a LaTeX ``table`` that needs only the package booktabs."""
    rows = [" & ".join(map(latex_escape, row)) + r" \\" for row in table.itertuples(index=False)]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\par\medskip",
        r"\begin{tabular}{llrr}",
        r"\toprule",
        " & ".join(SETTINGS_COLUMNS) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def setting_text(value: float) -> str:
    """Return a setting as text: whole numbers as they are, others with four digits."""
    return f"{int(value)}" if float(value).is_integer() else f"{value:.4g}"
