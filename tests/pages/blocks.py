"""Code blocks of the pages, and the markers of blocks that no test executes.

A block is executed, unless an HTML comment just above it names its needs: ``<!-- needs: minutes -->``. A block of text
below ``<!-- prints -->`` is the output of the Python block before it. A block whose first line is a comment with a file
name, such as ``# mine.yaml``, is that file.
"""

import re
from pathlib import Path
from typing import NamedTuple

from tests.conftest import REPOSITORY

NEEDS = {
    "containers": "Docker or Apptainer, and a registry of images",
    "edit": "a place in the package: a part of a file that tests/recipes writes",
    "gpu": "GPUs",
    "hours": "hours of computing",
    "hub": "a model or a text of the Hugging Face hub, or a folder of the user's own",
    "minutes": "minutes of computing, or an environment of its own",
    "peers": "the environment of other libraries, make peers",
    "slurm": "a cluster with Slurm",
}
"""Needs of blocks that are not executed, by marker."""


def pages() -> list[Path]:
    """Return every page for readers that a commit contains, rendered ones included."""
    names = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    generated = [REPOSITORY / name for name in GENERATED]
    names += [page for page in sorted((REPOSITORY / "docs").rglob("*.md")) if page not in generated]
    optional = [REPOSITORY / name for name in ("config/README.md", "CHANGELOG.md", "SECURITY.md")]
    return [*names, *filter(Path.is_file, optional), *sorted(REPOSITORY.glob("examples/*/README.md"))]


GENERATED = ("docs/reference/python.md", "docs/reference/command-line.md", "docs/metrics.md")
"""Pages that `make docs` writes; no commit contains them."""
NOT_EXECUTED = ("text", "snakemake")
"""Languages of blocks that are shown. `tests/workflow/test_module.py` runs workflows that import ours."""


class Block(NamedTuple):
    """A code block of a page."""

    page: str
    line: int
    language: str
    code: str
    needs: tuple[str, ...]
    """Markers; a block without any is executed."""
    prints: bool
    """Whether it is the output of the block before it."""

    @property
    def file(self) -> str | None:
        """Name of the file that the block contains, if its first line names one."""
        comment = re.match(r"# ([\w./-]+\.(?:py|ya?ml))\n", self.code)
        return comment[1] if comment else None

    @property
    def where(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return a page's code blocks in order."""
    text = page.read_text()
    page_blocks = []
    pattern = r"(?:^ *<!-- *([^\n]*?) *-->\n)?^( *)```(\w*)[^\n]*\n(.*?)^ *```$"
    for match in re.finditer(pattern, text, flags=re.MULTILINE | re.DOTALL):
        comment, indent, language, code = match[1] or "", match[2], match[3], match[4]
        needs = re.fullmatch(r"needs: (.*)", comment)
        markers = tuple(re.split(r",\s*", needs[1])) if needs else ()
        line = text[: match.start(3)].count("\n") + 1
        code = re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        page_blocks.append(Block(str(page.relative_to(REPOSITORY)), line, language, code, markers, comment == "prints"))
    return page_blocks


def all_blocks() -> list[Block]:
    """Return the blocks of every page."""
    return [block for page in pages() for block in blocks(page)]
