"""Options of the scripts that make runs, and the provenance of runs that `sdlcore.fit` does not make."""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdlcore import References, load
from sdlcore.api.run_folder import CONFIG
from sdlcore.data.reading import content_digest, is_of_language_model, provenance_of_rows
from sdlcore.data.references import load_references
from sdlcore.device import Device
from sdlcore.identity import ENTRY, finished_files, identity, provenance
from sdlcore.settings import Settings, Split
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
    """pattern of the folders of finished runs: results/*/runs/*/*/*/*/*; the same run is taken from there"""

    def references(self) -> References | None:
        """Return the references to count; None if there are none."""
        return load_references(self.watch) if self.watch else None

    def limit_threads(self) -> None:
        """Let torch use this process's share of the threads."""
        torch.set_num_threads(max(1, self.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@dataclass(frozen=True)
class Training:
    """Options of a training run, beyond the common ones of `Run`."""

    anchors: Path | None = None
    """directions that latents are anchored to"""
    start: Path | None = None
    """a model whose latents initialise the first latents, or the atoms of a solver"""
    device: Device = "auto"
    split: Split = "samples"
    """whether processes started by torchrun divide samples or latents"""
    tensorboard: Path | None = None
    """folder for TensorBoard event files of the history"""
    wandb: str | None = None
    """Weights & Biases project that receives the history"""


def take_finished(run: Run, made: Mapping[str, Any]) -> bool:
    """Save a finished run with this identity in the run's folder, such as one of another configuration.

    Return whether there was one. Runs with missing or damaged files are skipped.
    """
    for config in finished_files(f"{run.finished}/{CONFIG}", made) if run.finished else ():
        with suppress(OSError, ValueError):
            dictionary = load(config.parent)
            if dictionary.history and dictionary.provenance.get(ENTRY) == made:
                dictionary.save(run.out)
                log.info("%s is a finished run with the same inputs; its files are copied", config.parent)
                return True
    return False


def describe(stage: str, run: Run, settings: Settings, files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the provenance of a run that `sdlcore.fit` does not make.

    ``files`` has digests of input files beside the store and ``run.watch``, by name.
    """
    inputs = {"store": content_digest(run.store), "watch": sha256_of(run.watch) if run.watch else None, **(files or {})}
    made = identity(stage, settings.given(), run.seed, inputs)
    facts = provenance(identity=made, settings=settings.to_dict(), seed=run.seed, device="cpu")
    origin = provenance_of_rows(run.store)
    return facts | ({"activations": dict(origin)} if is_of_language_model(origin) else {})
