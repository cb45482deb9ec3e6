"""Sources of training batches: the interface, and activations in memory or in a store."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sdlcore.api.inputs import activations
from sdlcore.data.batches import BatchReader, TrainingRows
from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.neighbours import pairs_of
from sdlcore.data.reading import ActivationStore, content_digest, is_of_language_model
from sdlcore.data.side_by_side import SideBySide
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.settings import Json


class Source(Protocol):
    """Interface of activations for a training.

    `Stored`, `sdlcore.api.streams.Stream` and `sdlcore.api.recipes.Recipe` have it.
    """

    @property
    def path(self) -> Path:
        """Name of the source in errors."""

    @property
    def rows(self) -> int | None:
        """Number of samples; None if unknown."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the sites."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that have no meaning for this source."""

    @property
    def restarts(self) -> bool:
        """Whether batches can be read again from the start."""

    @property
    def recorded(self) -> bool:
        """Whether its digest depends on the samples."""

    @property
    def digest(self) -> Json:
        """The entry ``inputs.store`` of provenance."""

    def activations_made_by(self) -> Json:
        """Return the language model and text that the activations were computed from; None if unknown."""

    def first_samples(self, rows: int) -> np.ndarray:
        """Return the first samples of x_p, at most ``rows``."""

    def stored(self, why: str) -> Activations:
        """Return all samples; ValueError with the reason ``why`` if the source cannot give them."""

    def training_rows(self, config: RunConfig, seed: int) -> TrainingRows:
        """Return the batches and normalisation samples for a training."""


class Stored:
    """Activations in memory or in a store, read in random order."""

    unused: tuple[str, ...] = ()
    restarts = recorded = True

    def __init__(self, samples: Activations) -> None:
        self.samples = samples
        self.path, self.rows, self.widths = samples.path, samples.rows, samples.widths

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the samples."""
        if isinstance(self.samples, SideBySide):
            return self.samples.digest()
        if not isinstance(self.samples, Arrays):
            return content_digest(self.samples.path)
        return digest_of_arrays(*self.samples.sites)

    def activations_made_by(self) -> Json:
        if not isinstance(self.samples, ActivationStore):
            return None
        origin = self.samples.provenance_of_rows()
        return origin if is_of_language_model(origin) else None

    def first_samples(self, rows: int) -> np.ndarray:
        return self.samples.read("input", 0, rows)

    def stored(self, why: str) -> Activations:
        return self.samples

    def training_rows(self, config: RunConfig, seed: int) -> TrainingRows:
        order = partial(stream, seed, "order")
        pairs = pairs_of(self.samples) if config.loss.contrast else None
        reader = BatchReader(self.samples, config.model.pair, config.training.batch_size, order, pairs=pairs)
        return TrainingRows(self.widths, reader, lambda: self.samples)


@contextmanager
def stored(x: Any, target: Any = None) -> Iterator[Stored]:
    """Open arrays, stores and files as a source; arguments and errors as of `sdlcore.api.inputs.activations`."""
    with activations(x, target) as samples:
        yield Stored(samples)


def digest_of_arrays(*arrays: np.ndarray) -> str:
    """Return the hex SHA-256 of arrays: their types, shapes and numbers."""
    total = hashlib.sha256()
    for values in arrays:
        total.update(f"{values.dtype} {values.shape}".encode())
        for start in range(0, len(values), 8192):
            total.update(np.ascontiguousarray(values[start : start + 8192]).data)
    return total.hexdigest()
