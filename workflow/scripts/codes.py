"""Replace the encoder of a trained dictionary by a search for codes, and improve its rows."""

from pathlib import Path

import numpy as np

from runs.codes import CodesConfig
from runs.folder import Run, describe, take_finished
from sdlcore import Dictionary, load, refine, search
from sdlcore.api.run_folder import unfinished_run
from sdlcore.command_line import cli
from sdlcore.config import Config
from sdlcore.data.batches import Request
from sdlcore.data.reading import content_digest
from sdlcore.device import Device
from sdlcore.identity import ENTRY
from sdlcore.inputs import open_batches


def main(run: Run, *, settings: CodesConfig, start: Path, device: Device = "auto") -> None:
    """
    Args:
        start: model of the training
        device: device of the language model
    """
    run.limit_threads()
    facts = describe("codes", run, settings, {"start": content_digest(start)})
    if take_finished(run, facts[ENTRY]):
        return
    trained = load(start.parent)
    training = Config.from_dict(trained.provenance["settings"])
    with unfinished_run(run.out), open_batches(run.store, folder=run.out, device=device) as batches:
        rows = batches.begin(Request.of(training, run.seed))
        samples = rows.sample()
        first = samples.read("input", 0, min(settings.samples, samples.rows)).copy()  # a stream overwrites them
        found = search(trained, first, n_samples=settings.samples, progress=False)

        def after_training(step: int) -> np.ndarray:
            x_p, _ = rows.batches(training.steps + step)
            return x_p

        if settings.rounds:
            found = refine(
                found, after_training, settings.rounds, n_samples=settings.samples, seed=run.seed, progress=False
            )
        made = {**found.provenance, **facts, "settings": training.to_dict() | settings.to_dict()}
        Dictionary(found.coder, made, trained.history).save(run.out)


if __name__ == "__main__":
    cli(main)
