"""Let several processes that train together run the language model in turn, and exchange the activations.

Of every n batches of contexts, each of the n processes runs the model over one. All processes receive all batches, in
the order of the text, so a stream has the same bits for any number of processes.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from sdlcore.extraction.forward import Batch, Passes, stack_batches
from sdlcore.extraction.preparation import Extraction
from sdlcore.extraction.tokens import Tokens

PATIENCE = timedelta(minutes=10)
"""Time limit for waiting for other processes."""


class Turns(NamedTuple):
    """The processes that take turns, and the rank of this process."""

    rank: int
    size: int
    group: dist.ProcessGroup
    """A separate process group: a thread reads batches while the training uses its own group."""


@contextmanager
def turns() -> Iterator[Turns | None]:
    """Yield this process's turns; None if it trains alone. All processes must call this function at the same time."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield None
        return
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    yield Turns(dist.get_rank(), dist.get_world_size(), group)


def batches_in_turn(work: Extraction, place: int, position: int, turns: Turns) -> Generator[Batch, None, None]:
    """Yield the batches of `Extraction.batches`. Every process must read the same number of batches."""
    coming = stack_batches(work.contexts(place, position), work.source.contexts_per_batch)
    with Passes(work.stack, work.source.sites) as passes:
        while several := list(islice(coming, turns.size)):
            batch = passes.start(several[turns.rank]).landed() if turns.rank < len(several) else None
            # all at once: afterwards, nobody waits for a process that reads no further
            batches = [
                _broadcast(work, tokens, batch if number == turns.rank else None, number, turns)
                for number, tokens in enumerate(several)
            ]
            yield from batches


def _broadcast(work: Extraction, tokens: Tokens, batch: Batch | None, source: int, turns: Turns) -> Batch:
    """Return the batch of process ``source``, which passes it as ``batch``."""
    rows = tokens.token.size
    values: dict[str, np.ndarray] = {}
    norms: dict[str, np.ndarray] = {}
    for column, width in work.widths.items():
        values[column] = batch.values[column] if batch else np.empty((rows, width), dtype=np.float16)
        norms[column] = batch.norms[column] if batch else np.empty(rows, dtype=np.float32)
        for array in (values[column], norms[column]):
            # as bytes, which every backend sends
            dist.broadcast(torch.from_numpy(array.view(np.uint8)), src=source, group=turns.group)
    return Batch(tokens, values, norms)
