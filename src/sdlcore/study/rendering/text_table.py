"""A table of text with its caption, as Markdown."""

from typing import NamedTuple

import pandas as pd

from sdlcore.pipeline import in_line

LONGEST = 1000
"""Letters after which a cell is cut."""


class TextTable(NamedTuple):
    """A table of text."""

    caption: str
    frame: pd.DataFrame
    names: int
    """Columns at the left that are names; the others are numbers."""

    def markdown(self) -> str:
        """Return it as GitHub-flavoured Markdown, caption above."""
        alignment = ["left"] * self.names + ["right"] * (len(self.frame.columns) - self.names)
        text = self.frame.map(_cell).to_markdown(index=False, colalign=alignment, disable_numparse=True)
        return f"{self.caption}\n\n{text}\n"


def _cell(value: object) -> object:
    """Escape bars and line breaks, which would end a cell."""
    return in_line(value, LONGEST).replace("|", r"\|") if isinstance(value, str) else value
