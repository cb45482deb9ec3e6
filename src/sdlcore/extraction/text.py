"""Read the documents of a text in a fixed shuffled order, whole in memory or streamed.

A local text of at most `WHOLE_BYTES` (and any ``.json``) is read whole, and its documents are shuffled once. A larger
text is streamed through a buffer. The first documents fill the buffer. Then each new document replaces a random one in
the buffer, which is returned. A document therefore moves by about the buffer's length, and a store only reads the part
of the text that its rows need. The package ``datasets`` streams data sets of the hub in the same way. It also shuffles
the order of the files, and fills the buffer from several of them in turn.

Every call returns the same order.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sdlcore.errors import SourceError
from sdlcore.extraction.config import DATASET, TextOptions, is_hub_text
from sdlcore.extraction.folders import files_below
from sdlcore.extras import extra
from sdlcore.random_streams import stream
from sdlcore.settings import Json, checked
from sdlcore.storage.files import sha256_of, user_path
from sdlcore.storage.parsing import parsing

T = TypeVar("T")
log = logging.getLogger(__name__)

SUFFIXES = (".txt", ".json", ".jsonl", ".parquet")
SET_COLUMN = 'set text_column; in Python, text_options={"column": NAME}'
"""Advice where a text has other columns than expected, for the end of a message."""
PARQUET_ROWS = 1024
"""Number of rows to decode at once from a Parquet file."""
WHOLE_BYTES = 64 * 2**20
"""Size in bytes of the largest text that is read whole."""
LISTED_FILES = 64
"""Largest number of files with a checksum each in provenance, since an attribute in HDF5 holds at most 64 KiB."""
Content = str | list[dict[str, str]]
"""A document: its text, or a chat as a list of messages with ``role`` and ``content``."""


class Document(NamedTuple):
    """One document of a text."""

    place: int
    """Index of the document in the shuffled order."""
    number: int
    """Number of the document in the text, counted from 0; see `Documents.facts`."""
    text: Content


class DocumentShare(NamedTuple):
    """The documents of one job: every ``of``-th document, starting at place ``number``."""

    number: int = 0
    of: int = 1


WHOLE = DocumentShare()


class Documents(NamedTuple):
    """The documents of a text in a fixed order."""

    name: str
    """Name of the text, for messages."""
    facts: dict[str, Json]
    """Provenance: checksums, the order, and the meaning of the documents' numbers."""
    read: Callable[[], Iterable[tuple[int, Content]]]
    """Returns number and text of all documents, in order."""

    def documents(self, start: int = 0, share: DocumentShare = WHOLE) -> Iterator[Document]:
        """Yield the documents of a share, from place ``start`` on. For a streamed text, all documents are read."""
        for place, (number, text) in enumerate(self.read()):
            if place >= start and place % share.of == share.number:
                yield Document(place, number, text)


def opened_text(texts: Any, options: TextOptions | Mapping[str, Any] | None = None) -> Documents:
    """Open a text: a file, a folder (see `read_documents`) or ``dataset:OWNER/NAME``; or documents from Python, i.e.
    strings, chats, or the rows of a `datasets` data set, in their order.

    ``options`` say how to read a file or a data set. SourceError if the text does not exist or cannot be read;
    ValueError if a document from Python is neither a string nor a chat.
    """
    how: TextOptions = checked("text_options", TextOptions, options or {})
    if not isinstance(texts, str | Path):
        return _given_documents(texts, how.column)
    if is_hub_text(str(texts)):
        return _dataset(str(texts).removeprefix(DATASET), how)
    path = user_path(texts, "texts")
    files = list_texts(path)
    facts: dict[str, Json] = {"files": _checksums(files, path), "column": how.column}
    facts["document"] = "number of the document in the text, in file order"
    if sum(file.stat().st_size for file in files) <= WHOLE_BYTES or files[0].suffix == ".json":
        documents = list(read_documents(path, how.column))
        # texts are often sorted by topic or alphabet, so in file order a small store would only see the beginning
        order = stream(0, "documents").permutation(len(documents))
        facts["order"] = "shuffled once"
        return Documents(str(texts), facts, lambda: ((int(index), documents[index]) for index in order))
    facts["order"] = f"file order, shuffled by a buffer of {how.shuffle_buffer}"

    def read() -> Iterator[tuple[int, Content]]:
        numbered = enumerate(read_documents(path, how.column))
        return shuffled(numbered, how.shuffle_buffer, stream(0, "documents", "buffer"))

    return Documents(str(texts), facts, read)


def _given_documents(texts: Any, column: str) -> Documents:
    if hasattr(texts, "column_names"):  # a data set of `datasets`, which is not read whole
        facts: dict[str, Json] = {"dataset": str(getattr(texts, "_fingerprint", None)), "column": column}
        return Documents("the data set", facts, lambda: enumerate(row[column] or "" for row in texts))
    documents = list(texts) if isinstance(texts, Iterable) else [texts]
    if not all(isinstance(document, str | list) for document in documents):
        raise ValueError("texts must be strings, one a document, or the name of a file, a folder or a data set")
    total = hashlib.sha256()
    for document in documents:
        content = document if isinstance(document, str) else json.dumps(document)
        total.update(hashlib.sha256(content.encode()).digest())
    return Documents("the texts", {"sha256": total.hexdigest()}, lambda: enumerate(documents))


def _dataset(name: str, options: TextOptions) -> Documents:
    from sdlcore.extraction.hub import dataset_commit, hub_errors  # local texts need no client of the hub

    commit, buffer = dataset_commit(name, options.revision), options.shuffle_buffer
    seed = int(stream(0, "documents", "data set").integers(2**31))

    def read() -> Iterator[tuple[int, Content]]:
        with extra("language"):
            import datasets  # imported here, since the import takes seconds

        datasets.disable_progress_bars()
        with hub_errors(name):
            rows = datasets.load_dataset(name, options.config, split=options.split, streaming=True, revision=commit)
            for number, row in enumerate(rows.shuffle(seed=seed, buffer_size=buffer) if buffer > 1 else rows):
                if not isinstance(row.get(options.column, 0), str | None):
                    raise SourceError(
                        f"{name}: has no text in column {options.column!r}, only {', '.join(row)}; {SET_COLUMN}"
                    )
                yield number, row[options.column] or ""

    facts: dict[str, Json] = {
        "dataset": name,
        "config": options.config,
        "split": options.split,
        "column": options.column,
        "commit": commit,
        "order": f"as datasets {version('datasets')} shuffles files and a buffer of {buffer}",
        "document": "number of the document in that order",
    }
    return Documents(f"{DATASET}{name}", facts, read)


def shuffled(items: Iterable[T], buffer: int, rng: np.random.Generator) -> Iterator[T]:
    """Yield every item once: a random item of a ``buffer`` of items, in whose place the next item is read."""
    coming = iter(items)
    in_buffer = list(islice(coming, buffer))
    for item in coming:
        at = int(rng.integers(len(in_buffer)))
        yield in_buffer[at]
        in_buffer[at] = item
    yield from (in_buffer[at] for at in rng.permutation(len(in_buffer)))


def _checksums(files: list[Path], reference: Path) -> dict[str, str]:
    """Return file name -> SHA-256; if there are too many files to list, one checksum of all files together."""
    root = reference if reference.is_dir() else reference.parent
    sums = {path.relative_to(root).as_posix(): sha256_of(path) for path in files}
    if len(sums) <= LISTED_FILES:
        return sums
    return {f"{len(sums)} files": hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()}


def list_texts(path: str | Path) -> list[Path]:
    """Return the sorted files of a text, without opening them.

    SourceError if the text does not exist, its format is unknown, or a folder mixes formats.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file() or path.suffix not in SUFFIXES:
            raise SourceError(
                f"{path}: expected an existing text: a file ({', '.join(SUFFIXES)}), a folder of such files, or "
                "dataset:OWNER/NAME"
            )
        return [path]
    files = sorted(path / name for name in files_below(path, _has_text_name))
    found = sorted({file.suffix for file in files})
    if len(found) != 1:
        raise SourceError(
            f"{path}: expected a folder with text files of one format ({', '.join(SUFFIXES)}), found "
            f"{' and '.join(found) or 'none'}"
        )
    return files


def _has_text_name(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix in SUFFIXES and not name.name.startswith(".")


def read_documents(path: str | Path, column: str = "text") -> Iterator[Any]:
    """Yield the documents of a text in file order (`Content`), with as little of the text in memory as possible.

    A ``.txt`` file is split at blank lines, but in a folder every ``.txt`` file is one document. A ``.json`` file
    contains an object of titles with ``{"extract": text}``, or a list of texts or of ``{"text": text}``, and is read
    whole. Every line of a ``.jsonl`` file is a text, or an object with the key ``column``. A ``.parquet`` file contains
    that column; null is an empty document. SourceError if the text does not exist, or a file cannot be read, is not
    UTF-8, or has another form.
    """
    for file, number, entry, key in _entries(path, column):
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

    ``column`` is the key or column of a ``.json``, ``.jsonl`` or ``.parquet`` text that names the class. Documents
    without it, or with null, have no class: None. SourceError if no document has it.
    """
    classes: list[Any] = []
    keys: set[str] = set()
    for _, _, entry, _ in _entries(path, column):
        fields = entry if isinstance(entry, dict) else {}
        classes.append(fields.get(column))
        keys |= set(fields)
    if column not in keys:
        raise SourceError(f"{path}: no document has the key {column!r}, found {', '.join(sorted(keys)) or 'no keys'}")
    return classes


def _entries(path: str | Path, column: str) -> Iterator[tuple[Path, int, Any, str]]:
    """Yield the entries of a text: file, number in the file from 1, entry, and the key of its text."""
    is_folder = Path(path).is_dir()
    for file in list_texts(path):
        with parsing(file, f"a {file.suffix[1:]} text", "mend it or fetch it again"):
            key = column
            if file.suffix == ".txt":
                entries: Iterable[Any] = [file.read_text(encoding="utf-8")] if is_folder else _paragraphs(file)
            elif file.suffix == ".json":
                entries = json.loads(file.read_text(encoding="utf-8"))
                if isinstance(entries, dict):
                    key, entries = "extract", entries.values()
                elif not isinstance(entries, list):
                    raise SourceError(f"{file}: expected an object or a list, found {type(entries).__name__}")
            else:
                entries = _lines(file) if file.suffix == ".jsonl" else _parquet(file, column)
            for number, entry in enumerate(entries, start=1):
                yield file, number, entry, key


def _paragraphs(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for is_blank, lines in groupby(file, str.isspace):
            if not is_blank:
                yield "".join(lines).removesuffix("\n")


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            with parsing(path, f"JSON in line {number}"):
                if line.strip():
                    yield json.loads(line)


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
