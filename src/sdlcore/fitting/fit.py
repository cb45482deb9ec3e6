"""`fit`: train a dictionary of activations in memory, in a store or in batches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
import torch

from sdlcore.benches.known_features import KnownFeatures
from sdlcore.config import LAMBDA_ANCHOR, Config
from sdlcore.data.anchors import Anchors
from sdlcore.data.arrays import digest_of_arrays
from sdlcore.data.batches import Batches, Request
from sdlcore.data.conversion import is_store, pair_of
from sdlcore.data.references import References, as_anchors, as_references
from sdlcore.device import Device, choose_device
from sdlcore.dictionary.card import fitted_place
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import open_or_make
from sdlcore.dictionary.run_folder import REPLACED, run_folder
from sdlcore.errors import SourceError
from sdlcore.fitting.bars import progress_bar, shown_on
from sdlcore.fitting.checks import check_inputs, warn_of_a_mean, warn_of_error, warn_of_penalties
from sdlcore.fitting.start import opened_start, with_architecture
from sdlcore.identity import ENTRY, identity, provenance
from sdlcore.inputs import gives_batches, open_batches
from sdlcore.processes import current_processes
from sdlcore.settings import Pair, Seed, checked
from sdlcore.solvers.settings import SolverConfig
from sdlcore.training.distributed import processes_of
from sdlcore.training.history import Sink
from sdlcore.training.loop import Callback, Checkpointing
from sdlcore.training.train_dictionary import train_dictionary
from sdlcore.training.watch import watch_directions
from sdlcore.user_warnings import warn_at_call


def fit(
    x: Any,
    target: Any = None,
    *,
    config: Config | None = None,
    seed: int = 0,
    anchors: Anchors | np.ndarray | Sequence[np.ndarray] | None = None,
    start: Dictionary | str | Path | None = None,
    watch: KnownFeatures | References | np.ndarray | Sequence[np.ndarray] | None = None,
    device: Device = "auto",
    progress: bool = True,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Dictionary:
    """Train a dictionary of activations. It encodes raw activations.

    ``fit(x)`` trains an autoencoder, ``fit(x, target)`` a transcoder and ``fit([x1, x2])`` a crosscoder. `solve` finds
    a dictionary without gradient descent.

    Parameters
    ----------
    x
        N x n_p activations: an array (float16, float32 or float64), a tensor (also bfloat16), a path of an .npy file,
        or an activation store, which also contains the target of a transcoder. Training shuffles it batch by batch, and
        never copies it as a whole. A file that changes during training raises an error.

        Or batches from a torch DataLoader, a generator function, a function of the step (from 0), or another iterable
        (not a list) that restarts with each ``iter()``. Each batch is a B x n_p array or tensor, or a pair (x, target).
        Training reads the batches in their order and restarts after the last one. ``steps`` counts batches;
        ``batch_size`` is not allowed. ``normalise``, ``whiten`` and ``initialisation="samples"`` use the first 65,536
        samples.

        Or the path of a recipe (.json) of samples that the pipeline's trainings compute while they run
        (`sdlcore.data.batches`).
    target
        N x n_r activations that a transcoder writes.
    config
        The settings as one object, instead of keywords; keywords that are given as well replace its values.
    seed
        Seed of all randomness. The same call gives the same bits.
    anchors
        Directions that the first latents are tied to, with weight ``lambda_anchor`` (0.1 by default) or a weight chosen
        by ``anchor_cosine``. `Bench.anchors`, `References.choose` and `discover` return them. Or an array of A unit
        rows (A x n_p), or a pair of arrays (A x n_p and A x n_r).
    start
        A dictionary to continue from, or its path, in any format of `load`. The training copies its weights, biases,
        thresholds and linear path, and takes over its architecture: activation, ``k``, ``n_q``, ``bias``, ``normalise``
        and all other settings of the model. Settings of this call win. With a larger ``n_q``, further latents start at
        random. Other widths, another pair or a smaller ``n_q`` raise an error. ``bias=False`` drops its biases. The
        loss, ``frozen``, ``archetypes`` and codes by search are not taken over.
    watch
        A bench or references, as in `evaluate`. The history then counts the recovered directions.
    device
        auto, cpu, cuda, or a numbered GPU such as cuda:1. If torchrun starts several processes, each gets its own GPU,
        and trains on a part of every batch; all of them call this function with the same arguments.
    progress
        Show a progress bar.
    out
        A folder for the dictionary, as `Dictionary.save` writes it. Ctrl-C leaves a checkpoint of the last step there,
        and the same call resumes it. A finished run is opened if settings, seed, data and plugins agree; other versions
        of sdlcore and its packages, and another device, are logged. Another run is never overwritten. Batches are
        compared by kind, type and number, and a function's also by the first batch; a warning appears if their content
        was not compared.
    callbacks
        Functions that receive each row of the history as a dictionary, every ``log_every`` steps. A function that
        returns True stops the training, and the run is finished. After an interruption, they first receive the rows
        so far. Of several processes, the first calls them. For another optimiser, schedule or loss, write a loop of
        your own with `SparseCoder`.
    **settings
        Settings of a training (`sdlcore.Config`). They are the keys of methods and protocols in a configuration, with
        the same defaults.

    Returns
    -------
    The trained dictionary: ``encode(x)`` computes latents and ``reconstruct(x)`` reconstructions of raw activations.
    Its ``history`` contains the losses of the training, and its ``provenance`` settings, seed, data and versions.

    Raises
    ------
    ValueError
        Naming the setting, or the input, that is wrong.
    DivergedError
        If a loss or a weight is not finite; the message suggests changes.
    KeyboardInterrupt
        After Ctrl-C, at the end of a step.
    RuntimeError
        From torch.distributed, if another of several processes does not respond, or has ended.
    """
    callbacks = tuple(callbacks)
    settings = ({} if config is None else config.named()) | settings
    folder = None if out is None else run_folder(out)
    with opened_fit(
        x, target, seed=seed, anchors=anchors, start=start, watch=watch, device=device, folder=folder, **settings
    ) as (batches, training, facts):
        training = replace(training, callbacks=callbacks)
        with (
            processes_of(training.config) as processes,
            progress_bar(training.config.steps, progress and processes.rank == 0) as bar,
        ):
            return training.find(batches, facts, shown_on(bar), folder)


@contextmanager
def opened_fit(
    x: Any,
    target: Any = None,
    *,
    seed: int = 0,
    anchors: Any = None,
    start: Dictionary | str | Path | None = None,
    watch: Any = None,
    device: Device = "auto",
    folder: Path | None = None,
    **settings: Any,
) -> Iterator[tuple[Batches, "Fit", dict[str, Any]]]:
    """Check arguments of `fit`, settings first, and open its data; yield the data, the training and its provenance.

    The provenance has the run's identity, so a caller can look for the finished run elsewhere.
    """
    start = opened_start(start)
    with ExitStack() as opened:
        own_batches = opened.enter_context(open_batches(x, target, folder, device)) if gives_batches(x) else None
        if start is not None and (is_store(x) or own_batches is not None):  # they may have a target for another pair
            settings.setdefault("pair", start.pair)
        is_chosen = "pair" in settings
        if own_batches is None:
            settings["pair"] = pair_of(x, target, settings.get("pair"))
        else:
            settings["pair"] = checked("pair", Pair, settings.get("pair") or own_batches.pair)
            if own_batches.batch_size is not None:
                if "batch_size" in settings:
                    raise ValueError("batch_size is the size of the batches that x gives; leave it out")
                settings["batch_size"] = own_batches.batch_size
        training = Fit.of(settings, seed, anchors, start, watch, choose_device(device))
        batches = own_batches or opened.enter_context(open_batches(x, target))
        if not is_chosen and settings["pair"] == "sae" and len(batches.widths) > 1:
            warn_at_call(
                f"{batches.path} has {len(batches.widths)} sites, and an autoencoder of the first is trained; "
                "set pair to sae, transcoder or crosscoder"
            )
        yield batches, training, training.facts(batches)


@dataclass(frozen=True)
class Fit:
    """A training: the checked arguments of `fit`."""

    config: Config
    seed: int
    anchors: Anchors | None
    start: Dictionary | None
    watch: References | None
    device: torch.device
    callbacks: tuple[Callback, ...] = ()
    name: str = ""
    """Its name among several runs."""

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
        """Check arguments of `fit` and return the training; ValueError naming the wrong argument."""
        if anchors is not None and settings.get("anchor_cosine") is None:
            settings = {"lambda_anchor": LAMBDA_ANCHOR, **settings}
        start = opened_start(start)
        config = Config.from_dict(settings if start is None else with_architecture(start, settings))
        directions = None if anchors is None else as_anchors(anchors)
        return cls(config, checked("seed", Seed, seed), directions, start, opened_watch(watch), where)

    def facts(self, batches: Batches) -> dict[str, Any]:
        """Return the dictionary's provenance; ValueError if inputs do not fit together (`check_inputs`)."""
        start = None if self.start is None else self.start.coder
        check_inputs(batches, self.config, self.anchors, start, self.watch)
        facts = provenance_of(
            "train", self.config, self.seed, self.device, batches, self.start, self.watch, self.anchors
        )
        if batches.batch_size is not None:
            del facts["settings"]["batch_size"]
            facts[ENTRY]["settings"].pop("batch_size", None)
        return facts

    def find(
        self, batches: Batches, facts: dict[str, Any], sink: Sink, folder: Path | None, stop: Event | None = None
    ) -> Dictionary:
        """Train the dictionary, or open the finished run in a folder (`open_or_make`). ``stop`` interrupts it."""

        config, processes = self.config, current_processes()

        def make(checkpoints: Checkpointing | None, history_files: Sequence[Sink]) -> Dictionary:
            rows = batches.begin(Request.of(config, self.seed))
            warn_of_penalties(config)
            warn_of_a_mean(batches, rows, config)
            model, history = train_dictionary(
                rows,
                config,
                self.seed,
                self.device,
                anchors=self.anchors,
                start=None if self.start is None else self.start.coder,
                sinks=[sink, *history_files],
                watch=None if self.watch is None else watch_directions(self.watch.sites, config.pair),
                checkpoints=checkpoints,
                processes=processes,
                stop=stop,
                callbacks=self.callbacks,
            )
            record, steps = dict(facts), int(history[-1]["step"])
            if processes.size > 1:
                record["processes"] = processes.size
            if steps < config.steps:
                record["stopped"] = {"step": steps, "by": "a callback"}
            warn_of_error(history[-1]["fvu"], steps, self.name)
            return Dictionary(model, record, history, self.anchors)

        dictionary = open_or_make(folder, facts, make, batches.recorded).to(self.device)
        stopped = dictionary.provenance.get("stopped")
        if stopped and not self.callbacks:
            raise SourceError(
                f"{folder}: contains a run that a callback stopped at step {stopped['step']}; open it with sdl.load, "
                "give the callback again, or choose another folder"
            )
        return dictionary


def opened_watch(watch: Any) -> References | None:
    """Return the directions whose recovery a history counts: a bench's features, references, or an array of rows."""
    directions = watch.references if isinstance(watch, KnownFeatures) else watch
    return None if directions is None else as_references(directions, "watch")


def provenance_of(
    stage: str,
    config: Config | SolverConfig,
    seed: int,
    device: torch.device,
    batches: Batches,
    start: Dictionary | None,
    watch: References | None,
    anchors: Anchors | None = None,
) -> dict[str, Any]:
    """Return the provenance of a dictionary: its identity, all settings, and the origin of the activations."""
    inputs = {"store": batches.digest(), "anchors": None if anchors is None else digest_of_arrays(*anchors.sites)}
    if start is not None:
        weights = start.coder.state_dict()
        parts = [weights.pop("W_enc"), weights.pop("W_dec"), *(part for part in weights.values() if part.any())]
        inputs["start"] = digest_of_arrays(*(np.atleast_1d(part.cpu().numpy()) for part in parts))
    if watch is not None:  # the history has columns for it
        inputs["watch"] = digest_of_arrays(*watch.sites)
    run = identity(stage, config.non_defaults(), seed, inputs, config.plugins)
    facts = provenance(identity=run, settings=config.to_dict(), seed=seed, device=device.type)
    if start is not None and REPLACED in start.provenance:
        facts[REPLACED] = start.provenance[REPLACED]
    origin = batches.origin
    if origin is None and start is not None:
        # assume that an array comes from the place that the start was trained on, but not from the same text
        place = fitted_place(start.provenance, start.pair)
        origin = None if place is None else {"where": place}
    if origin is not None:
        facts["activations"] = origin
    return facts
