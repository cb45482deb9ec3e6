"""What the configuration of a language model says of its shape, read without the model."""

import json
from pathlib import Path
from typing import NamedTuple

BLOCKS, WIDTH, POSITIONS = (
    ("num_hidden_layers", "n_layer"),
    ("hidden_size", "n_embd"),
    ("max_position_embeddings", "n_positions"),
)
"""Names of transformers: that of Llama and its kin, and GPT-2's."""


class ModelShape(NamedTuple):
    """How large a language model is."""

    blocks: int
    width: int
    """Dimensions of its residual stream."""
    positions: int | None = None
    """Tokens of the longest context that it takes; None where that is not said."""


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
    blocks, width, positions = (
        next((config[key] for key in keys if isinstance(config.get(key), int)), None)
        for keys in (BLOCKS, WIDTH, POSITIONS)
    )
    return None if blocks is None or width is None else ModelShape(blocks, width, positions)


def beyond_positions(shape: ModelShape | None, context_length: int) -> str | None:
    """Return what is wrong with contexts that are longer than a model takes, as far as its shape is known."""
    if shape is None or shape.positions is None or context_length <= shape.positions:
        return None
    return f"contexts of {context_length} tokens, but the model takes {shape.positions}; take at most that"
