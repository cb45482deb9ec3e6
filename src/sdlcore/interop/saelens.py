"""SAELens format (6.x): a folder with ``cfg.json`` and ``sae_weights.safetensors`` for `SAE.load_from_disk`.

BatchTopK is written as JumpReLU with the same threshold for every latent, as SAELens does for inference. Dictionaries
that no class of SAELens computes are written for the class that `sdlcore.saelens` registers.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from sdlcore import __version__
from sdlcore.config import SELECTING, ActivationName
from sdlcore.errors import SourceError
from sdlcore.interop.base import SAVE_OURS, Count, Files, FileSettings, Format, json_file, safetensors_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.layouts import Layout, check_tensors, from_file, read_tensors, to_file
from sdlcore.interop.weights import InteropWeights, sparse_coder, weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.model.saving import build_model, description_of, tensors_of
from sdlcore.settings import Conflicts, Json
from sdlcore.storage.parsing import parsing, read_object

_FILES = FILES["saelens"]
VERSION = "6.0.0"
"""The first SAELens release that uses this form of configuration."""
ARCHITECTURE = "sdlcore.saelens"
"""Architecture of the class in the module of this name. SAELens' error names it if the module is not imported."""
_PREFIX = "coder."
"""Begins the names of that class's tensors: it holds a `SparseCoder` of this name."""
_DESCRIPTION = "dictionary"
"""Key of cfg.json that describes the `SparseCoder`."""
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
_READ: dict[str, ActivationName] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "abstopk": "abstopk",
    "matching_pursuit": "matching_pursuit",
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
_FOLDS = {
    "expected_average_only_in": "fold_activation_norm_scaling_factor",
    "covariance_whitening": "fold_activation_whitening",
}
"""Value of ``normalize_activations`` -> SAELens' method that folds it into the weights."""


def _layout(architecture: str) -> Layout:
    """Return the tensors of an architecture."""
    layout = {"W_dec": ("W_dec", "n_q n_r"), "b_dec": ("b_dec", "n_r")}
    if architecture == "matching_pursuit":
        return layout
    layout["W_enc"] = ("W_enc", "n_p n_q")
    if architecture == "gated":
        layout |= {"b_gate": ("b_enc", "n_q"), "b_mag": ("b_magnitude", "n_q"), "r_mag": ("log_scale", "n_q")}
    else:
        layout["b_enc"] = ("b_enc", "n_q")
    if _READ[architecture] == "jumprelu":
        layout["threshold"] = ("threshold", "n_q")
    if _READ[architecture] == "batchtopk":
        layout["topk_threshold"] = ("threshold", "")
    if "skip" in architecture:
        layout["W_skip"] = ("W_skip", "n_r n_p")
    return layout


def refusal(model: SparseCoder) -> str | None:
    if model.config.pair == "crosscoder":
        return f"it has no class for crosscoders; {SAVE_OURS}"
    if model.config.skip and _native(model) is None:
        remedy = "train it with activation batchtopk, whose threshold a jumprelu_skip_transcoder can hold"
        return f"its transcoders with a skip connection are relu or jumprelu; {remedy}, or {SAVE_OURS}"
    return None


def _native(model: SparseCoder) -> str | None:
    """Return the architecture of SAELens that computes a dictionary's latents; None if there is none."""
    architecture = _WRITTEN.get((model.config.pair, model.config.activation))
    return architecture and (
        architecture.replace("transcoder", "skip_transcoder") if model.config.skip else architecture
    )


def write(
    model: SparseCoder,
    *,
    model_name: str = "",
    hook_name: str = "",
    hook_name_out: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Files:
    """Return the files for a dictionary: for a class of SAELens if one computes its latents, otherwise for the class of
    `sdlcore.saelens`, which has to be imported before SAELens opens the folder. Options as in `sdl.export`.
    """
    config, architecture = model.config, _native(model)
    facts = {"model_name": model_name, "hook_name": hook_name, "hook_name_out": hook_name_out, **(metadata or {})}
    cfg: dict[str, Json] = {
        "architecture": architecture or ARCHITECTURE,
        "d_in": model.W_enc.shape[1],
        "d_sae": config.n_q,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": VERSION,
            "sae_lens_training_version": None,
            "training_architecture": config.activation,
            "exported_by": f"sdlcore {__version__}",
            **{name: value for name, value in facts.items() if value != ""},
        },
    }
    if architecture in ("topk", "abstopk"):
        cfg |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    if config.pair == "transcoder":
        cfg["d_out"] = len(model.b_dec)
    if architecture is None:
        cfg[_DESCRIPTION] = description_of(model)
        tensors = {_PREFIX + name: tensor for name, tensor in tensors_of(model).items()}
    else:
        tensors = to_file(weights_of(model), _layout(architecture))
    return {_FILES[0]: safetensors_file(tensors), _FILES[1]: json_file(cfg)}


class SaelensSettings(FileSettings):
    """The settings in ``cfg.json``, by the names of SAELens 6."""

    architecture: str
    d_in: Count
    d_sae: Count | None = None
    d_out: Count | None = None
    k: Count | None = None
    apply_b_dec_to_input: bool = True
    rescale_acts_by_decoder_norm: bool = False
    normalize_activations: str = "none"
    reshape_activations: Literal["none", "hook_z"] = "none"
    """hook_z concatenates the heads of an attention layer, which is the layout of inputs here too."""
    max_iterations: Count | None = None
    residual_threshold: float = 0.01
    stop_on_duplicate_support: bool = True

    def conflicts(self) -> Conflicts:
        name = self.architecture
        yield name not in _READ, f"architecture is {name!r}, expected one of {', '.join(_READ)}"
        stops = self.residual_threshold > 0 or self.stop_on_duplicate_support
        yield (
            name == "matching_pursuit" and stops,
            "its matching pursuit stops early (residual_threshold, stop_on_duplicate_support), and here it takes "
            "max_iterations steps; set residual_threshold to 0 and stop_on_duplicate_support to false to open it with "
            "other latents",
        )

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Self:
        """Convert a configuration, which may have the names of releases before 6.0."""
        values = {"architecture": "standard", **cfg}
        activation = cfg.get("activation_fn") or cfg.get("activation_fn_str") or "relu"
        if activation not in ("relu", "topk"):
            raise ValueError(f"activation {activation!r} is not supported; expected relu or topk")
        if cfg.get("k") is not None and "architecture" not in cfg:  # releases before 6.0 wrote neither
            raise ValueError("lacks architecture, but contains k; name it, such as topk")
        if activation == "topk":
            values["architecture"] = "topk"
            values |= cfg.get("activation_fn_kwargs") or {}
        if not values.get("normalize_activations"):  # releases before 6.0 wrote false or null for none
            values["normalize_activations"] = "none"
        elif values["normalize_activations"] is True:
            values["normalize_activations"] = "expected_average_only_in"
        return cls.from_dict(values)


def read(folder: Path) -> SparseCoder:
    """Load a folder that `save_model` or `save_inference_model` wrote, or a training checkpoint."""
    weights, file = folder / _FILES[0], folder / _FILES[1]
    with parsing(folder, "a SAELens dictionary"):
        cfg, state = read_object(file), read_tensors(weights)
        if cfg.get("architecture") == ARCHITECTURE:
            tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
            return build_model(folder, cfg[_DESCRIPTION], tensors)
        return read_state(weights, cfg, state)


def read_state(where: Path, cfg: Mapping[str, Any], state: Mapping[str, Tensor]) -> SparseCoder:
    """Build a dictionary from a configuration and the weights that belong to it, after checking both.

    ``where`` is what errors about weights name.
    """
    settings = SaelensSettings.of(cfg)
    if (normalises := settings.normalize_activations) != "none":
        fold = _FOLDS.get(normalises)
        remedy = f"; fold it into the weights in SAELens (sae.{fold}) and save it again" if fold else ""
        raise ValueError(f"normalize_activations is {normalises!r}, which is not in the weights{remedy}")
    activation, transcoder = _READ[settings.architecture], "transcoder" in settings.architecture
    dimensions = {"n_p": settings.d_in, "n_q": settings.d_sae, "n_r": settings.d_out if transcoder else settings.d_in}
    sizes = {name: size for name, size in dimensions.items() if size is not None}
    check_tensors(where, state, _layout(settings.architecture), sizes, {_SCALE})
    if _SCALE in state and not (state[_SCALE] == 1).all():
        raise SourceError(f"{where}: {_SCALE} contains numbers other than 1; scaled latents are not supported")
    if activation == "matching_pursuit":
        W_dec, b_dec = state["W_dec"], state["b_dec"]
        if not settings.apply_b_dec_to_input:  # SAELens then does not add it to outputs, either
            b_dec = torch.zeros_like(b_dec)
        tied = InteropWeights(W_dec, torch.zeros(len(W_dec)), W_dec, b_dec)
        return sparse_coder(tied, activation, settings.max_iterations or W_dec.shape[1])
    weights = from_file(state, _layout(settings.architecture))
    if settings.apply_b_dec_to_input and not transcoder:
        weights = replace(weights, shift=weights.b_dec)
    if settings.rescale_acts_by_decoder_norm:
        weights = weights.by_decoder_norms()
    k = settings.k if activation in SELECTING else None
    return sparse_coder(weights, activation, k, "transcoder" if transcoder else "sae")


FORMAT: Format = Format("SAELens", refusal, write, read)
