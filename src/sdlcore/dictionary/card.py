"""The files that `Dictionary.save_pretrained` writes beside the weights, and where a dictionary was fitted."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from sdlcore.evaluation.metrics import EXPLAINED, METRICS
from sdlcore.extraction.config import LanguageSource
from sdlcore.extraction.places import hook_names
from sdlcore.identity import ENTRY
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json, Pair

LIBRARY = "sdlcore"
CHANGES = ("searched", "refined", "replaced", "reencoded")
"""Facts of the provenance about changes after the training."""
CARD_FACTS = (*CHANGES, "seed", "inputs", "versions", "package")
"""Facts of the provenance that a card shows."""
ARROW = "->"
"""Between the two sites of a transcoder's place."""


def fitted_place(provenance: Mapping[str, Any], pair: Pair) -> dict[str, Any] | None:
    """Return layer and place in a language model, as `splice` takes them; None if the provenance contains none."""
    activations = provenance.get("activations") or {}
    if where := activations.get("where"):  # recorded without a store, as by `SparseCoder` in a loop over a model
        return dict(where)
    try:
        return where_of(LanguageSource.from_dict(activations["source"]), pair)
    except (LookupError, TypeError, ValueError):  # no activations, or not a language model's
        return None


def where_of(source: LanguageSource, pair: str) -> dict[str, Any]:
    """Return the layer and the place of a dictionary of this ``pair``, from the source that it was trained on."""
    part = source.site
    if pair == "sae":
        return {"layer": source.sites["input"].block or source.layer, "place": "mlp_input" if part == "mlp" else part}
    if source.layers is not None:
        return {"layer": tuple(source.layers), "place": None if part == "residual" else part}
    place = part if source.target_site is None else f"{part}{ARROW}{source.target_site}"
    return {"layer": source.layer, "place": place}


def config_of(coder: SparseCoder, provenance: Mapping[str, Any]) -> dict[str, Json]:
    """Return the architecture, sizes, model and hooks of a dictionary. Weights take and return raw activations.

    Keys are SAELens' keys where SAELens has an equivalent. ``architecture`` is one word, such as topk, posterior,
    jumprelu_transcoder or relu_crosscoder. A crosscoder's ``d_in`` and ``hook_name`` list its sites. Facts that the
    provenance lacks are None.
    """
    config, several = coder.config, coder.config.pair == "crosscoder"
    kind = "" if config.pair == "sae" else f"_skip_{config.pair}" if config.skip else f"_{config.pair}"
    where = fitted_place(provenance, config.pair)
    hooks = [] if where is None else hook_names(where["layer"], where["place"], config.pair)
    settings: Any = provenance.get("settings") or {}
    return {
        "library_name": LIBRARY,
        "architecture": config.activation + kind,
        "d_in": list(coder.input_sites) if several else coder.W_enc.shape[1],
        "d_out": list(coder.target_sites) if several else coder.W_dec.shape[1],
        "d_sae": config.n_q,
        "k": config.k,
        "dtype": "float32",
        "model_name": ((provenance.get("activations") or {}).get("model") or {}).get("name"),
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
    data = ModelCardData(library_name=LIBRARY, tags=["sparse-autoencoder", "interpretability"])
    lines = [
        f"---\n{data.to_yaml()}\n---",
        "# Sparse dictionary",
        f"{config.n_q} latents, activation `{config.activation}`, pair `{config.pair}`; "
        f"{coder.W_enc.shape[1]} dimensions read, {coder.W_dec.shape[1]} written.",
        "```python\nimport sdlcore as sdl\n\nsae = sdl.load('owner/name')\n```",
    ]
    measured = [name for name in EXPLAINED if (metrics or {}).get(name) is not None]
    captions = {name: METRICS[name].caption.replace("|", "\\|") for name in measured}
    facts = {**provenance.get(ENTRY, {}), **provenance}
    tables = {
        "## Metrics": [
            "| metric | what it is | value |",
            "|---|---|---|",
            *(f"| {name} | {caption} | {(metrics or {})[name]:.4g} |" for name, caption in captions.items()),
        ],
        "## Settings of the training": [
            "| setting | value |",
            "|---|---|",
            *(f"| {name} | `{value}` |" for name, value in settings.items()),
        ],
        "## Provenance": [
            "| | |",
            "|---|---|",
            *(f"| {name} | `{facts[name]}` |" for name in CARD_FACTS if name in facts),
        ],
    }
    lines += ["\n".join([title, "", *rows]) for title, rows in tables.items() if len(rows) > 2]
    return ModelCard("\n\n".join(lines) + "\n")
