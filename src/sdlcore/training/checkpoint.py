"""Checkpoints: everything that an interrupted training needs to go on as if nothing had happened."""

import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sdlcore.storage.files import atomic_path
from sdlcore.storage.sealing import seal, unseal

log = logging.getLogger(__name__)


def save_checkpoint(path: str | Path, identity: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors and JSON-able state as one safetensors file, whole or not at all.

    Parameters
    ----------
    path
        File to make or replace.
    identity
        What is being trained; `load_checkpoint` gives the file only to the same.
    tensors, state
        What to keep. No two tensors may share memory.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as part:
        save_file(kept, part, metadata={"training": seal({"identity": identity, "state": state}, kept)})


def load_checkpoint(path: str | Path, identity: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
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
    return tensors, found["state"]
