"""Find the dictionary of a run by `sdlcore.fit`."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.folder import Run, copy_finished
from runs.recording import Callback, Row, progress, tensorboard, weights_and_biases
from sdlcore import fit, load
from sdlcore.api.fitting import identity_of_fit
from sdlcore.api.run_folder import CHECKPOINT
from sdlcore.config import Config
from sdlcore.data.anchors import load_anchors
from sdlcore.device import Device
from sdlcore.identity import ENTRY
from sdlcore.settings import Split
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.checkpoint import describe_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Options of a training run, beyond the common ones of `Run`."""

    anchors: Path | None = None
    """directions that latents are anchored to"""
    start: Path | None = None
    """a model whose latents initialise the first latents"""
    device: Device = "auto"
    split: Split = "samples"
    """whether processes started by torchrun divide samples or latents"""
    tensorboard: Path | None = None
    """folder for TensorBoard event files of the history"""
    wandb: str | None = None
    """Weights & Biases project that receives the history"""


def train(x: Any, run: Run, training: Training, settings: Config | SolverConfig, leads: bool = True) -> None:
    """Train one dictionary, or find it with a solver, and write its folder.

    Parameters
    ----------
    x
        Activations, as `sdlcore.fit` takes them.
    run, training, settings
        Folder, options and settings of the run.
    leads
        Whether this process is the first of several that train together. Only the first one writes.
    """
    run.limit_threads()
    arguments: dict[str, Any] = {
        **settings.to_dict(),
        "seed": run.seed,
        "anchors": load_anchors(training.anchors) if training.anchors else None,
        "start": load(training.start) if training.start else None,
        "watch": run.references(),
        "device": training.device,
    }
    if not leads:
        logging.getLogger().setLevel(logging.WARNING)
        fit(x, out=run.out, progress=False, **arguments)
        return
    made = identity_of_fit(x, **arguments)
    if not copy_finished(run, made):
        _remove_other_checkpoint(run.out / CHECKPOINT, made)
    if isinstance(settings, SolverConfig):
        fit(x, out=run.out, progress=False, **arguments)
        return
    logged_rows: list[Row] = []
    with _recording(run, training, settings, made) as callbacks:
        dictionary = fit(x, out=run.out, progress=False, callbacks=[*callbacks, logged_rows.append], **arguments)
    if logged_rows != dictionary.history:  # the run was finished, or posterior codes replaced the trained encoder
        with _others(run, training, settings, made) as callbacks:
            for row in dictionary.history:
                for callback in callbacks:
                    callback(row)


def _remove_other_checkpoint(path: Path, made: Mapping[str, Any]) -> None:
    """Remove the checkpoint of another run: a folder of the workflow belongs to the run that its name says."""
    described = describe_checkpoint(path)
    if described is not None and described.facts.get(ENTRY) != made:
        log.warning("%s belongs to a run with other settings or data; starting afresh", path)
        path.unlink()


@contextmanager
def _recording(run: Run, training: Training, settings: Config, made: Mapping[str, Any]) -> Iterator[list[Callback]]:
    described = describe_checkpoint(run.out / CHECKPOINT)
    step, seconds = (described.step, described.seconds) if described else (0, 0.0)
    with progress(settings.steps, step) as log_row, _others(run, training, settings, made, seconds) as others:
        yield [log_row, *others]


@contextmanager
def _others(
    run: Run, training: Training, settings: Config, made: Mapping[str, Any], seconds: float = 0.0
) -> Iterator[list[Callback]]:
    """Yield the callbacks of TensorBoard and Weights & Biases, if they are configured."""
    with ExitStack() as opened:
        callbacks = []
        if training.tensorboard:
            callbacks.append(opened.enter_context(tensorboard(training.tensorboard, seconds)))
        if training.wandb:
            # the run's identity, so that a resumed training continues the same run
            name = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]
            run_config = {**settings.to_dict(), "seed": run.seed}
            callbacks.append(opened.enter_context(weights_and_biases(training.wandb, name, run.out, run_config)))
        yield callbacks
