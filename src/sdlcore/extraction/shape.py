"""Read the shape of a language model from its configuration, and compare a source with it, without the model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.extraction.config import LanguageSource

BLOCKS, WIDTH, POSITIONS = (
    ("num_hidden_layers", "n_layer"),
    ("hidden_size", "n_embd"),
    ("max_position_embeddings", "n_positions"),
)
"""Keys of config.json: the usual name, and GPT-2's."""


class ModelShape(NamedTuple):
    """The size of a language model."""

    blocks: int
    width: int
    """Dimension of the residual stream."""
    positions: int | None = None
    """Largest number of tokens in a context; None if the configuration does not state it."""


def model_shape(folder: str | Path) -> ModelShape | None:
    """Return the shape of the model in a folder; None if there is no config.json with a shape.

    In that case, opening the model raises an error that names the problem.
    """
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config") or config  # of models that also read pictures
        sizes: list[Any] = [
            next((config[key] for key in keys if config.get(key)), None) for keys in (BLOCKS, WIDTH, POSITIONS)
        ]
    except (OSError, ValueError, AttributeError):
        return None
    return None if None in sizes[:2] else ModelShape(*sizes)


def model_problems(shape: ModelShape | None, source: LanguageSource) -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of each setting that exceeds a model, so that a plan fails before its jobs do."""
    if shape is None:
        return
    deepest = max(site.block for site in source.sites.values())
    if deepest > shape.blocks:
        key = "layer" if source.layers is None else "layers"
        yield key, f"layer is {deepest}, but the model has {shape.blocks} blocks; take at most {shape.blocks}"
    if shape.positions and source.context_length > shape.positions:
        yield "context_length", f"contexts of {source.context_length} tokens, but the model takes {shape.positions}"
