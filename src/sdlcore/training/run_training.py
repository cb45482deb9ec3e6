"""Train one dictionary by gradient descent, alone or with other processes, and leave the files of a run."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from sdlcore.data.anchors import load_anchors
from sdlcore.data.batches import Order, TrainingRows
from sdlcore.data.pairs import make_direction_pair, pair_sites
from sdlcore.device import Device, choose_device
from sdlcore.model.saving import load_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.processes import Processes
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import RunConfig
from sdlcore.storage.files import remove_leftovers
from sdlcore.training import normalisation
from sdlcore.training.anchor_weight import choose_weight, held, with_weight
from sdlcore.training.distributed import divide, processes_of, unite
from sdlcore.training.history import (
    History,
    Sink,
    Watch,
    csv_file,
    progress,
    read_history,
    tensorboard,
    weights_and_biases,
)
from sdlcore.training.initialise import start_from_model
from sdlcore.training.loop import Checkpointing, train
from sdlcore.training.runner import Run, leave_run

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
    split: Literal["samples", "latents"] = "samples"
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
        sites = pair_sites(pair, rows.n_p, rows.n_r)
        scaling: normalisation.Scaling
        if config.training.whiten:
            scaling = normalisation.fit_whitening(rows.sample(), pair)
        elif config.training.normalise:
            scaling = normalisation.fit(rows.sample(), pair)
        else:
            scaling = normalisation.identity(*(sum(widths) for widths in sites))

        def start() -> SparseCoder:
            model = SparseCoder(config.model, *sites, torch_stream(run.seed, "initialisation"))
            if options.start:
                start_from_model(model, load_model(options.start), scaling)
            if processes.all.size > 1:
                divide(model, processes)
            return model.to(device)

        directions = None
        if options.anchors:
            anchors = load_anchors(options.anchors)
            w_p, w_r = make_direction_pair(pair, anchors.w_p, anchors.w_r)
            directions = (torch.from_numpy(w_p), torch.from_numpy(w_r))
        watch, near = run.watching(pair), config.loss.anchor_cosine
        if near is not None:
            if directions is None:
                raise ValueError(f"anchor_cosine is {near}, but no anchors are given; set both or neither")
            _, w_r_KR = normalisation.directions(scaling, *directions)

            def share_held(trial: RunConfig) -> float:
                model = start()
                train(model, rows.batches, trial, torch_stream(run.seed, "resampling"), scaling, directions)
                return held(model, w_r_KR, near)

            weight = choose_weight(config, share_held)
            config, watch = with_weight(config, weight), _telling(watch, weight)
        model = start()
        train(
            model,
            rows.batches,
            config,
            torch_stream(run.seed, "resampling"),
            scaling,
            directions,
            checkpoints,
            _sinks(run, config, options, checkpoints.identity) if leads else [],
            watch,
        )
    unite(model)
    if not leads:
        return None
    scaling.to(model.W_enc.device).fold(model)
    return model


def _telling(watch: Watch | None, weight: float) -> Watch:
    """Return a watch that tells the weight of the anchors, too."""
    return lambda rows: {**(watch(rows) if watch else {}), "lambda_anchor": weight}


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
