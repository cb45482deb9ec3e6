"""The command that trains one dictionary and leaves its files."""

import argparse
import hashlib
import json
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch

from sdlcore.data.anchors import load_anchors
from sdlcore.data.batches import Order, TrainingRows
from sdlcore.data.pairs import make_direction_pair, pair_sites
from sdlcore.data.reading import content_digest
from sdlcore.device import choose_device
from sdlcore.model.saving import load_model, save_model
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.processes import Processes
from sdlcore.random_streams import stream, torch_stream
from sdlcore.run import RunConfig
from sdlcore.storage.files import provenance, remove_leftovers, sha256_of, write_json
from sdlcore.training import normalisation
from sdlcore.training.arguments import run_parser
from sdlcore.training.distributed import divide, processes_of, unite
from sdlcore.training.history import Sink, csv_file, progress, tensorboard, weights_and_biases
from sdlcore.training.initialise import start_from_model
from sdlcore.training.loop import Checkpointing, train
from sdlcore.training.watch import recovery_watch

Opening = Callable[[str, str, int, Order, Path, torch.device], AbstractContextManager[TrainingRows]]
"""Opens activations by path, pair, batch size, order, folder of the training, and device."""


def main(script: str, open_activations: Opening, description: str | None, argv: list[str] | None = None) -> None:
    """Train by command line arguments.

    Parameters
    ----------
    script
        File of the script that this is called from; its code counts as the run's.
    open_activations
        Opens what ``--store`` names.
    description
        What the script is for.
    argv
        Arguments; None for the process's own.
    """
    parser = run_parser(description)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--split",
        choices=["samples", "latents"],
        default="samples",
        help="what processes that torchrun starts divide among them",
    )
    parser.add_argument("--anchors")
    parser.add_argument("--start", metavar="MODEL", help="a model whose latents the first latents start from")
    parser.add_argument("--tensorboard", metavar="FOLDER", help="also write the history as TensorBoard event files")
    parser.add_argument("--wandb", metavar="PROJECT", help="also send it to this project of Weights & Biases")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    config = RunConfig.from_dict(args.settings)
    with processes_of(args.split, config) as processes:
        _train(script, open_activations, args, config, processes)


def _train(
    script: str,
    open_activations: Opening,
    args: argparse.Namespace,
    config: RunConfig,
    processes: Processes,
) -> None:
    threads = max(1, args.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.set_num_threads(threads)
    leads = processes.all.rank == 0
    if not leads:
        logging.getLogger().setLevel(logging.WARNING)
    device = choose_device(args.device)
    inputs = {"store": content_digest(args.store), "anchors": sha256_of(args.anchors) if args.anchors else None}
    for name in ("start", "watch"):
        if getattr(args, name):
            inputs[name] = sha256_of(getattr(args, name))
    facts = provenance(script, settings=config.to_dict(), seed=args.seed, inputs=inputs, device=device.type)
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    folder = Path(args.model).parent
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.safetensors"

    sinks: list[Sink] = [partial(progress, config.training.steps)]
    if args.tensorboard:
        sinks.append(partial(tensorboard, args.tensorboard))
    if args.wandb:
        # the identity as the run's id: a training that goes on, goes on in the same run
        run = {"project": args.wandb, "id": identity[:32], "dir": str(folder)}
        sinks.append(partial(weights_and_biases, run | {"config": config.to_dict() | {"seed": args.seed}}))
    # closed first: what goes wrong with another cannot keep it from appearing
    sinks.append(partial(csv_file, args.history))
    if not leads:
        sinks = []

    pair = config.model.pair
    order = partial(stream, args.seed, "order")
    with open_activations(args.store, pair, config.training.batch_size, order, folder, device) as rows:
        sites = pair_sites(pair, rows.n_p, rows.n_r)
        model = SparseCoder(config.model, *sites, torch_stream(args.seed, "initialisation"))
        scaling: normalisation.Scaling
        if config.training.whiten:
            scaling = normalisation.fit_whitening(rows.sample(), pair)
        elif config.training.normalise:
            scaling = normalisation.fit(rows.sample(), pair)
        else:
            scaling = normalisation.identity(*(sum(widths) for widths in sites))
        if args.start:
            start_from_model(model, load_model(args.start), scaling)
        if processes.all.size > 1:
            divide(model, processes)
        model.to(device)
        directions = None
        if args.anchors:
            anchors = load_anchors(args.anchors)
            w_p, w_r = make_direction_pair(pair, anchors.w_p, anchors.w_r)
            directions = (torch.from_numpy(w_p), torch.from_numpy(w_r))
        train(
            model,
            rows.batches,
            config,
            torch_stream(args.seed, "resampling"),
            scaling,
            directions,
            Checkpointing(checkpoint, identity),
            sinks,
            recovery_watch(args.watch, pair) if args.watch else None,
        )
    unite(model)
    if not leads:
        return
    scaling.to(model.W_enc.device).fold(model)
    facts["threads"] = threads
    if processes.all.size > 1:
        facts |= {"processes": processes.all.size, "split": args.split}
    write_json(args.config, facts)
    save_model(args.model, model, facts)
    checkpoint.unlink(missing_ok=True)
    remove_leftovers(checkpoint)  # which may not be written again after a kill
