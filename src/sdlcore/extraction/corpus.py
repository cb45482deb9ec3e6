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
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sdlcore.extraction.config import TextOptions, read_text_options
from sdlcore.extraction.hub_names import DATASET, is_hub_text
from sdlcore.extraction.text import Content, list_texts, read_documents
from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of, user_path
from sdlcore.storage.parsing import parsing

T = TypeVar("T")
log = logging.getLogger(__name__)

WHOLE_BYTES = 64 * 2**20
"""Size in bytes of the largest text that is read whole."""
LISTED_FILES = 64
"""Largest number of files with a checksum each in provenance, since an attribute of an HDF5 file has at most 64 KiB."""


class Document(NamedTuple):
    """One document of a text."""

    place: int
    """Index of the document in the shuffled order."""
    number: int
    """Number of the document in the text, counted from 0; see `Text.facts`."""
    text: Content


class Share(NamedTuple):
    """The documents of one job: every ``of``-th document, starting at place ``number``."""

    number: int = 0
    """Number of the share, from 0."""
    of: int = 1
    """Number of shares."""


WHOLE = Share()


@dataclass(frozen=True)
class Text:
    """The documents of a text in a fixed order.

    Attributes
    ----------
    name
        Name of the text, for messages.
    facts
        Provenance: checksums, the order, and the meaning of ``number``.
    read
        Returns number and text of all documents, in order.
    """

    name: str
    facts: dict[str, Json]
    read: Callable[[], Iterator[tuple[int, Content]]]

    def documents(self, start: int = 0, share: Share = WHOLE) -> Iterator[Document]:
        """Yield the documents of a share, from place ``start`` on. For a streamed text, all documents are read."""
        for place, (number, text) in enumerate(self.read()):
            if place >= start and place % share.of == share.number:
                yield Document(place, number, text)


def open_text(reference: str | Path, options: TextOptions | None = None) -> Text:
    """Open the text that ``reference`` names: a file, a folder (see `read_documents`) or ``dataset:OWNER/NAME``.

    Raises
    ------
    SourceError
        If the text does not exist or cannot be read.
    """
    options = options or TextOptions()
    name = str(reference)
    if is_hub_text(name):
        return _dataset(name.removeprefix(DATASET), options)
    files, skipped = list_texts(reference)
    facts: dict[str, Json] = {"files": _checksums(files, Path(reference)), "column": options.column}
    if skipped:
        for entry in skipped:
            log.warning("%s: skipped %s: %s", name, *entry)
        facts["skipped"] = [entry._asdict() for entry in skipped]
    if sum(path.stat().st_size for path in files) <= WHOLE_BYTES or files[0].suffix == ".json":
        documents = list(read_documents(reference, options.column))
        # texts are often sorted by topic or alphabet, so in file order a small store would only see the beginning
        order = stream(0, "documents").permutation(len(documents))
        facts |= {"order": "shuffled once", "document": "number of the document in the text, in file order"}
        return Text(name, facts, lambda: ((int(index), documents[index]) for index in order))
    facts |= {
        "order": f"file order, shuffled by a buffer of {options.shuffle_buffer}",
        "document": "number of the document in the text, in file order",
    }

    def in_order() -> Iterator[tuple[int, Content]]:
        documents = enumerate(read_documents(reference, options.column))
        return shuffled(documents, options.shuffle_buffer, stream(0, "documents", "buffer"))

    return Text(name, facts, in_order)


def opened_text(texts: Any, options: TextOptions | Mapping[str, Any] | None) -> Text:
    """Open the text that a name denotes, as `open_text` does, or return given documents as a text."""
    options = read_text_options(options)
    if isinstance(texts, str | Path):
        return open_text(texts if is_hub_text(str(texts)) else user_path(texts, "texts"), options)
    return given_documents(texts, options.column)


def given_documents(texts: Iterable[Any], column: str) -> Text:
    """Return the documents that Python gives as a text: strings, chats, or the rows of a `datasets` data set.

    Raises
    ------
    ValueError
        If a document is neither a string nor a chat.
    """
    if hasattr(texts, "column_names"):  # a data set: not read whole

        def rows() -> Iterator[tuple[int, Content]]:
            return enumerate(row[column] or "" for row in texts)

        facts: dict[str, Json] = {"dataset": str(getattr(texts, "_fingerprint", None)), "column": column}
        return Text("the data set", facts, rows)
    documents = list(texts) if isinstance(texts, Iterable) else [texts]
    if not all(isinstance(document, str | list) for document in documents):
        raise ValueError("texts must be strings, one a document, or the name of a file, a folder or a data set")
    total = hashlib.sha256()
    for document in documents:
        content = document if isinstance(document, str) else json.dumps(document)
        total.update(hashlib.sha256(content.encode()).digest())
    return Text("the texts", {"sha256": total.hexdigest()}, lambda: enumerate(documents))


def _dataset(name: str, options: TextOptions) -> Text:
    # imported here, since local texts need no client of the hub
    from sdlcore.extraction.hub import dataset_commit, dataset_texts

    commit = dataset_commit(name, options.revision)
    facts: dict[str, Json] = {
        "dataset": name,
        "config": options.config,
        "split": options.split,
        "column": options.column,
        "commit": commit,
        "order": f"as datasets {version('datasets')} shuffles files and a buffer of {options.shuffle_buffer}",
        "document": "number of the document in that order",
    }
    seed = int(stream(0, "documents", "data set").integers(2**31))

    def read() -> Iterator[tuple[int, Content]]:
        o = options
        return enumerate(dataset_texts(name, o.config, o.split, commit, o.column, o.shuffle_buffer, seed))

    return Text(f"{DATASET}{name}", facts, read)


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
    sums = {}
    for path in files:
        with parsing(path, "a text"):
            sums[path.relative_to(root).as_posix()] = sha256_of(path)
    if len(sums) <= LISTED_FILES:
        return sums
    return {f"{len(sums)} files": hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()}
