"""The batches of a training, and `BatchReader`, which reads batches of stored samples in random order.

Step s of a training reads a batch of B samples: x_p (B x n_p), which the encoder reads, and x_r (B x n_r), which the
decoder writes. `sdlcore.data.pairs` makes both from the sites of the samples. A batch depends only on the number of its
step, the seed and the data. So an interrupted training resumes with the same bits, and another call can read the steps
after the training's last.

`sdlcore.inputs.open_batches` returns the `Batches` of each input that `sdlcore.fit` takes:

- arrays, .npy files and stores, in the random order of `BatchReader`;
- a user's DataLoader, iterable or function of the step, in their own order (`sdlcore.data.loaders`);
- samples that are computed during the training, as a recipe (a JSON file) describes, from a synthetic bench
  (`sdlcore.benches.synth`) or a language model (`sdlcore.extraction.stream`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

from sdlcore.config import Config
from sdlcore.data.arrays import Activations, Readable
from sdlcore.data.pairs import read_sites, reads_and_writes, site_column
from sdlcore.data.reading import ActivationStore, is_of_language_model
from sdlcore.random_streams import stream
from sdlcore.settings import Json, Pair

Order = Callable[[int], np.random.Generator]
"""Returns the random generator that shuffles an epoch, or a buffer, by its number."""


class TrainingRows(NamedTuple):
    """The data that one training reads."""

    widths: tuple[int, ...]
    """Widths of the sites."""
    batches: Callable[[int], tuple[np.ndarray, np.ndarray]]
    """Returns x_p and x_r of a step, counted from 0; float32."""
    sample: Callable[[], Readable]
    """Returns the rows that normalisation is fitted to."""


class Request(NamedTuple):
    """The batches that a training needs: their pair, size, order and number."""

    pair: str
    """sae, transcoder or crosscoder."""
    batch_size: int
    seed: int
    """Seed of the random order."""
    steps: int
    """Number of steps, which limits the batches that the sample is taken from."""
    neighbours: bool = False
    """Whether batches consist of pairs of neighbouring tokens, which the loss term ``contrast`` compares."""

    @classmethod
    def of(cls, config: Config, seed: int) -> Self:
        """Return the request of a training with these settings."""
        return cls(config.pair, config.batch_size, seed, config.steps, bool(config.contrast))

    @property
    def order(self) -> Order:
        """The random generators of epochs or buffers."""
        return partial(stream, self.seed, "order")


@dataclass(frozen=True)
class Batches:
    """Batches by the step of a training, and facts about the samples."""

    path: Path
    """Name in errors."""
    widths: tuple[int, ...]
    """Widths of the sites."""
    begin: Callable[[Request], TrainingRows]
    """Starts to read the data for a training."""
    digest: Callable[[], Json]
    """Returns the identity of the data in provenance: a digest of its content, or a description."""
    samples: Activations | None = None
    """All samples, if they can be read in any order."""
    batch_size: int | None = None
    """Number of samples in the first batch, if the data comes in batches; None if the training chooses it."""
    pair: Pair = "sae"
    """The pair that batches are for, unless a training chooses another."""
    recorded: bool = True
    """Whether the digest depends on the samples."""
    origin: Json = None
    """The language model and the text that the activations were computed from; None if unknown."""

    @property
    def rows(self) -> int | None:
        """Number of samples, if it is known."""
        return None if self.samples is None else self.samples.rows


def stored_batches(samples: Activations) -> Batches:
    """Return the batches of arrays or a store, in random order."""

    def begin(request: Request) -> TrainingRows:
        pairs = pairs_of(samples) if request.neighbours else None
        reader = BatchReader(samples, request.pair, request.batch_size, request.order, pairs=pairs)
        return TrainingRows(samples.widths, reader, lambda: samples)

    facts = samples.provenance_of_rows() if isinstance(samples, ActivationStore) else {}
    origin = facts if is_of_language_model(facts) else None
    return Batches(samples.path, samples.widths, begin, cache(samples.digest), samples, origin=origin)


def read_pair(store: Readable, pair: str, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x_p and x_r of rows ``start:stop``. Sites that the pair does not use are not read."""
    return read_sites(pair, len(store.widths), lambda site: store.read(site_column(site), start, stop))


class StorePart:
    """Rows ``start`` to ``stop - 1`` of a store, with the interface of a store."""

    def __init__(self, store: Activations, start: int, stop: int) -> None:
        self.path, self.chunk_rows, self.rows = store.path, store.chunk_rows, stop - start
        self.widths = store.widths
        self._store, self._start, self._stop = store, start, stop

    def read(self, column: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows ``start:stop`` of the part."""
        first = self._start + start
        last = self._stop if stop is None else min(self._start + stop, self._stop)
        return self._store.read(column, first, max(first, last))


class BatchReader:
    """Batches of (x_p, x_r) by step number, in an order that depends only on the step number and the streams.

    In each epoch, blocks of consecutive rows are shuffled, groups of blocks are loaded into memory, and the rows of
    each group are permuted. A batch consists of consecutive rows in this shuffled order. Each row is used once per
    epoch, except for the last rows, which do not fill a batch. Step s can be read without reading the steps before it.

    Parameters
    ----------
    order
        Returns the random generator that shuffles an epoch, by the epoch's number.
    group_rows
        Rows in memory at once. More rows mix better.
    pairs
        Rows r (ascending) that form a pair with row r + 1 in the same block. A batch then consists of pairs: of its
        rows 2 i and 2 i + 1, the second follows the first in the store. Other rows are not used. None for single rows.
    """

    def __init__(
        self,
        store: Readable,
        pair: str,
        batch_size: int,
        order: Order,
        group_rows: int = 2**16,
        pairs: np.ndarray | None = None,
    ) -> None:
        rows = store.rows if pairs is None else 2 * len(pairs)
        if batch_size > rows:
            which = "rows" if pairs is None else "rows in pairs of neighbours"
            raise ValueError(f"{store.path}: batch_size {batch_size} exceeds its {rows} {which}; lower batch_size")
        reads_and_writes(pair, len(store.widths))
        self.steps_per_epoch = rows // batch_size
        self._store, self._pair, self._batch_size, self._order, self._pairs = store, pair, batch_size, order, pairs
        self._block_rows = store.chunk_rows
        self._blocks_per_group = max(1, group_rows // self._block_rows)
        self._epoch = -1
        self._groups: list[np.ndarray] = []
        self._starts = np.zeros(0, dtype=np.int64)
        self._loaded: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x_p (batch_size x n_p) and x_r (batch_size x n_r) of step ``step``, counted from 0; float32."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._begin(epoch)
        first, stop = place * self._batch_size, (place + 1) * self._batch_size
        groups = range(
            int(np.searchsorted(self._starts, first, side="right")) - 1,
            int(np.searchsorted(self._starts, stop)),
        )
        parts = []
        for group in groups:
            start = self._starts[group]
            x_p, x_r = self._load(group)
            rows = slice(max(0, first - start), stop - start)
            part = x_p[rows]
            # an autoencoder's x_p and x_r stay one array, so that it is copied and normalised once
            parts.append((part, part if x_r is x_p else x_r[rows]))
        for group in [g for g in self._loaded if g < groups[-1]]:
            del self._loaded[group]
        if len(parts) == 1:
            return parts[0]
        whole = np.concatenate([p for p, _ in parts])
        same = all(r is p for p, r in parts)
        return whole, whole if same else np.concatenate([r for _, r in parts])

    def _begin(self, epoch: int) -> None:
        rng = self._order(epoch)
        blocks = rng.permutation(-(-self._store.rows // self._block_rows))
        self._groups = []
        for i in range(0, len(blocks), self._blocks_per_group):
            group = blocks[i : i + self._blocks_per_group]
            rows = np.concatenate([self._rows_of(block) for block in group])
            if len(rows):  # a group may contain no pair
                permuted = rng.permutation(rows)
                both = permuted if self._pairs is None else np.stack([permuted, permuted + 1], axis=1).ravel()
                self._groups.append(both)
        lengths = [len(group) for group in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self._epoch = epoch
        self._loaded = {}

    def _rows_of(self, block: int) -> np.ndarray:
        """Return the rows of a block, or the first rows of its pairs."""
        start, stop = block * self._block_rows, min((block + 1) * self._block_rows, self._store.rows)
        if self._pairs is None:
            return np.arange(start, stop)
        first, last = np.searchsorted(self._pairs, (start, stop))
        return self._pairs[first:last]

    def _load(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        if group not in self._loaded:
            read = partial(self._read, self._groups[group])
            self._loaded[group] = read_sites(self._pair, len(self._store.widths), read)
        return self._loaded[group]

    def _read(self, rows: np.ndarray, site: int) -> np.ndarray:
        """Read rows of a site in the given order, one block at a time.

        Each block is written to its final places while it is in the processor's caches, so no second copy of all rows
        is needed.
        """
        column, places = site_column(site), np.argsort(rows, kind="stable")
        out = np.empty(0, dtype=np.float32)
        for block in np.split(places, np.flatnonzero(np.diff(rows[places] // self._block_rows)) + 1):
            values = self._store.read(column, int(rows[block[0]]), int(rows[block[-1]]) + 1)
            if values.dtype == np.float16:
                # torch gives the same bits as numpy, several times faster
                values = torch.from_numpy(values).float().numpy()
            if not out.size:
                out = np.empty((len(rows), *values.shape[1:]), dtype=np.float32)
            if len(values) > len(block):  # some rows in between are in no pair
                values = values[rows[block] - rows[block[0]]]
            out[block] = values
        return out


DOCUMENT, POSITION = "references/document", "references/position"
"""Columns that say which rows are neighbours: the document of each token, and its position there."""


def starts_of_pairs(document_N: np.ndarray, position_N: np.ndarray, block_rows: int | None = None) -> np.ndarray:
    """Return the rows r (ascending) such that rows r and r + 1 are consecutive tokens of one document.

    No row is in two pairs: a run of n consecutive tokens gives n // 2 pairs, from its first token on. No pair has rows
    of two blocks.
    """
    same = document_N[1:] == document_N[:-1]
    follows = np.append(same & (position_N[1:] == position_N[:-1] + 1), False)
    if block_rows is not None:
        follows[block_rows - 1 :: block_rows] = False
    row = np.arange(len(follows))
    # a run of neighbours starts behind the last row that the next one does not follow
    start = np.maximum.accumulate(np.where(np.append(True, ~follows[:-1]), row, 0))
    return row[follows & ((row - start) % 2 == 0)]


def pairs_of(store: Activations) -> np.ndarray:
    """Return `starts_of_pairs` of a store, within its chunks; ValueError if neighbours are not known."""
    if missing := [column for column in (DOCUMENT, POSITION) if not store.has(column)]:
        raise ValueError(
            f"{store.path}: contrast compares neighbouring tokens, but there is no {missing[0]} to find neighbours by; "
            "train on a store of sdl.extract"
        )
    return starts_of_pairs(store.read(DOCUMENT), store.read(POSITION), store.chunk_rows)
