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
from sdlcore.data.batches import Order, Request, TrainingRows, starts_of_pairs
from sdlcore.data.pairs import all_sites, in_order, input_target_more, make_pair, site_columns
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import resume_store
from sdlcore.errors import SourceError
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


class Turns(NamedTuple):
    """The processes that take turns, and the rank of this process."""

    rank: int
    size: int
    group: dist.ProcessGroup
    """A separate process group: a thread reads batches while the training uses its own group."""
    widths: dict[str, int]
    """Column -> dimension of its activations."""


@contextmanager
def turns(widths: dict[str, int]) -> Iterator[Turns | None]:
    """Yield this process's turns; None if it trains alone. All processes must call this function at the same time."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield None
        return
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    yield Turns(dist.get_rank(), dist.get_world_size(), group, widths)


def batches_in_turn(work: Extraction, place: int, position: int, turns: Turns) -> Generator[Batch, None, None]:
    """Yield the batches of `Extraction.batches`: of n batches of contexts, each of n processes runs the model over one.

    Every process must read the same number of batches.
    """
    coming = stack_batches(work.contexts(place, position), work.reading.contexts_per_batch)
    while several := list(islice(coming, turns.size)):
        mine = next(read_batches(work.model, work.points, several[turns.rank : turns.rank + 1]), None)
        # all at once: afterwards, nobody waits for a process that reads no further
        yield from [_broadcast(tokens, mine, number, turns) for number, tokens in enumerate(several)]


def _broadcast(tokens: Tokens, mine: Batch | None, source: int, turns: Turns) -> Batch:
    """Return the batch of process ``source``."""
    rows = tokens.token.size
    values = {column: np.empty((rows, width), dtype=np.float16) for column, width in turns.widths.items()}
    norms = {column: np.empty(rows, dtype=np.float32) for column in turns.widths}
    if mine is not None and source == turns.rank:
        values, norms = mine.values, mine.norms
    for column in turns.widths:
        for array in (values[column], norms[column]):
            # as bytes, which every backend sends
            dist.broadcast(torch.from_numpy(array.view(np.uint8)), src=source, group=turns.group)
    return Batch(tokens, values, norms)


class _Mark(NamedTuple):
    """The beginning of a buffer: a token of a document, and the number of rows after it that are used up."""

    place: int
    position: int
    used: int


class StreamReader:
    """Batches of (x_p, x_r) by step number, computed by a language model when they are needed.

    Buffer g contains the rows g R to (g + 1) R - 1 of the stream, permuted by the g-th random stream of ``order``. R is
    a multiple of the batch size. Reading the steps in order takes one pass over the text. Going back starts at a mark.

    Parameters
    ----------
    work
        The extraction that computes the rows.
    first_place
        Place of the document that the stream begins with.
    buffer_rows
        Largest number of rows in a buffer; a buffer has at least one batch.
    pair
        sae, transcoder or crosscoder.
    batch_size
        Rows of a batch.
    order
        Returns the random stream that shuffles a buffer.
    marks
        File that records the beginnings of buffers.
    identity
        Identifies the stream; marks of other streams are ignored.
    turns
        The processes that train together, if there are several. All read the same batches.
    neighbours
        Whether batches consist of pairs of neighbouring tokens, as for `sdlcore.data.batches.BatchReader`. Other tokens
        are left out.
    """

    def __init__(
        self,
        work: Extraction,
        first_place: int,
        buffer_rows: int,
        pair: str,
        batch_size: int,
        order: Order,
        marks: Path,
        identity: str,
        turns: Turns | None = None,
        neighbours: bool = False,
    ) -> None:
        self._work, self._turns, self._neighbours = work, turns, neighbours
        self._begin = _Mark(first_place, 0, 0)
        self._pair = pair
        self._batch_size = batch_size
        self._steps_per_buffer = max(1, buffer_rows // batch_size)
        self._order = order
        self._marks_path = marks
        self._identity = f"{identity} {self._steps_per_buffer * batch_size}{' in pairs' if neighbours else ''}"
        self._marks = self._read_marks()
        self._buffer = -1
        self._columns: dict[str, np.ndarray] = {}
        self._shuffled = np.zeros(0, dtype=np.int64)
        self._mark = self._begin
        self._seek(self._begin)

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x_p (batch_size x n_p) and x_r (batch_size x n_r) of step ``step``, counted from 0; float32."""
        buffer, place = divmod(step, self._steps_per_buffer)
        self._load(buffer)
        rows = self._shuffled[place * self._batch_size : (place + 1) * self._batch_size]
        parts = {name: torch.from_numpy(values[rows]).float().numpy() for name, values in self._columns.items()}
        return make_pair(self._pair, *in_order(parts))

    def first_rows(self) -> Arrays:
        """Return the rows of the first buffer in the order of the text, valid until the next batch is read."""
        self._load(0)
        return Arrays(*in_order(self._columns))

    def _load(self, buffer: int) -> None:
        if buffer == self._buffer:
            return
        if buffer != self._buffer + 1:
            start = max((at for at in self._marks if at <= buffer), default=0)
            self._seek(self._marks.get(start, self._begin))
            self._buffer = start - 1
        while self._buffer < buffer:
            self._buffer += 1
            self._remember()
            self._fill()
        rows = self._steps_per_buffer * self._batch_size
        if self._neighbours:
            first = 2 * self._order(buffer).permutation(rows // 2)
            self._shuffled = np.stack([first, first + 1], axis=1).ravel()
        else:
            self._shuffled = self._order(buffer).permutation(rows)

    def _seek(self, mark: _Mark) -> None:
        if self._turns is None:
            self._batches = self._work.batches(mark.place, mark.position)
        else:
            self._batches = batches_in_turn(self._work, mark.place, mark.position, self._turns)
        self._next = mark._replace(used=0)
        self._rows_left: dict[str, np.ndarray] = {}
        # whether the text is known to have rows
        self._has_rows = mark != self._begin
        if mark.used:
            self._advance()
            self._drop(mark.used)

    def _fill(self) -> None:
        """Fill the buffer with the next rows of the stream."""
        rows, filled = self._steps_per_buffer * self._batch_size, 0
        while filled < rows:
            if not len(self._rows_left.get("input", ())):
                self._advance()
            columns = {name: values[: rows - filled] for name, values in self._rows_left.items()}
            few = len(columns["input"])
            for name, values in columns.items():
                if name not in self._columns:
                    self._columns[name] = np.empty((rows, values.shape[1]), dtype=values.dtype)
                self._columns[name][filled : filled + few] = values
            self._drop(few)
            filled += few

    def _drop(self, rows: int) -> None:
        self._rows_left = {name: values[rows:] for name, values in self._rows_left.items()}
        self._mark = self._mark._replace(used=self._mark.used + rows)

    def _advance(self) -> None:
        """Run the model over the next contexts. After the end of the text, continue at its beginning."""
        batch = next(self._batches, None)
        if batch is None:
            if not self._has_rows:
                raise SourceError(
                    f"{self._work.text.name}: has no rows behind the evaluation store's; take a longer "
                    "text, or lower test_samples"
                )
            log.info("the text ended; it begins anew")
            self._seek(self._begin)
            batch = next(self._batches)
        self._mark = self._next
        place, position = batch.tokens.next
        self._next = _Mark(place, position, 0)
        indices = np.flatnonzero(self._work.kinds.of(batch.tokens, batch.norms) == KEPT)
        if self._neighbours:
            document_N, position_N = (part.ravel()[indices] for part in (batch.tokens.document, batch.tokens.position))
            starts = starts_of_pairs(document_N, position_N)
            indices = indices[np.stack([starts, starts + 1], axis=1).ravel()]
        self._has_rows |= len(indices) > 0
        self._rows_left = {name: values[indices] for name, values in batch.values.items()}

    def _remember(self) -> None:
        """Record the beginning of the next buffer."""
        mark = self._mark if self._rows_left else self._next
        if self._marks.get(self._buffer) != mark:
            self._marks[self._buffer] = mark
            if self._turns is not None and self._turns.rank:  # the first process writes for all
                return
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
    batches = request.pair, request.batch_size, request.order
    arguments = (recipe.first_place, recipe.buffer_rows, *batches, marks, sha256_of(path))
    with turns(dict(zip(site_columns(len(recipe.widths)), recipe.widths, strict=True))) as several:
        reader = StreamReader(work, *arguments, several, request.neighbours)
        yield TrainingRows(recipe.widths, reader, reader.first_rows)
        if several is None or not several.rank:
            marks.unlink(missing_ok=True)
