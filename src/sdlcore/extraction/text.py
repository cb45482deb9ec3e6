"""Read texts from files and folders, document by document."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.extraction.folders import Skipped, files_below
from sdlcore.extras import extra
from sdlcore.storage.parsing import describe_error, parsing
from sdlcore.text import printable

SET_COLUMN = 'set text_column; in Python, text_options={"column": NAME}'
"""Advice where a text has other columns than expected, for the end of a message."""
PARQUET_ROWS = 1024
"""Number of rows to decode at once from a Parquet file."""


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
    readable = ", ".join(READERS)
    if path.is_dir():
        sizes, skipped = files_below(path, _is_called_text)
        files = sorted(path / name for name in sizes)
        suffixes = sorted({file.suffix for file in files})
        if len(suffixes) != 1:
            formats = " and ".join(suffixes) or "none"
            details = f"; {len(skipped)} skipped, {skipped[0].path} as {skipped[0].reason}" if skipped else ""
            raise SourceError(
                f"{path}: expected a folder with text files of one format ({readable}), found {formats}{details}"
            )
        return TextFiles(files, skipped)
    if not path.is_file() or path.suffix not in READERS:
        raise SourceError(
            f"{printable(path)}: expected an existing text: a file ({readable}), a folder of such files, or "
            "dataset:OWNER/NAME"
        )
    return TextFiles([path], [])


def _is_called_text(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix in READERS and not name.name.startswith(".")


def read_documents(path: str | Path, column: str = "text") -> Iterator[str]:
    """Yield the documents of a text in file order, with as little of the text in memory as possible.

    A ``.txt`` file is split at blank lines, but in a folder every ``.txt`` file is one document. A ``.json`` file
    contains an object of titles with ``{"extract": text}``, or a list of texts or of ``{"text": text}``, and is read
    whole. Every line of a ``.jsonl`` file is a text, or an object with the key ``column``. A ``.parquet`` file contains
    a string column of that name; null is an empty document.

    Raises
    ------
    SourceError
        If the text does not exist, or a file cannot be read, is not UTF-8, or has another form.
    """
    folder = Path(path).is_dir()
    for file in list_texts(path).files:
        read = _whole_file if folder and file.suffix == ".txt" else READERS[file.suffix]
        form = "Parquet" if file.suffix == ".parquet" else f"UTF-8 {file.suffix[1:]}"
        with parsing(file, form, "mend it or fetch it again"):
            for number, text in enumerate(read(file, column), start=1):
                if not text.isascii():
                    _require_unicode(text, file, number)
                yield text


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
    files = list_texts(path).files
    if files[0].suffix == ".txt":
        raise SourceError(f"{path}: plain text has no classes; expected .json, .jsonl or .parquet with {column!r}")
    classes: list[Any] = []
    keys: set[str] = set()
    for file in files:
        with parsing(file, f"a labelled {file.suffix[1:]}", "mend it or fetch it again"):
            if file.suffix == ".parquet":
                classes += _parquet_column(file, column)
                keys.add(column)
                continue
            for _, entry in (_entries if file.suffix == ".json" else _lines)(file):
                classes.append(entry.get(column) if isinstance(entry, dict) else None)
                keys |= set(entry) if isinstance(entry, dict) else set()
    if column not in keys:
        raise SourceError(f"{path}: no document has the key {column!r}, found {', '.join(sorted(keys)) or 'no keys'}")
    return classes


def _require_unicode(text: str, path: Path, number: int) -> None:
    """Raise an error for unpaired surrogates, which JSON can escape but tokenizers refuse."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("unicode_escape").decode()
        raise SourceError(
            f"{printable(path)}: document {number} contains half of a character ({half}); repair or remove it"
        ) from error


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
    for name, entry in _entries(path):
        key = column if isinstance(name, int) else "extract"
        text = entry.get(key) if isinstance(entry, dict) else entry if isinstance(name, int) else None
        if not isinstance(text, str):
            raise SourceError(f'{path}: entry {name!r} has no text; expected an object with "{key}"')
        yield text


def _entries(path: Path) -> Iterator[tuple[str | int, Any]]:
    """Yield the entries of a JSON file: with their names from an object, with their numbers from a list."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict | list):
        raise SourceError(f"{path}: expected an object or a list, found {type(content).__name__}")
    yield from content.items() if isinstance(content, dict) else enumerate(content)


def _json_lines(path: Path, column: str) -> Iterator[str]:
    for number, entry in _lines(path):
        text = entry.get(column, 0) if isinstance(entry, dict) else entry
        if text is not None and not isinstance(text, str):
            if isinstance(text, list):
                raise SourceError(
                    f'{path}: line {number}: "{column}" is a list, expected a string; write each chat as one string, '
                    "by the tokenizer's apply_chat_template(..., tokenize=False)"
                )
            columns = f", found {', '.join(sorted(entry))}" if isinstance(entry, dict) else ""
            raise SourceError(
                f'{path}: line {number} has no text; expected a string or an object with "{column}"{columns}; '
                f"{SET_COLUMN}"
            )
        yield text or ""


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each line of JSON that is not blank."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}: line {number} is not JSON ({describe_error(error)})") from error


def _parquet_column(path: Path, column: str) -> list[Any]:
    with extra("language"):
        import pyarrow.parquet  # only here: other texts do not pay for loading it

    with pyarrow.parquet.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise SourceError(f"{path}: has no column {column!r}, found {', '.join(file.schema_arrow.names)}")
        return list(file.read([column]).column(0).to_pylist())


def _parquet(path: Path, column: str) -> Iterator[str]:
    with extra("language"):
        import pyarrow  # imported here, since other texts do not need it
        import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        if column not in schema.names:
            raise SourceError(f"{path}: has no column {column!r}, only {', '.join(schema.names)}; {SET_COLUMN}")
        kind = schema.field(column).type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            raise SourceError(f"{path}: column {column!r} contains {kind}, expected strings; {SET_COLUMN}")
        for batch in file.iter_batches(PARQUET_ROWS, columns=[column]):
            for text in batch.column(0):
                yield text.as_py() or ""


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    ".txt": _paragraphs,
    ".json": _json,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
