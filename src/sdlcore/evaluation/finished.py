"""Find metrics that an evaluation of the same dictionary left, under whatever name."""

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
    """Return the content of a metrics file that says what another evaluation would, or None.

    Parameters
    ----------
    pattern
        Of the folders of runs, for `glob`.
    name
        What the file is called there.
    facts, seed
        What makes the metrics: provenance with all inputs, and the seed of the chance level.
    """
    for path in (Path(folder, name) for folder in sorted(glob.glob(pattern))):  # noqa: PTH207, it may be absolute
        try:
            content = json.loads(path.read_text())
            same = (
                content["provenance"] == facts and content["run"]["seed"] == seed and content == with_checksum(content)
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError):  # of no evaluation that is finished
            continue
        if same:
            log.info("%s is of the same dictionary, and finished: its metrics are taken", path)
            return content
    return None
