"""Whether a dictionary is what its run made: a file that was put into a run's folder is not judged as that run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdlcore.model import load_provenance

SHOWN = 4
"""Differences that an error lists."""


def check_origin(model: str | Path, config: str | Path, settings: Mapping[str, Any], seed: int) -> None:
    """Compare what a model says of its making with its run.

    Parameters
    ----------
    model
        What `sdlcore.model.save_model` wrote.
    config
        The ``config.json`` that the same training left beside it.
    settings, seed
        What the run is asked to be. Settings that came after the model was trained are left alone.

    Raises
    ------
    ValueError
        If they differ; the message names the model and says in what.
    """
    made = load_provenance(model)
    try:
        beside = json.loads(Path(config).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{config}: cannot be read ({error}); remove {model}, to train the run anew") from error
    own = made.get("settings")
    asked = {"settings": {key: settings.get(key) for key in own} if isinstance(own, dict) else settings, "seed": seed}
    for found, expected, said_by in (
        ({key: made.get(key) for key in asked}, json.loads(json.dumps(asked)), "this run is to have"),
        (made, beside, f"{Path(config).name} has"),
    ):
        differences = [
            f"{key} is {_short(one)}, but {said_by} {_short(other)}"
            for key, one, other in _differences(found, expected)
        ]
        if differences:
            more = f" (and {len(differences) - SHOWN} more)" if len(differences) > SHOWN else ""
            listed = "; ".join(differences[:SHOWN])
            raise ValueError(f"{model}: is of another run: {listed}{more}; remove it, to train this run anew")


def _differences(one: Any, other: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}".removeprefix("."))
    elif one != other:
        yield where or "its provenance", one, other


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:20]}...{text[-10:]}"
