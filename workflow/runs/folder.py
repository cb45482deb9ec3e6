"""Folders of runs: a run of other code begins anew, and a finished run of another configuration is copied.

`sdlcore.fit` identifies a run by its settings, seed and data, and only warns of other code. Snakemake repeats a job
after a change of code, so here a change of code, versions or device makes another run, too.
"""

import glob
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdlcore import References
from sdlcore.data.reading import content_digest, is_of_language_model, provenance_of_rows
from sdlcore.data.references import load_references
from sdlcore.model.saving import load_model, load_provenance
from sdlcore.settings import Settings
from sdlcore.storage.files import atomic_path, provenance, sha256_of
from sdlcore.training.checkpoint import describe_checkpoint
from sdlcore.training.history import read_history

log = logging.getLogger(__name__)

MODEL, CONFIG, HISTORY, ANCHORS = "model.safetensors", "config.json", "history.csv", "anchors.safetensors"
CHECKPOINT = "checkpoint.safetensors"
OF_PROCESSES = ("processes", "split")
"""Keys of provenance that may differ between identical runs."""


@dataclass(frozen=True)
class Run:
    """Inputs of every run beside its settings, and its folder."""

    seed: int
    store: Path
    """activations to find the dictionary in"""
    out: Path
    """folder of the run"""
    threads: int = 1
    """number of threads, for all processes on this machine together"""
    watch: Path | None = None
    """references; the history counts how many of these directions the dictionary recovers"""
    finished: str = ""
    """pattern of the folders of finished runs: results/*/runs/*/*/*/*/*; files of an identical run are copied"""

    def references(self) -> References | None:
        """Return the references to count; None if there are none."""
        return load_references(self.watch) if self.watch else None

    def limit_threads(self) -> None:
        """Let torch use this process's share of the threads."""
        torch.set_num_threads(max(1, self.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def describe(
    run: Run, settings: Settings, script: str, parts: Iterable[str], files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the provenance of a run that `sdlcore.fit` does not make.

    Parameters
    ----------
    run, settings
        Inputs and settings of the run.
    script, parts
        File of the calling script, and modules that it imports by names in the settings: their code is the run's.
    files
        Digests of input files beside the store and ``run.watch``, by name.
    """
    inputs = {"store": content_digest(run.store), **(files or {})}
    if run.watch:
        inputs["watch"] = sha256_of(run.watch)
    run_facts = {"settings": settings.to_dict(), "seed": run.seed, "inputs": inputs, "device": "cpu"}
    facts = provenance(script, parts, **run_facts)
    if is_of_language_model(rows := provenance_of_rows(run.store)):
        facts["activations"] = dict(rows)
    described: dict[str, Any] = json.loads(json.dumps(facts))
    return described


def begin(run: Run, facts: Mapping[str, Any]) -> bool:
    """Prepare a run's folder; return whether it contains the finished run, from before or copied.

    Parameters
    ----------
    run
        The folder, and the pattern of finished runs.
    facts
        Provenance that the run will have. A checkpoint with another provenance is removed, and of a finished run its
        config.json.
    """
    config, checkpoint = run.out / CONFIG, run.out / CHECKPOINT
    described = describe_checkpoint(checkpoint)
    if described is not None and not _is_same(described.facts, facts):
        log.warning("%s belongs to a training with other settings, data or code; starting afresh", checkpoint)
        checkpoint.unlink()
    if (run.out / MODEL).is_file() and _is_same(_read(config), facts):
        return True
    config.unlink(missing_ok=True)  # so that the folder does not look finished
    return bool(run.finished) and copy_finished(run.finished, run.out, facts)


def copy_finished(pattern: str, to: Path, facts: Mapping[str, Any]) -> bool:
    """Copy the files of a finished run with this provenance to a folder; return whether there was one.

    Files of runs are replaced, never modified, and ``config.json`` is removed first and written last, so a half-written
    run is not copied. Copies are checked all the same; runs with missing or damaged files are skipped.

    Parameters
    ----------
    pattern
        Glob pattern of run folders.
    to
        Folder to write.
    facts
        Settings, seed, inputs, code, versions and device.
    """
    for folder in map(Path, sorted(glob.glob(pattern))):  # noqa: PTH207, it may be absolute
        config = _read(folder / CONFIG)
        if not _is_same(config, facts):
            continue
        names = [CONFIG, MODEL, HISTORY, *([ANCHORS] if (folder / ANCHORS).is_file() else [])]
        to.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as stack:  # moved in the opposite order
                parts = {name: stack.enter_context(atomic_path(to / name)) for name in names}
                for name, part in parts.items():
                    shutil.copyfile(folder / name, part)
                load_model(parts[MODEL])
                read_history(parts[HISTORY])
                if load_provenance(parts[MODEL]) != config or _read(parts[CONFIG]) != config:
                    raise ValueError(f"{folder}: its files belong to different runs")
        except (OSError, ValueError) as error:
            log.info("%s is not reused: %s", folder, error)
            continue
        log.info("%s is a finished run with the same inputs; its files are copied", folder)
        return True
    return False


def _is_same(stored_facts: Any, facts: Mapping[str, Any]) -> bool:
    return isinstance(stored_facts, dict) and {k: v for k, v in stored_facts.items() if k not in OF_PROCESSES} == facts


def _read(path: Path) -> Any:
    """Return the content of a JSON file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
