"""Insert measurements into pages of the docs."""

from pathlib import Path

from sdlcore.storage.files import atomic_path

ENDS = "<!-- end -->"


def show(page: Path, begins: str, text: str) -> None:
    """Insert a text between the line ``begins`` of a page and the next `ENDS`, atomically.

    Raises
    ------
    ValueError
        If the page has no such markers.
    """
    head, found, rest = page.read_text().partition(begins)
    _, ends, tail = rest.partition(ENDS)
    if not (found and ends):
        raise ValueError(f"{page}: nothing between {begins} and {ENDS}, where the benchmark's table belongs")
    with atomic_path(page) as part:
        part.write_text(f"{head}{begins}\n{text.rstrip()}\n{ENDS}{tail}")
