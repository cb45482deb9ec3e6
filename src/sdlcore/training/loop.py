"""Train a dictionary: read batches, take steps, keep the history, checkpoint, and go on where a training ended."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdlcore.errors import DivergedError
from sdlcore.model.coder import SparseCoder
from sdlcore.run import RunConfig
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sdlcore.training.history import History, Sink, Watch
from sdlcore.training.initialise import start_from_data
from sdlcore.training.interruption import interruptible
from sdlcore.training.normalisation import Scaling, directions
from sdlcore.training.own_parts import OwnParts, stops
from sdlcore.training.read_ahead import Batches, ReadAhead
from sdlcore.training.resampling import resample
from sdlcore.training.schedules import penalty_share
from sdlcore.training.step import TrainingStep
from sdlcore.training.variance import total_variance

log = logging.getLogger(__name__)


AHEAD = 32
"""Batches read ahead. Now and then one has to wait for many rows to be read and shuffled; the others make up for it."""


_NONE = "none yet"
_KEPT = "window/"
"""Begins the names of a checkpoint's tensors that belong to an open window."""


class Checkpointing(NamedTuple):
    """Where a training keeps its checkpoint, and what training it is."""

    path: Path
    identity: str
    facts: Mapping[str, Any] = MappingProxyType({})
    """Facts about the training, kept in the checkpoint."""


def train(
    model: SparseCoder,
    batches: Batches,
    config: RunConfig,
    generator: torch.Generator,
    normalisation: Scaling,
    anchors: tuple[Tensor, Tensor] | None = None,
    checkpointing: Checkpointing | None = None,
    sinks: Sequence[Sink] = (),
    watch: Watch | None = None,
    stop: Event | None = None,
    own: OwnParts = OwnParts(),  # noqa: B008, a tuple
) -> list[dict[str, float]]:
    """Train ``model`` in place on the device that it is on and return its history.

    Parameters
    ----------
    model
        Freshly initialised. It is left trained on normalised activations; `normalisation.fold` undoes that. Where
        several processes train it, all call this, each with its part (`sdlcore.training.distributed.divide`).
    batches
        Gives x_p (B x n_p) and x_r (B x n_r) of a step, counted from 0, float32. It is called in a thread of its own.
        Training ends early, and well, where it raises `NoMoreBatchesError`.
    config
        Settings; the model's own are not read.
    generator
        CPU stream for resampling.
    normalisation
        Applied to every batch.
    anchors
        k x n_p and k x n_r directions of raw activations for the first k latents.
    checkpointing
        Go on from the checkpoint there, if it is this training's, and keep it up to date; None for no checkpoints. The
        first process writes it, all read it.
    sinks
        Where the history's rows go while training goes on (`sdlcore.training.history`).
    watch
        Tells more of the weights for each row; its time is not counted.
    stop
        Interrupts the training from another thread.
    own
        The user's optimiser, schedule and callbacks. Callbacks first receive the rows of the checkpoint.

    Returns
    -------
    One row every ``log_every`` steps: ``step`` and ``samples`` seen; ``loss``, its terms, ``l0``, ``gradient_norm`` and
    ``fvu`` as means over the row's steps; ``dead_fraction`` and ``lr`` at its end; ``resampled`` latents since the row
    before; ``seconds`` of training, earlier sessions included; what ``watch`` tells. The last row's step is below
    ``steps`` if a callback stopped the training or the batches ended.

    Raises
    ------
    DivergedError
        At the first row whose loss is not finite.
    KeyboardInterrupt, SystemExit
        After the step in which Ctrl-C, SIGTERM or ``stop`` came, when a checkpoint of it is written. Without
        checkpoints, or with several processes, signals are left alone.
    ValueError
        If only one of ``anchors`` and ``lambda_anchor`` is given, or if processes find different checkpoints.
    """
    settings = config.training
    if (anchors is None) != (config.loss.lambda_anchor == 0):
        given = "none are" if anchors is None else "anchors are"
        raise ValueError(f"lambda_anchor is {config.loss.lambda_anchor}, but {given} given; set both or neither")
    device, processes = model.W_enc.device, model.processes
    model.train()
    normalisation = normalisation.to(device)
    if anchors is not None:
        anchors = directions(normalisation, anchors[0].to(device), anchors[1].to(device))
    n_anchors = 0 if anchors is None else len(anchors[0])
    take_step = TrainingStep(model, config, anchors, own)
    first_step, samples, earlier_seconds, rows = 0, 0, 0.0, []
    window = _Window()
    if checkpointing and (found := load_checkpoint(checkpointing.path, checkpointing.identity)):
        try:
            take_step.restore(found.tensors)
        except LookupError as error:  # `fit` resumes checkpoints of other versions, whose code may keep other tensors
            raise ValueError(
                f"{checkpointing.path}: this version of sdlcore cannot resume the checkpoint, which lacks {error}. "
                "Resume with the version that wrote it, or choose another folder."
            ) from error
        generator.set_state(found.tensors["generator"])
        first_step, earlier_seconds, rows = found.step, found.seconds, found.history
        # before batches could differ in size, checkpoints had no number of samples
        samples = int(found.tensors.get("samples", first_step * settings.batch_size))
        window = _Window(found.tensors, device)
        log.info("going on from step %d of %d", first_step, settings.steps)
    if len(steps := set(processes.all.counts(first_step))) > 1:
        raise ValueError(f"processes found checkpoints of steps {sorted(steps)}; let them share the run's folder")
    if not first_step:
        with ReadAhead(batches, 0, 1, device) as first:
            _, x_p, x_r = next(first)
        start_from_data(model, *normalisation(x_p, x_r))

    saved_step = first_step
    saved = f"of step {first_step} in {checkpointing.path}" if checkpointing and first_step else _NONE
    last_row = first_step - window.steps
    started = time.perf_counter()

    def seconds() -> float:
        return earlier_seconds + time.perf_counter() - started

    def keep(done: int) -> str:
        assert checkpointing is not None
        counted = {"generator": generator.get_state(), "samples": torch.tensor(samples)}
        tensors = take_step.state() | counted | window.state()
        if processes.all.rank == 0:
            checkpoint = Checkpoint(done, seconds(), history.rows, tensors)
            save_checkpoint(checkpointing.path, checkpointing.identity, checkpoint, checkpointing.facts)
        return f"of step {done} in {checkpointing.path}"

    def add_row(done: int) -> bool:
        """Add a row of the steps since the last one, and tell whether the training is to stop."""
        nonlocal window, last_row, saved, saved_step, started
        means = window.means()
        # of inputs that are not finite no latent is active, which a loss does not show
        if not all(math.isfinite(value) for name, value in means.items() if name != "fvu"):
            broken = ", ".join(f"{name} is {value}" for name, value in means.items() if not math.isfinite(value))
            raise DivergedError(_diverged(broken, last_row, done, take_step.peak, saved))
        del means["input_norm"]
        row = {"step": done, "samples": samples, **means}
        dead = processes.latents.mean(take_step.dead.mask().float().mean())
        row |= {"dead_fraction": float(dead), "lr": lr}
        row |= {"resampled": window.resampled, "seconds": round(seconds(), 3)}
        if watch:
            began = time.perf_counter()
            rows_of = {side: processes.latents.whole(W) for side, W in normalisation.raw_rows(model).items()}
            row |= watch(rows_of) if processes.all.rank == 0 else {}
            started += time.perf_counter() - began
        history.add(row)
        window, last_row = _Window(), done
        due = saved_step + settings.checkpoint_every <= done < settings.steps
        if checkpointing and (due or interrupted):
            saved, saved_step = keep(done), done
        if interrupted:
            raise interrupted.error(_interrupted(done, settings.steps, saved))
        answers = [callback(dict(row)) for callback in own.callbacks]
        return any(map(stops, answers))

    with (
        History(rows, sinks) as history,
        ReadAhead(batches, first_step, settings.steps, device, AHEAD) as ahead,
        interruptible(checkpointing is not None and processes.all.size == 1, stop) as interrupted,
    ):
        for row in rows:
            for callback in own.callbacks:
                callback(dict(row))
        for step, x_p, x_r in ahead:
            x_BP, x_BR = normalisation(x_p, x_r)
            lr = take_step.lr(step)
            share = penalty_share(step, settings.steps, config.loss.penalty_warmup)
            window.add(take_step(x_BP, x_BR, lr, share, step), x_BP, x_BR)
            done, samples = step + 1, samples + len(x_BP)
            every = settings.resample_every
            if every and done % every == 0 and done <= settings.resample_until * settings.steps:
                try:
                    window.resampled += resample(
                        model, take_step.optimizer, take_step.dead, x_BP, x_BR, generator, n_anchors
                    )
                except FloatingPointError as error:
                    raise DivergedError(_diverged(str(error), last_row, done, take_step.peak, saved)) from error
            if done % settings.log_every == 0 or done == settings.steps:
                if add_row(done):
                    break
            elif interrupted:
                # the checkpoint before stays: weights that are no longer finite are useless
                if checkpointing and window.is_finite():
                    saved = keep(done)
                raise interrupted.error(_interrupted(done, settings.steps, saved))
        if window.steps:  # the batches ended between two rows
            add_row(done)
    return history.rows


def _interrupted(done: int, steps: int, saved: str) -> str:
    kept = "there is no checkpoint" if saved == _NONE else f"the same call goes on from the checkpoint {saved}"
    return f"interrupted after step {done} of {steps}; {kept}"


def _diverged(what: str, last_row: int, done: int, lr: float, saved: str) -> str:
    return (
        f"training diverged in steps {last_row + 1} to {done}: {what}. Lower lr from {lr}, set normalise if "
        f"activations are huge, or look for some that are not finite. Last good checkpoint: {saved}"
    )


class _Window:
    """Running sums over the steps since the last row of the history, kept on the device.

    Parameters
    ----------
    tensors
        Of a checkpoint, which may have been written between two rows (`state`).
    device
        Where they go.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, device: torch.device | None = None) -> None:
        kept = {name.removeprefix(_KEPT): value for name, value in (tensors or {}).items() if name.startswith(_KEPT)}
        self.steps = int(kept.pop("#steps", 0))
        self.resampled = int(kept.pop("#resampled", 0))
        self._sums = {name: value.to(device) for name, value in kept.items()}

    def add(self, terms: dict[str, Tensor], x_BP: Tensor, x_BR: Tensor) -> None:
        more = {"input_norm": x_BP.norm(), "_error": terms["reconstruction"], "_variance": total_variance(x_BR)}
        for name, value in {**terms, **more}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self.steps += 1

    def means(self) -> dict[str, float]:
        values = {name: float(value) / self.steps for name, value in self._sums.items()}
        error, variance = values.pop("_error"), values.pop("_variance")
        return {**values, "fvu": error / variance if variance else math.nan}

    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self._sums.values())

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds of an open window; of one without a step, nothing."""
        if not self.steps:
            return {}
        counts = {"#steps": torch.tensor(self.steps), "#resampled": torch.tensor(self.resampled)}
        return {f"{_KEPT}{name}": value for name, value in (counts | self._sums).items()}
