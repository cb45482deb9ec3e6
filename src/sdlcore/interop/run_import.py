"""Import a dictionary from a file, with the facts that a run records about it."""

import json
import logging
from pathlib import Path
from typing import NamedTuple

import torch

from sdlcore.data.batches import read_pair
from sdlcore.data.pairs import pair_sites
from sdlcore.data.reading import ActivationStore
from sdlcore.data.references import load_references
from sdlcore.interop.base import kind_of
from sdlcore.interop.formats import dictionary_files, format_at, locate
from sdlcore.interop.load import load
from sdlcore.interop.settings import ImportConfig
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import load_provenance
from sdlcore.settings import Json
from sdlcore.storage.files import sha256_of
from sdlcore.storage.parsing import parsing
from sdlcore.training.history import Row
from sdlcore.training.variance import batch_scores
from sdlcore.training.watch import watch_directions

log = logging.getLogger(__name__)
ROWS = 1024
"""Number of samples from the start of the store on which the history's single row is computed."""


class Imported(NamedTuple):
    """An imported dictionary."""

    coder: SparseCoder
    row: Row
    """Its history: one row, with its scores on the first `ROWS` samples of the store."""
    files: dict[str, str]
    """Hex SHA-256 of its files, by name."""
    description: dict[str, Json]
    """Origin, format, files, and the metadata that its files contain."""


def import_dictionary(config: ImportConfig, store: Path, watch: Path | None = None) -> Imported:
    """Load a dictionary, and compute its scores on the activations that it belongs to.

    With ``watch``, a file of references, the row also counts how many of their directions the dictionary recovers.

    Raises
    ------
    ValueError
        If the dictionary cannot be loaded, or its dimensions differ from the store's.
    """
    location = locate(config.model, config.subfolder, config.revision)
    form = config.format or format_at(location)
    log.info("%s: a dictionary in the format of %s", location, form)
    files = {file.name: sha256_of(file) for file in dictionary_files(location, form)}
    about: dict[str, Json] = {
        "from": config.model,
        "format": form,
        "files": sorted(files),
        "says": _metadata(location, form),
    }
    model = load(location, form)
    pair = model.config.pair
    with ActivationStore(store) as samples:
        expected = pair_sites(pair, *samples.widths)
        widths = model.input_sites, model.target_sites
        if widths != expected:
            raise ValueError(f"{location}: is a {kind_of(model)} of widths {widths}, expected {expected} for {store}")
        x_p, x_r = (torch.from_numpy(x) for x in read_pair(samples, pair, 0, ROWS))
    row = {"step": 0, "samples": 0, **batch_scores(model, x_p, x_r), "seconds": 0}
    if watch is not None:
        row |= watch_directions(load_references(watch).sites, pair)({"encoder": model.W_enc, "decoder": model.W_dec})
    return Imported(model, row, files, about)


def _metadata(location: Path, form: str) -> Json:
    """Return the metadata in the files about how the dictionary was made."""
    *_, last = dictionary_files(location, form)
    if form == "sdlcore":
        return load_provenance(last)
    with parsing(last, "JSON"):
        metadata: Json = json.loads(last.read_text(encoding="utf-8"), parse_constant=lambda _: None)
        return metadata
