"""Train one dictionary with another library."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peers.settings import PeerConfig
from peers.trainer import Train
from sdlcore import DivergedError
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import load_references
from sdlcore.random_streams import stream, torch_stream
from sdlcore.training.history import History, Row, Sink, Watch
from sdlcore.training.normalisation import fit_normalisation
from sdlcore.training.variance import batch_scores
from sdlcore.training.watch import watch_directions

log = logging.getLogger(__name__)


def trainer_of(peer: str) -> Train:
    """Import the adapter of another library and return its training function; needs that library's environment."""
    train: Train = import_module(f"peers.{peer}").train
    return train


def run_peer(
    store: Path, config: PeerConfig, seed: int, watch: Path | None = None, sinks: Sequence[Sink] = ()
) -> tuple[Any, list[Row]]:
    """Train one dictionary with another library, in that library's environment; return it with its history.

    Parameters
    ----------
    store
        Activations to train on.
    config, seed
        Settings, and the seed of the order of samples and of the library.
    watch
        References; the history counts how many of these directions the dictionary recovers.
    sinks
        Receivers of history rows during the training.
    """
    train = trainer_of(config.peer)
    count = watch_directions(load_references(watch).sites, config.pair) if watch else None
    history = History(sinks=sinks)
    with ActivationStore(store) as samples:
        reader = BatchReader(samples, config.pair, config.batch_size, partial(stream, seed, "order"))
        normalisation = fit_normalisation(samples, config.pair) if config.normalise else None
        rows = _Rows(reader, config, history, count, normalisation)
        own_seed = torch_stream(seed, "initialisation").initial_seed()
        model = train(rows.batches(), samples.widths[0], config, own_seed, rows.note)
        if normalisation:
            normalisation.fold(model)
        return model, history.rows


class _Rows:
    """Yield the batches of a training, and record its history.

    ``loss`` is the library's own loss, averaged over the steps of a row. ``fvu`` and ``l0`` are computed on the row's
    last batch with the dictionary as it would be saved; this time is not counted in ``seconds``.
    """

    def __init__(
        self, reader: BatchReader, config: PeerConfig, history: History, watch: Watch | None, normalisation: Any
    ) -> None:
        self._reader, self._config, self._history, self._watch = reader, config, history, watch
        self._normalisation = normalisation
        self._step, self._losses, self._x = 0, torch.zeros(()), torch.zeros(0)
        self._row_steps, self._started = 0, time.perf_counter()

    def batches(self) -> Iterator[Tensor]:
        for step in range(self._config.steps):
            self._x = torch.from_numpy(self._reader(step)[0])
            if self._normalisation:
                self._x = self._normalisation(self._x, self._x)[0]
            # a copy, since a library may change its batch in place, and the reader's rows are read again
            yield self._x.clone()

    def note(self, loss: Tensor, dictionary: Callable[[], Any]) -> None:
        self._step += 1
        self._row_steps += 1
        self._losses = self._losses + loss
        if self._step % self._config.log_every and self._step != self._config.steps:
            return
        seconds = time.perf_counter() - self._started
        mean = float(self._losses) / self._row_steps
        if not math.isfinite(mean):
            steps = f"{self._step - self._row_steps + 1} to {self._step}"
            peer = self._config.peer
            raise DivergedError(f"training with {peer} diverged in steps {steps}: loss is {mean}; lower lr")
        model = dictionary()
        row: Row = {"step": self._step, "samples": self._step * self._config.batch_size}
        row |= batch_scores(model, self._x, self._x) | {"loss": mean, "seconds": round(seconds, 3)}
        log.info("step %d/%d  loss %.4f  fvu %.4f  l0 %.1f", self._step, self._config.steps, *list(row.values())[2:5])
        if self._watch:
            row |= self._watch({"encoder": model.W_enc, "decoder": model.W_dec})
        self._history.add(row)
        self._losses, self._row_steps = torch.zeros(()), 0
        self._started = time.perf_counter() - seconds
