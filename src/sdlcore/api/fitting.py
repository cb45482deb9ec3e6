"""Find a dictionary of activations in memory or in a store: by gradient descent, or by a solver."""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
import torch
from tqdm import tqdm

from sdlcore.api.anchors import as_anchors, as_references
from sdlcore.api.bench import Bench
from sdlcore.api.checking import check_inputs, warn_of_a_mean, warn_of_dense, warn_of_error, warn_of_unused
from sdlcore.api.dictionary import Dictionary, load
from sdlcore.api.inputs import activations, pair_of
from sdlcore.api.run_folder import CHECKPOINT, HISTORY_PART, alone, is_finished, run_folder
from sdlcore.api.signatures import listing_settings
from sdlcore.data.anchors import Anchors
from sdlcore.data.batches import BatchReader, TrainingRows
from sdlcore.data.memory import Activations, Arrays
from sdlcore.data.reading import ActivationStore, content_digest, is_of_language_model
from sdlcore.data.references import References
from sdlcore.device import Device, choose_device
from sdlcore.model.kernels.compiling import announcing
from sdlcore.random_streams import stream
from sdlcore.run import LAMBDA_ANCHOR, RunConfig
from sdlcore.settings import Seed, checked
from sdlcore.solvers.run_solver import solve_dictionary
from sdlcore.solvers.settings import SolverConfig
from sdlcore.storage.files import check_writable, provenance
from sdlcore.storage.npy import Numbers
from sdlcore.storage.private import remove_leftovers
from sdlcore.training.checkpoint import steps_of_another
from sdlcore.training.history import History, Row, Sink, Write, csv_rows
from sdlcore.training.loop import Checkpointing
from sdlcore.training.train_dictionary import train_dictionary
from sdlcore.training.watch import watch_directions


@listing_settings
def fit(
    x: Any,
    target: Any = None,
    *,
    seed: int = 0,
    anchors: Anchors | np.ndarray | Sequence[np.ndarray] | None = None,
    start: Dictionary | str | Path | None = None,
    watch: Bench | References | np.ndarray | Sequence[np.ndarray] | None = None,
    device: Device = "auto",
    progress: bool = True,
    out: str | Path | None = None,
    **settings: Any,
) -> Dictionary:
    """Find a dictionary of activations, and return it ready for raw activations.

    ``fit(x)`` trains an autoencoder, ``fit(x, target)`` a transcoder, ``fit([x1, x2])`` a crosscoder, and
    ``fit(x, solver="acs")`` solves for a dictionary without gradient descent.

    Parameters
    ----------
    x
        N x n_p activations: an array, a tensor, a path of an .npy file, or an activation store (then with its target,
        if ``pair`` asks for it). It is shuffled batch by batch, and never copied as a whole. An .npy file that is
        written to meanwhile is refused.
    target
        N x n_r activations that a transcoder writes.
    seed
        Of everything that is drawn. The same call gives the same bits.
    anchors
        Directions that the first latents are tied to, by ``lambda_anchor`` (0.1 where it is left out) or
        ``anchor_cosine``. `Bench.anchors`, `References.choose` and `discover` give them; so does an array of unit rows,
        k x n_p, or a pair of arrays.
    start
        A dictionary whose latents the first latents start from, or where `load` finds it: their rows and encoder
        biases, no thresholds, no b_dec and no linear path.
    watch
        A bench, or references, as of `evaluate`; the history then tells how many of these directions are recovered.
    device
        auto, cpu or cuda; ``CUDA_VISIBLE_DEVICES`` says which GPU.
    progress
        Show a bar.
    out
        A folder for the dictionary, as `Dictionary.save` writes it. Ctrl-C leaves a checkpoint of the last step there,
        and a call that was cut off goes on from its checkpoint. A finished run is opened instead, if settings, seed,
        code and inputs are the same. Runs of another making are never overwritten, finished or not.
    **settings
        Any setting of a method or protocol in the configuration, with the same default: ``activation``, ``n_q``,
        ``k``, ``steps``, ``lr``, ``batch_size`` (N at most), ... (`sdlcore.run`), or those of a ``solver``
        (`sdlcore.solvers.settings`). ``help(sdl.fit)`` lists them.

    Raises
    ------
    ValueError
        Naming the setting, or the input, that is wrong.
    DivergedError
        If the loss becomes infinite; the message says what to change.
    """
    settings["pair"] = pair_of(x, target, settings.get("pair"))
    asked = Fit.of(settings, seed, anchors, start, watch, device_of(device))
    folder = None if out is None else run_folder(out)
    with activations(x, target) as samples:
        facts = asked.facts(samples, digest_of(samples))
        return asked.find(samples, facts, asked.sinks(progress), folder)


@dataclass(frozen=True)
class Fit:
    """A dictionary that is asked for."""

    config: RunConfig | SolverConfig
    seed: int
    anchors: Anchors | None
    start: Dictionary | None
    watch: References | None
    device: torch.device
    name: str = ""
    """What it is called among several."""

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        seed: int,
        anchors: Any,
        start: Dictionary | str | Path | None,
        watch: Any,
        where: torch.device,
    ) -> Self:
        """Return what `fit` is asked for by these arguments; ValueError naming the one that is wrong."""
        if anchors is not None and "solver" in settings:
            raise ValueError("anchors has no meaning for a solver, which trains nothing")
        if anchors is not None and settings.get("anchor_cosine") is None:
            settings = {"lambda_anchor": LAMBDA_ANCHOR, **settings}
        config, seed = config_of(settings), checked("seed", Seed, seed)
        if not isinstance(config, SolverConfig):
            warn_of_dense(config)
            warn_of_unused(config, settings)
        anchors = None if anchors is None else as_anchors(anchors)
        start = load(start) if isinstance(start, str | Path) else start
        if not isinstance(start, Dictionary | None):
            raise ValueError(f"start is a {type(start).__name__}, expected what sdl.fit or sdl.load returns, or a path")
        watched = watch.references if isinstance(watch, Bench) else None if watch is None else as_references(watch)
        return cls(config, seed, anchors, start, watched, where)

    @property
    def steps(self) -> int:
        """The number that its history counts to."""
        return self.config.max_steps if isinstance(self.config, SolverConfig) else self.config.training.steps

    def facts(self, samples: Activations, digest: str) -> dict[str, Any]:
        """Return what makes the dictionary; ValueError if what is given does not fit together (`check_inputs`)."""
        start = None if self.start is None else self.start.coder
        check_inputs(samples, self.config, self.anchors, start, self.watch)
        facts = made_by(self.config, self.seed, self.device)
        anchors = None if self.anchors is None else _digest_of(*self.anchors[:2])
        facts["inputs"] = {"store": digest, "anchors": anchors}
        if self.start is not None:
            b_enc = [self.start.b_enc] if self.start.b_enc.any() else []
            weights = (self.start.W_enc, self.start.W_dec, *b_enc)
            facts["inputs"]["start"] = _digest_of(*(part.cpu().numpy() for part in weights))
        if self.watch is not None:  # which the rows of the history have columns of
            facts["inputs"]["watch"] = _digest_of(self.watch.W_p, self.watch.W_r)
        if isinstance(samples, ActivationStore) and is_of_language_model(made := samples.provenance_of_rows()):
            facts["activations"] = made
        return facts

    def sinks(self, progress: bool) -> list[Sink]:
        """Return where rows of the history go: to a bar, if one is to be shown."""
        return [partial(bar, self.steps)] if progress else []

    def find(
        self,
        samples: Activations,
        facts: dict[str, Any],
        sinks: Sequence[Sink],
        folder: Path | None,
        stop: Event | None = None,
    ) -> Dictionary:
        """Train, or solve for, the dictionary, and keep it in a run's folder; or open what is finished there.

        Until then the folder has the history so far, and of a training a checkpoint. ``stop`` interrupts a training.

        Raises
        ------
        ValueError
            If the folder holds a run of another making, finished or not, or another process trains there.
        OSError
            If it cannot be written, before anything is found.
        """
        if folder is None:
            return self._find(samples, facts, sinks, None, stop)
        if self.is_found(facts, folder):
            return self.finished(folder)
        check_writable(next(path for path in (folder, *folder.parents) if path.exists()))
        with alone(folder):
            keep = None
            if isinstance(self.config, RunConfig):
                keep = Checkpointing(folder / CHECKPOINT, _identity(facts))
            found = self._find(samples, facts, [*sinks, partial(csv_rows, folder / HISTORY_PART)], keep, stop)
            if not is_finished(folder, facts):  # saved by something else, meanwhile
                found.save(folder)
            _remove_unfinished(folder)
        return found

    def is_found(self, facts: dict[str, Any], folder: Path) -> bool:
        """Tell whether a run's folder holds the dictionary.

        Raises
        ------
        ValueError
            If it holds a run of another making, finished or not, which nobody may overwrite, or if another process
            trains there.
        """
        if is_finished(folder, facts):
            return True
        if (folder / CHECKPOINT).exists():
            with alone(folder):
                steps = steps_of_another(folder / CHECKPOINT, _identity(facts))
            if steps is not None:
                raise ValueError(
                    f"{folder}: holds an unfinished run of another making ({steps} steps with other settings, data or "
                    "code); delete it, or name another folder"
                )
        return False

    def finished(self, folder: Path) -> Dictionary:
        """Return what is finished in a run's folder, where `find` leaves a dictionary: on the device, or a solver's on
        the CPU."""
        _remove_unfinished(folder)  # of a call that was cut off just before it would have
        return load(folder).to("cpu" if isinstance(self.config, SolverConfig) else self.device)

    def _find(
        self,
        samples: Activations,
        facts: dict[str, Any],
        sinks: Sequence[Sink],
        checkpoints: Checkpointing | None,
        stop: Event | None,
    ) -> Dictionary:
        pair = self.config.pair if isinstance(self.config, SolverConfig) else self.config.model.pair
        watch = None if self.watch is None else watch_directions(self.watch.W_p, self.watch.W_r, pair)
        if isinstance(self.config, SolverConfig):
            with History(sinks=sinks) as history:
                atoms = None if self.start is None else self.start.W_dec.cpu()
                model = solve_dictionary(samples, self.config, self.seed, history, atoms, watch)
            return Dictionary(model, facts, history.rows)
        warn_of_a_mean(samples, self.config, self.name)
        model, rows = train_dictionary(
            _rows(samples, self.config, self.seed),
            self.config,
            self.seed,
            self.device,
            anchors=self.anchors,
            start=None if self.start is None else self.start.coder,
            sinks=sinks,
            watch=watch,
            checkpoints=checkpoints,
            stop=stop,
        )
        warn_of_error(rows[-1]["fvu"], self.steps, self.name)
        return Dictionary(model, facts, rows, self.anchors)


def device_of(asked: Device) -> torch.device:
    """Return the device that is asked for; ValueError if it is none of `Device`, such as cuda:1.

    Scripts and commands check this as they read their options, so `choose_device` need not.
    """
    return choose_device(checked("device", Device, asked))


def config_of(settings: Mapping[str, Any]) -> RunConfig | SolverConfig:
    """Return the settings of a training, or of a solver where one is named; ValueError if they are none."""
    return SolverConfig.from_dict(settings) if "solver" in settings else RunConfig.from_dict(settings)


def made_by(config: RunConfig | SolverConfig, seed: int, device: torch.device) -> dict[str, Any]:
    """Return what makes a dictionary but for what it is fitted to, for provenance."""
    # solvers compute on the CPU, whatever the machine has
    where = "cpu" if isinstance(config, SolverConfig) else device.type
    return provenance(__file__, config.parts, settings=config.to_dict(), seed=seed, device=where)


@contextmanager
def bar(steps: int, rows: Sequence[Row]) -> Iterator[Write]:
    """Show a bar of ``steps`` steps with loss and L0 of the last row: a sink of a history."""
    begun = int(rows[-1]["step"]) if rows else 0
    with tqdm(total=steps, initial=begun, unit="step") as shown, announcing(partial(tqdm.write, file=sys.stderr)):

        def write(row: Row) -> None:
            shown.set_postfix({name: f"{row[name]:.4g}" for name in ("loss", "fvu", "l0")}, refresh=False)
            if shown.n == begun:  # before the first row kernels may be compiled: its time says nothing of the others'
                shown.initial = shown.n = int(row["step"])
                shown.unpause()
                shown.refresh()
            else:
                shown.update(int(row["step"]) - shown.n)

        yield write


def _rows(samples: Activations, config: RunConfig, seed: int) -> TrainingRows:
    reader = BatchReader(samples, config.model.pair, config.training.batch_size, partial(stream, seed, "order"))
    return TrainingRows(samples.n_p, samples.n_r, reader, lambda: samples)


def digest_of(samples: Activations) -> str:
    """Return a hex SHA-256 of what is read, for provenance."""
    if not isinstance(samples, Arrays):
        return content_digest(samples.path)
    columns = ["input", *(["target"] if samples.has("target") else [])]
    return _digest_of(*(samples.column(name) for name in columns))


def _digest_of(*arrays: np.ndarray | Numbers | None) -> str:
    """Return a hex SHA-256 of arrays, by blocks of rows."""
    total = hashlib.sha256()
    for values in arrays:
        if values is not None:
            total.update(f"{values.dtype} {values.shape}".encode())
            for start in range(0, len(values), 8192):
                total.update(np.ascontiguousarray(values[start : start + 8192]).data)
    return total.hexdigest()


def _remove_unfinished(folder: Path) -> None:
    """Remove the files of a run that is not finished, and what a killed process left of its checkpoint."""
    (folder / HISTORY_PART).unlink(missing_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    remove_leftovers(folder / CHECKPOINT)


def _identity(facts: dict[str, Any]) -> str:
    """Return what a training's checkpoint is known by."""
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()
