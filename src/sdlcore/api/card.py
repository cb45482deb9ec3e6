"""Model cards for the Hugging Face hub."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sdlcore.evaluation.metrics import EXPLAINED, METRICS
from sdlcore.model.coder import SparseCoder

ORIGIN = ("searched", "refined", "reencoded", "seed", "inputs", "code", "versions")
"""Facts of the provenance that a card shows; the first three changed codes or rows after the training."""


def card_of(
    coder: SparseCoder, provenance: Mapping[str, Any], settings: Mapping[str, Any], metrics: Mapping[str, Any] | None
) -> ModelCard:
    """Build a model card with a dictionary's description, usage, metrics, settings and provenance."""
    config = coder.config
    widths = f"{coder.W_enc.shape[1]} dimensions read, {coder.W_dec.shape[1]} written"
    lines = [
        f"---\n{ModelCardData(library_name='sdlcore', tags=['sparse-autoencoder', 'interpretability']).to_yaml()}\n---",
        "# Sparse dictionary",
        f"{config.n_q} latents, activation `{config.activation}`, pair `{config.pair}`; {widths}.",
        "```python\nimport sdlcore as sdl\n\nsae = sdl.Dictionary.from_pretrained('owner/name')\n```",
    ]
    if metrics:
        names = [name for name in EXPLAINED if metrics.get(name) is not None]
        words = {name: METRICS[name].caption.replace("|", "\\|") for name in names}
        rows = [f"| {name} | {words[name]} | {metrics[name]:.4g} |" for name in names]
        lines.append("\n".join(["## Metrics", "", "| metric | what it is | value |", "|---|---|---|", *rows]))
    if settings:
        rows = [f"| {name} | `{value}` |" for name, value in settings.items()]
        lines.append("\n".join(["## Settings of the training", "", "| setting | value |", "|---|---|", *rows]))
    origin = {name: provenance[name] for name in ORIGIN if name in provenance}
    if origin:
        rows = [f"| {name} | `{value}` |" for name, value in origin.items()]
        lines.append("\n".join(["## Provenance", "", "| | |", "|---|---|", *rows]))
    return ModelCard("\n\n".join(lines) + "\n")
