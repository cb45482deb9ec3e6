"""Let several processes that train together run the language model in turn, and exchange the activations.

Each process runs the model over one batch of contexts in as many as there are processes. All get all batches, in the
order of the text: the bits of a stream do not depend on the number of processes.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from sdlcore.sources.language.forward import Batch, Passes, stack_batches
from sdlcore.sources.language.preparation import Extraction
from sdlcore.sources.language.tokens import Tokens

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others."""


class Turns(NamedTuple):
    """This process's rank among those that take turns."""

    rank: int
    size: int
    group: dist.ProcessGroup
    """Of their own: batches are read in a thread, while the training's own group works in another."""


@contextmanager
def turns() -> Iterator[Turns | None]:
    """Give this process's turns; None if it trains alone. All processes call this at the same time."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        yield None
        return
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    yield Turns(dist.get_rank(), dist.get_world_size(), group)


def batches_in_turn(work: Extraction, place: int, position: int, turns: Turns) -> Generator[Batch, None, None]:
    """Yield what `Extraction.batches` yields. Every process has to read as far as the others."""
    coming = stack_batches(work.contexts(place, position), work.source.contexts_per_batch)
    with Passes(work.stack, work.source.sites) as passes:
        while several := list(islice(coming, turns.size)):
            own = passes.start(several[turns.rank]).landed() if turns.rank < len(several) else None
            # all at once: afterwards, nobody waits for a process that reads no further
            found = [
                _given(work, tokens, own if number == turns.rank else None, number, turns)
                for number, tokens in enumerate(several)
            ]
            yield from found


def _given(work: Extraction, tokens: Tokens, own: Batch | None, source: int, turns: Turns) -> Batch:
    """Return the batch that process ``source`` has, which gives it as ``own``."""
    rows = tokens.token.size
    values: dict[str, np.ndarray] = {}
    norms: dict[str, np.ndarray] = {}
    for column, width in work.widths.items():
        values[column] = own.values[column] if own else np.empty((rows, width), dtype=np.float16)
        norms[column] = own.norms[column] if own else np.empty(rows, dtype=np.float32)
        for array in (values[column], norms[column]):
            # as bytes, which every backend sends
            dist.broadcast(torch.from_numpy(array.view(np.uint8)), src=source, group=turns.group)
    return Batch(tokens, values, norms)
