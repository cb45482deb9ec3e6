"""Run directories: the inputs and output files of trainings, solvers and other libraries' trainers."""

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
    """Inputs of every run beside its settings, and the paths of its files."""

    seed: int
    store: Path
    """activations to find the dictionary in"""
    model: Path
    """safetensors file to write: the dictionary"""
    config: Path
    """JSON file to write: the dictionary's provenance"""
    history: Path
    """CSV file to write: the history"""
    threads: int = 1
    """number of threads, for all processes on this machine together"""
    watch: Path | None = None
    """references; the history counts how many of these directions the dictionary recovers"""
    finished: str = ""
    """pattern of the folders of finished runs, such as results/*/runs/*; files of an identical run are copied"""

    def watching(self, pair: str) -> Watch | None:
        """Return a function that counts recovered references for each history row; None if ``watch`` is None."""
        return recovery_watch(self.watch, pair) if self.watch else None


class Settings(Protocol):
    """Settings of any kind of run."""

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
    """Find a dictionary and write it with its provenance, each file atomically; ``find`` writes the history.

    If a finished run is identical (`Run.finished`), its files are copied instead.

    Parameters
    ----------
    run
        Seed, store and files.
    settings
        Settings of the run; the files contain them as `to_dict` returns them.
    find
        Returns a dictionary for raw activations, or None in a process that must not write it. Its argument is a digest
        of the run's identity: used settings, seed, checksums of inputs, device, code and versions.
    script
        File of the calling script; its code counts as part of the run.
    inputs
        Input files beside the store and ``run.watch``, by kind; None for an optional file that is not given.
    device
        Device that the dictionary is found on.
    libraries
        Further distributions whose versions belong to the run's identity.
    noted
        Extra metadata. It does not affect the run's identity.

    Returns
    -------
    The digest if files of a finished run were copied, else None.
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
    run.config.unlink(missing_ok=True)  # so that the folder does not look finished

    def same(made: Any) -> bool:
        try:
            if any(made[name] != fact for name, fact in facts.items() if name != "settings"):
                return False
            return _identity(facts, type(settings).from_dict(made["settings"])) == identity
        except (LookupError, TypeError, ValueError, AttributeError):  # not a run, or one of another kind
            return False

    digest = hashlib.sha256(identity.encode()).hexdigest()
    alone = os.environ.get("WORLD_SIZE", "1") == "1"  # several processes could find different runs
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
    """Return the identity of a run as text: all facts, and the settings that it uses."""
    return json.dumps({**facts, "settings": settings.used()}, sort_keys=True)
