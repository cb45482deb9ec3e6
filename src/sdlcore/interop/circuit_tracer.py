"""circuit-tracer format (0.5): a transcoder per layer, ``layer_0.safetensors`` and so on, and ``config.yaml``.

circuit-tracer recognises JumpReLU by its thresholds, and takes all others for ReLU. BatchTopK is written as JumpReLU
with the same threshold for every latent. TopK needs ``activation`` and ``k`` in ``config.yaml``, which circuit-tracer's
repository reads since v0.5.0 of April 2026 (`UNREAD` names the loaders that ignore them).
"""

from collections.abc import Sequence

import yaml

from sdlcore.interop.base import SAVE_OURS, Files, Format, safetensors_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.weights import weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json
from sdlcore.user_warnings import warn_at_call

_FILES = FILES["circuit_tracer"]
UNREAD = (
    "circuit-tracer opens these TopK transcoders from a repository at the hub, or by load_transcoders, in v0.5.0 of "
    "decoderesearch/circuit-tracer (April 2026) or later. Its local cache and the release on PyPI (0.5.0, a fork) "
    "ignore the activation and open them as ReLU, without an error"
)
"""Warning for sets of TopK transcoders."""


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if config.pair != "transcoder":
        remedy = "fit one on each store of sdl.extract_layers"
        return f"it opens transcoders, from a layer's MLP input to its output; {remedy}, or {SAVE_OURS}"
    if config.activation not in ("relu", "jumprelu", "batchtopk", "topk"):
        remedy = "train it with activation batchtopk, whose threshold JumpReLU can hold"
        return f"its loaders know relu, jumprelu and topk; {remedy}, or {SAVE_OURS}"
    n_p, n_r = sum(model.input_sites), sum(model.target_sites)
    if n_p != n_r:
        return f"inputs and targets must have one width, found {n_p} and {n_r}; {SAVE_OURS}"
    return None


def write(
    models: Sequence[SparseCoder],
    *,
    model_name: str = "",
    scan: str = "",
    feature_input_hook: str = "mlp.hook_in",
    feature_output_hook: str = "mlp.hook_out",
) -> Files:
    """Return the files for a set of transcoders.

    Parameters
    ----------
    models
        A transcoder for each layer of the language model, in the order of the layers.
    model_name
        Name of the language model.
    scan
        Name under which circuit-tracer looks up visualisations of latents; empty for ``model_name``.
    feature_input_hook, feature_output_hook
        Hooks of inputs and targets, in TransformerLens' names without ``blocks.N.``.

    Raises
    ------
    ValueError
        If the transcoders differ in width, number of latents, k, or in having a skip connection.
    """
    for what, numbers in (
        ("a width", [sum(model.input_sites) for model in models]),
        ("a number of latents", [model.config.n_q for model in models]),
        ("a skip connection or none", [model.config.skip for model in models]),
        ("a TopK with one k, or none", [model.config.k if _is_topk(model) else None for model in models]),
    ):
        if len(set(numbers)) > 1:
            raise ValueError(f"the transcoders of a circuit-tracer set must share {what}, found {numbers} by layer")
    files = {f"layer_{layer}.safetensors": safetensors_file(_tensors(model)) for layer, model in enumerate(models)}
    config: dict[str, Json] = {
        "model_name": model_name,
        "model_kind": "transcoder_set",
        "feature_input_hook": feature_input_hook,
        "feature_output_hook": feature_output_hook,
        "scan": scan or model_name,
    }
    if _is_topk(models[0]):
        config |= {"activation": "topk", "k": models[0].config.k}
        warn_at_call(UNREAD)
    text = yaml.safe_dump(config, sort_keys=False)
    return {**files, _FILES[1]: lambda path: path.write_text(text, encoding="utf-8")}


def _is_topk(model: SparseCoder) -> bool:
    return model.config.activation == "topk"


def _tensors(model: SparseCoder) -> dict:
    weights = weights_of(model)
    tensors = {"W_enc": weights.W_enc, "W_dec": weights.W_dec, "b_enc": weights.b_enc, "b_dec": weights.b_dec}
    if weights.threshold is not None:
        tensors["activation_function.threshold"] = weights.threshold.expand(model.config.n_q)
    if weights.W_skip is not None:
        tensors["W_skip"] = weights.W_skip.T
    return tensors


FORMAT: Format = Format("circuit-tracer", _FILES, refusal, write, is_set=True)
