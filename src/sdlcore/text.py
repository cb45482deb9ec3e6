"""Show text that others wrote, such as names of classes and files, in messages and figures."""

import re

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it: control characters, line breaks and marks of direction. And halves of
characters, which cannot be encoded."""


def printable(text: object) -> str:
    """Return text in one line that a terminal shows as it is, with everything else escaped."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def printable_lines(text: object) -> str:
    """Do the same, but keep line breaks."""
    return "\n".join(map(printable, str(text).split("\n")))


def in_figure(text: object, longest: int = 60) -> str:
    """Return text that matplotlib draws letter by letter: in one line, cut off after so many letters.

    matplotlib reads what stands between two dollar signs as mathematics, and leaves names that begin with an underscore
    out of legends.
    """
    line = printable(" ".join(str(text).split()))
    if len(line) > longest:
        line = f"{line[: longest - 1]}…"
    line = line.replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line
