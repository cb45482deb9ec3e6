"""A table of text with its caption, as Markdown, LaTeX and HTML."""

import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdlcore.storage.files import write_text
from sdlcore.text import in_line

LONGEST = 1000
"""Number of characters after which a cell is cut off."""
WIDEST = 8
"""Number of columns above which a table is printed sideways in LaTeX."""
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "±": r"$\pm$", "τ": r"$\tau$", "λ": r"$\lambda$"},
        **{"✓": r"$\surd$", "✗": r"$\times$"},
        # at the start of a row, LaTeX would read these as an argument of the previous line break
        **{"[": "{[}", "*": "{*}"},
    }
)


class TextTable(NamedTuple):
    """A table of formatted text with its caption."""

    caption: str
    frame: pd.DataFrame
    names: int
    """Number of columns at the left with names; the others contain numbers."""

    def markdown(self) -> str:
        """Return the table as GitHub-flavoured Markdown, with the caption above."""
        alignment = ["left"] * self.names + ["right"] * (len(self.frame.columns) - self.names)
        text = self.frame.map(_cell).to_markdown(index=False, colalign=alignment, disable_numparse=True)
        return f"{self.caption}\n\n{text}\n"

    def latex(self, label: str) -> str:
        """Return the table as a LaTeX float that needs the package booktabs.

        With many columns it is printed sideways and fitted to the page, which needs the package rotating. Headings are
        grouped as in `html`.
        """
        frame = self._grouped(self.frame.map(lambda cell: latex_text(str(cell))).rename(columns=latex_text))
        wide = len(frame.columns) > WIDEST
        text = frame.style.hide(axis="index").to_latex(
            caption=latex_text(self.caption),
            label=label,
            hrules=True,
            multicol_align="c",
            column_format="l" * self.names + "r" * (len(frame.columns) - self.names),
            position_float="centering",
            environment="sidewaystable" if wide else "table",
        )
        if not wide:
            return text
        fitted = r"\resizebox{\linewidth}{!}{\begin{tabular}"
        return text.replace(r"\begin{tabular}", fitted).replace(r"\end{tabular}", r"\end{tabular}}")

    def html(self) -> str:
        """Return the table as HTML without the caption; headings such as "MIP: decoder" are grouped by their start."""
        frame = self.frame.map(lambda value: in_line(value, LONGEST) if isinstance(value, str) else value)
        return self._grouped(frame).to_html(index=False, escape=True, border=0, classes=f"names{self.names}", na_rep="")

    @staticmethod
    def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
        """Group headings by their start, if any has one."""
        heads = [str(name).rpartition(": ")[::2] for name in frame.columns]
        grouped = any(group for group, _ in heads)
        return frame.set_axis(pd.MultiIndex.from_tuples(heads), axis="columns") if grouped else frame

    def write(self, markdown: str, latex: str) -> None:
        """Write the table in two formats. The name of the LaTeX file is its label."""
        write_text(markdown, self.markdown())
        write_text(latex, self.latex(f"tab:{Path(latex).stem}"))


def number(value: float, digits: int) -> str:
    """Return a number with ``digits`` decimals, or an en dash for NaN; never a negative zero."""
    if math.isnan(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(mean: float, high: float, digits: int) -> str:
    """Return a mean ± half the width of its interval, which a few seeds do not have."""
    return number(mean, digits) + ("" if math.isnan(high) else f" ± {number(high - mean, digits)}")


def latex_text(text: str) -> str:
    """Escape text for LaTeX. Our few symbols become mathematics, and line breaks spaces."""
    return in_line(text, 10 * LONGEST).translate(_LATEX)


def _cell(value: object) -> object:
    """Escape bars and line breaks, which would end a cell."""
    return in_line(value, LONGEST).replace("|", r"\|") if isinstance(value, str) else value
