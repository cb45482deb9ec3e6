"""Run directories: what trainings, solvers and other libraries' trainers are given, and the files that they leave."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from sdlcore.data.reading import content_digest, is_of_language_model, provenance_of_rows
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import save_model
from sdlcore.settings import Json
from sdlcore.storage.files import provenance, sha256_of, write_json
from sdlcore.training.history import Watch
from sdlcore.training.reuse import copy_finished
from sdlcore.training.watch import recovery_watch


@dataclass(frozen=True)
class Run:
    """What every run is given beside its settings, and where its files go."""

    seed: int
    store: Path
    """activations that the dictionary is found on"""
    model: Path
    """safetensors file to write: the dictionary"""
    config: Path
    """JSON file to write: what made it"""
    history: Path
    """CSV file to write: how it got there"""
    threads: int = 1
    """of all processes on this machine together"""
    watch: Path | None = None
    """references; the history tells how many of these directions the dictionary has"""
    finished: str = ""
    """pattern of the folders of finished runs, such as results/*/runs/*; one that is the same is copied"""

    def watching(self, pair: str) -> Watch | None:
        """Return what tells the history of these directions, if it is asked for."""
        return recovery_watch(self.watch, pair) if self.watch else None


class Settings(Protocol):
    """Settings of a run, of whatever kind."""

    @property
    def parts(self) -> tuple[str, ...]: ...

    @classmethod
    def from_dict(cls, settings: Mapping[str, Json], /) -> Self: ...

    def to_dict(self) -> dict[str, Json]: ...

    def used(self) -> dict[str, Json]: ...


def leave_run(
    run: Run,
    settings: Settings,
    find: Callable[[str], SparseCoder | None],
    script: str,
    inputs: Mapping[str, Path | None] | None = None,
    device: str = "cpu",
    libraries: Iterable[str] = (),
    noted: Mapping[str, Json] | None = None,
) -> str | None:
    """Find a dictionary, and write it with what made it: each file whole or not at all. ``find`` writes the history.

    Where a finished run is the same (`Run.finished`), its files are copied instead.

    Parameters
    ----------
    run
        Seed, store and files.
    settings
        Of the run; the files hold them as `to_dict` returns them.
    find
        Returns a dictionary for raw activations, or None in a process that is not to write it. It is given a digest of
        what makes the run: the settings that it uses, seed, checksums of inputs, device, code and versions.
    script
        File of the script that this is called from; its code counts as the run's.
    inputs
        Files beside the store and ``run.watch``, by what they are; None where one may be given and is not.
    device
        Where the dictionary is found.
    libraries
        Distributions whose versions matter beside those that always do.
    noted
        More to write down, a change of which makes no other run.

    Returns
    -------
    The digest that ``find`` would have been given, of a run whose files were copied; None of any other.
    """
    threads = max(1, run.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # torchrun's number of processes
    torch.set_num_threads(threads)
    files = {**(inputs or {}), **({"watch": run.watch} if run.watch else {})}
    sums = {"store": content_digest(run.store), **{name: path and sha256_of(path) for name, path in files.items()}}
    made = {"settings": settings.to_dict(), "seed": run.seed, "inputs": sums, "device": device}
    facts = provenance(script, settings.parts, **made)
    facts["versions"] |= {library: version(library) for library in libraries}
    run.model.parent.mkdir(parents=True, exist_ok=True)
    identity = _identity(facts, settings)
    run.config.unlink(missing_ok=True)  # so that nobody takes what lies here for finished

    def same(made: Any) -> bool:
        try:
            if any(made[name] != fact for name, fact in facts.items() if name != "settings"):
                return False
            return _identity(facts, type(settings).from_dict(made["settings"])) == identity
        except (LookupError, TypeError, ValueError, AttributeError):  # of another kind, or no run's
            return False

    digest = hashlib.sha256(identity.encode()).hexdigest()
    alone = os.environ.get("WORLD_SIZE", "1") == "1"  # of several processes, each would look for itself
    if run.finished and alone and copy_finished(run.finished, run.model, run.config, run.history, same):
        return digest
    model = find(digest)
    if model is not None:
        facts |= {"threads": threads, **(noted or {})}
        if is_of_language_model(made_by := provenance_of_rows(run.store)):
            facts["activations"] = made_by
        write_json(run.config, facts)
        save_model(run.model, model, facts)
    return None


def _identity(facts: Mapping[str, Json], settings: Settings) -> str:
    """Return what makes a run as text: facts, of the settings those that it uses."""
    return json.dumps({**facts, "settings": settings.used()}, sort_keys=True)
