"""Runs that finished before, under whatever name: the files of one that is the same stand in for finding it again."""

import glob
import json
import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sdlcore.model.saving import load_model, load_provenance
from sdlcore.storage.files import atomic_path
from sdlcore.training.history import read_history

log = logging.getLogger(__name__)


def copy_finished(pattern: str, model: Path, config: Path, history: Path, same: Callable[[Any], bool]) -> bool:
    """Copy the files of a finished run, and tell whether there was one.

    Files of runs are replaced, never changed, and a run begins by removing its ``config``, so that no half of one is
    copied. What is copied is checked all the same; where a file is missing or damaged, it is left alone.

    Parameters
    ----------
    pattern
        Of the folders of runs, for `glob`. Their files are called as those to write.
    model, config, history
        Files to write, ``model`` last.
    same
        Tells from a config's content whether its run is the same.
    """
    for folder in map(Path, sorted(glob.glob(pattern))):  # noqa: PTH207, it may be absolute
        try:
            text = (folder / config.name).read_text()
            made = json.loads(text)
            if not same(made):
                continue
            with ExitStack() as stack:  # moved in the opposite order
                parts = {path: stack.enter_context(atomic_path(path)) for path in (model, config, history)}
                for path, part in parts.items():
                    shutil.copyfile(folder / path.name, part)
                load_model(parts[model])
                read_history(parts[history])
                if load_provenance(parts[model]) != made or parts[config].read_text() != text:
                    raise ValueError(f"{folder}: its files are of several runs")
        except (OSError, ValueError) as error:
            log.info("%s is not taken: %s", folder, error)
            continue
        log.info("%s is the same run, and finished: its files are copied", folder)
        return True
    return False
