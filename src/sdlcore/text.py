"""Format foreign text, such as names of classes and files, for messages and figures."""

import math
import re
from collections.abc import Iterable, Sequence

LONGEST_NAME = 60
"""Longest name or value that a message repeats, in characters."""
MOST_NAMES = 10
"""Largest number of names that a message lists."""
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal interprets instead of displaying: control characters, line breaks and direction marks.
Lone surrogates are included, since they cannot be encoded."""


def printable(text: object) -> str:
    """Return text on one line, with control characters escaped."""
    return _UNSHOWN.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def printable_lines(text: object) -> str:
    """Return text with control characters escaped and line breaks kept."""
    return "\n".join(map(printable, str(text).split("\n")))


def short_text(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name or a value for a message: printable, and cut to ``longest`` characters."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def listed(names: Iterable[object]) -> str:
    """Return the first `MOST_NAMES` names as a list for a message, or "none"."""
    texts = [*names]
    return ", ".join([*map(short_text, texts[:MOST_NAMES]), *(["..."] if texts[MOST_NAMES:] else [])]) or "none"


def in_line(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name for a sentence or a table: like `short_text`, with single spaces."""
    return short_text(" ".join(str(text).split()), longest)


def in_figure(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name for a figure: like `in_line`, escaped so that matplotlib draws every letter.

    matplotlib reads text between two dollar signs as mathematics, and leaves names that begin with an underscore out of
    legends.
    """
    line = in_line(text, longest).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def table(rows: Iterable[Sequence[str]], smallest: int = 1) -> str:
    """Return rows of cells as text, the head first: the first column aligned left, the others right."""
    lines = [*rows]
    widths = [max(smallest, *map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([f"{first:<{widths[0]}}", *map(str.rjust, others, widths[1:])]).rstrip() for first, *others in lines
    )


def number(value: float | None) -> str:
    """Return a number with four digits for a table; "-" for a missing one."""
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"
