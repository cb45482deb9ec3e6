"""SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors``, as `SAE.load_from_disk` reads it (6.x).

BatchTopK is written as JumpReLU with its threshold at every latent, as SAELens itself does for inference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from sdlcore import __version__
from sdlcore.interop.format import (
    SAVE_OURS,
    Files,
    Format,
    check_names,
    check_widths,
    json_file,
    read_json,
    safetensors_file,
)
from sdlcore.interop.places import FILES
from sdlcore.interop.weights import Weights, sparse_coder, weights_of
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import Activation
from sdlcore.settings import Json
from sdlcore.storage.parsing import SourceError, parsing

_FILES = FILES["saelens"]
VERSION = "6.0.0"
"""The first release whose configuration this is."""
_WRITTEN = {
    ("sae", "relu"): "standard",
    ("sae", "topk"): "topk",
    ("sae", "batchtopk"): "jumprelu",
    ("sae", "jumprelu"): "jumprelu",
    ("sae", "gated"): "gated",
    ("transcoder", "relu"): "transcoder",
    ("transcoder", "batchtopk"): "jumprelu_transcoder",
    ("transcoder", "jumprelu"): "jumprelu_transcoder",
}
_READ: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
    # of checkpoints of its trainings
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
}
_OF_INPUTS = ("layer_norm", "constant_norm_rescale")
"""Normalisations by each sample's own statistics. Others are folded into the weights that SAELens saves."""


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if (config.pair, config.activation) in _WRITTEN:
        return None
    if config.pair == "transcoder":
        remedy = "train it with activation batchtopk, whose threshold a jumprelu_transcoder can hold"
        return f"its transcoders are relu or jumprelu; {remedy}, or {SAVE_OURS}"
    if config.pair == "crosscoder":
        return f"it has no class for crosscoders; {SAVE_OURS}"
    return f"it has no such architecture; {SAVE_OURS}"


def write(
    model: SparseCoder,
    *,
    model_name: str = "",
    hook_name: str = "",
    hook_name_out: str = "",
    metadata: Mapping[str, Json] | None = None,
) -> Files:
    """Return the files of a dictionary.

    Parameters
    ----------
    model
        The dictionary.
    model_name, hook_name, hook_name_out
        The language model and the hooks that inputs and a transcoder's targets come from, in TransformerLens' names.
        SAELens opens the folder without. What it puts into a language model, or evaluates in one, needs them.
    metadata
        More that SAELens is to know, such as ``neuronpedia_id``.
    """
    config, weights = model.config, weights_of(model)
    architecture = _WRITTEN[config.pair, config.activation]
    tensors = {"W_enc": weights.W_enc.T, "W_dec": weights.W_dec, "b_dec": weights.b_dec}
    if weights.log_scale is not None and weights.b_magnitude is not None:
        tensors |= {"b_gate": weights.b_enc, "b_mag": weights.b_magnitude, "r_mag": weights.log_scale}
    else:
        tensors["b_enc"] = weights.b_enc
    if weights.threshold is not None:
        tensors["threshold"] = weights.threshold.expand(config.n_q)
    if weights.W_skip is not None:
        architecture = architecture.replace("transcoder", "skip_transcoder")
        tensors["W_skip"] = weights.W_skip.T
    n_q, n_p = weights.W_enc.shape
    told = {"model_name": model_name, "hook_name": hook_name, "hook_name_out": hook_name_out, **(metadata or {})}
    cfg: dict[str, Json] = {
        "architecture": architecture,
        "d_in": n_p,
        "d_sae": n_q,
        "dtype": "float32",
        "device": "cpu",
        # our encoder subtracts nothing
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": VERSION,
            "sae_lens_training_version": None,
            "training_architecture": config.activation,
            "exported_by": f"sdlcore {__version__}",
            **{name: value for name, value in told.items() if value != ""},
        },
    }
    if architecture == "topk":
        cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    if config.pair == "transcoder":
        cfg["d_out"] = len(weights.b_dec)
    return {_FILES[0]: safetensors_file(tensors), _FILES[1]: json_file(cfg)}


def read(folder: Path) -> SparseCoder:
    """Open a folder: what `save_model` or `save_inference_model` wrote, or a checkpoint of a training."""
    with parsing(folder, "a SAELens dictionary"):
        cfg = read_json(folder / _FILES[1])
        if (activation := _activation_before_6(cfg)) not in ("relu", "topk"):
            raise SourceError(f"{folder}: activation {activation!r} is not read; expected relu or topk")
        cfg = _current(cfg)
        architecture = cfg["architecture"]
        if architecture not in _READ:
            known = ", ".join(_READ)
            raise SourceError(f"{folder}: architecture {architecture!r} is not read; expected one of {known}")
        if (normalisation := cfg.get("normalize_activations")) in _OF_INPUTS:
            raise SourceError(f"{folder}: normalises each input by itself ({normalisation}), which none here does")
        state = load_file(folder / _FILES[0])
        expected = {"W_enc", "W_dec", "b_dec"}
        expected |= {"b_gate", "b_mag", "r_mag"} if architecture == "gated" else {"b_enc"}
        expected |= {"threshold"} if _READ[architecture] == "jumprelu" else set()
        expected |= {"topk_threshold"} if _READ[architecture] == "batchtopk" else set()
        expected |= {"W_skip"} if "skip" in architecture else set()
        check_names(folder / _FILES[0], state, expected)
        check_widths(folder / _FILES[1], cfg["d_in"], state["W_enc"].shape[0])
        return from_state(state, cfg)


def from_state(state: Mapping[str, Tensor], cfg: Mapping[str, Any]) -> SparseCoder:
    """Return a dictionary of its weights by name and its configuration, that of a training too."""
    architecture = cfg["architecture"]
    activation = _READ[architecture]
    transcoder = "transcoder" in architecture
    subtracts = bool(cfg.get("apply_b_dec_to_input", True)) and not transcoder
    weights = Weights(
        W_enc=state["W_enc"].T,
        b_enc=state["b_gate"] if activation == "gated" else state["b_enc"],
        W_dec=state["W_dec"],
        b_dec=state["b_dec"],
        shift=state["b_dec"] if subtracts else None,
        threshold=state.get("topk_threshold", state.get("threshold")),
        log_scale=state.get("r_mag"),
        b_magnitude=state.get("b_mag"),
        W_skip=state["W_skip"].T if "W_skip" in state else None,
    )
    if cfg.get("rescale_acts_by_decoder_norm"):
        weights = weights.by_decoder_norms()
    k = int(cfg["k"]) if activation in ("topk", "batchtopk") else None
    return sparse_coder(weights, activation, k, "transcoder" if transcoder else "sae")


def _current(cfg: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration by the names that it has since 6.0."""
    if _activation_before_6(cfg) == "topk":
        cfg = {**cfg, "architecture": "topk", "k": cfg.get("activation_fn_kwargs", {}).get("k", cfg.get("k"))}
    return {"architecture": "standard", **cfg}


def _activation_before_6(cfg: Mapping[str, Any]) -> Any:
    """Return what releases before 6.0 have beside the architecture."""
    return cfg.get("activation_fn", cfg.get("activation_fn_str", "relu"))


FORMAT: Format = Format("SAELens", _FILES, refusal, write, read)
