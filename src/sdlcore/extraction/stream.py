"""Stream activations: the language model runs while a dictionary is trained, and training rows are not stored.

`write_language_recipe` writes an evaluation store from the first documents of the text, and a recipe of the rows that
follow: a small JSON file. A training reads batches from a buffer of rows, in random order. After a buffer is used up,
the next rows of the text fill it. After the end of the text, the stream continues at its beginning.

If several processes train together, they take turns in running the model over batches of contexts, and exchange the
activations. Each process gets all rows, and the rows are the same bits for any number of processes.

A training that was interrupted resumes with the same bits. It finds its place in the text by *marks*, a small file
beside its checkpoint that records the beginning of each buffer. So the model repeats at most two buffers: the buffer at
the interruption, and the first buffer, on which normalisation is fitted.
"""

import json
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from sdlcore.data.arrays import Arrays
from sdlcore.data.batches import Request, TrainingRows, starts_of_pairs
from sdlcore.data.pairs import all_sites, in_order, input_target_more, make_pair
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store
from sdlcore.errors import SourceError
from sdlcore.extraction.buffer import Columns, RowBuffer
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.engine import Batch
from sdlcore.extraction.forward import KEPT, read_batches, stack_batches
from sdlcore.extraction.language import Extraction, TokenRows, fill_stores, prepare_sources
from sdlcore.extraction.tokens import Tokens
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of, write_json

log = logging.getLogger(__name__)


FORMAT = "sdlcore activation stream"
VERSION = 1
PATIENCE = timedelta(minutes=10)
"""Time limit for waiting for other processes."""


class Recipe(NamedTuple):
    """The source of a training's streamed rows."""

    widths: tuple[int, ...]
    """Dimensions of the sites."""
    model: str
    text: str
    """Paths or names of model and text."""
    first_place: int
    """Place of the document that training begins with."""
    buffer_rows: int
    """Number of rows that are kept in memory. Batches are drawn from these rows."""
    provenance: dict[str, Json]
    """Provenance of the rows."""


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe; SourceError if the file is not a recipe of this version."""
    try:
        content: Any = json.loads(Path(path).read_text())
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"version {content['version']} of {content['format']}")
        widths = all_sites(content["n_p"], content["n_r"], content.get("more", ()))
        return Recipe(widths, *(content[name] for name in Recipe._fields[1:]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SourceError(f"{path}: expected an {FORMAT} of version {VERSION} ({error!r}); make it anew") from error


def write_language_recipe(
    source: LanguageSource,
    model: str | Path,
    text: str | Path,
    recipe_path: str | Path,
    test_path: str | Path,
    buffer_rows: int = 2**16,
    threads: int = 1,
    device: torch.device | None = None,
) -> None:
    """Write a source's evaluation store, and the recipe of the training rows that follow in the text.

    Parameters
    ----------
    source, model, text, threads, device
        As for `sdlcore.extraction.language.write_language_stores`; ``train_samples`` is ignored.
    recipe_path, test_path
        Files to write or replace.
    buffer_rows
        Number of rows that are kept in memory. Batches are drawn from these rows.

    Raises
    ------
    SourceError
        If the model or the text cannot be used, or the text has too few tokens for the evaluation store.
    """
    (work,) = prepare_sources([source], model, text, threads=threads, device=device)
    with resume_store(test_path, work.facts | {"split": "test"}, dtype="float16") as test:
        rows = TokenRows(test, source.test_samples, work.kinds, 0)
        fill_stores([work], [rows])
    with ActivationStore(test_path) as store:
        n_p, n_r, more = input_target_more(store.widths)
    recipe = Recipe((), str(model), str(text), rows.progress.last_place + 1, buffer_rows, work.facts)
    fields = {name: value for name, value in recipe._asdict().items() if name != "widths"}
    widths = {"n_p": n_p, "n_r": n_r, **({"more": more} if more else {})}
    write_json(recipe_path, {"format": FORMAT, "version": VERSION, **widths, **fields})


def batches_in_turn(
    work: Extraction, place: int, position: int, group: dist.ProcessGroup
) -> Generator[Batch, None, None]:
    """Yield the batches of `Extraction.batches`: of n batches of contexts, each of n processes runs the model over one.

    Every process must read the same number of batches.
    """
    coming = stack_batches(work.contexts(place, position), work.reading.contexts_per_batch)
    rank, size = dist.get_rank(), dist.get_world_size()
    while several := list(islice(coming, size)):
        mine = next(read_batches(work.model, work.points, several[rank : rank + 1]), None)
        batches: list[Batch | None] = [None] * size
        dist.all_gather_object(batches, mine, group)
        yield from (batch for batch in batches if batch is not None)


class _Mark(NamedTuple):
    """The beginning of a buffer: a token of a document, and the number of rows after it that are used up."""

    place: int
    position: int
    used: int


class StreamReader:
    """Batches of (x_p, x_r) by step number, computed by a language model when they are needed.

    `RowBuffer` shuffles the rows. Going back starts at a mark.

    Parameters
    ----------
    work
        The extraction that computes the rows.
    first_place
        Place of the document that the stream begins with.
    buffer_rows
        Largest number of rows in a buffer; a buffer has at least one batch.
    request
        The pair, the batches and their order. If batches consist of pairs of neighbouring tokens, other tokens do not
        occur.
    marks
        File that records the beginnings of buffers.
    identity
        Identifies the stream; marks of other streams are ignored.
    group
        The processes that train together, if there are several. All read the same batches.
    """

    def __init__(
        self,
        work: Extraction,
        first_place: int,
        buffer_rows: int,
        request: Request,
        marks: Path,
        identity: str,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self._work, self._group, self._request, self._marks_path = work, group, request, marks
        self._begin = _Mark(first_place, 0, 0)
        self._buffer = RowBuffer(
            self._rows_from, request.batch_size, buffer_rows, request.order, in_pairs=request.neighbours
        )
        self._identity = f"{identity} {self._buffer.rows}{' in pairs' if request.neighbours else ''}"
        self._marks = self._read_marks()

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x_p (batch_size x n_p) and x_r (batch_size x n_r) of step ``step``, counted from 0; float32."""
        return make_pair(self._request.pair, *in_order(self._buffer.batch(step)))

    def first_rows(self) -> Arrays:
        """Return the rows of the first buffer in the order of the text, valid until the next batch is read."""
        self._buffer.load(0)
        return Arrays(*in_order(self._buffer.columns))

    def _rows_from(self, buffer: int) -> Iterator[Columns]:
        """Yield the rows from the first row of a buffer on. After the end of the text, continue at its beginning."""
        start = max((at for at in self._marks if at <= buffer), default=0)
        mark, row, wanted = self._marks.get(start, self._begin), start * self._buffer.rows, buffer * self._buffer.rows
        while True:
            before, is_whole, place, position = row, mark == self._begin, mark.place, mark.position
            batches = (
                self._work.batches(place, position)
                if self._group is None
                else batches_in_turn(self._work, place, position, self._group)
            )
            for batch in batches:
                indices = self._kept(batch)[mark.used :]
                for at in range(-(-row // self._buffer.rows), -(-(row + len(indices)) // self._buffer.rows)):
                    self._remember(at, _Mark(place, position, mark.used + at * self._buffer.rows - row))
                if row + len(indices) > wanted:
                    taken = indices[max(0, wanted - row) :]
                    yield {name: values[taken] for name, values in batch.values.items()}
                row += len(indices)
                mark = self._begin
                place, position = batch.tokens.next
            if is_whole and row == before:
                raise SourceError(
                    f"{self._work.text.name}: has no rows behind the evaluation store's; take a longer text, or lower "
                    "test_samples"
                )
            log.info("the text ended; it begins anew")
            mark = self._begin

    def _kept(self, batch: Batch) -> np.ndarray:
        """Return the indices of the rows of a batch that the stream contains."""
        tokens: Tokens = batch.tokens
        indices = np.flatnonzero(self._work.kinds.of(tokens, batch.norms) == KEPT)
        if self._request.neighbours:
            starts = starts_of_pairs(tokens.document.ravel()[indices], tokens.position.ravel()[indices])
            indices = indices[np.stack([starts, starts + 1], axis=1).ravel()]
        return indices

    def _remember(self, buffer: int, mark: _Mark) -> None:
        """Record the beginning of a buffer."""
        if self._marks.get(buffer) == mark:
            return
        self._marks[buffer] = mark
        if self._group is None or not dist.get_rank():  # the first process writes for all
            marks = {str(at): list(mark) for at, mark in self._marks.items()}
            write_json(self._marks_path, {"stream": self._identity, "marks": marks})

    def _read_marks(self) -> dict[int, _Mark]:
        try:
            content = json.loads(self._marks_path.read_text())
            if content["stream"] == self._identity:
                return {int(at): _Mark(*mark) for at, mark in content["marks"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s: not readable (%s); the stream is read from its beginning", self._marks_path, error)
        return {}


@contextmanager
def open_language_stream(
    path: str | Path, request: Request, folder: Path, device: torch.device
) -> Iterator[TrainingRows]:
    """Open the stream of a recipe for a training. Normalisation is fitted on the rows of the first buffer.

    Parameters
    ----------
    path
        The recipe.
    request
        The pair, the batches and their order.
    folder
        Folder of the training, which stores the marks until the training ends.
    device
        Device of the language model.

    Raises
    ------
    SourceError
        If the recipe does not exist, or its model or text has changed.
    """
    recipe = load_recipe(path)
    facts: Any = recipe.provenance
    # outliers are recognised by the recipe's medians
    source, threads = LanguageSource.from_dict(facts["source"]), torch.get_num_threads()
    (work,) = prepare_sources([source], recipe.model, recipe.text, threads=threads, device=device)
    for what in ("model", "text"):
        was = facts[what]
        if json.loads(json.dumps(work.facts[what])) != was:
            raise SourceError(f"{path}: its {what} has changed, it was {was}; make the recipe anew")
    work = work._replace(kinds=work.kinds._replace(largest_norm=facts["largest_norm"]))
    marks = folder / "stream.json"
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    # a separate group: a thread reads batches while the training uses its own
    group = dist.new_group(backend="gloo", timeout=PATIENCE) if several else None
    reader = StreamReader(work, recipe.first_place, recipe.buffer_rows, request, marks, sha256_of(path), group)
    yield TrainingRows(recipe.widths, reader, reader.first_rows)
    if group is None or not dist.get_rank():
        marks.unlink(missing_ok=True)
