"""Make one run: train a dictionary, solve for it, search for codes, import it, or let another library train it."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.settings import DISTRIBUTIONS, PeerConfig
from sdlcore import Dictionary, fit, load, refine, search, solve
from sdlcore.command_line import cli
from sdlcore.config import Config
from sdlcore.data.anchors import load_anchors
from sdlcore.data.batches import Request
from sdlcore.data.reading import ActivationStore, content_digest
from sdlcore.data.references import load_references
from sdlcore.device import Device
from sdlcore.dictionary.run_folder import CHECKPOINT, CONFIG, unfinished_run
from sdlcore.extras import extra
from sdlcore.fitting.fit import opened_fit
from sdlcore.fitting.solve import opened_solve
from sdlcore.identity import ENTRY, finished_files, identity, provenance
from sdlcore.inputs import open_batches
from sdlcore.interop.settings import ImportConfig
from sdlcore.settings import Settings
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import sha256_of
from sdlcore.training.checkpoint import describe_checkpoint
from sdlcore.training.distributed import processes_of
from sdlstudy.settings.codes import CodesConfig
from sdlstudy.settings.runs import kind_of_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Inputs of a run beside its settings, and its folder."""

    seed: int
    store: Path
    """activations to find the dictionary in"""
    out: Path
    """folder of the run"""
    threads: int = 1
    """number of threads, for all processes on this machine together"""
    anchors: Path | None = None
    """directions that latents are anchored to"""
    start: Path | None = None
    """model whose latents initialise the first latents or a solver's atoms, or whose rows get new codes"""
    watch: Path | None = None
    """references; the history counts how many of these directions the dictionary recovers"""
    device: Device = "auto"
    finished: str = ""
    """pattern of the folders of finished runs: results/*/runs/*/*/*/*/*; the same run is taken from there"""
    tensorboard: Path | None = None
    """folder for TensorBoard event files of the history"""
    wandb: str | None = None
    """Weights & Biases project that receives the history"""


def main(run: Run, *, settings: dict[str, Any]) -> None:
    """
    Args:
        settings: settings of the run; defaults may be left out
    """
    torch.set_num_threads(max(1, run.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    kind = kind_of_run(settings)
    makers: dict[type[Settings], Callable[[Run, Any], None]] = {
        Config: train,
        SolverConfig: solve_run,
        CodesConfig: search_codes,
        ImportConfig: import_run,
        PeerConfig: train_elsewhere,
    }
    makers[kind](run, kind.from_dict(settings))


def train(run: Run, config: Config) -> None:
    """Train by gradient descent."""
    arguments: dict[str, Any] = {
        **config.to_dict(),
        "seed": run.seed,
        "anchors": load_anchors(run.anchors) if run.anchors else None,
        "start": load(run.start) if run.start else None,
        "watch": load_references(run.watch) if run.watch else None,
        "device": run.device,
    }
    with (
        processes_of(config) as processes,
        open_batches(run.store, folder=run.out, device=run.device) as batches,
    ):
        if processes.rank:  # the first process alone writes
            logging.getLogger().setLevel(logging.WARNING)
            fit(batches, out=run.out, progress=False, **arguments)
            return
        with opened_fit(batches, **arguments) as (*_, facts):
            run_identity, checkpoint = facts[ENTRY], run.out / CHECKPOINT
        is_finished = take_finished(run, run_identity)  # which fit opens, without calling back
        described = describe_checkpoint(checkpoint)
        # the folder belongs to the run of its name
        if described is not None and described.facts.get(ENTRY) != run_identity:
            log.warning("%s belongs to a run with other settings or data; starting afresh", checkpoint)
            checkpoint.unlink()
        with recorder(run, config.to_dict() | {"seed": run.seed}, run_identity) as record:
            dictionary = fit(batches, out=run.out, progress=False, callbacks=[record], **arguments)
            for row in dictionary.history if is_finished else ():
                record(row)


def solve_run(run: Run, config: SolverConfig) -> None:
    """Solve for a dictionary without gradient descent."""
    arguments: dict[str, Any] = {
        **config.to_dict(),
        "seed": run.seed,
        "start": load(run.start) if run.start else None,
        "watch": load_references(run.watch) if run.watch else None,
    }
    with ActivationStore(run.store) as store:
        with opened_solve(store, **arguments) as (_, facts, _):
            is_finished = take_finished(run, facts[ENTRY])
        if not is_finished:
            solve(store, out=run.out, progress=False, **arguments)


def search_codes(run: Run, config: CodesConfig) -> None:
    """Replace the encoder of a trained dictionary (``run.start``) by a search for codes, and improve its rows."""
    if run.start is None:
        raise ValueError("expected --start, the dictionary whose codes are searched for")
    facts = describe("codes", run, config, {"start": content_digest(run.start)})
    if take_finished(run, facts[ENTRY]):
        return
    trained = load(run.start.parent)
    training = Config.from_dict(trained.provenance["settings"])
    with unfinished_run(run.out), open_batches(run.store, folder=run.out, device=run.device) as batches:
        rows = batches.begin(Request.of(training, run.seed))
        samples = rows.sample()
        first = samples.read("input", 0, min(config.samples, samples.rows)).copy()  # a stream overwrites them
        found = search(trained, first, n_samples=config.samples, progress=False)

        def after_training(step: int) -> np.ndarray:
            x_p, _ = rows.batches(training.steps + step)
            return x_p

        if config.rounds:
            found = refine(
                found, after_training, config.rounds, n_samples=config.samples, seed=run.seed, progress=False
            )
        record = {**found.provenance, **facts, "settings": training.to_dict() | config.to_dict()}
        Dictionary(found.coder, record, trained.history).save(run.out)


def import_run(run: Run, config: ImportConfig) -> None:
    """Import a dictionary that other software trained."""
    from sdlcore.interop.run_import import import_dictionary

    result = import_dictionary(config, run.store, run.watch)
    facts = describe("import", run, config, result.files) | {"imported": result.description}
    Dictionary(result.coder, facts, [result.row]).save(run.out)


def train_elsewhere(run: Run, config: PeerConfig) -> None:
    """Train with another library, in its own environment."""
    from peers.run_peer import run_peer

    facts, library = describe("peer", run, config), DISTRIBUTIONS[config.peer]
    facts["versions"][library] = version(library)
    if take_finished(run, facts[ENTRY]):
        return
    with unfinished_run(run.out) as history:
        coder, rows = run_peer(run.store, config, run.seed, run.watch, [history])
        Dictionary(coder, facts, rows).save(run.out)


def take_finished(run: Run, run_identity: Mapping[str, Any]) -> bool:
    """Save a finished run with this identity in the run's folder, such as one of another configuration.

    Return whether there was one. Runs with missing or damaged files are skipped.
    """
    for config in finished_files(f"{run.finished}/{CONFIG}", run_identity) if run.finished else ():
        with suppress(OSError, ValueError):
            dictionary = load(config.parent)
            if dictionary.history and dictionary.provenance.get(ENTRY) == run_identity:
                dictionary.save(run.out)
                log.info("%s is a finished run with the same inputs; its files are copied", config.parent)
                return True
    return False


def describe(stage: str, run: Run, settings: Settings, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the provenance of a run that `sdlcore.fit` does not make.

    ``files`` has digests of input files beside the store and ``run.watch``, by name.
    """
    with open_batches(run.store) as batches:
        store, origin = batches.digest(), batches.origin
    inputs = {"store": store, "watch": sha256_of(run.watch) if run.watch else None, **(files or {})}
    run_identity = identity(stage, settings.non_defaults(), run.seed, inputs)
    facts = provenance(identity=run_identity, settings=settings.to_dict(), seed=run.seed, device="cpu")
    return facts if origin is None else facts | {"activations": origin}


@contextmanager
def recorder(
    run: Run, settings: Mapping[str, Any], run_identity: Mapping[str, Any]
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Yield a callback of `sdlcore.fit` that logs each row of the history, and sends it to TensorBoard and to W&B.

    A resumed training passes the rows of earlier processes again. TensorBoard replaces its rows by them; Weights &
    Biases takes each step once, and already has these numbers. ``run_identity`` names the
    run there.
    """
    with ExitStack() as opened:
        writer, remote = None, None
        if run.tensorboard:
            with extra("tensorboard"):
                from tensorboardX import SummaryWriter
            writer = opened.enter_context(SummaryWriter(str(run.tensorboard), purge_step=0, flush_secs=10))
        if run.wandb:
            with extra("wandb"):
                import wandb
            name = hashlib.sha256(json.dumps(run_identity, sort_keys=True).encode()).hexdigest()[:32]
            facts = {"project": run.wandb, "id": name, "dir": str(run.out), "config": dict(settings)}
            remote = opened.enter_context(wandb.init(resume="allow", **facts))
            first = remote.step

        def record(row: dict[str, float]) -> None:
            values = "  ".join(f"{key} {row[key]:.4g}" for key in ("loss", "fvu", "l0", "dead_fraction", "seconds"))
            log.info("step %.0f  %s", row["step"], values)
            if writer:
                for key, value in row.items():
                    writer.add_scalar(key, value, int(row["step"]))
            if remote and row["step"] >= first:
                remote.log(row, step=int(row["step"]))

        yield record


if __name__ == "__main__":
    cli(main)
