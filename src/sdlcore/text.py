"""Show text that others wrote, such as names of classes and files, in messages and figures."""

import re
from collections.abc import Iterable

LONGEST_NAME = 60
"""Characters of a name or a value that a message repeats."""
MOST_NAMES = 10
"""Names that a message lists."""
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing them: control characters, line breaks and marks of direction. And
halves of characters, which cannot be encoded."""


def printable(text: object) -> str:
    """Return text in one line, with control characters escaped."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def printable_lines(text: object) -> str:
    """Do the same, but keep line breaks."""
    return "\n".join(map(printable, str(text).split("\n")))


def shown(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name or a value as a message repeats it: printable, and cut to ``longest`` characters."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def listed(names: Iterable[object]) -> str:
    """Return the first names as a message lists them, or "none"."""
    found = [*names]
    return ", ".join([*map(shown, found[:MOST_NAMES]), *(["..."] if found[MOST_NAMES:] else [])]) or "none"


def in_line(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name for a sentence or a table: like `shown`, with single spaces."""
    return shown(" ".join(str(text).split()), longest)


def in_figure(text: object, longest: int = LONGEST_NAME) -> str:
    """Return a name for a figure: like `in_line`, escaped so that matplotlib draws every letter.

    matplotlib reads text between two dollar signs as mathematics, and leaves names that begin with an underscore out of
    legends.
    """
    line = in_line(text, longest).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line
