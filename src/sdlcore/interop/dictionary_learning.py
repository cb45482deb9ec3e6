"""dictionary_learning format (0.1): a folder with ``ae.pt`` and ``config.json`` for `utils.load_dictionary`.

All but two of the library's classes subtract the decoder bias from inputs; the exported encoder bias compensates for
this. ReLU is written as AutoEncoderNew, one of the two, because AutoEncoder's loader would rescale latents by the norms
of decoder rows.

Crosscoders have the form of the fork science-of-finetuning/dictionary_learning, which papers on model diffing use: the
tensors have a dimension for the sites. Its BatchTopK compares latents times a norm of their decoder rows with the
threshold (``code_normalization``); sdlcore writes NONE, a norm of one, since its own compares the latents.
"""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdlcore.config import ActivationName
from sdlcore.errors import SourceError
from sdlcore.interop.base import SAVE_OURS, Count, Files, FileSettings, Format, json_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.layouts import Layout, check_tensors, count_in, from_file, read_tensors, to_file
from sdlcore.interop.weights import sparse_coder, weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import Conflicts, Json
from sdlcore.storage.parsing import parsing, read_object
from sdlcore.text import listed

_FILES = FILES["dictionary_learning"]
_NORMS = ("CROSSCODER", "SAE", "MIXED", "NONE", "DECOUPLED")
"""Values of ``code_normalization``, numbered from 1."""
_NORM = "code_normalization_id"
_LINEAR: Layout = {"encoder.weight": ("W_enc", "n_q n_p"), "decoder.weight": ("W_dec", "n_r n_q")}
_BIASED: Layout = {**_LINEAR, "encoder.bias": ("b_enc", "n_q")}
_BY_INPUT: Layout = {
    "W_enc": ("W_enc", "n_p n_q"),
    "b_enc": ("b_enc", "n_q"),
    "W_dec": ("W_dec", "n_q n_r"),
    "b_dec": ("b_dec", "n_r"),
}
_BY_SITE: Layout = {
    "encoder.weight": ("W_enc", "sites n_p n_q"),
    "encoder.bias": ("b_enc", "n_q"),
    "decoder.weight": ("W_dec", "sites n_q n_r"),
    "decoder.bias": ("b_dec", "sites n_r"),
}
_SCALAR: Layout = {"threshold": ("threshold", "")}


class _Class(NamedTuple):
    """A class of the library."""

    activation: ActivationName
    layout: Layout
    subtracts: bool = True
    """Whether it subtracts the decoder bias from inputs."""
    optional: tuple[str, ...] = ()
    """Further tensors, which only some releases save."""


_CLASSES: dict[str, _Class] = {
    "AutoEncoder": _Class("relu", {**_BIASED, "bias": ("b_dec", "n_r")}),
    "AutoEncoderNew": _Class("relu", {**_BIASED, "decoder.bias": ("b_dec", "n_r")}, False),
    "JumpReluAutoEncoder": _Class("jumprelu", {**_BY_INPUT, "threshold": ("threshold", "n_q")}, False),
    # TopK's threshold is only for an optional inference mode
    "AutoEncoderTopK": _Class("topk", {**_BIASED, "b_dec": ("b_dec", "n_r")}, optional=("k", "threshold")),
    "BatchTopKSAE": _Class("batchtopk", {**_BIASED, "b_dec": ("b_dec", "n_r"), **_SCALAR}, optional=("k",)),
    "MatryoshkaBatchTopKSAE": _Class("batchtopk", {**_BY_INPUT, **_SCALAR}, optional=("k", "group_sizes")),
    "GatedAutoEncoder": _Class(
        "gated",
        {
            **_LINEAR,
            "decoder_bias": ("b_dec", "n_r"),
            "gate_bias": ("b_enc", "n_q"),
            "mag_bias": ("b_magnitude", "n_q"),
            "r_mag": ("log_scale", "n_q"),
        },
    ),
    "CrossCoder": _Class("relu", _BY_SITE, False, (_NORM,)),
    "BatchTopKCrossCoder": _Class("batchtopk", {**_BY_SITE, **_SCALAR}, False, (_NORM, "k")),
}


class TrainerSettings(FileSettings):
    """The section ``trainer`` of ``config.json``."""

    dict_class: str
    activation_dim: Count
    dict_size: Count | None = None
    num_encoder_layers: Count | None = None
    k: Count | None = None
    code_normalization: str = "CROSSCODER"

    def conflicts(self) -> Conflicts:
        classes = ", ".join(_CLASSES)
        yield self.dict_class not in _CLASSES, f"dict_class is {self.dict_class!r}, expected one of {classes}"


_WRITTEN = {
    ("sae", "relu"): ("AutoEncoderNew", "StandardTrainerAprilUpdate"),
    ("sae", "jumprelu"): ("JumpReluAutoEncoder", "JumpReluTrainer"),
    ("sae", "topk"): ("AutoEncoderTopK", "TopKTrainer"),
    ("sae", "batchtopk"): ("BatchTopKSAE", "BatchTopKTrainer"),
    ("sae", "gated"): ("GatedAutoEncoder", "GatedSAETrainer"),
    ("crosscoder", "relu"): ("CrossCoder", "CrossCoderTrainer"),
    ("crosscoder", "batchtopk"): ("BatchTopKCrossCoder", "BatchTopKCrossCoderTrainer"),
}
"""Pair and activation -> the class that loads the dictionary, and the trainer that config.json names."""


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if config.pair == "transcoder":
        return f"it has no class for a transcoder; {SAVE_OURS}"
    if (config.pair, config.activation) not in _WRITTEN:
        if config.pair == "sae":
            return f"it has no class for activation {config.activation}; {SAVE_OURS}"
        return f"its fork's crosscoders are relu or batchtopk; train it with activation batchtopk, or {SAVE_OURS}"
    if len(set(model.input_sites)) > 1:
        return f"its fork's crosscoders have sites of one width, found {listed(model.input_sites)}; {SAVE_OURS}"
    return None


def write(
    model: SparseCoder,
    *,
    lm_name: str = "",
    layer: int = 0,
    submodule_name: str = "",
    ctx_len: int | None = None,
) -> Files:
    """Return the files for a dictionary. Options as in `sdl.export`."""
    config, weights, sites = model.config, weights_of(model), len(model.input_sites)
    dict_class, trainer_class = _WRITTEN[config.pair, config.activation]
    form = _CLASSES[dict_class]
    if form.subtracts:
        weights = weights.shifted(weights.b_dec)
    state = to_file(weights, form.layout, sites)
    trainer: dict[str, Json] = {
        "trainer_class": trainer_class,
        "dict_class": dict_class,
        "activation_dim": model.input_sites[0],
        "dict_size": config.n_q,
        "lm_name": lm_name,
        "layer": layer,
        "submodule_name": submodule_name,
        "device": "cpu",
        "wandb_name": dict_class,
    }
    if config.k is not None:
        trainer["k"] = config.k
        state["k"] = torch.tensor(config.k, dtype=torch.int32)
        state.setdefault("threshold", torch.tensor(-1.0, dtype=torch.float32))
    if config.pair == "crosscoder":
        trainer |= {"num_encoder_layers": sites, "code_normalization": "NONE"}
        state[_NORM] = torch.tensor(1 + _NORMS.index("NONE"))
    return {
        _FILES[0]: lambda path: _save(state, path),
        _FILES[1]: json_file({"trainer": trainer, "buffer": {"ctx_len": ctx_len}}),
    }


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    # saved to memory first: if torch writes the file, its error does not mention a full disk
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(content.getbuffer())


def read(folder: Path) -> SparseCoder:
    """Load a folder that dictionary_learning wrote. Only tensors are read from ``ae.pt``; no code in it is run.

    AutoEncoder's decoder rows get unit norm and its latents are rescaled accordingly, as by the library's loader.
    """
    weights, file = folder / _FILES[0], folder / _FILES[1]
    with parsing(folder, "a dictionary of dictionary_learning"):
        trainer = TrainerSettings.from_dict(read_object(file)["trainer"])
        form, state = _CLASSES[trainer.dict_class], read_tensors(weights)
        dimensions = {"n_q": trainer.dict_size, "sites": trainer.num_encoder_layers}
        sizes = {name: size for name, size in dimensions.items() if size is not None}
        width = trainer.activation_dim
        check_tensors(weights, state, form.layout, {"n_p": width, "n_r": width, **sizes}, form.optional)
        k = trainer.k
        if "k" in state:
            k_in_weights = count_in(weights, "k", state["k"])
            if k not in (None, k_in_weights):
                raise SourceError(f"{file}: k is {k}, but k is {k_in_weights} in {weights.name}")
            k = k_in_weights
        if trainer.dict_class.endswith("CrossCoder"):
            return _crosscoder(state, form, k, trainer.code_normalization, weights)
        if form.activation in ("topk", "batchtopk") and k is None:
            raise SourceError(f"{file}: lacks trainer.k, a whole number of at least 1")
        return from_dictionary_learning({**state, "k": k}, trainer.dict_class, trainer.dict_class == "AutoEncoder")


def from_dictionary_learning(state: Mapping[str, Any], dict_class: str, normalise: bool = False) -> SparseCoder:
    """Build a dictionary from a state dict of dictionary_learning.

    Parameters
    ----------
    state, dict_class
        Result of `state_dict`, and the name of its class.
    normalise
        Give decoder rows unit norm, and rescale latents accordingly.
    """
    form = _CLASSES[dict_class]
    weights = from_file(state, form.layout)
    if form.subtracts:
        weights = replace(weights, shift=weights.b_dec)
    k = int(state["k"]) if form.activation in ("topk", "batchtopk") else None
    return sparse_coder(weights.by_decoder_norms() if normalise else weights, form.activation, k)


def _crosscoder(state: Mapping[str, Tensor], form: _Class, k: int | None, norm: str, file: Path) -> SparseCoder:
    """Build a crosscoder. BatchTopK with decoder norms is JumpReLU with the threshold divided by each latent's norm."""
    norms_LQ, weights = state["decoder.weight"].double().norm(dim=2), from_file(state, form.layout)
    activation = form.activation
    if weights.threshold is not None:
        if float(weights.threshold) < 0:
            raise SourceError(f"{file}: has no threshold before its first training batch")
        if norm not in ("CROSSCODER", "SAE", "NONE"):
            raise SourceError(f"{file}: code_normalization {norm} is not supported; expected CROSSCODER, SAE or NONE")
        if norm != "NONE":
            norms_Q = norms_LQ.sum(0) if norm == "CROSSCODER" else norms_LQ.norm(dim=0)
            activation, weights = "jumprelu", replace(weights, threshold=(weights.threshold / norms_Q).float())
    return sparse_coder(weights, activation, k if activation == "batchtopk" else None, "crosscoder", len(norms_LQ))


FORMAT: Format = Format("dictionary_learning", refusal, write, read)
