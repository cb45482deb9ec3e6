"""Read the documents of a text in a fixed shuffled order, whole in memory or streamed.

A text of at most `WHOLE_BYTES` on this machine (and any ``.json``) is read whole and its documents shuffled once. A
larger text is streamed through a buffer. The first documents fill the buffer; after that, each new document replaces a
random one, which is returned. So a document moves by about the buffer's length, and a store sees only the part of the
text that its rows need. The package ``datasets`` streams data sets of the hub in the same way; it also shuffles the
order of the files, and fills the buffer from several of them in turn.

The order is the same at every call.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdlcore.random_streams import stream
from sdlcore.settings import Json
from sdlcore.sources.language.hub_names import DATASET, is_hub_text
from sdlcore.sources.language.settings import TextOptions
from sdlcore.sources.language.text import list_texts, read_documents
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import parsing

log = logging.getLogger(__name__)

WHOLE_BYTES = 64 * 2**20
"""Largest text, in bytes on the disk, that is read whole."""
LISTED_FILES = 64
"""Most files whose checksums provenance lists one by one: an attribute of an HDF5 file holds 64 KiB."""


class Document(NamedTuple):
    """One document of a text."""

    place: int
    """Where it comes in the order."""
    number: int
    """Of the document in the text, counted from 0; see `Text.facts`."""
    text: str


class Share(NamedTuple):
    """One job's documents of a text: every ``of``-th document, beginning with place ``number``."""

    number: int = 0
    """Which share, from 0."""
    of: int = 1
    """How many there are."""


WHOLE = Share()


@dataclass(frozen=True)
class Text:
    """Documents in an order.

    Attributes
    ----------
    name
        For messages.
    facts
        For provenance: checksums, the order, and the meaning of ``number``.
    whole
        Whether it is in memory.
    read
        Gives number and text of all documents, in the order.
    """

    name: str
    facts: dict[str, Json]
    whole: bool
    read: Callable[[], Iterator[tuple[int, str]]]

    def documents(self, start: int = 0, share: Share = WHOLE) -> Iterator[Document]:
        """Yield a share's documents from place ``start`` on. A streamed text reads the other documents, too."""
        for place, (number, text) in enumerate(self.read()):
            if place >= start and place % share.of == share.number:
                yield Document(place, number, text)


def open_text(reference: str | Path, options: TextOptions | None = None) -> Text:
    """Return the text that ``reference`` names: a file, a folder (see `read_documents`) or ``dataset:OWNER/NAME``.

    Raises
    ------
    SourceError
        If there is no such text, or it cannot be read.
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
        # texts come sorted, by topic or alphabet: in file order, a small store would see only its beginning
        order = stream(0, "documents").permutation(len(documents))
        facts |= {"order": "shuffled once", "document": "number of the document in the text, in file order"}
        return Text(name, facts, True, lambda: ((int(index), documents[index]) for index in order))
    facts |= {
        "order": f"file order, shuffled by a buffer of {options.shuffle_buffer}",
        "document": "number of the document in the text, in file order",
    }

    def in_order() -> Iterator[tuple[int, str]]:
        documents = enumerate(read_documents(reference, options.column))
        return shuffled(documents, options.shuffle_buffer, stream(0, "documents", "buffer"))

    return Text(name, facts, False, in_order)


def _dataset(name: str, options: TextOptions) -> Text:
    # only here: local texts need no client of the hub
    from sdlcore.sources.language.hub import dataset_commit, dataset_texts

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

    def read() -> Iterator[tuple[int, str]]:
        o = options
        return enumerate(dataset_texts(name, o.config, o.split, commit, o.column, o.shuffle_buffer, seed))

    return Text(f"{DATASET}{name}", facts, False, read)


def shuffled(items: Iterable[tuple[int, str]], buffer: int, rng: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield every item once, each in place of a random one of ``buffer`` items held."""
    coming = iter(items)
    held = list(islice(coming, buffer))
    for item in coming:
        at = int(rng.integers(len(held)))
        yield held[at]
        held[at] = item
    yield from (held[at] for at in rng.permutation(len(held)))


def _checksums(files: list[Path], reference: Path) -> dict[str, str]:
    """Return the SHA-256 of each file by its name, or of all of them together where they are too many to list."""
    root = reference if reference.is_dir() else reference.parent
    sums = {}
    for path in files:
        with parsing(path, "a text"):
            sums[path.relative_to(root).as_posix()] = sha256_of(path)
    if len(sums) <= LISTED_FILES:
        return sums
    return {f"{len(sums)} files": hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()}
