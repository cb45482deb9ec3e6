"""The folder of a run: its files, its lock, and the run that is in it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdlcore.identity import log_other_computer, require_same
from sdlcore.interop.formats import formats_of
from sdlcore.storage.files import lock, remove_leftovers, user_path
from sdlcore.storage.parsing import parsing
from sdlcore.training.checkpoint import describe_checkpoint
from sdlcore.training.history import Sink, csv_rows
from sdlcore.user_warnings import warn_at_call

CONFIG, HISTORY, ANCHORS = "config.json", "history.csv", "anchors.safetensors"
"""Files of a run's folder, beside the model. The configuration is written last."""
CHECKPOINT, HISTORY_PART = "checkpoint.safetensors", "history.part.csv"
"""Files of an unfinished run."""
REPLACED = "replaced"
"""Key of provenance: the indices of the latents that `refine` replaced."""
OTHER_FILES = (".safetensors", ".bin", ".ckpt", ".h5", ".json", ".npy", ".npz", ".pkl", ".pt", ".pth")


def run_folder(path: str | Path) -> Path:
    """Return the path of a run's folder; ValueError if it is empty or has the suffix of a data file."""
    path = user_path(path, "out")
    if path.suffix in OTHER_FILES:
        raise ValueError(
            f"{path}: expected a folder. To write a single file, end its name in .safetensors and call Dictionary.save"
        )
    return path


def refuse_other_formats(folder: Path) -> None:
    """Raise `ValueError` if a folder contains another library's dictionary: `load` refuses two formats in a folder."""
    if folder.is_dir() and (others := formats_of([entry.name for entry in folder.iterdir()])):
        raise ValueError(f"{folder}: contains a dictionary of {others[0]}; choose another folder")


def is_finished(folder: Path, facts: dict[str, Any], recorded: bool = True) -> bool:
    """Return whether the folder holds the finished run with this provenance. An unfinished run can be resumed.

    Another run is never overwritten, but refused (`sdlcore.identity`). Other versions and another device are logged.
    The files of an unfinished run beside a finished one are removed: an earlier call may have been killed before it
    removed them. If the run's batches cannot be compared (not ``recorded``), a warning appears.
    """
    run_facts = finished_run(folder, facts)
    finished = run_facts is not None
    # the training reports a damaged checkpoint
    if run_facts is None and (checkpoint := describe_checkpoint(folder / CHECKPOINT)) is not None:
        require_same(folder, checkpoint.facts, facts)
        run_facts = checkpoint.facts
    if run_facts is None:
        return False
    log_other_computer(folder, run_facts, facts)
    if not recorded:
        does = "opened the finished run" if finished else "resumed the unfinished run"
        warn_at_call(f"{folder}: {does}; its batches were not compared with these, since no run records them")
    if finished:
        remove_unfinished(folder)
    return finished


def finished_run(folder: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return the provenance of a folder's finished run, None if there is none; ValueError if it is another run."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    with parsing(path, "the provenance of a run", "choose another folder"):
        config = dict(json.loads(path.read_text(encoding="utf-8")).items())
    require_same(folder, config, facts)
    return config


@contextlib.contextmanager
def unfinished_run(folder: Path) -> Iterator[Sink]:
    """Lock a run's folder during a training, and yield a sink that writes the history to ``history.part.csv``.

    At the end, remove the history and the checkpoint of the unfinished run; its results stay. After an exception, all
    files stay, so that the run can be resumed.
    """
    refuse_other_formats(folder)
    with lock(folder):
        folder.mkdir(exist_ok=True)
        try:
            with csv_rows(folder / HISTORY_PART) as write:
                yield write
            remove_unfinished(folder)
        finally:
            with contextlib.suppress(OSError):  # a training that failed before its first checkpoint leaves no folder
                folder.rmdir()


def remove_unfinished(folder: Path) -> None:
    """Remove the files of an unfinished run, and part files of its checkpoint that a killed process left."""
    (folder / HISTORY_PART).unlink(missing_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    remove_leftovers(folder / CHECKPOINT, days=0)
