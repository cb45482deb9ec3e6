"""A table of text with its caption, as Markdown."""

from typing import NamedTuple

import pandas as pd


class TextTable(NamedTuple):
    """A table of text."""

    caption: str
    frame: pd.DataFrame
    names: int
    """Columns at the left that are names; the others are numbers."""

    def markdown(self) -> str:
        """Return it as GitHub-flavoured Markdown, caption above."""
        alignment = ["left"] * self.names + ["right"] * (len(self.frame.columns) - self.names)
        text = self.frame.to_markdown(index=False, colalign=alignment, disable_numparse=True)
        return f"{self.caption}\n\n{text}\n"
