"""Distinguish names at the Hugging Face hub from paths.

The module imports nothing heavy, so that checking a configuration is fast.
"""

import re
from pathlib import Path

DATASET = "dataset:"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_hub_model(reference: str) -> bool:
    """Return whether ``reference`` has the form OWNER/NAME and is not a path on this machine."""
    return (
        _HUB_NAME.fullmatch(reference) is not None and not reference.endswith(".gguf") and not Path(reference).exists()
    )


def is_hub_text(reference: str) -> bool:
    """Return whether ``reference`` has the form dataset:OWNER/NAME."""
    return reference.startswith(DATASET)
