"""Import a dictionary from a file as a run."""

import json
import logging
from functools import partial
from pathlib import Path

import torch

from sdlcore.data.batches import read_pair
from sdlcore.data.pairs import pair_sites
from sdlcore.data.reading import open_checked
from sdlcore.interop.base import kind_of
from sdlcore.interop.formats import dictionary_files, format_at, locate
from sdlcore.interop.load import load
from sdlcore.interop.settings import ImportConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_provenance
from sdlcore.settings import Json
from sdlcore.storage.parsing import parsing
from sdlcore.training.history import History, csv_file
from sdlcore.training.runner import Run, leave_run
from sdlcore.training.variance import batch_scores

log = logging.getLogger(__name__)
ROWS = 1024
"""Number of samples from the start of the store on which the history's single row is computed."""


def run_import(run: Run, config: ImportConfig, script: str) -> None:
    """Load a dictionary and write it as a run, with the checksums and the metadata of its files.

    Parameters
    ----------
    run, config
        Paths of the run's files, and the location of the dictionary.
    script
        The calling script; its code counts as the run's.

    Raises
    ------
    ValueError
        If the dictionary cannot be loaded, or its dimensions differ from the source's.
    """
    found = locate(config.model, config.subfolder, config.revision)
    form = config.format or format_at(found)
    files: dict[str, Path | None] = {file.name: file for file in dictionary_files(found, form)}
    about: dict[str, Json] = {"from": config.model, "format": form, "files": sorted(files), "says": _says(found, form)}
    noted: dict[str, Json] = {"imported": about}
    log.info("%s: a dictionary in the format of %s", found, form)
    leave_run(run, config, lambda _: _opened(run, found, form), script, files, noted=noted)


def _says(found: Path, form: str) -> Json:
    """Return the metadata in the files about how the dictionary was made."""
    *_, last = dictionary_files(found, form)
    if form == "sdlcore":
        return load_provenance(last)
    with parsing(last, "JSON"):
        said: Json = json.loads(last.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        return said


def _opened(run: Run, found: Path, form: str) -> SparseCoder:
    model = load(found, form)
    pair = model.config.pair
    with open_checked(run.store) as store:
        expected = pair_sites(pair, *store.widths)
        widths = model.input_sites, model.target_sites
        if widths != expected:
            raise ValueError(f"{found}: is a {kind_of(model)} of widths {widths}, expected {expected} for {run.store}")
        x_p, x_r = (torch.from_numpy(x) for x in read_pair(store, pair, 0, ROWS))
    with History(sinks=[partial(csv_file, run.history)]) as history:
        row = {"step": 0, "samples": 0, **batch_scores(model, x_p, x_r), "seconds": 0}
        watch = run.watching(pair)
        history.add(row | (watch({"encoder": model.W_enc, "decoder": model.W_dec}) if watch else {}))
    return model
