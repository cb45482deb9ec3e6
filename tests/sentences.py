"""Measure the lengths of sentences in pages: `python -m tests.sentences`.

25 words are the aim of a sentence, 35 the limit, and 18 the mean. Tables of results are left out: the study renders
them, with captions of its own.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
AIM, LIMIT, MEAN = 25, 35, 18
ABBREVIATIONS = ("e.g.", "i.e.", "et al.", "eq.", "vs.", "cf.", "fig.", "sec.", "no.", "resp.")


RENDERED = re.compile(r"docs/results/\w+/(?!README)\w+\.md")
"""Pages with text written by the study."""


def pages() -> list[Path]:
    """Return every page for readers, rendered ones included."""
    found = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    found += sorted((REPOSITORY / "docs").rglob("*.md"))
    optional = [REPOSITORY / name for name in ("config/README.md", "CHANGELOG.md", "SECURITY.md")]
    return [*found, *filter(Path.is_file, optional), *sorted(REPOSITORY.glob("examples/*/README.md"))]


def sentences(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a page, each with its line; code, tables, headings and comments are left out."""
    text = re.sub(r"^(```|~~~).*?^\1|<!--.*?-->", _blank, markdown, flags=re.DOTALL | re.MULTILINE)
    start, paragraph = 0, ""
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        indented = line.startswith("    ") and not paragraph
        ends = indented or not stripped or stripped.startswith(("#", "|", ":::"))
        begins = re.match(r"(?:[-*+]|\d+\.|>)\s+", stripped)
        if paragraph and (ends or begins):
            yield from ((start, sentence) for sentence in split(paragraph))
            paragraph = ""
        if not ends:
            start = start if paragraph else number
            paragraph += " " + (stripped[begins.end() :] if begins else stripped)


def split(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph. One ends with a stop, and the next begins with a capital or a mark."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", paragraph)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "code", text)
    for abbreviation in ABBREVIATIONS:
        text = re.sub(rf"(?i)(?<!\w){re.escape(abbreviation)}", abbreviation.replace(".", ""), text)
    parts = re.split(r"(?<=[.!?])[*_)\"']*\s+(?=[*_(\"'\[]*(?:[A-Z0-9]|code))", text.strip())
    return [part for part in parts if words(part)]


def words(sentence: str) -> int:
    """Count the words of a text: sequences between spaces with a letter or a digit."""
    return sum(any(c.isalnum() for c in word) for word in sentence.split())


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def main() -> int:
    """Print every sentence above the limit, and the mean; return the number of violations."""
    wrong, lengths = 0, []
    for page in pages():
        name = page.relative_to(REPOSITORY).as_posix()
        for line, sentence in () if RENDERED.fullmatch(name) else sentences(page.read_text()):
            lengths.append(words(sentence))
            if lengths[-1] > LIMIT:
                wrong += 1
                print(f"{name}:{line}: {lengths[-1]} words, at most {LIMIT}: {sentence}")
    mean = sum(lengths) / len(lengths)
    above = sum(length > AIM for length in lengths)
    print(f"{len(lengths)} sentences: {mean:.1f} words on average, at most {MEAN}; {above} have more than {AIM}")
    return wrong + (mean > MEAN)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
