"""The ``config.json`` of a folder that `Dictionary.save_pretrained` writes: the architecture, in the field's words."""

from collections.abc import Mapping
from typing import Any

from sdlcore.api.fitted_place import known_place
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json
from sdlcore.sources.language.places import hook_names

LIBRARY = "sdlcore"


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
