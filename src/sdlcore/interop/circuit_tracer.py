"""circuit-tracer format (0.5): a transcoder per layer, ``layer_0.safetensors`` and so on, and ``config.yaml``.

circuit-tracer recognises JumpReLU by its thresholds, and takes all others for ReLU. BatchTopK is written as JumpReLU
with the same threshold for every latent. TopK needs ``activation`` and ``k`` in ``config.yaml``, which circuit-tracer's
repository reads since v0.5.0 of April 2026 (`UNREAD` names the loaders that ignore them).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from sdlcore.interop.base import SAVE_OURS, Files, Format, safetensors_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.layouts import Layout, to_file
from sdlcore.interop.weights import weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Json
from sdlcore.user_warnings import warn_at_call

_LAYOUT: Layout = {
    "W_enc": ("W_enc", "n_q n_p"),
    "W_dec": ("W_dec", "n_q n_r"),
    "b_enc": ("b_enc", "n_q"),
    "b_dec": ("b_dec", "n_r"),
}
UNREAD = (
    "circuit-tracer opens these TopK transcoders from a repository at the hub, or by load_transcoders, in v0.5.0 of "
    "decoderesearch/circuit-tracer (April 2026) or later. Its local cache and the release on PyPI (0.5.0, a fork) "
    "ignore the activation and open them as ReLU, without an error"
)
"""Warning for sets of TopK transcoders."""


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if config.pair != "transcoder":
        remedy = "fit one on each store of sdl.extract, with at=[('mlp_in.0', 'mlp_out.0'), ...]"
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
    """Return the files for a set: a transcoder for each layer, in the order of the layers. Options as in `sdl.export`.

    Raises
    ------
    ValueError
        If the transcoders differ in width, number of latents, k, or in having a skip connection.
    """
    shapes = [(model.input_sites, model.config.n_q, model.config.skip, _k_of(model)) for model in models]
    if len(set(shapes)) > 1:
        raise ValueError(
            "the transcoders of a circuit-tracer set must share width, number of latents, skip connection and TopK's "
            f"k, found {shapes} by layer"
        )
    files = {f"layer_{layer}.safetensors": _layer_file(model) for layer, model in enumerate(models)}
    config: dict[str, Json] = {
        "model_name": model_name,
        "model_kind": "transcoder_set",
        "feature_input_hook": feature_input_hook,
        "feature_output_hook": feature_output_hook,
        "scan": scan or model_name,
    }
    if k := _k_of(models[0]):
        config |= {"activation": "topk", "k": k}
        warn_at_call(UNREAD)
    text = yaml.safe_dump(config, sort_keys=False)
    return {**files, FILES["circuit_tracer"][1]: lambda path: path.write_text(text, encoding="utf-8")}


def _k_of(model: SparseCoder) -> int | None:
    return model.config.k if model.config.activation == "topk" else None


def _layer_file(model: SparseCoder) -> Callable[[Path], object]:
    weights, layout = weights_of(model), dict(_LAYOUT)
    if weights.threshold is not None:
        layout["activation_function.threshold"] = ("threshold", "n_q")
    if weights.W_skip is not None:
        layout["W_skip"] = ("W_skip", "n_r n_p")
    return safetensors_file(to_file(weights, layout))


FORMAT: Format = Format("circuit-tracer", refusal, write, is_set=True)
