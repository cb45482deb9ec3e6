"""Reuse finished runs: copy the files of an identical run, whatever its name, instead of training again."""

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
    """Copy the files of an identical finished run; return whether there was one.

    Run files are replaced, never modified, and a run begins by removing its ``config``, so a half-written run is not
    copied. Copies are checked all the same; runs with missing or damaged files are skipped.

    Parameters
    ----------
    pattern
        Glob pattern of run folders. Their files have the same names as those to write.
    model, config, history
        Files to write; ``model`` is written last.
    same
        Returns whether the run of a config's content is identical.
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
                    raise ValueError(f"{folder}: its files belong to different runs")
        except (OSError, ValueError) as error:
            log.info("%s is not reused: %s", folder, error)
            continue
        log.info("%s is a finished run with the same inputs; its files are copied", folder)
        return True
    return False
