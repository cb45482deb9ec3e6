"""Train a dictionary: read batches, take steps, record the history, write checkpoints, and resume from them."""

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

from sdlcore.errors import DivergedError, SourceError, printable_cause
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.run import RunConfig
from sdlcore.training.behaviour import Behaviour
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sdlcore.training.history import History, Sink, Watch
from sdlcore.training.initialise import start_from_data
from sdlcore.training.interruption import interruptible
from sdlcore.training.normalisation import Scaling, directions, state_of
from sdlcore.training.own_parts import OwnParts, stops
from sdlcore.training.read_ahead import Batches, ReadAhead, in_turn
from sdlcore.training.resampling import resample
from sdlcore.training.step import TrainingStep
from sdlcore.training.variance import total_variance

log = logging.getLogger(__name__)


AHEAD = 32
"""Number of batches read ahead, so that training does not wait while rows for one batch are read and shuffled."""


_NONE = "none yet"
_KEPT = "window/"
"""Prefix of a checkpoint's tensors that belong to the sums since the last history row."""


class Checkpointing(NamedTuple):
    """Path of a training's checkpoint, and the identity of the training."""

    path: Path
    identity: str
    facts: Mapping[str, Any] = MappingProxyType({})
    """Facts about the training, stored in the checkpoint."""
    final: Path | None = None
    """Path for the state after the last step, which `sdlcore.finetune` can continue; None to keep none."""


class Earlier(NamedTuple):
    """A training that another one continues, with the same model."""

    steps: int
    """Number of completed steps; the schedule goes on from there."""
    samples: int = 0
    tensors: Mapping[str, Tensor] | None = None
    """The state in its checkpoint; None to begin with fresh moments of the optimiser and counts of dead latents."""


def train(
    model: SparseCoder,
    batches: Batches | Behaviour,
    config: RunConfig,
    generator: torch.Generator,
    normalisation: Scaling,
    anchors: tuple[Tensor, Tensor] | None = None,
    checkpointing: Checkpointing | None = None,
    sinks: Sequence[Sink] = (),
    watch: Watch | None = None,
    stop: Event | None = None,
    own: OwnParts = OwnParts(),  # noqa: B008, a tuple
    earlier: Earlier | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place, on its device, and return its history.

    Parameters
    ----------
    model
        A freshly initialised model. It ends up trained on normalised activations; `normalisation.fold` undoes that.
        If several processes train it, each calls this function with its part (`sdlcore.training.distributed.divide`).
    batches
        Returns x_p (B x n_p) and x_r (B x n_r), float32, of a step, counted from 0. It is called in a background
        thread. If it raises `NoMoreBatchesError`, training ends early, without an error. A `Behaviour` is called in
        this thread, and also judges reconstructions.
    config
        Settings of the run; the model's own settings (`config.model`) are not used.
    generator
        CPU random generator for resampling.
    normalisation
        Applied to every batch.
    anchors
        k x n_p and k x n_r directions in raw activations for the first k latents.
    checkpointing
        Resume from the checkpoint there if it belongs to this training, and update it; None for no checkpoints. All
        processes read it, the first one writes it.
    sinks
        Receivers of history rows during the training (`sdlcore.training.history`).
    watch
        Called with the weights; returns further entries for each history row. Its time does not count.
    stop
        An event that interrupts the training from another thread.
    own
        The user's optimiser, schedule and callbacks. Callbacks first receive the rows of the checkpoint.
    earlier
        The training that this one continues: ``model`` is its result in normalised units, and ``steps`` of ``config``
        counts its steps, too. The history contains only new rows.

    Returns
    -------
    One row every ``log_every`` steps: ``step`` and ``samples`` seen; means over the row's steps of ``loss``, its terms,
    ``l0``, ``gradient_norm`` and ``fvu``; ``dead_fraction`` after the last step; ``lr`` and, if they change, ``k``,
    ``l1_exponent`` and ``penalty_factor`` (of the weights of penalties) in the last step; number of latents
    ``resampled`` since the previous row; ``seconds`` of training, with earlier sessions; entries from ``watch``. The
    last row's step is below ``steps`` if a callback stopped the training or the batches ended.

    Raises
    ------
    DivergedError
        At the first row with a loss or a weight that is not finite, or at a learning rate that is not. The last
        checkpoint stays.
    KeyboardInterrupt, SystemExit
        At the end of the step that Ctrl-C, SIGTERM or ``stop`` interrupted, once its checkpoint is written. Without
        checkpoints, or with several processes, signals are not handled.
    ValueError
        If only one of ``anchors`` and ``lambda_anchor`` is given, if processes read different checkpoints, or if a
        schedule of the user gives other learning rates than the one that the checkpoint was trained with.
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
    if earlier is not None:
        first_step, samples = earlier.steps, earlier.samples
        if earlier.tensors is not None:
            take_step.restore(dict(earlier.tensors))
            generator.set_state(earlier.tensors["generator"])
    resumed = False
    if checkpointing and (found := load_checkpoint(checkpointing.path, checkpointing.identity)):
        try:
            take_step.restore(found.tensors)
        except LookupError as error:  # `fit` resumes checkpoints of other versions, which may hold other tensors
            raise ValueError(
                f"{checkpointing.path}: this version of sdlcore cannot resume the checkpoint, which lacks {error}. "
                "Resume with the version that wrote it, or choose another folder."
            ) from error
        except (ValueError, RuntimeError) as error:  # of the user's schedule; of tensors that do not fit the model
            said = " ".join(str(error).split())
            raise SourceError(f"{checkpointing.path}: {said}") from printable_cause(error)
        generator.set_state(found.tensors["generator"])
        first_step, earlier_seconds, rows, resumed = found.step, found.seconds, found.history, True
        samples = int(found.tensors["samples"])
        window = _Window(found.tensors, device)
        log.info("resuming from step %d of %d", first_step, settings.steps)
    if len(steps := set(processes.all.counts(first_step))) > 1:
        raise ValueError(
            f"processes found checkpoints of different steps, {sorted(steps)}; give all processes the same run folder"
        )
    judge = batches.judge if isinstance(batches, Behaviour) else None
    if not isinstance(batches, Behaviour) and earlier is None and not first_step:
        with ReadAhead(batches, 0, 1, device) as first:
            _, x_p, x_r = next(first)
        start_from_data(model, *normalisation(x_p, x_r))

    saved_step = first_step
    saved = f"of step {first_step} in {checkpointing.path}" if checkpointing and resumed else _NONE
    last_row = first_step - window.steps
    started = time.perf_counter()

    def seconds() -> float:
        return earlier_seconds + time.perf_counter() - started

    def keep(done: int, path: Path) -> str:
        assert checkpointing is not None
        counted = {"generator": generator.get_state(), "samples": torch.tensor(samples)}
        tensors = take_step.state() | counted | window.state() | state_of(normalisation)
        if processes.all.rank == 0:
            checkpoint = Checkpoint(done, seconds(), history.rows, tensors)
            save_checkpoint(path, checkpointing.identity, checkpoint, checkpointing.facts)
        return f"of step {done} in {path}"

    def diverged(what: str, done: int) -> DivergedError:
        return DivergedError(_diverged(what, last_row, done, take_step.peak, saved, own))

    def broken_weight() -> str | None:
        """Describe a weight that is not finite; the losses do not show it, since NaN activates no latent."""
        broken = not_finite(model.state_dict())
        elsewhere = any(processes.all.counts(int(broken is not None)))
        return broken or ("a weight of another process is not finite" if elsewhere else None)

    def add_row(done: int) -> bool:
        """Add a row for the steps since the last one; return whether the training must stop."""
        nonlocal window, last_row, saved, saved_step, started
        means = window.means()
        # non-finite inputs activate no latent, so the loss stays finite and hides them; `input_norm` shows them
        if not all(math.isfinite(value) for name, value in means.items() if name != "fvu"):
            broken = ", ".join(f"{name} is {value}" for name, value in means.items() if not math.isfinite(value))
            raise diverged(broken, done)
        if (weight := broken_weight()) is not None:
            raise diverged(weight, done)
        del means["input_norm"]
        row = {"step": done, "samples": samples, **means}
        dead = processes.latents.mean(take_step.dead.mask().float().mean())
        row |= {"dead_fraction": float(dead), **take_step.scheduled(now)}
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
            saved, saved_step = keep(done, checkpointing.path), done
        if interrupted:
            raise interrupted.error(_interrupted(done, settings.steps, saved))
        answers = [callback(dict(row)) for callback in own.callbacks]
        return any(map(stops, answers))

    with (
        History(rows, sinks) as history,
        (
            in_turn(batches.batch, first_step, settings.steps)
            if isinstance(batches, Behaviour)
            else ReadAhead(batches, first_step, settings.steps, device, AHEAD)
        ) as ahead,
        interruptible(checkpointing is not None and processes.all.size == 1, stop) as interrupted,
    ):
        for row in rows:
            for callback in own.callbacks:
                callback(dict(row))
        for step, x_p, x_r in ahead:
            x_BP, x_BR = normalisation(x_p, x_r)
            now = take_step.in_force(step)
            if not math.isfinite(now.lr):
                raise diverged(f"the learning rate of step {step + 1} is {now.lr}", step + 1)
            window.add(take_step(x_BP, x_BR, now.lr, step, judge), x_BP, x_BR)
            done, samples = step + 1, samples + len(x_BP)
            every = settings.resample_every
            if every and done % every == 0 and done <= settings.resample_until * settings.steps:
                try:
                    window.resampled += resample(
                        model, take_step.optimizer, take_step.dead, x_BP, x_BR, generator, n_anchors
                    )
                except FloatingPointError as error:
                    raise diverged(str(error), done) from error
            if settings.reorder_every and done % settings.reorder_every == 0:
                take_step.reorder()
            if done % settings.log_every == 0 or done == settings.steps:
                if add_row(done):
                    break
            elif interrupted:
                # keep the previous checkpoint if weights are no longer finite
                if checkpointing and window.is_finite() and broken_weight() is None:
                    saved = keep(done, checkpointing.path)
                raise interrupted.error(_interrupted(done, settings.steps, saved))
        if window.steps:  # the batches ended between two rows
            add_row(done)
        if checkpointing and checkpointing.final:
            keep(int(history.rows[-1]["step"]), checkpointing.final)
    return history.rows


def _interrupted(done: int, steps: int, saved: str) -> str:
    kept = "there is no checkpoint" if saved == _NONE else f"the same call resumes from the checkpoint {saved}"
    return f"interrupted after step {done} of {steps}; {kept}"


def _diverged(what: str, last_row: int, done: int, lr: float, saved: str, own: OwnParts) -> str:
    parts = " and ".join(name for name in ("optimizer", "schedule") if getattr(own, name))
    check = f"Check your {parts}, lower" if parts else "Lower"
    return (
        f"training diverged in steps {last_row + 1} to {done}: {what}. {check} lr from {lr}, set normalise if "
        f"activations are huge, or look for activations that are not finite. Last good checkpoint: {saved}"
    )


class _Window:
    """Sums over the steps since the last history row, kept on the device.

    Parameters
    ----------
    tensors
        Tensors of a checkpoint, which may have been written between two rows (`state`).
    device
        Device for the sums.
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
        """Return the tensors for a checkpoint; none if no step was taken since the last row."""
        if not self.steps:
            return {}
        counts = {"#steps": torch.tensor(self.steps), "#resampled": torch.tensor(self.resampled)}
        return {f"{_KEPT}{name}": value for name, value in (counts | self._sums).items()}
