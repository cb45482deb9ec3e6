"""Train a dictionary: read batches, take steps, record the history, write checkpoints, and resume from them."""

import logging
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdlcore.config import Config
from sdlcore.errors import DivergedError, SourceError
from sdlcore.model.coder import SparseCoder
from sdlcore.model.finite import not_finite
from sdlcore.model.scaling import Scaling, directions
from sdlcore.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sdlcore.training.history import History, Row, Sink, Watch
from sdlcore.training.initialise import start_from_data
from sdlcore.training.interruption import Interruption, interruptible
from sdlcore.training.read_ahead import ReadPairs, read_ahead
from sdlcore.training.resampling import resample
from sdlcore.training.step import TrainingStep
from sdlcore.training.variance import total_variance

log = logging.getLogger(__name__)

Callback = Callable[[Row], object]
"""A user's function, which receives each row of the history and may stop the training."""
AHEAD = 32
"""Number of batches read ahead, so that training does not wait while rows for one batch are read and shuffled."""
_PREFIX = "window/"
"""Prefix of a checkpoint's tensors that belong to the sums since the last history row."""


def stops(answer: object) -> bool:
    """Return whether a callback's answer stops the training. Only True does, not other objects such as the number that
    ``csv.writer(...).writerow`` returns."""
    is_bool = isinstance(answer, bool | np.bool_) or getattr(answer, "dtype", None) == torch.bool
    return is_bool and bool(answer)


class Checkpointing(NamedTuple):
    """Path of a training's checkpoint, and the provenance of the training."""

    path: Path
    facts: Mapping[str, Any] = MappingProxyType({})
    """Provenance, stored in the checkpoint."""


def train(
    model: SparseCoder,
    batches: ReadPairs,
    config: Config,
    generator: torch.Generator,
    normalisation: Scaling,
    anchors: tuple[Tensor, Tensor] | None = None,
    checkpointing: Checkpointing | None = None,
    sinks: Sequence[Sink] = (),
    watch: Watch | None = None,
    stop: Event | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[dict[str, float]]:
    """Train ``model`` in place, on its device, and return its history.

    Parameters
    ----------
    model
        A freshly initialised model. It is trained on normalised activations; `normalisation.fold` then adapts it to raw
        ones. If several processes train it, each calls this function (`sdlcore.training.distributed.share`).
    batches
        A function of the step, counted from 0, that returns x_p (B x n_p) and x_r (B x n_r) in float32. It is called in
        a background thread.
    config
        Settings of the run. Of `config.model` only ``k`` is used; ``model`` has all other settings of its own.
    generator
        CPU random generator for resampling.
    normalisation
        Applied to every batch.
    anchors
        A x n_p and A x n_r directions in raw activations for the first A latents.
    checkpointing
        Resume from this training's checkpoint there, and update it; None for no checkpoints. All processes read it, the
        first one writes it.
    sinks
        Receivers of history rows during the training (`sdlcore.training.history`).
    watch
        Called with the weights; returns further entries for each history row. Its time does not count.
    stop
        An event that interrupts the training from another thread.
    callbacks
        The user's functions, which receive each history row and may stop the training. They first receive the rows of
        the checkpoint. Of several processes, only the first calls them.

    Returns
    -------
    One row every ``log_every`` steps: ``step`` and ``samples`` seen; means over the row's steps of ``loss``, its terms,
    ``l0``, ``gradient_norm`` and ``fvu``; ``dead_fraction`` after the last step; ``lr`` and, if they change, ``k``,
    ``l1_exponent`` and ``penalty_factor`` (of the weights of penalties) in the last step; number of latents
    ``resampled`` since the previous row; ``seconds`` of training, with earlier sessions; entries from ``watch``. The
    last row's step is below ``steps`` if a callback stopped the training.

    Raises
    ------
    DivergedError
        At the first history row with a loss or a weight that is not finite. The last checkpoint stays.
    KeyboardInterrupt, SystemExit
        At the end of the step that Ctrl-C, SIGTERM or ``stop`` interrupted, once its checkpoint is written. Without
        checkpoints, signals are not handled. If several processes train, a signal to one of them interrupts all.
    ValueError
        If the checkpoint is damaged, or processes read different checkpoints or batches.
    """
    settings, device = config, model.W_enc.device
    model.train()
    normalisation = normalisation.to(device)
    if anchors is not None:
        anchors = directions(normalisation, anchors[0].to(device), anchors[1].to(device))
    n_anchors = 0 if anchors is None else len(anchors[0])
    take_step = TrainingStep(model, config, anchors)
    training = _Training(take_step, generator, normalisation, checkpointing, callbacks, watch, History(sinks=sinks))
    training.resume()
    if not training.done:
        ((_, x_p, x_r),) = read_ahead(batches, 0, 1, device)
        if len(set(model.processes.counts(zlib.crc32(x_p.cpu().numpy().tobytes())))) > 1:
            raise ValueError(
                "processes read different first batches; give all of them the same x, and a DataLoader that shuffles a "
                "generator with a seed"
            )
        start_from_data(model, normalisation(x_p, x_r)[0])
    training.started += time.perf_counter()
    training.history.show()
    with (
        closing(read_ahead(batches, training.done, settings.steps, device, AHEAD)) as ahead,
        interruptible(checkpointing is not None, stop, model.processes) as interruption,
    ):
        for row in training.history.rows:
            training.call_back(row)
        for step, x_p, x_r in ahead:
            x_BP, x_BR = normalisation(x_p, x_r)
            try:
                training.add(take_step(x_BP, x_BR, step), x_BP, x_BR)
                if take_step.now.resample:
                    training.window.resampled += resample(
                        model, take_step.optimizer, take_step.dead, x_BP, x_BR, generator, n_anchors
                    )
            except FloatingPointError as error:
                raise training.diverged(str(error), step + 1) from error
            if take_step.now.reorder:
                take_step.reorder()
            if take_step.now.row:
                if training.add_row(interruption):
                    break
            elif interruption.ends():
                raise training.interrupted(interruption)
    take_step.finish()
    return training.history.rows


@dataclass
class _Training:
    """A training between two steps: its progress, its history, the sums for its next row, and its checkpoint."""

    take_step: TrainingStep
    generator: torch.Generator
    normalisation: Scaling
    checkpointing: Checkpointing | None
    callbacks: Sequence[Callback]
    watch: Watch | None
    history: History
    done: int = 0
    """Number of completed steps."""
    samples: int = 0
    """Number of samples that these steps saw."""
    saved: int | None = None
    """Step of the last checkpoint; None if there is none."""
    started: float = 0.0
    """Time of the start on the clock of `time.perf_counter`, less the time of earlier sessions."""

    def __post_init__(self) -> None:
        self.model, self.processes = self.take_step.model, self.take_step.processes
        self.settings = self.take_step.config
        self.window = _Window()

    def resume(self) -> None:
        """Restore the checkpoint of this training, if it exists."""
        if self.checkpointing and (checkpoint := load_checkpoint(self.checkpointing.path)):
            self._restore(checkpoint, self.checkpointing.path)
        if len(steps := set(self.processes.counts(self.done))) > 1:
            raise ValueError(
                f"processes found checkpoints of different steps, {sorted(steps)}; give all processes the same run "
                "folder"
            )
        self._next_checkpoint = self.done + self.settings.checkpoint_every

    def _restore(self, checkpoint: Checkpoint, path: Path) -> None:
        try:
            self.take_step.restore(checkpoint.tensors)
        except LookupError as error:  # `fit` resumes checkpoints of other versions, which may hold other tensors
            raise ValueError(
                f"{path}: this version of sdlcore cannot resume the checkpoint, which lacks {error}. "
                "Resume with the version that wrote it, or choose another folder."
            ) from error
        except (ValueError, RuntimeError) as error:  # for tensors that do not fit
            message = " ".join(str(error).split())
            raise SourceError(f"{path}: {message}") from error
        self.generator.set_state(checkpoint.tensors["generator"])
        self.done, self.samples = checkpoint.step, int(checkpoint.tensors["samples"])
        self.history.rows = checkpoint.history
        self.window = _Window(checkpoint.tensors, self.model.W_enc.device)
        self.saved, self.started = checkpoint.step, -checkpoint.seconds
        log.info("resuming from step %d of %d", checkpoint.step, self.settings.steps)

    def seconds(self) -> float:
        """Return the time of the training so far, with earlier sessions."""
        return time.perf_counter() - self.started

    def add(self, terms: dict[str, Tensor], x_BP: Tensor, x_BR: Tensor) -> None:
        """Count a step, and add its terms to the sums for the next row."""
        self.window.add(terms, x_BP, x_BR)
        self.done += 1
        self.samples += len(x_BP)

    def add_row(self, interruption: Interruption) -> bool:
        """Add a row for the steps since the last row, and save a checkpoint if it is due.

        Return whether a callback stops the training.
        """
        row = self._row()
        self.history.add(row)
        self.window = _Window()
        if interruption.ends():
            raise self.interrupted(interruption)
        if self.checkpointing and self._next_checkpoint <= self.done < self.settings.steps:
            self.save(self.checkpointing.path)
        return self.call_back(row)

    def _row(self) -> Row:
        means = self.window.means()
        # non-finite inputs activate no latent, so the loss stays finite and hides them; `input_norm` shows them
        broken = {name: f"{name} is {mean}" for name, mean in means.items() if not math.isfinite(mean)}
        if broken.keys() - {"fvu"}:
            raise self.diverged(", ".join(broken.values()), self.done)
        # the losses do not show a weight that is not finite, since NaN activates no latent
        if (weight := not_finite(self.model.state_dict())) is not None:
            raise self.diverged(weight, self.done)
        del means["input_norm"]
        dead = self.take_step.dead.mask().float().mean()
        row = {"step": self.done, "samples": self.samples, **means, "dead_fraction": float(dead)}
        row |= self.take_step.columns()
        row |= {"resampled": self.window.resampled, "seconds": round(self.seconds(), 3)}
        if self.watch:
            began = time.perf_counter()
            self.model.write_rows()
            row |= self.watch(self.normalisation.raw_rows(self.model))
            self.started += time.perf_counter() - began
        return row

    def call_back(self, row: Row) -> bool:
        """Call the user's callbacks in the first process; return whether any of them stops the training."""
        callbacks = () if self.processes.rank else self.callbacks
        stopping = [stops(callback(dict(row))) for callback in callbacks]  # calls all of them
        return any(self.processes.counts(sum(stopping)))

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        assert self.checkpointing is not None
        counters = {"generator": self.generator.get_state(), "samples": torch.tensor(self.samples)}
        tensors = self.take_step.state() | counters | self.window.state()
        if self.processes.rank == 0:
            checkpoint = Checkpoint(self.done, self.seconds(), self.history.rows, tensors)
            save_checkpoint(path, checkpoint, self.checkpointing.facts)
        self.saved, self._next_checkpoint = self.done, self.done + self.settings.checkpoint_every

    def interrupted(self, interruption: Interruption) -> BaseException:
        """Write a checkpoint, and return the exception that ends the training."""
        # keep the previous checkpoint if weights are no longer finite
        if self.checkpointing and self.window.is_finite() and not_finite(self.model.state_dict()) is None:
            self.save(self.checkpointing.path)
        checkpoint = self._last_checkpoint()
        remedy = f"the same call resumes from the checkpoint {checkpoint}" if checkpoint else "there is no checkpoint"
        return interruption.error(f"interrupted after step {self.done} of {self.settings.steps}; {remedy}")

    def diverged(self, what: str, step: int) -> DivergedError:
        """Return the error for a training that diverged after the last row, at ``step`` at the latest."""
        return DivergedError(
            f"training diverged in steps {self.done - self.window.steps + 1} to {step}: {what}. Lower lr from "
            f"{self.settings.lr}, set normalise if activations are huge, or look for activations that are not "
            f"finite. Last good checkpoint: {self._last_checkpoint() or 'none yet'}"
        )

    def _last_checkpoint(self) -> str | None:
        return f"of step {self.saved} in {self.checkpointing.path}" if self.checkpointing and self.saved else None


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
        state = {
            name.removeprefix(_PREFIX): value for name, value in (tensors or {}).items() if name.startswith(_PREFIX)
        }
        self.steps = int(state.pop("#steps", 0))
        self.resampled = int(state.pop("#resampled", 0))
        self._sums = {name: value.to(device) for name, value in state.items()}

    def add(self, terms: dict[str, Tensor], x_BP: Tensor, x_BR: Tensor) -> None:
        more = {"input_norm": x_BP.norm(), "_variance": total_variance(x_BR)}
        for name, value in {**terms, **more}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self.steps += 1

    def means(self) -> dict[str, float]:
        values = {name: float(value) / self.steps for name, value in self._sums.items()}
        variance = values.pop("_variance")
        return {**values, "fvu": values["reconstruction"] / variance if variance else math.nan}

    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self._sums.values())

    def state(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint; none if no step was taken since the last row."""
        if not self.steps:
            return {}
        counts = {"#steps": torch.tensor(self.steps), "#resampled": torch.tensor(self.resampled)}
        return {f"{_PREFIX}{name}": value for name, value in (counts | self._sums).items()}
