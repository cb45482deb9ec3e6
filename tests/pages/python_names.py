"""The table of names in the reference of Python, for readers of a checkout, whom mkdocstrings shows nothing.

`python -m tests.pages.python_names` writes it anew, of the names that the page lists and their docstrings.
"""

import inspect
import pkgutil
import re

import sdlcore as sdl
from tests.sentences import REPOSITORY

PAGE = REPOSITORY / "docs/reference/python.md"
HEAD = "| name | what it is |\n|---|---|\n"


def table(page: str) -> str:
    """Return the table: a line for each name with the first sentence of its docstring, under the page's sections."""
    rows, section = [], ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("::: "):
            if section:
                rows.append(f"| **{section}** | |")
            section = ""
            rows.append(f"| {_shown(line.removeprefix('::: '))} |")
    return HEAD + "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """Return the page with its table anew."""
    return re.sub(rf"{re.escape(HEAD)}(?:\|.*\n)*", lambda _: table(page), page)


def _shown(path: str) -> str:
    module, name = path.rsplit(".", 1)
    found = pkgutil.resolve_name(path)
    prefix = "sdl.plot." if module == "sdlcore.plot" else "sdl." if name in dir(sdl) else ""
    words = found if isinstance(found, str) else " ".join((inspect.getdoc(found) or "").partition("\n\n")[0].split())
    sentence = re.split(r"(?<!eq\.)(?<!al\.)(?<!i\.e\.)(?<!\.\.\.)(?<=\.)\s", words)[0]
    sentence = sentence if sentence.endswith("...") else sentence.removesuffix(".")
    return f"`{prefix}{name}` | {sentence.replace('``', '`')}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    print(PAGE.relative_to(REPOSITORY))
