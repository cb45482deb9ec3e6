"""Train one dictionary by gradient descent, alone or with other processes, and leave the files of a run."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from sdlcore.data.anchors import load_anchors
from sdlcore.data.batches import Order, TrainingRows
from sdlcore.device import Device, choose_device
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_model
from sdlcore.parallel.groups import Processes
from sdlcore.random_streams import stream
from sdlcore.run import RunConfig
from sdlcore.settings import Split
from sdlcore.storage.private import remove_leftovers
from sdlcore.training.distributed import processes_of
from sdlcore.training.history import (
    History,
    Sink,
    csv_file,
    progress,
    read_history,
    tensorboard,
    weights_and_biases,
)
from sdlcore.training.loop import Checkpointing
from sdlcore.training.runner import Run, leave_run
from sdlcore.training.train_dictionary import train_dictionary

Opening = Callable[[Path, str, int, Order, Path, torch.device], AbstractContextManager[TrainingRows]]
"""Opens activations by path, pair, batch size, order, folder of the training, and device."""


@dataclass(frozen=True)
class Options:
    """What a training is given beside what every run is."""

    anchors: Path | None = None
    """directions that latents are anchored to"""
    start: Path | None = None
    """a model whose latents the first latents start from"""
    device: Device = "auto"
    split: Split = "samples"
    """what processes that torchrun starts divide among them"""
    tensorboard: Path | None = None
    """folder to write the history to as TensorBoard event files, too"""
    wandb: str | None = None
    """project of Weights & Biases to send the history to, too"""


def run_training(run: Run, config: RunConfig, options: Options, script: str, open_activations: Opening) -> None:
    """Train one dictionary and write its files.

    Parameters
    ----------
    run, config, options
        What is trained, on what, and how.
    script
        File of the script that this is called from; its code counts as the run's.
    open_activations
        Opens ``run.store``.
    """
    checkpoint = run.model.parent / "checkpoint.safetensors"
    with processes_of(options.split, config) as processes:
        leads, together = processes.all.rank == 0, processes.all.size > 1
        if not leads:
            logging.getLogger().setLevel(logging.WARNING)
        device = choose_device(options.device)
        copied = leave_run(
            run,
            config,
            lambda identity: _train(
                run, config, options, open_activations, processes, device, Checkpointing(checkpoint, identity)
            ),
            script,
            {"anchors": options.anchors, **({"start": options.start} if options.start else {})},
            device.type,
            noted={"processes": processes.all.size, "split": options.split} if together else {},
        )
        if copied is not None:  # whoever is told of histories hears this one
            with History(read_history(run.history), _others(run, config, options, copied)):
                pass
    if leads:
        checkpoint.unlink(missing_ok=True)
        remove_leftovers(checkpoint)  # which may not be written again after a kill


def _train(
    run: Run,
    config: RunConfig,
    options: Options,
    open_activations: Opening,
    processes: Processes,
    device: torch.device,
    checkpoints: Checkpointing,
) -> SparseCoder | None:
    leads = processes.all.rank == 0
    pair, folder = config.model.pair, run.model.parent
    order = partial(stream, run.seed, "order")
    with open_activations(run.store, pair, config.training.batch_size, order, folder, device) as rows:
        model, _ = train_dictionary(
            rows,
            config,
            run.seed,
            device,
            anchors=load_anchors(options.anchors) if options.anchors else None,
            start=load_model(options.start) if options.start else None,
            sinks=_sinks(run, config, options, checkpoints.identity) if leads else [],
            watch=run.watching(pair),
            checkpoints=checkpoints,
            processes=processes,
        )
    return model if leads else None


def _sinks(run: Run, config: RunConfig, options: Options, identity: str) -> list[Sink]:
    # the file is closed first: what goes wrong with another cannot keep it from appearing
    return [
        partial(progress, config.training.steps),
        *_others(run, config, options, identity),
        partial(csv_file, run.history),
    ]


def _others(run: Run, config: RunConfig, options: Options, identity: str) -> list[Sink]:
    """Return who else is told of the history."""
    sinks: list[Sink] = []
    if options.tensorboard:
        sinks.append(partial(tensorboard, options.tensorboard))
    if options.wandb:
        # the identity as the run's id: a training that goes on, goes on in the same run
        sinks.append(partial(weights_and_biases, options.wandb, identity[:32], run.model.parent, config, run.seed))
    return sinks
