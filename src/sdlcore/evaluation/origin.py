"""Check that a trained dictionary matches the run it is evaluated as: settings, seed and training store."""

import json
from collections.abc import Mapping
from pathlib import Path

from sdlcore.data.reading import content_digest
from sdlcore.model.origin import check_same
from sdlcore.model.saving import load_provenance
from sdlcore.settings import Json


def check_origin(model: str | Path, settings: Mapping[str, Json], seed: int, store: str | Path) -> None:
    """Compare the provenance stored in a model file with the run's settings, seed and store.

    Parameters
    ----------
    model
        File written by `sdlcore.model.saving.save_model`.
    settings, seed
        Settings and seed of the run. Settings that were introduced after the model was trained are not compared.
    store
        The run's training store; compared only if the file still exists.

    Raises
    ------
    ValueError
        If they differ; the message names the model and the difference.
    """
    provenance = load_provenance(model)
    stored_settings = provenance.get("settings")
    expected = {
        "settings": {key: settings.get(key) for key in stored_settings}
        if isinstance(stored_settings, dict)
        else settings,
        "seed": seed,
    }
    check_same(
        model, {key: provenance.get(key) for key in expected}, json.loads(json.dumps(expected)), "this run is to have"
    )
    if not Path(store).is_file():
        return
    inputs = provenance.get("inputs")
    trained_on = inputs.get("store") if isinstance(inputs, dict) else None
    check_same(model, {"inputs.store": trained_on}, {"inputs.store": content_digest(store)}, f"{store} has")
