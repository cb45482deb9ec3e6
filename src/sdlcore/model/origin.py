"""Check that a model belongs to the run whose config.json is in the same folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdlcore.errors import SourceError, printable_cause

SHOWN = 4
"""Number of differences that an error lists."""


def check_beside(model: str | Path, made: Any) -> None:
    """Compare a model's provenance with the ``config.json`` that the same training wrote beside it.

    Only files called model.safetensors are checked, as in run folders, and only if there is a ``config.json``.

    Raises
    ------
    ValueError
        If they differ (`check_same`), or if ``config.json`` cannot be read.
    """
    config = Path(model).with_name("config.json")
    if Path(model).name != "model.safetensors" or not config.exists():
        return
    try:
        beside = json.loads(config.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{config}: cannot be read ({error}), so the run of {model} is unknown. Move the model "
            "to a folder of its own and open it there with sdl.load, or delete it to train the run again."
        ) from printable_cause(error)
    check_same(model, made, beside, "config.json has")


def check_same(model: str | Path, made: Any, expected: Any, said_by: str) -> None:
    """Raise `ValueError` if two provenances of a model differ; the error names the model and the differences."""
    differences = [
        f"{key} is {_short(one)}, but {said_by} {_short(other)}" for key, one, other in _differences(made, expected)
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
