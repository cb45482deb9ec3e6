"""The training loop."""

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.model import SparseCoder
from sdlcore.run import RunConfig
from sdlcore.training.checkpoint import load_checkpoint, save_checkpoint
from sdlcore.training.initialise import start_from_data
from sdlcore.training.normalisation import Normalisation
from sdlcore.training.resampling import resample
from sdlcore.training.schedules import learning_rate, penalty_share
from sdlcore.training.step import TrainingStep

log = logging.getLogger(__name__)

Batches = Callable[[int], tuple[np.ndarray, np.ndarray]]


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


class Checkpointing(NamedTuple):
    """Where a training keeps its checkpoint, and what training it is."""

    path: Path
    identity: str


def choose_device(name: str) -> torch.device:
    """Return the device called cpu, cuda or auto (cuda where torch sees one)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda was asked for, but torch sees no GPU; set device to cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def train(
    model: SparseCoder,
    batches: Batches,
    config: RunConfig,
    generator: torch.Generator,
    normalisation: Normalisation,
    anchors: tuple[Tensor, Tensor] | None = None,
    checkpointing: Checkpointing | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place on the device that it is on and return its history.

    Parameters
    ----------
    model
        Freshly initialised. It is left trained on normalised activations; `normalisation.fold` undoes that.
    batches
        Gives x_p (B x n_p) and x_r (B x n_r) of a step, counted from 0, float32.
    config
        Settings; the model's own are not read.
    generator
        CPU stream for resampling.
    normalisation
        Applied to every batch.
    anchors
        k x n_p and k x n_r directions of raw activations for the first k latents.
    checkpointing
        Go on from the checkpoint there, if it is this training's, and keep it up to date; None for no checkpoints.

    Returns
    -------
    One row every ``log_every`` steps: ``step`` and ``samples`` seen; ``loss``, its terms, ``l0`` and ``fvu`` as means
    over the row's steps; ``dead_fraction`` and ``lr`` at its end; ``resampled`` latents since the row before;
    ``seconds`` of training, earlier sessions included.

    Raises
    ------
    DivergedError
        At the first row whose loss is not finite.
    ValueError
        If only one of ``anchors`` and ``lambda_anchor`` is given.
    """
    settings = config.training
    if (anchors is None) != (config.loss.lambda_anchor == 0):
        given = "none are" if anchors is None else "anchors are"
        raise ValueError(f"lambda_anchor is {config.loss.lambda_anchor}, but {given} given; set both or neither")
    device = model.W_enc.device
    model.train()
    normalisation = normalisation.to(device)
    if anchors is not None:
        anchors = normalisation.directions(anchors[0].to(device), anchors[1].to(device))
    n_anchors = 0 if anchors is None else len(anchors[0])
    take_step = TrainingStep(model, config, anchors)
    window = _Window()
    history: list[dict[str, float]] = []
    first_step, earlier_seconds = 0, 0.0

    if checkpointing and (found := load_checkpoint(checkpointing.path, checkpointing.identity)):
        tensors, state = found
        take_step.restore(tensors)
        generator.set_state(tensors["generator"])
        first_step, earlier_seconds, history = state["step"], state["seconds"], state["history"]
        log.info("going on from step %d of %d", first_step, settings.steps)

    else:
        start_from_data(model, *normalisation(*_to_device(*batches(0), device)))

    started, saved_step = time.perf_counter(), first_step
    for step in range(first_step, settings.steps):
        x_BP, x_BR = normalisation(*_to_device(*batches(step), device))
        lr = learning_rate(step, settings.steps, settings.lr, settings.lr_warmup, settings.lr_decay)
        share = penalty_share(step, settings.steps, config.loss.penalty_warmup)
        terms = take_step(x_BP, x_BR, lr, share, step)
        window.add(terms, x_BR)
        done = step + 1
        every = settings.resample_every
        if every and done % every == 0 and done <= settings.resample_until * settings.steps:
            try:
                window.resampled += resample(
                    model, take_step.optimizer, take_step.dead, x_BP, x_BR, generator, n_anchors
                )
            except FloatingPointError as error:
                raise DivergedError(f"{error} in the steps up to {done}; lower lr from {settings.lr}") from error
        if done % settings.log_every == 0 or done == settings.steps:
            seconds = earlier_seconds + time.perf_counter() - started
            row = {"step": done, "samples": done * settings.batch_size, **window.means()}
            row |= {"dead_fraction": float(take_step.dead.mask().float().mean()), "lr": lr}
            row |= {"resampled": window.resampled, "seconds": round(seconds, 3)}
            if not math.isfinite(row["loss"]):
                raise DivergedError(f"loss is {row['loss']} in the steps up to {done}; lower lr from {settings.lr}")
            history.append(row)
            window = _Window()
            _report(row, settings.steps, first_step, time.perf_counter() - started)
            # only here, where a window ends and its loss was finite: a checkpoint holds no open window
            if checkpointing and saved_step + settings.checkpoint_every <= done < settings.steps:
                tensors = take_step.state() | {"generator": generator.get_state()}
                state = {"step": done, "seconds": seconds, "history": history}
                save_checkpoint(checkpointing.path, checkpointing.identity, tensors, state)
                saved_step = done
    return history


def write_history(path: str | Path, history: list[dict[str, Any]]) -> None:
    """Write the history as CSV."""
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def _to_device(x_p: np.ndarray, x_r: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Copy a batch to the device, once where input and target are the same array."""

    def copy(x: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(x)
        # only from pinned memory does a copy to a GPU go on beside its work
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    first = copy(x_p)
    return first, first if x_r is x_p else copy(x_r)


class _Window:
    """Running sums over the steps since the last row of the history, kept on the device."""

    def __init__(self) -> None:
        self.steps = 0
        self.resampled = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, terms: dict[str, Tensor], x_BR: Tensor) -> None:
        variance = x_BR.var(dim=0, correction=0).sum()
        for name, value in {**terms, "_error": terms["reconstruction"], "_variance": variance}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self.steps += 1

    def means(self) -> dict[str, float]:
        values = {name: float(value) / self.steps for name, value in self._sums.items()}
        error, variance = values.pop("_error"), values.pop("_variance")
        return {**values, "fvu": error / variance if variance else math.nan}


def _report(row: dict[str, float], steps: int, first_step: int, seconds: float) -> None:
    done = row["step"] - first_step
    left = seconds / done * (steps - row["step"])
    log.info(
        "step %d/%d  loss %.4f  fvu %.4f  l0 %.1f  dead %.3f  %.0f samples/s  %.0f s left",
        *(row["step"], steps, row["loss"], row["fvu"], row["l0"], row["dead_fraction"]),
        *(row["samples"] / row["step"] * done / seconds, left),
    )
