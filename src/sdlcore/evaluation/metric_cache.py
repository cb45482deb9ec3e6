"""Reuse the metrics of a finished evaluation of the same dictionary, whatever its run is called."""

import glob
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdlcore.settings import Json
from sdlcore.storage.checksums import with_checksum

log = logging.getLogger(__name__)


def finished_metrics(pattern: str, name: str, facts: Mapping[str, Json], seed: int) -> Any:
    """Return the content of a finished metrics file with the same inputs and seed, or None.

    Parameters
    ----------
    pattern
        Glob pattern of the run folders.
    name
        File name of the metrics in each folder.
    facts, seed
        Provenance with all inputs, and the seed of the chance level; both must match.
    """
    for path in (Path(folder, name) for folder in sorted(glob.glob(pattern))):  # noqa: PTH207, it may be absolute
        try:
            content = json.loads(path.read_text())
            same = (
                content["provenance"] == facts and content["run"]["seed"] == seed and content == with_checksum(content)
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # not a finished evaluation
            continue
        if same:
            log.info("%s evaluates the same dictionary and is finished; its metrics are reused", path)
            return content
    return None
