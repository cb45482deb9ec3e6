"""Save and load checkpoints, from which an interrupted training goes on to the same bits."""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sdlcore.settings import Json
from sdlcore.storage.files import atomic_path
from sdlcore.storage.sealing import seal, unseal

log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """Where a training stands after a step."""

    step: int
    """Steps done."""
    seconds: float
    """That they took."""
    history: list[dict[str, float]]
    """Rows so far."""
    tensors: dict[str, Tensor]
    """Weights, moments and what else the next step needs. No two share memory."""


def save_checkpoint(path: str | Path, identity: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as one safetensors file, whole or not at all.

    Parameters
    ----------
    path
        File to make or replace.
    identity
        What is being trained; `load_checkpoint` gives the file only to the same.
    checkpoint
        What to keep.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # rows as lists: a seal sorts keys, and the columns of history.csv keep their order
    rows = [list(row.values()) for row in checkpoint.history]
    history: Json = {"columns": list(checkpoint.history[0]) if rows else [], "rows": rows}
    state: Json = {"step": checkpoint.step, "seconds": checkpoint.seconds, "history": history}
    with atomic_path(path) as part:
        save_file(kept, part, metadata={"training": seal({"identity": identity, "state": state}, kept)})


def steps_of_another(path: str | Path, identity: str) -> int | None:
    """Return how many steps another training's checkpoint has done, None where there is none. Only its description is
    read; of a damaged file `load_checkpoint` tells."""
    try:
        with safe_open(path, "pt") as file:
            found = json.loads(file.metadata()["training"])
        return None if found["identity"] == identity else int(found["state"]["step"])
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        return None


def load_checkpoint(path: str | Path, identity: str) -> Checkpoint | None:
    """Read what `save_checkpoint` wrote, or return None where there is none or it belongs to another training.

    Raises
    ------
    ValueError
        If the file is damaged: it is for whoever runs the training to look at it and delete it.
    """
    if not Path(path).is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("training")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            found = unseal(path, text, tensors)
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: damaged checkpoint ({error}); delete it to start this training afresh") from error
    if found["identity"] != identity:
        log.warning("%s belongs to a training with other settings, data or code; starting afresh", path)
        return None
    state: Any = found["state"]
    columns, rows = state["history"]["columns"], state["history"]["rows"]
    history = [dict(zip(columns, row, strict=True)) for row in rows]
    return Checkpoint(state["step"], state["seconds"], history, tensors)
