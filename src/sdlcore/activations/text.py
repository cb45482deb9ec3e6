"""Texts on this machine: files and folders, read document by document."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sdlcore.activations.parsing import SourceError

PARQUET_ROWS = 1024
"""Rows of a Parquet file that are decoded at once."""


def text_files(path: str | Path) -> list[Path]:
    """Return the files that a text consists of: the file itself, or those of a folder and its subfolders, sorted.

    Raises
    ------
    SourceError
        If there is no such text, its format is not known, or a folder mixes formats.
    """
    path = Path(path)
    known = ", ".join(READERS)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in READERS and not file.name.startswith("."))
        found = sorted({file.suffix for file in files})
        if len(found) != 1:
            formats = " and ".join(found) or "none"
            raise SourceError(f"{path}: expected a folder with text files of one format ({known}), found {formats}")
        return files
    if not path.is_file() or path.suffix not in READERS:
        raise SourceError(
            f"{path}: expected an existing text: a file ({known}), a folder of such files, or dataset:OWNER/NAME"
        )
    return [path]


def read_documents(path: str | Path, column: str = "text") -> Iterator[str]:
    """Yield the documents of a text in file order, without holding more of it in memory than must be.

    A ``.txt`` file is split at blank lines, but in a folder every ``.txt`` file is one document. A ``.json`` file
    holds an object of titles with ``{"extract": text}``, or a list of texts or of ``{"text": text}``, and is read
    whole. A ``.jsonl`` file has a text or an object with ``column`` in every line, and a ``.parquet`` file a string
    column of that name; null is an empty document.

    Raises
    ------
    SourceError
        If there is no such text, a file is not UTF-8, or of none of these forms.
    """
    files = text_files(path)
    for file in files:
        read = _whole_file if Path(path).is_dir() and file.suffix == ".txt" else READERS[file.suffix]
        try:
            yield from read(file, column)
        except UnicodeDecodeError as error:
            raise SourceError(f"{file}: not readable as UTF-8 {file.suffix[1:]} ({error})") from error


def _whole_file(path: Path, _: str) -> Iterator[str]:
    yield path.read_text(encoding="utf-8")


def _paragraphs(path: Path, _: str) -> Iterator[str]:
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


def _json(path: Path, column: str) -> Iterator[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SourceError(f"{path}: not readable as UTF-8 json ({error})") from error
    if not isinstance(found, dict | list):
        raise SourceError(f"{path}: expected an object or a list, found {type(found).__name__}")
    entries, key = (found.items(), "extract") if isinstance(found, dict) else (enumerate(found), column)
    for name, entry in entries:
        text = entry.get(key) if isinstance(entry, dict) else entry if isinstance(found, list) else None
        if not isinstance(text, str):
            raise SourceError(f'{path}: entry {name!r} has no text; expected an object with "{key}"')
        yield text


def _json_lines(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                entry: Any = json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"{path}: line {number} is not JSON ({error})") from error
            text = entry.get(column, 0) if isinstance(entry, dict) else entry
            if text is not None and not isinstance(text, str):
                columns = f", found {', '.join(sorted(entry))}" if isinstance(entry, dict) else ""
                raise SourceError(
                    f'{path}: line {number} has no text; expected a string or an object with "{column}"{columns}; '
                    "set text_column"
                )
            yield text or ""


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow  # only here: other texts do not pay for loading it
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if column not in schema.names:
                raise SourceError(
                    f"{path}: has no column {column!r}, only {', '.join(schema.names)}; set text_column to one of them"
                )
            kind = schema.field(column).type
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise SourceError(f"{path}: column {column!r} holds {kind}, expected strings; set text_column")
            for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
                for text in batch.column(0):
                    yield text.as_py() or ""
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not a readable Parquet file ({error}); fetch it again") from error


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _paragraphs,
    ".json": _json,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
