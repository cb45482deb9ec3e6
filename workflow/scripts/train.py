"""Train one dictionary: by gradient descent, with a solver, or with another library in its own environment."""

import logging
from importlib.metadata import version
from typing import Any

from peers.settings import DISTRIBUTIONS, PeerConfig
from runs.folder import Run, Training, describe, take_finished
from runs.recording import recorder
from sdlcore import Dictionary, fit, load, solve
from sdlcore.api.fitting import identity_of_fit
from sdlcore.api.run_folder import CHECKPOINT, unfinished_run
from sdlcore.api.solving import identity_of_solve
from sdlcore.command_line import cli
from sdlcore.config import Config
from sdlcore.data.anchors import load_anchors
from sdlcore.data.reading import ActivationStore
from sdlcore.identity import ENTRY
from sdlcore.inputs import open_batches
from sdlcore.training.checkpoint import describe_checkpoint
from sdlcore.training.distributed import processes_of


def main(run: Run, training: Training, *, settings: dict[str, Any]) -> None:
    """
    Args:
        settings: settings of the run; with solver or peer, it is not trained here by gradient descent
    """
    run.limit_threads()
    if "peer" in settings:
        return _train_elsewhere(run, PeerConfig.from_dict(settings))
    start = load(training.start) if training.start else None
    if "solver" in settings:
        arguments: dict[str, Any] = {**settings, "seed": run.seed, "start": start, "watch": run.references()}
        with ActivationStore(run.store) as store:
            if not take_finished(run, identity_of_solve(store, **arguments)):
                solve(store, out=run.out, progress=False, **arguments)
        return
    config = Config.from_dict(settings)
    arguments = {
        **config.to_dict(),
        "seed": run.seed,
        "anchors": load_anchors(training.anchors) if training.anchors else None,
        "start": start,
        "watch": run.references(),
        "device": training.device,
    }
    with (
        processes_of(training.split, config) as processes,
        open_batches(run.store, folder=run.out, device=training.device) as batches,
    ):
        if processes.all.rank:  # the first process alone writes
            logging.getLogger().setLevel(logging.WARNING)
            fit(batches, out=run.out, progress=False, **arguments)
            return
        made, checkpoint = identity_of_fit(batches, **arguments), run.out / CHECKPOINT
        taken = take_finished(run, made)  # which fit opens, without calling back
        described = describe_checkpoint(checkpoint)
        if described is not None and described.facts.get(ENTRY) != made:  # the folder belongs to the run of its name
            logging.warning("%s belongs to a run with other settings or data; starting afresh", checkpoint)
            checkpoint.unlink()
        with recorder(run, training, config.to_dict() | {"seed": run.seed}, made) as record:
            dictionary = fit(batches, out=run.out, progress=False, callbacks=[record], **arguments)
            for row in dictionary.history if taken else ():
                record(row)


def _train_elsewhere(run: Run, settings: PeerConfig) -> None:
    from peers.run_peer import run_peer

    provenance, library = describe("peer", run, settings), DISTRIBUTIONS[settings.peer]
    provenance["versions"][library] = version(library)
    if take_finished(run, provenance[ENTRY]):
        return
    with unfinished_run(run.out) as history:
        coder, rows = run_peer(run.store, settings, run.seed, run.watch, [history])
        Dictionary(coder, provenance, rows).save(run.out)


if __name__ == "__main__":
    cli(main)
