"""The folder of a run: options that all runs have, and the finished run of another configuration that is the same."""

import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdlcore import Dictionary, References
from sdlcore.api.run_folder import ANCHORS, CONFIG, HISTORY
from sdlcore.data.reading import content_digest, is_of_language_model, provenance_of_rows
from sdlcore.data.references import load_references
from sdlcore.identity import ENTRY, finished_files, identity, provenance
from sdlcore.interop.formats import OURS
from sdlcore.settings import Settings
from sdlcore.storage.files import sha256_of

log = logging.getLogger(__name__)


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
    """pattern of the folders of finished runs: results/*/runs/*/*/*/*/*; files of the same run are copied"""

    def references(self) -> References | None:
        """Return the references to count; None if there are none."""
        return load_references(self.watch) if self.watch else None

    def limit_threads(self) -> None:
        """Let torch use this process's share of the threads."""
        torch.set_num_threads(max(1, self.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def describe(stage: str, run: Run, settings: Settings, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the provenance of a run that `sdlcore.fit` does not make.

    ``files`` has digests of input files beside the store and ``run.watch``, by name.
    """
    inputs = {"store": content_digest(run.store), "watch": sha256_of(run.watch) if run.watch else None, **(files or {})}
    made = identity(stage, settings.given(), run.seed, inputs)
    facts = provenance(identity=made, settings=settings.to_dict(), seed=run.seed, device="cpu")
    origin = provenance_of_rows(run.store)
    return facts | ({"activations": dict(origin)} if is_of_language_model(origin) else {})


def copy_finished(run: Run, made: Mapping[str, Any]) -> bool:
    """Copy the files of a finished run with this identity to the run's folder; return whether there was one.

    Copies are checked before they are moved, ``config.json`` last. Runs with missing or damaged files are skipped.
    """
    for config in finished_files(f"{run.finished}/{CONFIG}", made) if run.finished else ():
        folder = config.parent
        run.out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=run.out, prefix=".") as name:
            part = Path(name)
            try:
                for name in (OURS, HISTORY, CONFIG, *([ANCHORS] if (folder / ANCHORS).is_file() else [])):
                    shutil.copyfile(folder / name, part / name)
                if Dictionary.load(part).provenance.get(ENTRY) != made:
                    raise ValueError(f"{folder}: its files belong to different runs")
            except (OSError, ValueError) as error:
                log.info("%s is not reused: %s", folder, error)
                continue
            for copy in sorted(part.iterdir(), key=lambda copy: copy.name == CONFIG):
                copy.replace(run.out / copy.name)
        log.info("%s is a finished run with the same inputs; its files are copied", folder)
        return True
    return False
