"""SAELens format (6.x): a folder with ``cfg.json`` and ``sae_weights.safetensors`` for `SAE.load_from_disk`.

BatchTopK is written as JumpReLU with the same threshold for every latent, as SAELens does for inference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sdlcore import __version__
from sdlcore.errors import SourceError
from sdlcore.interop.base import SAVE_OURS, Files, Format, json_file, safetensors_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.tensor_files import SHAPE, check_names, check_shapes, check_values, read_safetensors
from sdlcore.interop.weights import Weights, sparse_coder, weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.run import SELECTING, Activation
from sdlcore.settings import Json
from sdlcore.storage.external_json import Settings, read_object
from sdlcore.storage.parsing import parsing

_FILES = FILES["saelens"]
VERSION = "6.0.0"
"""The first SAELens release that uses this form of configuration."""
_WRITTEN = {
    ("sae", "relu"): "standard",
    ("sae", "topk"): "topk",
    ("sae", "batchtopk"): "jumprelu",
    ("sae", "jumprelu"): "jumprelu",
    ("sae", "gated"): "gated",
    ("sae", "abstopk"): "abstopk",
    ("transcoder", "relu"): "transcoder",
    ("transcoder", "batchtopk"): "jumprelu_transcoder",
    ("transcoder", "jumprelu"): "jumprelu_transcoder",
}
_READ: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "abstopk": "abstopk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
    # only in checkpoints of trainings
    "batchtopk": "batchtopk",
    "matryoshka_batchtopk": "batchtopk",
}
_SCALE = "scaling_factor"
"""Tensor with a factor for each latent, saved by releases before 4.0; all ones unless it was fitted afterwards."""
_NORMALISATIONS = {
    "none": "",
    "layer_norm": "it normalises each input separately, which is not supported",
    "constant_norm_rescale": "it normalises each input separately, which is not supported",
    "expected_average_only_in": (
        "its inputs are scaled by a factor that is not in the folder; fold the factor into the weights in SAELens "
        "(sae.fold_activation_norm_scaling_factor) and save it again"
    ),
}
"""Value of ``normalize_activations`` -> why it is not supported; empty if it is."""


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
    """Return the files for a dictionary.

    Parameters
    ----------
    model
        The dictionary.
    model_name, hook_name, hook_name_out
        The language model, and the hooks of inputs and of a transcoder's targets, in TransformerLens' names. SAELens
        loads the folder without them, but needs them to run or evaluate the dictionary in a language model.
    metadata
        Additional SAELens metadata, such as ``neuronpedia_id``.
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
        # sdlcore's encoder does not subtract the decoder bias
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
    if architecture in ("topk", "abstopk"):
        cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    if config.pair == "transcoder":
        cfg["d_out"] = len(weights.b_dec)
    return {_FILES[0]: safetensors_file(tensors), _FILES[1]: json_file(cfg)}


def read(folder: Path) -> SparseCoder:
    """Load a folder that `save_model` or `save_inference_model` wrote, or a training checkpoint."""
    weights, file = folder / _FILES[0], folder / _FILES[1]
    with parsing(folder, "a SAELens dictionary"):
        cfg = _current(Settings(file, read_object(file)))
        architecture = cfg.text("architecture")
        if architecture not in _READ:
            known = ", ".join(_READ)
            raise SourceError(f"{file}: architecture {architecture!r} is not supported; expected one of {known}")
        normalisation = cfg.choice("normalize_activations", _NORMALISATIONS, "none")
        if reason := _NORMALISATIONS[normalisation]:
            raise SourceError(f"{file}: normalize_activations is {normalisation!r}: {reason}")
        # hook_z concatenates the heads of an attention layer, which is the layout of inputs here too
        cfg.choice("reshape_activations", ("none", "hook_z"), "none")
        state = read_safetensors(weights)
        shapes = _shapes(architecture)
        check_names(weights, state, set(shapes), frozenset({_SCALE}))
        sizes = {"d_in": cfg.count("d_in"), **cfg.counts("d_sae", "d_out")}
        shapes |= {_SCALE: ("d_sae",)} if _SCALE in state else {}
        check_shapes(weights, state, shapes, sizes, file.name)
        check_values(weights, state)
        if _SCALE in state and not (state.pop(_SCALE) == 1).all():
            raise SourceError(f"{weights}: {_SCALE} contains numbers other than 1; scaled latents are not supported")
        return _opened(state, cfg)


def _shapes(architecture: str) -> dict[str, SHAPE]:
    """Return the tensor names of an architecture with the names of their dimensions."""
    d_out = "d_out" if "transcoder" in architecture else "d_in"
    shapes: dict[str, SHAPE] = {"W_enc": ("d_in", "d_sae"), "W_dec": ("d_sae", d_out), "b_dec": (d_out,)}
    biases = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)
    shapes |= dict.fromkeys(biases, ("d_sae",))
    if _READ[architecture] == "jumprelu":
        shapes["threshold"] = ("d_sae",)
    if _READ[architecture] == "batchtopk":
        shapes["topk_threshold"] = ()
    if "skip" in architecture:
        shapes["W_skip"] = (d_out, "d_in")
    return shapes


def from_saelens(state: Mapping[str, Tensor], cfg: Mapping[str, Any]) -> SparseCoder:
    """Build a dictionary from SAELens weights by name and a configuration, which may be a training's."""
    return _opened(state, Settings("SAELens' configuration", cfg))


def _opened(state: Mapping[str, Tensor], cfg: Settings) -> SparseCoder:
    architecture = cfg.text("architecture")
    activation = _READ[architecture]
    transcoder = "transcoder" in architecture
    subtracts = cfg.flag("apply_b_dec_to_input", True) and not transcoder
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
    if cfg.flag("rescale_acts_by_decoder_norm", False):
        weights = weights.by_decoder_norms()
    k = cfg.count("k") if activation in SELECTING else None
    return sparse_coder(weights, activation, k, "transcoder" if transcoder else "sae")


def _current(cfg: Settings) -> Settings:
    """Convert a configuration from before SAELens 6.0 to the names of 6.0."""
    values = {"architecture": "standard", **cfg.values}
    before_6 = "activation_fn" if "activation_fn" in cfg else "activation_fn_str"
    activation = cfg.text(before_6, "relu")
    if activation not in ("relu", "topk"):
        raise SourceError(f"{cfg.where}: activation {activation!r} is not supported; expected relu or topk")
    if activation == "topk":
        values["architecture"] = "topk"
        if "activation_fn_kwargs" in cfg and "k" in (own := cfg.section("activation_fn_kwargs")):
            values["k"] = own.count("k")
    normalisation = values.get("normalize_activations")
    if normalisation is None or normalisation is False:  # releases before 6.0 wrote false or null for none
        values["normalize_activations"] = "none"
    elif normalisation is True:
        values["normalize_activations"] = "expected_average_only_in"
    return Settings(cfg.where, values)


FORMAT: Format = Format("SAELens", _FILES, refusal, write, read)
