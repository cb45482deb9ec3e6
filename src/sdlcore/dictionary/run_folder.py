"""The folder of a run: its files, its lock, and the run that is in it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.identity import log_other_computer, require_same
from sdlcore.interop.formats import OURS, formats_of
from sdlcore.storage.files import check_writable, lock, remove_leftovers, user_path
from sdlcore.training.checkpoint import describe_checkpoint
from sdlcore.training.history import Sink, csv_rows
from sdlcore.user_warnings import warn_at_call

CONFIG, HISTORY, ANCHORS = "config.json", "history.csv", "anchors.safetensors"
"""Files of a run's folder, beside the model. The configuration is written last."""
PROVENANCE = "provenance.json"
"""The provenance in a folder of `Dictionary.save_pretrained`, whose config.json describes the architecture."""
CHECKPOINT = "checkpoint.safetensors"
HISTORY_PART = "history.part.csv"
"""Files of an unfinished run."""
REPLACED = "replaced"
"""Key of provenance: the indices of the latents that `refine` replaced."""
OTHER_FILES = (".bin", ".ckpt", ".h5", ".json", ".npy", ".npz", ".pkl", ".pt", ".pth")
"""Suffixes of data files; a path with such a suffix was not meant as a folder."""


def run_folder(path: str | Path) -> Path:
    """Return the path of a run's folder; ValueError if it is empty or has the suffix of a data file."""
    path = user_path(path, "out")
    if path.suffix in (".safetensors", *OTHER_FILES):
        raise ValueError(
            f"{path}: expected a folder. To write a single file, end its name in .safetensors and call Dictionary.save"
        )
    return path


def new_run_folder(path: str | Path) -> Path:
    """Return a folder for a new dictionary, as `run_folder`; ValueError if it already contains one."""
    folder = run_folder(path)
    if (folder / CONFIG).exists():
        raise ValueError(
            f"{folder} holds a finished run. Open it with sdl.load({str(folder)!r}), or choose another folder."
        )
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"{folder} holds an unfinished run. Resume it by its own command, or choose another folder.")
    if (folder / OURS).exists():
        raise ValueError(f"{folder / OURS} is another dictionary. Delete it, or choose another folder.")
    refuse_other_formats(folder)
    return folder


def refuse_other_formats(folder: Path) -> None:
    """Raise `ValueError` if a folder contains another library's dictionary.

    Call it before a dictionary is saved there, because `load` refuses a folder with dictionaries of two formats.
    """
    if folder.is_dir() and (others := formats_of([entry.name for entry in folder.iterdir()])):
        raise ValueError(f"{folder}: contains a dictionary of {others[0]}; choose another folder")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a run's folder, creating it if it is missing; SourceError if another process or thread has locked it."""
    with lock(folder):
        folder.mkdir(exist_ok=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a training that failed before its first checkpoint leaves no folder
                folder.rmdir()


class ExistingRun(NamedTuple):
    """A run in a folder. A call opens a finished run, and resumes an unfinished one."""

    is_finished: bool
    provenance: dict[str, Any]


def existing_run(folder: Path, facts: dict[str, Any], recorded: bool = True) -> ExistingRun | None:
    """Return the run in a folder, finished or not; None if there is none.

    Logs other versions and another device. The files of an unfinished run beside a finished one are removed: an earlier
    call may have been killed before it removed them.

    Parameters
    ----------
    folder
        The run's folder.
    facts
        Provenance that the requested run will have.
    recorded
        Whether the run's batches can be compared. Otherwise a warning says that they were not.

    Raises
    ------
    ValueError
        If the folder contains another run (`sdlcore.identity`), which is never overwritten; or if another process is
        training in the folder.
    """
    run = finished_run(folder, facts)
    if run is None and (folder / CHECKPOINT).is_file():
        with alone(folder):
            checkpoint = describe_checkpoint(folder / CHECKPOINT)
        if checkpoint is not None:  # the training reports a damaged checkpoint
            require_same(folder, checkpoint.facts, facts)
            run = ExistingRun(False, checkpoint.facts)
    if run is None:
        return None
    log_other_computer(folder, run.provenance, facts)
    if not recorded:
        does = "opened the finished run" if run.is_finished else "resumed the unfinished run"
        warn_at_call(f"{folder}: {does}; its batches were not compared with these, since no run records them")
    if run.is_finished:
        remove_unfinished(folder)
    return run


def finished_run(folder: Path, facts: dict[str, Any]) -> ExistingRun | None:
    """Return the finished run in a folder, None if there is none; ValueError if it is another run."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"{path} does not describe a run: expected a JSON object. Choose another folder.")
    require_same(folder, config, facts)
    return ExistingRun(True, config)


@contextlib.contextmanager
def unfinished_run(folder: Path) -> Iterator[Sink]:
    """Lock a run's folder during a training, and yield a sink that writes the history to ``history.part.csv``.

    At the end, remove the history and the checkpoint of the unfinished run; its results stay. After an exception, all
    files stay, so that the run can be resumed.

    Raises
    ------
    ValueError
        If another process or thread has locked the folder, or it contains another library's dictionary.
    OSError
        If the folder cannot be written.
    """
    refuse_other_formats(folder)
    check_writable(next(path for path in (folder, *folder.parents) if path.exists()))
    with alone(folder):
        with csv_rows(folder / HISTORY_PART) as write:
            yield write
        remove_unfinished(folder)


def remove_unfinished(folder: Path) -> None:
    """Remove the files of an unfinished run, and part files of its checkpoint that a killed process left."""
    (folder / HISTORY_PART).unlink(missing_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    remove_leftovers(folder / CHECKPOINT, days=0)
