"""What the configuration of a language model says of its shape, read without the model."""

import json
from pathlib import Path
from typing import NamedTuple

BLOCKS, WIDTH = ("num_hidden_layers", "n_layer"), ("hidden_size", "n_embd")
"""Names of transformers: that of Llama and its kin, and GPT-2's."""


class ModelShape(NamedTuple):
    """How large a language model is."""

    blocks: int
    width: int
    """Dimensions of its residual stream."""


def model_shape(folder: str | Path) -> ModelShape | None:
    """Return the shape of the model in a folder; None where there is no config.json, or none that says it.

    What is wrong with such a file, opening the model says.
    """
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    blocks, width = (
        next((config[key] for key in keys if isinstance(config.get(key), int)), None) for keys in (BLOCKS, WIDTH)
    )
    return None if blocks is None or width is None else ModelShape(blocks, width)
