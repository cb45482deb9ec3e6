"""Tell names at the Hugging Face hub from paths.

Kept apart, since the pipeline asks it before anything heavy is loaded.
"""

import re
from pathlib import Path

DATASET = "dataset:"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_model(reference: str) -> bool:
    """Return whether ``reference`` reads OWNER/NAME and is no path on this machine."""
    return (
        _HUB_NAME.fullmatch(reference) is not None and not reference.endswith(".gguf") and not Path(reference).exists()
    )


def is_hub_text(reference: str) -> bool:
    """Return whether ``reference`` reads dataset:OWNER/NAME."""
    return reference.startswith(DATASET)
