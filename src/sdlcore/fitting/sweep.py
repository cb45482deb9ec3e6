"""`fit_many`: train several dictionaries on the same activations in parallel."""

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import torch

from sdlcore.data.batches import stored_batches
from sdlcore.data.conversion import activations, is_store, pair_of
from sdlcore.device import Device, choose_device
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.run_folder import is_finished, run_folder
from sdlcore.errors import FitManyError
from sdlcore.fitting.bars import progress_bar, shown_on
from sdlcore.fitting.fit import Fit
from sdlcore.fitting.start import opened_start
from sdlcore.sparse.kernels.calling import set_numba_threads
from sdlcore.storage.files import user_path
from sdlcore.training.interruption import terminable

log = logging.getLogger(__name__)
RunName = TypeVar("RunName", bound=Hashable)


def fit_many(
    x: Any,
    runs: Mapping[RunName, Mapping[str, Any]],
    target: Any = None,
    *,
    out: str | Path | None = None,
    at_once: int | None = None,
    device: Device = "auto",
    progress: bool = True,
    **settings: Any,
) -> dict[RunName, Dictionary]:
    """Train several dictionaries on the same activations in parallel, such as a sweep or several seeds.

    ``fit_many(x, {k: {"k": k} for k in (16, 32, 64)}, activation="topk")`` trains three. On a CPU the cores are divided
    among the runs, which is faster for small dictionaries than one run on all cores. `fit` with the same number of
    threads gives the same result, to the bit.

    Parameters
    ----------
    x, target
        As in `fit`, but an array, a path or a store, which is read and checked once.
    runs
        Name of each run, a text or a number, and its own settings, with ``seed``, ``anchors``, ``start`` and ``watch``.
    out
        Folder that gets a folder for each run, by its name. Ctrl-C and SIGTERM leave a checkpoint of each run's last
        step there. The same call resumes interrupted runs and opens finished runs, as `fit` does. A different run is
        never overwritten.
    at_once
        Number of runs in parallel, all in memory; None for one per core, or for one on a GPU. One run trains at a time
        if numba has neither OpenMP nor TBB.
    device, progress
        As in `fit`.
    settings
        Settings of all runs, with ``seed``, ``anchors``, ``start`` and ``watch``; a run's own values take precedence.

    Returns
    -------
    The dictionaries by name, in the order of ``runs``.

    Raises
    ------
    ValueError
        If a setting or an input is wrong. The error is raised before any training, and the message names the run.
    FitManyError
        If some runs failed, after all others have finished; ``dictionaries`` contains theirs.
    """
    folder = None if out is None else user_path(out, "out")
    where, settings["start"] = choose_device(device), opened_start(settings.get("start"))
    if settings["start"] is not None and is_store(x):
        settings.setdefault("pair", settings["start"].pair)
    settings["pair"] = pair_of(x, target, settings.get("pair"))
    fits = {
        name: _checked_run(name, {**settings, **run_settings}, settings["pair"], where)
        for name, run_settings in runs.items()
    }
    folders = {name: None if folder is None else folder / str(name) for name in runs}
    cores = torch.get_num_threads()
    side_by_side = min(_at_once(at_once, cores, where), len(fits))
    with (
        activations(x, target) as samples,
        progress_bar(sum(training.config.steps for training in fits.values()), progress) as bar,
    ):
        batches, facts = stored_batches(samples), {}
        for name, training in fits.items():
            with _naming(name):
                facts[name], run = training.facts(batches), folders[name]
                if run is not None and is_finished(run, facts[name]):
                    bar.update(training.config.steps)

        def find(name: RunName, stop: Event) -> Dictionary:
            torch.set_num_threads(max(1, cores // side_by_side))
            choose_device(where)  # the current GPU, which each thread has of its own
            return fits[name].find(batches, facts[name], shown_on(bar, only=len(fits) == 1), folders[name], stop)

        try:
            with nullcontext() if out is None else terminable():
                results, errors = _in_threads(find, fits, side_by_side)
        except (KeyboardInterrupt, SystemExit):
            if out is not None:
                log.warning("interrupted; the same call resumes every run in %s", out)
            raise
        finally:
            torch.set_num_threads(cores)
    dictionaries = {name: results[name] for name in fits if name in results}
    if errors:
        failed = ", ".join(str(name) for name in fits if name not in dictionaries)
        error = FitManyError(f"{len(errors)} of {len(fits)} runs failed: {failed}", errors)
        error.dictionaries = dictionaries
        raise error
    return dictionaries


def _in_threads(
    find: Callable[[RunName, Event], Dictionary], names: Iterable[RunName], at_once: int
) -> tuple[dict[RunName, Dictionary], list[Exception]]:
    """Call ``find`` for all names, ``at_once`` in parallel; return results by name and the errors of failed runs.

    ``find`` gets an event that is set if runs should stop.
    """
    results: dict[RunName, Dictionary] = {}
    errors: list[Exception] = []
    stop = Event()
    with ThreadPoolExecutor(at_once, "fit") as threads:
        running = {threads.submit(find, name, stop): name for name in names}
        try:
            for future in as_completed(running):
                error = future.exception()
                if isinstance(error, Exception):
                    error.add_note(f"in run {running[future]}")
                    errors.append(error)
                else:
                    results[running[future]] = future.result()
        except BaseException:  # an interrupt: running trainings end after their step, waiting ones do not start
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return results, errors


def _at_once(at_once: int | None, cores: int, where: torch.device) -> int:
    """Return the number of parallel trainings: one on a GPU by default, and where numba has one pool of threads."""
    if at_once == 1 or where.type != "cpu":
        return at_once or 1
    import numba  # imported here, since importing numba is slow and not needed to train one at a time

    set_numba_threads()  # starts numba's threads, so that their layer is known
    return 1 if numba.threading_layer() == "workqueue" else at_once or cores


def _checked_run(name: Hashable, settings: dict[str, Any], pair: str, where: torch.device) -> Fit:
    with _naming(name):
        if str(name) in ("", "..") or Path(str(name)).name != str(name):
            raise ValueError("expected a name that is valid for a folder")
        run_folder(str(name))
        if settings["pair"] != pair:
            raise ValueError(f"pair is {settings['pair']}, but the inputs of all runs are for pair {pair}")
        seed = settings.pop("seed", 0)
        anchors, start, watch = (settings.pop(key, None) for key in ("anchors", "start", "watch"))
        return replace(Fit.of(settings, seed, anchors, start, watch, where), name=str(name))


@contextmanager
def _naming(run: Hashable) -> Iterator[None]:
    """Add the run's name to the error."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"run {run!r}: {error}") from error
