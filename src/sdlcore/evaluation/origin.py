"""Compare a dictionary with the run that it is evaluated as: its settings, seed and training store."""

import json
from collections.abc import Mapping
from pathlib import Path

from sdlcore.data.reading import content_digest
from sdlcore.model.origin import check_same
from sdlcore.model.saving import load_provenance
from sdlcore.settings import Json


def check_origin(model: str | Path, settings: Mapping[str, Json], seed: int, store: str | Path) -> None:
    """Compare what a model says of its making with its run.

    Parameters
    ----------
    model
        What `sdlcore.model.saving.save_model` wrote.
    settings, seed
        What the run is asked to be. Settings that came after the model was trained are left alone.
    store
        What the run is to be trained on; compared where it is still there.

    Raises
    ------
    ValueError
        If they differ; the message names the model and says in what.
    """
    made = load_provenance(model)
    own = made.get("settings")
    asked = {"settings": {key: settings.get(key) for key in own} if isinstance(own, dict) else settings, "seed": seed}
    check_same(model, {key: made.get(key) for key in asked}, json.loads(json.dumps(asked)), "this run is to have")
    if not Path(store).is_file():
        return
    inputs = made.get("inputs")
    trained_on = inputs.get("store") if isinstance(inputs, dict) else None
    check_same(model, {"inputs.store": trained_on}, {"inputs.store": content_digest(store)}, f"{store} has")
