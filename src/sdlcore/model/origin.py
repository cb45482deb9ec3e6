"""Check that a model belongs to the run whose provenance is in the same folder: config.json, or provenance.json."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError, printable_cause

SHOWN = 4
"""Number of differences that an error lists."""


def check_beside(model: str | Path, provenance: Any) -> None:
    """Compare a model's provenance with the file that was written beside it.

    The file beside it is the ``provenance.json`` of `Dictionary.save_pretrained`, or the ``config.json`` of a run.
    Without such a file, or if the model is not called model.safetensors, nothing is checked.

    Raises
    ------
    ValueError
        If they differ (`check_same`), or if the file cannot be read.
    """
    config = Path(model).with_name("provenance.json")
    config = config if config.exists() else config.with_name("config.json")
    if Path(model).name != "model.safetensors" or not config.exists():
        return
    try:
        beside = json.loads(config.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{config}: cannot be read ({error}), so the run of {model} is unknown. Move the model "
            "to a folder of its own and open it there with sdl.load, or delete it to train the run again."
        ) from printable_cause(error)
    if config.name == "config.json" and isinstance(beside, dict) and "library_name" in beside:
        return  # of save_pretrained, without its provenance.json
    check_same(model, provenance, beside, f"{config.name} has")


def check_same(model: str | Path, provenance: Any, expected: Any, said_by: str) -> None:
    """Raise `ValueError` if two provenances of a model differ; the error names the model and the differences.

    ``said_by`` introduces the expected values in the error, such as "config.json has".
    """
    differences = [
        f"{key} is {_short(one)}, but {said_by} {_short(other)}"
        for key, one, other in _differences(provenance, expected)
    ]
    if differences:
        more = f" (and {len(differences) - SHOWN} more)" if len(differences) > SHOWN else ""
        listed = "; ".join(differences[:SHOWN])
        raise SourceError(
            f"{model} belongs to a different run: {listed}{more}. Move it to a folder of its own "
            "and open it there with sdl.load, or delete it to train this run again."
        )


def _differences(one: Any, other: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(one.get(key), other.get(key), f"{where}.{key}".removeprefix("."))
    elif one != other:
        yield where or "its provenance", one, other


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:20]}...{text[-10:]}"
