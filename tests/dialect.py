"""Count odd phrases in pages, docstrings, comments and messages: `python -m tests.dialect`, part of `make check`.

A phrase is odd if readers have to read it twice; each pattern below finds one kind. tests/dialect.json has the count of
each folder, which may fall but not rise. `--lower` writes lower counts there, and `--list` prints every phrase. Other
paths, such as src/sdlcore/*, are counted without a limit.
"""

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sentences import REPOSITORY

COUNTS = Path(__file__).with_suffix(".json")
RENDERED = {"results", "python-in-full.md"}
"""Folders of pages, and pages, that are generated from docstrings and other counted prose."""
PATTERNS = {
    "what is ...": r"\b[Ww]hat (?:is|are|was|were|has|have|it|they|its|a|an|the|that"
    r"|gives|makes|takes|sees|runs|must|may|can)\b",
    "those of ...": r"\b(?:[Tt]hose|[Tt]hat) (?:of|that|which|whose|in|with|without)\b",
    "is of ...": r"\b(?:is|are|was|were|be) of (?!course)\b",
    "of which": r"\b(?:of|by|in|to|for|from) (?:which|what)\b",
    "a thing has": r"\b(?:file|table|column|row|module|page|class|function|run|store|report"
    r"|configuration|setting|message|error|it|each|one) has\b",
    "a thing says": r"\b(?:says|tells|asks|knows)\b",
    "stands, lies": r"\b(?:stands|stand|lies) (?:in|for|beside|at|on|below|above|once|there)\b",
    "one without a noun": r"\b(?:another|others|none|one) (?:is|are|has|of (?:them|these|those|which)|that|whose)\b",
    "by the way": r"\b(?:by the way|in the place of|as of `)",
    "so that ... so that": r"\bso that\b[^.]*\bso that\b",
    "there is no other": r"\b(?:there is no other|of which there|hangs? on|is told|be told)\b",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file with line numbers: lines of Markdown, comments, strings of more than 30 letters."""
    source = path.read_text()
    if path.suffix == ".md":
        prose = re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), source, flags=re.DOTALL)
        for number, line in enumerate(prose.splitlines(), 1):
            yield number, re.sub(r"`[^`]*`", "x", line)
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
            elif token.type == tokenize.STRING and len(token.string) > 30:
                yield token.start[0], _value(token.string)
    except (tokenize.TokenError, SyntaxError):
        return  # Snakemake's rules are Python only up to their first keyword


def phrases(text: str) -> Iterator[str]:
    """Yield the odd phrases of a text, each with the words around it."""
    for pattern in PATTERNS.values():
        for found in re.finditer(pattern, text):
            yield " ".join(text[max(0, found.start() - 40) : found.end() + 40].split())


def files(path: Path) -> list[Path]:
    """Return the pages and sources in a folder, without rendered results and docstrings."""
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    pages = [file for file in found if file.suffix == ".md" and not RENDERED & set(file.parts)]
    return pages + [file for file in found if file.suffix in (".py", ".smk")]


def count(path: Path, show: bool = False) -> tuple[int, int]:
    """Return how many odd phrases and how many words a folder or file has; print the phrases if asked to."""
    odd = total = 0
    for file in files(path):
        for line, text in texts(file):
            total += len(text.split())
            for phrase in phrases(text):
                odd += 1
                if show:
                    print(f"{file}:{line}: {phrase}")
    return odd, total


def main(arguments: Sequence[str], root: Path = REPOSITORY, counts: Path = COUNTS) -> int:
    """Print the count of each folder and its rate; return how many counts have risen."""
    parser = argparse.ArgumentParser(prog="python -m tests.dialect", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="files or folders to list (default: those in dialect.json)")
    parser.add_argument("--list", action="store_true", help="print every phrase")
    parser.add_argument("--lower", action="store_true", help="write counts that have fallen to dialect.json")
    options = parser.parse_args(arguments)
    allowed: dict[str, int] = json.loads(counts.read_text())
    risen = 0
    for name in map(str, options.paths) if options.paths else list(allowed):
        odd, total = count(root / name, options.list)
        limit = allowed.get(name)
        print(f"{name}: {odd} odd phrases in {total} words, {1000 * odd / max(total, 1):.1f} a thousand", end="")
        print("" if limit is None or odd == limit else f"; tests/dialect.json has {limit}")
        if limit is not None and odd > limit:
            risen += 1
            print(f"{name}: rewrite the new phrases; python -m tests.dialect --list {name} shows all", file=sys.stderr)
        elif limit is not None and options.lower:
            allowed[name] = odd
    if options.lower:
        counts.write_text(json.dumps(allowed, indent=2) + "\n")
    return risen


def _value(literal: str) -> str:
    """Return what a string literal contains; an f-string's text as it is written."""
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return literal
    return value if isinstance(value, str) else ""


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
