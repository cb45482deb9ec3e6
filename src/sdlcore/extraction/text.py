"""Read texts from files and folders, document by document."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.extraction.folders import Skipped, files_below
from sdlcore.extras import extra
from sdlcore.storage.parsing import describe_error, parsing

SUFFIXES = (".txt", ".json", ".jsonl", ".parquet")
SET_COLUMN = 'set text_column; in Python, text_options={"column": NAME}'
"""Advice where a text has other columns than expected, for the end of a message."""
PARQUET_ROWS = 1024
"""Number of rows to decode at once from a Parquet file."""
Content = str | list[dict[str, str]]
"""A document: its text, or a chat as a list of messages with ``role`` and ``content``."""


class TextFiles(NamedTuple):
    """The files of a text.

    Attributes
    ----------
    files
        The file itself, or the files of a folder and its subfolders, sorted.
    skipped
        Files that look like texts but are not used, and folders that were not searched.
    """

    files: list[Path]
    skipped: list[Skipped]


def list_texts(path: str | Path) -> TextFiles:
    """List the files of a text, without opening them.

    Raises
    ------
    SourceError
        If the text does not exist, its format is unknown, or a folder mixes formats.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file() or path.suffix not in SUFFIXES:
            raise SourceError(
                f"{path}: expected an existing text: a file ({', '.join(SUFFIXES)}), a folder of such files, or "
                "dataset:OWNER/NAME"
            )
        return TextFiles([path], [])
    sizes, skipped = files_below(path, _is_called_text)
    files = sorted(path / name for name in sizes)
    found = sorted({file.suffix for file in files})
    if len(found) != 1:
        raise SourceError(
            f"{path}: expected a folder with text files of one format ({', '.join(SUFFIXES)}), found "
            f"{' and '.join(found) or 'none'}"
        )
    return TextFiles(files, skipped)


def _is_called_text(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix in SUFFIXES and not name.name.startswith(".")


def read_documents(path: str | Path, column: str = "text") -> Iterator[Any]:
    """Yield the documents of a text in file order (`Content`), with as little of the text in memory as possible.

    A ``.txt`` file is split at blank lines, but in a folder every ``.txt`` file is one document. A ``.json`` file
    contains an object of titles with ``{"extract": text}``, or a list of texts or of ``{"text": text}``, and is read
    whole. Every line of a ``.jsonl`` file is a text, or an object with the key ``column``. A ``.parquet`` file has that
    column; null is an empty document.

    Raises
    ------
    SourceError
        If the text does not exist, or a file cannot be read, is not UTF-8, or has another form.
    """
    whole = Path(path).is_dir()
    for file in list_texts(path).files:
        with parsing(file, f"a {file.suffix[1:]} text", "mend it or fetch it again"):
            for number, (entry, key) in enumerate(_entries(file, column, whole), start=1):
                content = entry.get(key, entry) if isinstance(entry, dict) else entry
                if not isinstance(content, str | list | None):
                    columns = f", found {', '.join(sorted(entry))}" if isinstance(entry, dict) else ""
                    raise SourceError(
                        f'{file}: document {number} has no text; expected a string or an object with "{key}"{columns}; '
                        f"{SET_COLUMN}"
                    )
                yield content or ""


def read_labels(path: str | Path, column: str) -> list[Any]:
    """Return the class of each document of a labelled text, in the order of `read_documents`.

    Parameters
    ----------
    path
        A ``.json``, ``.jsonl`` or ``.parquet`` file, or a folder of such files.
    column
        Key or column that names the class of a document. Documents without it, or with null, have no class: None.

    Raises
    ------
    SourceError
        As `read_documents`; or if the text has no such column, or is plain text.
    """
    classes: list[Any] = []
    keys: set[str] = set()
    for file in list_texts(path).files:
        with parsing(file, f"a labelled {file.suffix[1:]}", "mend it or fetch it again"):
            for entry, _ in _entries(file, column, whole=True):
                classes.append(entry.get(column) if isinstance(entry, dict) else None)
                keys |= set(entry) if isinstance(entry, dict) else set()
    if column not in keys:
        raise SourceError(f"{path}: no document has the key {column!r}, found {', '.join(sorted(keys)) or 'no keys'}")
    return classes


def _entries(path: Path, column: str, whole: bool) -> Iterator[tuple[Any, str]]:
    """Yield the entries of a file, and the key of the text in an entry that is an object."""
    if path.suffix == ".txt":
        yield from ((text, column) for text in ([path.read_text(encoding="utf-8")] if whole else _paragraphs(path)))
    elif path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict | list):
            raise SourceError(f"{path}: expected an object or a list, found {type(content).__name__}")
        key, entries = ("extract", content.values()) if isinstance(content, dict) else (column, content)
        yield from ((entry, key) for entry in entries)
    elif path.suffix == ".jsonl":
        yield from ((entry, column) for entry in _lines(path))
    else:
        yield from ((entry, column) for entry in _parquet(path, column))


def _paragraphs(path: Path) -> Iterator[str]:
    lines: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                lines.append(line)
            elif lines:
                yield "".join(lines).removesuffix("\n")
                lines = []
    if lines:
        yield "".join(lines).removesuffix("\n")


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}: line {number} is not JSON ({describe_error(error)})") from error


def _parquet(path: Path, column: str) -> Iterator[dict[str, Any]]:
    with extra("language"):
        import pyarrow.parquet  # imported here, since other texts do not need it

    with pyarrow.parquet.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise SourceError(
                f"{path}: has no column {column!r}, only {', '.join(file.schema_arrow.names)}; {SET_COLUMN}"
            )
        for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
            yield from batch.to_pylist()
