"""Replace the encoder of a trained dictionary by a search for codes, and improve its rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from runs.codes import CodesConfig
from runs.folder import Run, copy_finished, describe
from sdlcore import Dictionary, load, refine, search
from sdlcore.api.recipes import Recipe
from sdlcore.api.run_folder import unfinished_run
from sdlcore.command_line import cli
from sdlcore.data.batches import BatchReader
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.device import Device
from sdlcore.extraction.stream import open_language_stream
from sdlcore.identity import ENTRY
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.sources.synth.streaming import open_synth_stream

Reading = Literal["store", "drawn", "language"]


@contextmanager
def opened(run: Run, reading: Reading, training: RunConfig, device: Device) -> Iterator[tuple[Any, Any]]:
    """Open a training's samples, as for its normalisation, and a function that returns the batch of a step."""
    if reading == "store":
        with ActivationStore(run.store) as store:
            order, size = partial(stream, run.seed, "order"), training.training.batch_size
            yield store, BatchReader(store, training.model.pair, size, order)
        return
    open_stream = open_synth_stream if reading == "drawn" else open_language_stream
    with Recipe(run.store, open_stream, run.out, device) as recipe:
        rows = recipe.training_rows(training, run.seed)
        yield rows.sample(), rows.batches


def main(run: Run, *, settings: CodesConfig, start: Path, reading: Reading = "store", device: Device = "auto") -> None:
    """
    Args:
        start: model of the training
        reading: whether the training read a store, or samples of a bench or a language model that it computed
        device: device of the language model
    """
    run.limit_threads()
    facts = describe("codes", run, settings, {"start": content_digest(start)})
    if copy_finished(run, facts[ENTRY]):
        return
    trained = load(start.parent)
    training = RunConfig.from_dict(trained.provenance["settings"])
    with unfinished_run(run.out), opened(run, reading, training, device) as (samples, batches):
        first = samples.read("input", 0, min(settings.samples, samples.rows)).copy()  # a stream overwrites them
        found = search(trained, first, n_samples=settings.samples, progress=False)

        def after_training(step: int) -> np.ndarray:
            rows: np.ndarray = batches(training.training.steps + step)[0]
            return rows

        if settings.rounds:
            found = refine(
                found, after_training, settings.rounds, n_samples=settings.samples, seed=run.seed, progress=False
            )
        made = {**found.provenance, **facts, "settings": training.to_dict() | settings.to_dict()}
        Dictionary(found.coder, made, trained.history).save(run.out)


if __name__ == "__main__":
    cli(main)
