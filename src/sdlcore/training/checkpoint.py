"""Save and load checkpoints, so that an interrupted training continues bit for bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.settings import Json
from sdlcore.storage.checksums import read_with_checksum, write_with_checksum

ENTRY = "training"
"""Key of the file's metadata that describes the training."""


class Checkpoint(NamedTuple):
    """State of a training after a step."""

    step: int
    """Number of completed steps."""
    seconds: float
    """Time that these steps took."""
    history: list[dict[str, float]]
    """Rows so far."""
    tensors: dict[str, Tensor]
    """Weights, moments and everything else that the next step needs. No two tensors share memory."""


class Description(NamedTuple):
    """The training that a checkpoint belongs to, and its progress."""

    step: int
    """Number of completed steps."""
    seconds: float
    """Time that these steps took."""
    facts: dict[str, Any]
    """Provenance of the training."""


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, facts: Mapping[str, Json] | None = None) -> None:
    """Write a checkpoint as one safetensors file, atomically.

    Parameters
    ----------
    path
        File to create or replace.
    checkpoint
        State to save.
    facts
        Provenance of the training, for `describe_checkpoint`.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # rows as lists: a checksum needs sorted keys, and the columns of history.csv keep their order
    rows = [list(row.values()) for row in checkpoint.history]
    history: Json = {"columns": list(checkpoint.history[0]) if rows else [], "rows": rows}
    state: Json = {"step": checkpoint.step, "seconds": checkpoint.seconds, "history": history}
    more: dict[str, Json] = {"facts": dict(facts)} if facts else {}
    write_with_checksum(path, tensors, {"state": state, **more}, ENTRY)


def describe_checkpoint(path: str | Path) -> Description | None:
    """Read the description of a checkpoint, without its tensors; None if it is missing or damaged.

    `load_checkpoint` reports damage.
    """
    try:
        with safe_open(path, "pt") as file:
            entry = json.loads(file.metadata()[ENTRY])
        state, facts = entry["state"], dict(entry.get("facts", {}))
        return Description(int(state["step"]), float(state["seconds"]), facts)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def load_checkpoint(path: str | Path) -> Checkpoint | None:
    """Read a checkpoint; return None if there is none.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    if not Path(path).is_file():
        return None
    try:
        entry, tensors = read_with_checksum(path, ENTRY, "pt")
    except ValueError as error:
        raise SourceError(
            f"{path}: damaged checkpoint ({error}). Neither a training nor sdl.load can open it; "
            "delete it to train from the beginning."
        ) from error
    state: Any = entry["state"]
    columns, rows = state["history"]["columns"], state["history"]["rows"]
    history = [dict(zip(columns, row, strict=True)) for row in rows]
    return Checkpoint(state["step"], state["seconds"], history, tensors)
