"""The files that `Dictionary.save_pretrained` writes beside the weights: ``config.json`` and the model card."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sdlcore.dictionary.place import known_place
from sdlcore.evaluation.metrics import EXPLAINED, METRICS
from sdlcore.extraction.places import hook_names
from sdlcore.identity import ENTRY
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json

LIBRARY = "sdlcore"
CARD_FACTS = ("searched", "refined", "replaced", "reencoded", "compared", "seed", "inputs", "versions", "package")
"""Facts of the provenance that a card shows; the first five describe changes after the training."""


def architecture_of(coder: SparseCoder) -> str:
    """Return the architecture in one word, such as topk, posterior, jumprelu_transcoder or relu_crosscoder."""
    config = coder.config
    encoder = "pursuit" if config.pursuit else config.activation
    kind = {"sae": "", "transcoder": "_skip_transcoder" if config.skip else "_transcoder", "crosscoder": "_crosscoder"}
    return encoder + kind[config.pair]


def config_of(coder: SparseCoder, provenance: Mapping[str, Any]) -> dict[str, Json]:
    """Return the architecture, sizes, model and hooks of a dictionary. Weights take and return raw activations.

    Keys are SAELens' where it has the same thing. A crosscoder's ``d_in`` and ``hook_name`` list its sites. Facts that
    the provenance lacks are None.
    """
    config, several = coder.config, coder.config.pair == "crosscoder"
    where = known_place(provenance, config.pair)
    hooks = [] if where is None else hook_names(where["layer"], where["place"], config.pair)
    settings: Any = provenance.get("settings") or {}
    model = ((provenance.get("activations") or {}).get("model") or {}).get("name")
    return {
        "library_name": LIBRARY,
        "architecture": architecture_of(coder),
        "d_in": list(coder.input_sites) if several else coder.W_enc.shape[1],
        "d_out": list(coder.target_sites) if several else coder.W_dec.shape[1],
        "d_sae": config.n_q,
        "k": config.k,
        "dtype": "float32",
        "model_name": model,
        "hook_name": hooks if several else next(iter(hooks), None),
        "hook_name_out": hooks[1] if config.pair == "transcoder" and hooks else None,
        "apply_b_dec_to_input": config.activation == "matching_pursuit",
        # the weights contain the training's normalisation
        "normalize_activations": "none",
        "training_normalisation": next((name for name in ("whiten", "normalise") if settings.get(name)), None),
    }


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
    facts = {**provenance.get(ENTRY, {}), **provenance}
    origin = {name: facts[name] for name in CARD_FACTS if name in facts}
    if origin:
        rows = [f"| {name} | `{value}` |" for name, value in origin.items()]
        lines.append("\n".join(["## Provenance", "", "| | |", "|---|---|", *rows]))
    return ModelCard("\n\n".join(lines) + "\n")
