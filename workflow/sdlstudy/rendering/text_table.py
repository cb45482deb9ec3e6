"""A table of text with its caption, as Markdown and HTML."""

from typing import NamedTuple

import pandas as pd

from sdlcore.text import in_line

LONGEST = 1000
"""Number of characters after which a cell is cut off."""


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

    def html(self) -> str:
        """Return the table as HTML without the caption; headings such as "MIP: decoder" are grouped by their start."""
        heads = [str(name).rpartition(": ")[::2] for name in self.frame.columns]
        grouped = any(group for group, _ in heads)
        frame = self.frame.map(lambda value: in_line(value, LONGEST) if isinstance(value, str) else value)
        frame = frame.set_axis(pd.MultiIndex.from_tuples(heads), axis="columns") if grouped else frame
        return frame.to_html(index=False, escape=True, border=0, classes=f"names{self.names}", na_rep="")


def _cell(value: object) -> object:
    """Escape bars and line breaks, which would end a cell."""
    return in_line(value, LONGEST).replace("|", r"\|") if isinstance(value, str) else value
