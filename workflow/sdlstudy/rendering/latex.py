"""Tables 1, 2 and 4 to 7 as LaTeX, and LaTeX for other tables."""

from collections.abc import Callable, Sequence
from itertools import groupby

import pandas as pd

from sdlcore.evaluation.metric_names import GT_RECOVERY
from sdlcore.text import printable
from sdlstudy.rendering.markup import Cell, Column, Readable, readable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    # at the start of a row, LaTeX would read these as an argument of the previous line break
    "[": "{[}",
    "*": "{*}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "±": r"$\pm$",
    "τ": r"$\tau$",
    "λ": r"$\lambda$",
    '"': r"\textquotedbl{}",
}


def latex_escape(text: str) -> str:
    """Escape text for LaTeX: special characters are escaped, and our few symbols become mathematics.

    Line breaks become spaces, since two of them would end a caption.
    """
    return "".join(_LATEX.get(character, character) for character in printable(" ".join(text.split())))


def latex(table: pd.DataFrame, caption: str, label: str, verdicts: pd.DataFrame | None = None) -> str:
    """Return the readable table as a LaTeX ``table`` that needs only the package booktabs.

    The columns side by side would be wider than a page, so the table has two panels, recovery above the other metrics,
    each with its own baselines.
    """
    content = readable(table, verdicts)
    panels = [
        _latex_panel(content, lambda column: column.group == GT_RECOVERY.symbol),
        _latex_panel(content, lambda column: column.group != GT_RECOVERY.symbol),
    ]
    small = [r"\scriptsize", r"\setlength{\tabcolsep}{3pt}"]
    return latex_float([*small, "\n\n\\medskip\n\n".join(panels)], caption, label)


def latex_float(body: Sequence[str], caption: str, label: str) -> str:
    """Wrap lines in a LaTeX ``table`` with its caption above; it needs only the package booktabs."""
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escape(caption)}}}",
        rf"\label{{{label}}}",
        r"\par\medskip",
        *body,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_panel(content: Readable, chosen: Callable[[Column], bool]) -> str:
    picked = [index for index, column in enumerate(content.columns) if chosen(column)]
    columns = [content.columns[index] for index in picked]
    first = len(content.labels) + 1
    groups, rules = [], []
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(group)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    heads = [latex_escape(text) for text in content.labels + [column.heading for column in columns]]
    lines = [
        # centred on the page, since wide numbers may reach into the margins
        r"\makebox[\linewidth][c]{%",
        rf"\begin{{tabular}}{{{'l' * len(content.labels)}{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join([""] * len(content.labels) + groups) + r" \\",
        " ".join(rules),
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for names, cells in content.rows:
        numbers = [_latex_cell(cells[index]) for index in picked]
        lines.append(" & ".join([*map(latex_escape, names), *numbers]) + r" \\")
    lines.append(r"\midrule")
    for name, cells in content.baselines:
        numbers = [_latex_cell(cells[index]) for index in picked]
        lines.append(" & ".join([latex_escape(name), *[""] * (len(content.labels) - 1), *numbers]) + r" \\")
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
    ]
    return "\n".join(lines)


def _latex_cell(cell: Cell) -> str:
    value = latex_escape(cell.value)
    return rf"{value}\,{{\tiny$\pm${cell.spread}}}" if cell.spread else value
