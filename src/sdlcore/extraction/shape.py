"""Read the shape of a language model from its configuration, and check a source against it without the model."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import lacking, paths_of
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
    return _shape(_read(folder))


def _read(folder: str | Path) -> dict[str, Any]:
    """Return the configuration in a folder, or an empty dictionary if it cannot be read."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _shape(config: Mapping[str, Any]) -> ModelShape | None:
    # models that also read pictures have a nested configuration for the language model
    config = inner if isinstance(inner := config.get("text_config"), dict) else config
    blocks, width, positions = (
        next((config[key] for key in keys if isinstance(config.get(key), int)), None)
        for keys in (BLOCKS, WIDTH, POSITIONS)
    )
    return None if blocks is None or width is None else ModelShape(blocks, width, positions)


def model_problems(folder: str | Path, source: LanguageSource) -> Iterator[tuple[str, str]]:
    """Yield the key and the problem of each setting of a source that does not suit the model in a folder.

    Only the model's configuration is read, so that a plan already raises the errors of an extraction.
    """
    config = _read(folder)
    if not config:
        return
    shape = _shape(config)
    try:
        paths = paths_of(config, source.paths, source.model)
    except SourceError as error:
        yield "model", str(error).partition(": ")[2]
        return
    key = "layer" if source.layers is None else "layers"
    deepest = max(site.block for site in source.sites.values())
    if shape and deepest > shape.blocks:
        yield key, f"layer is {deepest}, but the model has {shape.blocks} blocks; take at most {shape.blocks}"
    for site in source.sites.values():
        if site.module is None and (problem := lacking(site.part, paths)):
            yield "target_site" if site.part == source.target_site else "site", f"{site.part}: {problem}"
    if problem := beyond_positions(shape, source.context_length):
        yield "context_length", problem


def beyond_positions(shape: ModelShape | None, context_length: int) -> str | None:
    """Return the problem if contexts are longer than a model allows; None if they are not, or if it is unknown."""
    if shape is None or shape.positions is None or context_length <= shape.positions:
        return None
    return f"contexts of {context_length} tokens, but the model takes {shape.positions}; take at most that"
