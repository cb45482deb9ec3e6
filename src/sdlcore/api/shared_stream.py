"""Share one stream of batches among several trainings."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Condition

import numpy as np

from sdlcore.api.streams import InPass, Stream, sample_of
from sdlcore.data.batches import TrainingRows
from sdlcore.data.memory import Activations
from sdlcore.run import RunConfig
from sdlcore.settings import Json, Pair

AHEAD = 16
"""The fastest training waits when it is so many batches ahead of the slowest; as many are in memory."""


class SharedStream:
    """Reads a stream's batches once, and keeps each until all trainings have it.

    Parameters
    ----------
    stream
        The batches.
    trainings
        How many read them.
    """

    def __init__(self, stream: Stream, trainings: int) -> None:
        self.stream = stream
        self._batches: dict[int, InPass] = {}
        self._next = 0
        # the current step of each training; infinity after its end
        self._at: list[float] = [0.0] * trainings
        self._moved = Condition()
        self._ended: Exception | None = None

    def share(self, training: int) -> "Share":
        """Return the batches as one training reads them."""
        return Share(self, training)

    @contextmanager
    def used_by(self, training: int) -> Iterator[None]:
        """Let the other trainings go on without this one when the block ends, also by an error."""
        try:
            yield
        finally:
            self.move(training, math.inf)

    def move(self, training: int, step: float) -> None:
        """Note that a training needs no batch before ``step``."""
        with self._moved:
            self._at[training] = step
            for done in [one for one in self._batches if one < min(self._at)]:
                del self._batches[done]
            self._moved.notify_all()

    def read(self, step: int, ahead: float) -> InPass:
        """Return the batch of a step; wait while that is more than ``ahead`` steps before the slowest training.

        Raises
        ------
        NoMoreBatchesError
            If an iterator has ended.
        """
        with self._moved:
            self._moved.wait_for(lambda: step in self._batches or step - min(self._at) <= ahead)
            while self._next <= step:
                if self._ended is not None:
                    raise self._ended
                try:
                    batch = self.stream.read_once(self._next)
                except Exception as error:
                    self._ended = error
                    raise
                if self._next >= min(self._at):
                    self._batches[self._next] = batch
                self._next += 1
            return self._batches[step]


class Share:
    """One training's share in a stream: all batches. A `Source` for `fit`."""

    unused = Stream.unused
    rows = None

    def __init__(self, shared: SharedStream, training: int) -> None:
        self._shared, self._training = shared, training
        stream = shared.stream
        self.path, self.widths, self.digest = stream.path, stream.widths, stream.digest
        self.restarts, self.recorded = stream.restarts, stream.recorded

    def activations_made_by(self) -> Json:
        return None

    def first_samples(self, rows: int) -> np.ndarray:
        return self._shared.stream.first_samples(rows)

    def stored(self, why: str) -> Activations:
        return self._shared.stream.stored(why)

    def training_rows(self, config: RunConfig, seed: int) -> TrainingRows:
        stream = self._shared.stream
        stream.check_settings(config)
        sample = partial(stream.sample, config.training.steps, partial(self._shared.read, ahead=math.inf))
        batches = partial(self._batch, config.model.pair, config.training.accumulate)
        return TrainingRows(self.widths, batches, sample_of(config, sample))

    def _batch(self, pair: Pair, accumulate: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        self._shared.move(self._training, step)
        return self._shared.stream.pair_from(self._shared.read(step, AHEAD).batch, pair, accumulate, step)
