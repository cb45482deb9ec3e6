"""A run's folder: the files in it, the names that it may have, and whether a finished run is there."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.paths import user_path

CONFIG, HISTORY, ANCHORS = "config.json", "history.csv", "anchors.safetensors"
"""Files of a run's folder, beside the model."""
CHECKPOINT = "checkpoint.safetensors"
HISTORY_PART = "history.part.csv"
"""Two others, until the run is finished."""
OTHER_FILES = (".bin", ".ckpt", ".h5", ".json", ".npy", ".npz", ".pkl", ".pt", ".pth")
"""How files end that are not written here; whoever gives such a path means no folder."""
LISTED = 4
"""Differences from a finished run that an error lists."""


def run_folder(path: str | Path) -> Path:
    """Return a path for a run's folder; ValueError if it is empty, or called as a file is."""
    path = user_path(path, "out")
    if path.suffix in (".safetensors", *OTHER_FILES):
        raise ValueError(
            f"{path}: expected a folder, and for a single file the ending .safetensors, by Dictionary.save"
        )
    return path


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if it is not there. The system lets go of it when this process ends.

    Raises
    ------
    ValueError
        If another process, or another thread, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder}: another process is training there; wait for its end, or name another folder"
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # what failed before its first checkpoint leaves nothing
                folder.rmdir()
    finally:
        os.close(held)


def is_finished(folder: Path, facts: dict[str, Any]) -> bool:
    """Tell whether a run's folder holds what these facts make; its configuration is written last.

    Raises
    ------
    ValueError
        If it holds a finished run of another making, which nobody may overwrite.
    """
    path = folder / CONFIG
    if not path.is_file():
        return False
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        saved = None
    if not isinstance(saved, dict):
        raise ValueError(f"{path}: says nothing of a run; delete it, or name another folder")
    wanted = json.loads(json.dumps(facts))
    other = [said for name, value in wanted.items() for said in _differences(name, saved.get(name), value)]
    if other:
        # other settings may use other code
        other = [said for said in other if said != "other code"] or other
        few = ", ".join(other[:LISTED]) + (", ..." if len(other) > LISTED else "")
        raise ValueError(f"{folder}: holds a finished run of another making ({few}); delete it, or name another folder")
    return True


def _differences(name: str, there: Json, here: Json) -> Iterator[str]:
    """Yield what is another one in a finished run: settings and the seed with their values, of the rest the name."""
    if there == here:
        return
    if name == "settings" and isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(key, there.get(key), here.get(key))
    elif isinstance(here, dict) or name == "code":
        yield f"other {name}"
    else:
        yield f"{name} {there} there, {here} here"
