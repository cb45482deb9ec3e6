"""Train one dictionary by gradient descent, in one process or several, and write the files of a run."""

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

Opening = Callable[[Path, str, int, Order, Path, torch.device, bool], AbstractContextManager[TrainingRows]]
"""Opens activations, given path, pair, batch size, order, the training's folder, device, and whether batches consist of
pairs of neighbouring tokens."""


@dataclass(frozen=True)
class Options:
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


def run_training(run: Run, config: RunConfig, options: Options, script: str, open_activations: Opening) -> None:
    """Train one dictionary and write its files.

    Parameters
    ----------
    run, config, options
        Store, settings, and options of the training.
    script
        File of the calling script; its code counts as part of the run.
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
        if copied is not None:  # TensorBoard and Weights & Biases get the copied history
            with History(read_history(run.history), _others(run, config, options, copied)):
                pass
    if leads:
        checkpoint.unlink(missing_ok=True)
        remove_leftovers(checkpoint)  # left by a kill, and perhaps never written again


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
    neighbours = bool(config.loss.contrast)
    with open_activations(run.store, pair, config.training.batch_size, order, folder, device, neighbours) as rows:
        sinks = _sinks(run, config, options, checkpoints.identity) if leads else []
        model, history = train_dictionary(
            rows,
            config,
            run.seed,
            device,
            anchors=load_anchors(options.anchors) if options.anchors else None,
            start=load_model(options.start) if options.start else None,
            sinks=sinks,
            watch=run.watching(pair),
            checkpoints=checkpoints,
            processes=processes,
        )
    if config.training.posterior_samples and leads:  # the last row has the values of the trained encoder so far
        with History(history[:-1], sinks) as recorded:
            recorded.add(history[-1])
    return model if leads else None


def _sinks(run: Run, config: RunConfig, options: Options, identity: str) -> list[Sink]:
    # the CSV file is closed first, so that a failing sink cannot keep it from appearing
    return [
        partial(progress, config.training.steps),
        *_others(run, config, options, identity),
        partial(csv_file, run.history),
    ]


def _others(run: Run, config: RunConfig, options: Options, identity: str) -> list[Sink]:
    """Return the sinks for TensorBoard and Weights & Biases, if they are configured."""
    sinks: list[Sink] = []
    if options.tensorboard:
        sinks.append(partial(tensorboard, options.tensorboard))
    if options.wandb:
        # the identity is the run's id, so that a resumed training continues the same run
        sinks.append(partial(weights_and_biases, options.wandb, identity[:32], run.model.parent, config, run.seed))
    return sinks
