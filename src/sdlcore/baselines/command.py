"""The command that trains one dictionary by another library, and leaves the files of a run."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from sdlcore.baselines.settings import DISTRIBUTIONS, PeerConfig
from sdlcore.baselines.trainer import Train
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import content_digest, open_checked
from sdlcore.model.saving import save_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from sdlcore.storage.files import provenance, sha256_of, write_json
from sdlcore.training.arguments import run_parser
from sdlcore.training.history import History, Watch, csv_file
from sdlcore.training.loop import DivergedError
from sdlcore.training.watch import recovery_watch

log = logging.getLogger(__name__)


def trainer_of(peer: str) -> Train:
    """Import a library, which only its own environment has, and return how to train by it."""
    if peer == "saelens":
        from sdlcore.baselines import saelens

        return saelens.train
    if peer == "dictionary_learning":
        from sdlcore.baselines import dictionary_learning

        return dictionary_learning.train
    from sdlcore.baselines import sparsify

    return sparsify.train


def main(script: str, description: str | None, argv: list[str] | None = None) -> None:
    """Train by command line arguments, in the environment of other libraries.

    Parameters
    ----------
    script
        File of the script that this is called from; its code counts as the run's.
    description
        What the script is for.
    argv
        Arguments; None for the process's own.
    """
    parser = run_parser(description)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    torch.set_num_threads(args.threads)
    config = PeerConfig.from_dict(args.settings)
    inputs = {"store": content_digest(args.store)}
    if args.watch:
        inputs["watch"] = sha256_of(args.watch)
    facts = provenance(script, settings=config.to_dict(), seed=args.seed, inputs=inputs, device="cpu")
    library = DISTRIBUTIONS[config.peer]
    facts["versions"][library] = version(library)
    Path(args.model).parent.mkdir(parents=True, exist_ok=True)
    train = trainer_of(config.peer)
    with open_checked(args.store) as store:
        reader = BatchReader(store, config.pair, config.batch_size, partial(stream, args.seed, "order"))
        with History(sinks=[partial(csv_file, args.history)]) as history:
            rows = _Rows(reader, config, history, recovery_watch(args.watch, config.pair) if args.watch else None)
            seed = torch_stream(args.seed, "initialisation").initial_seed()
            model = train(rows.batches(), store.n_p, config, seed, rows.note)
    facts["threads"] = args.threads
    write_json(args.config, facts)
    save_model(args.model, model, facts)


class _Rows:
    """Gives the batches of a training, and makes the rows of its history.

    ``loss`` is the library's own, the mean over the row's steps; ``fvu`` and ``l0`` are of the row's last batch, by the
    dictionary as it would be saved. The clock stands while they are computed.
    """

    def __init__(self, reader: BatchReader, config: PeerConfig, history: History, watch: Watch | None) -> None:
        self._reader, self._config, self._history, self._watch = reader, config, history, watch
        self._step, self._losses, self._x = 0, torch.zeros(()), torch.zeros(0)
        self._row_steps, self._started = 0, time.perf_counter()

    def batches(self) -> Iterator[Tensor]:
        for step in range(self._config.steps):
            self._x = torch.from_numpy(self._reader(step)[0])
            # a copy, since the reader's rows may be read again and a library may change what it gets
            yield self._x.clone()

    def note(self, loss: Tensor, dictionary: Callable[[], SparseCoder]) -> None:
        self._step += 1
        self._row_steps += 1
        self._losses = self._losses + loss
        if self._step % self._config.log_every and self._step != self._config.steps:
            return
        seconds = time.perf_counter() - self._started
        mean = float(self._losses) / self._row_steps
        if not math.isfinite(mean):
            steps = f"{self._step - self._row_steps + 1} to {self._step}"
            raise DivergedError(f"training by {self._config.peer} diverged in steps {steps}: loss is {mean}; lower lr")
        model = dictionary()
        row = {"step": self._step, "samples": self._step * self._config.batch_size, "loss": mean}
        row |= _judged(model, self._x) | {"seconds": round(seconds, 3)}
        log.info("step %d/%d  loss %.4f  fvu %.4f  l0 %.1f", self._step, self._config.steps, *list(row.values())[2:5])
        if self._watch:
            row |= self._watch({"encoder": model.W_enc, "decoder": model.W_dec})
        self._history.add(row)
        self._losses, self._row_steps = torch.zeros(()), 0
        self._started = time.perf_counter() - seconds


@torch.no_grad()
def _judged(model: SparseCoder, x: Tensor) -> dict[str, float]:
    out = model(x)
    error, variance = (x - out.x_hat).square().sum(), (x - x.mean(0)).square().sum()
    return {"fvu": float(error / variance), "l0": float(out.active().mean())}
