"""The table of names in the reference of Python, for readers of a checkout, where mkdocstrings shows nothing.

`python -m tests.pages.python_names` writes it anew, from the names that the page lists and their docstrings.
"""

import ast
import inspect
import pkgutil
import re
from itertools import pairwise

import sdlcore as sdl
from tests.conftest import REPOSITORY

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
            rows.append(f"| {_row(line.removeprefix('::: '))} |")
    return HEAD + "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """Return the page with its table anew."""
    return re.sub(rf"{re.escape(HEAD)}(?:\|.*\n)*", lambda _: table(page), page)


def _row(path: str) -> str:
    module, name = path.rsplit(".", 1)
    item = pkgutil.resolve_name(path)
    parts = {"sdlcore.plot": "sdl.plot."}
    prefix = parts.get(module, "sdl." if name in dir(sdl) else "")
    words = text_of(path) or (item if isinstance(item, str) else inspect.getdoc(item) or "")
    words = " ".join(words.partition("\n\n")[0].split())
    sentence = re.split(r"(?<!eq\.)(?<!al\.)(?<!i\.e\.)(?<!\.\.\.)(?<=\.)\s", words)[0]
    sentence = sentence if sentence.endswith("...") else sentence.removesuffix(".")
    return f"`{prefix}{name}` | {sentence.replace('``', '`')}"


def text_of(path: str) -> str:
    """Return the text below a constant in its module, empty if there is none and for classes and functions."""
    module, name = path.rsplit(".", 1)
    body = ast.parse(REPOSITORY.joinpath("src", *module.split(".")).with_suffix(".py").read_text()).body
    for statement, below in pairwise(body):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            text = below.value if isinstance(below, ast.Expr) else None
            return str(text.value) if isinstance(text, ast.Constant) else ""
    return ""


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    print(PAGE.relative_to(REPOSITORY))
