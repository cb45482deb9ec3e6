"""dictionary_learning format (0.1): a folder with ``ae.pt`` and ``config.json`` for `utils.load_dictionary`.

All but two of the library's classes subtract the decoder bias from inputs; the exported encoder bias compensates for
this. ReLU is written as AutoEncoderNew, one of the two, because AutoEncoder's loader would rescale latents by the norms
of decoder rows.

Crosscoders have the form of the fork science-of-finetuning/dictionary_learning, which papers on model diffing use: the
tensors have a dimension for the sites. Its BatchTopK compares latents times a norm of their decoder rows with the
threshold (``code_normalization``); sdlcore writes NONE, a norm of one, since its own compares the latents.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.interop.base import SAVE_OURS, Files, Format, json_file, kind_of
from sdlcore.interop.formats import FILES
from sdlcore.interop.tensor_files import SHAPE, check_names, check_shapes, check_values, read_pickle
from sdlcore.interop.weights import Weights, sparse_coder, weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.run import Activation
from sdlcore.settings import Json
from sdlcore.storage.external_json import Settings, read_object
from sdlcore.storage.parsing import parsing
from sdlcore.text import listed

_FILES = FILES["dictionary_learning"]
_CLASSES: dict[str, tuple[str, str]] = {
    "relu": ("AutoEncoderNew", "StandardTrainerAprilUpdate"),
    "jumprelu": ("JumpReluAutoEncoder", "JumpReluTrainer"),
    "topk": ("AutoEncoderTopK", "TopKTrainer"),
    "batchtopk": ("BatchTopKSAE", "BatchTopKTrainer"),
    "gated": ("GatedAutoEncoder", "GatedSAETrainer"),
}
"""Activation -> the class that loads the dictionary, and the trainer that config.json names."""
_CROSSCODERS: dict[str, tuple[str, str]] = {
    "relu": ("CrossCoder", "CrossCoderTrainer"),
    "batchtopk": ("BatchTopKCrossCoder", "BatchTopKCrossCoderTrainer"),
}
"""Activation of a crosscoder -> class and trainer of the fork."""
_NORMS = ("CROSSCODER", "SAE", "MIXED", "NONE", "DECOUPLED")
"""Values of ``code_normalization``, numbered from 1."""
_NESTED = ("MatryoshkaBatchTopKSAE", "MatryoshkaBatchTopKTrainer")
_READ: dict[str, Activation] = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "batchtopk",
    "GatedAutoEncoder": "gated",
    "CrossCoder": "relu",
    "BatchTopKCrossCoder": "batchtopk",
}
_UNSHIFTED = ("AutoEncoderNew", "JumpReluAutoEncoder")
"""Classes that do not subtract the decoder bias from inputs."""
_LINEAR: dict[str, SHAPE] = {
    "encoder.weight": ("dict_size", "activation_dim"),
    "decoder.weight": ("activation_dim", "dict_size"),
}
_BIASED: dict[str, SHAPE] = {**_LINEAR, "encoder.bias": ("dict_size",)}
_BY_INPUT: dict[str, SHAPE] = {
    "W_enc": ("activation_dim", "dict_size"),
    "b_enc": ("dict_size",),
    "W_dec": ("dict_size", "activation_dim"),
    "b_dec": ("activation_dim",),
}
_BY_SITE: dict[str, SHAPE] = {
    "encoder.weight": ("num_encoder_layers", "activation_dim", "dict_size"),
    "encoder.bias": ("dict_size",),
    "decoder.weight": ("num_encoder_layers", "dict_size", "activation_dim"),
    "decoder.bias": ("num_encoder_layers", "activation_dim"),
}
_TOPK: dict[str, SHAPE] = {**_BIASED, "b_dec": ("activation_dim",)}
_TENSORS: dict[str, dict[str, SHAPE]] = {
    "AutoEncoder": {**_BIASED, "bias": ("activation_dim",)},
    "AutoEncoderNew": {**_BIASED, "decoder.bias": ("activation_dim",)},
    "JumpReluAutoEncoder": {**_BY_INPUT, "threshold": ("dict_size",)},
    "AutoEncoderTopK": _TOPK,
    "BatchTopKSAE": {**_TOPK, "threshold": ()},
    "MatryoshkaBatchTopKSAE": {**_BY_INPUT, "threshold": (), "group_sizes": ("groups",)},
    "CrossCoder": _BY_SITE,
    "BatchTopKCrossCoder": {**_BY_SITE, "threshold": (), "k": ()},
    "GatedAutoEncoder": {
        **_LINEAR,
        "decoder_bias": ("activation_dim",),
        **dict.fromkeys(("gate_bias", "mag_bias", "r_mag"), ("dict_size",)),
    },
}
"""Class -> tensor names -> names of the dimensions."""
_BESIDE: dict[str, SHAPE] = {"k": (), "threshold": ()}
"""Optional tensors of classes with a k, which only later releases save."""
_NORM = "code_normalization_id"
_COUNTS = ("k", "group_sizes", _NORM)


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if config.pair == "crosscoder":
        if config.activation not in _CROSSCODERS:
            return f"its fork's crosscoders are relu or batchtopk; train it with activation batchtopk, or {SAVE_OURS}"
        if len(set(model.input_sites)) > 1:
            return f"its fork's crosscoders have sites of one width, found {listed(model.input_sites)}; {SAVE_OURS}"
        return None
    if config.pair != "sae":
        return f"it has no class for a {config.pair}; {SAVE_OURS}"
    return None if config.activation in _CLASSES else f"it has no class for activation {config.activation}; {SAVE_OURS}"


def write(
    model: SparseCoder,
    *,
    lm_name: str = "",
    layer: Annotated[int, Ge(0)] = 0,
    submodule_name: str = "",
    ctx_len: int | None = None,
    prefixes: Sequence[int] = (),
) -> Files:
    """Return the files for a dictionary.

    Parameters
    ----------
    model
        The dictionary.
    lm_name, layer, submodule_name, ctx_len
        Origin of the activations, recorded in ``config.json``.
    prefixes
        Numbers of latents of nested dictionaries, the last n_q. If prefixes are given, BatchTopK is written as the
        library's Matryoshka class.

    Raises
    ------
    ValueError
        If prefixes do not ascend to n_q, or the dictionary is not a BatchTopK autoencoder.
    """
    config, weights = model.config, weights_of(model)
    is_crosscoder = config.pair == "crosscoder"
    dict_class, trainer_class = (_CROSSCODERS if is_crosscoder else _CLASSES)[config.activation]
    if prefixes:
        if config.activation != "batchtopk" or is_crosscoder:
            raise ValueError(f"prefixes need an autoencoder with activation batchtopk, found {kind_of(model)}")
        if list(prefixes) != sorted(set(prefixes)) or prefixes[0] < 1 or prefixes[-1] != config.n_q:
            raise ValueError(f"prefixes must ascend to n_q = {config.n_q}, found {list(prefixes)}")
        dict_class, trainer_class = _NESTED
    if dict_class not in _UNSHIFTED and not is_crosscoder:
        weights = weights.shifted(weights.b_dec)
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
    if is_crosscoder:
        trainer |= {"num_encoder_layers": len(model.input_sites), "code_normalization": "NONE"}
        state = _crosscoder_state(weights, config.k, len(model.input_sites))
    else:
        state = _state(dict_class, weights, config.k, prefixes)
    whole = {name: value.contiguous() for name, value in state.items()}
    return {
        _FILES[0]: lambda path: _save(whole, path),
        _FILES[1]: json_file({"trainer": trainer, "buffer": {"ctx_len": ctx_len}}),
    }


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    # saved to memory first: if torch writes the file, its error does not mention a full disk
    content = io.BytesIO()
    torch.save(state, content)
    with path.open("wb") as file:
        file.write(content.getbuffer())


def _state(dict_class: str, w: Weights, k: int | None, prefixes: Sequence[int]) -> dict[str, Tensor]:
    by_input = {"W_enc": w.W_enc.T, "b_enc": w.b_enc, "W_dec": w.W_dec, "b_dec": w.b_dec}
    linear = {"encoder.weight": w.W_enc, "decoder.weight": w.W_dec.T}
    if dict_class == "AutoEncoderNew":
        return {**linear, "encoder.bias": w.b_enc, "decoder.bias": w.b_dec}
    if dict_class == "GatedAutoEncoder":
        assert w.log_scale is not None
        assert w.b_magnitude is not None
        gate = {"gate_bias": w.b_enc, "mag_bias": w.b_magnitude, "r_mag": w.log_scale}
        return {**linear, "decoder_bias": w.b_dec, **gate}
    if dict_class == "JumpReluAutoEncoder":
        assert w.threshold is not None
        return {**by_input, "threshold": w.threshold}
    threshold = torch.tensor(-1.0, dtype=torch.float32) if w.threshold is None else w.threshold
    counts = {"k": torch.tensor(k, dtype=torch.int32), "threshold": threshold}
    if dict_class == _NESTED[0]:
        sizes = [b - a for a, b in zip((0, *prefixes), prefixes, strict=False)]
        return {**by_input, **counts, "group_sizes": torch.tensor(sizes)}
    return {**linear, "encoder.bias": w.b_enc, "b_dec": w.b_dec, **counts}


def _crosscoder_state(w: Weights, k: int | None, sites: int) -> dict[str, Tensor]:
    state = {
        "encoder.weight": w.W_enc.unflatten(1, (sites, -1)).permute(1, 2, 0),
        "encoder.bias": w.b_enc,
        "decoder.weight": w.W_dec.unflatten(1, (sites, -1)).permute(1, 0, 2),
        "decoder.bias": w.b_dec.unflatten(0, (sites, -1)),
        _NORM: torch.tensor(1 + _NORMS.index("NONE")),
    }
    if w.threshold is not None:
        state |= {"k": torch.tensor(k, dtype=torch.int32), "threshold": w.threshold}
    return state


def read(folder: Path) -> SparseCoder:
    """Load a folder that dictionary_learning wrote. Only tensors are read from ``ae.pt``; no code in it is run.

    AutoEncoder's decoder rows get unit norm and its latents are rescaled accordingly, as by the library's loader.
    """
    weights, file = folder / _FILES[0], folder / _FILES[1]
    with parsing(folder, "a dictionary of dictionary_learning"):
        trainer = Settings(file, read_object(file)).section("trainer")
        dict_class = trainer.text("dict_class")
        if dict_class not in _READ:
            supported = ", ".join(_READ)
            raise SourceError(f"{file}: class {dict_class!r} is not supported; expected one of {supported}")
        k = trainer.count("k") if "k" in trainer else None
        sizes = {"activation_dim": trainer.count("activation_dim")}
        sizes |= trainer.counts("dict_size", "num_encoder_layers")
        state = read_pickle(weights)
        shapes = _TENSORS[dict_class]
        is_crosscoder = dict_class in dict(_CROSSCODERS.values())
        beside = _BESIDE if _READ[dict_class] in ("topk", "batchtopk") else {}
        beside = {**beside, _NORM: ()} if is_crosscoder else beside
        check_names(weights, state, set(shapes), frozenset(beside))
        shapes = shapes | {name: shape for name, shape in beside.items() if name in state}
        check_shapes(weights, state, shapes, sizes, file.name)
        check_values(weights, state, _COUNTS)
        if "k" in state and k not in (None, k_in_weights := int(state["k"])):
            raise SourceError(f"{file}: k is {k}, but k is {k_in_weights} in {weights.name}")
        if "group_sizes" in state and (total := int(state["group_sizes"].sum())) != len(state["b_enc"]):
            raise SourceError(f"{weights}: group_sizes add up to {total}, expected dict_size = {len(state['b_enc'])}")
        if is_crosscoder:
            return _crosscoder(state, trainer.choice("code_normalization", _NORMS, "CROSSCODER"), file)
        if beside and k is None and "k" not in state:
            raise SourceError(f"{file}: lacks trainer.k, a whole number of at least 1")
        return from_dictionary_learning(
            {"k": torch.tensor(k or 0), **state}, dict_class, normalise=dict_class == "AutoEncoder"
        )


def from_dictionary_learning(state: Mapping[str, Any], dict_class: str, normalise: bool = False) -> SparseCoder:
    """Build a dictionary from a state dict of dictionary_learning.

    Parameters
    ----------
    state, dict_class
        Result of `state_dict`, and the name of its class.
    normalise
        Give decoder rows unit norm, and rescale latents accordingly.
    """
    activation = _READ[dict_class]
    b_dec = next(state[name] for name in ("b_dec", "bias", "decoder_bias", "decoder.bias") if name in state)
    weights = Weights(
        W_enc=state["encoder.weight"] if "encoder.weight" in state else state["W_enc"].T,
        b_enc=next(state[name] for name in ("encoder.bias", "gate_bias", "b_enc") if name in state),
        W_dec=state["decoder.weight"].T if "decoder.weight" in state else state["W_dec"],
        b_dec=b_dec,
        shift=None if dict_class in _UNSHIFTED else b_dec,
        # TopK saves a threshold too, but only for an optional inference mode
        threshold=None if activation == "topk" else state.get("threshold"),
        log_scale=state.get("r_mag"),
        b_magnitude=state.get("mag_bias"),
    )
    k = int(state["k"]) if activation in ("topk", "batchtopk") else None
    return sparse_coder(weights.by_decoder_norms() if normalise else weights, activation, k)


def _crosscoder(state: Mapping[str, Tensor], norm: str, file: Path) -> SparseCoder:
    """Build a crosscoder. BatchTopK with decoder norms is JumpReLU with the threshold divided by each latent's norm."""
    norms_LQ, threshold = state["decoder.weight"].double().norm(dim=2), state.get("threshold")
    activation: Activation = "relu"
    if threshold is not None:
        if float(threshold) < 0:
            raise SourceError(f"{file.with_name(_FILES[0])}: has no threshold before its first training batch")
        if norm not in ("CROSSCODER", "SAE", "NONE"):
            raise SourceError(f"{file}: code_normalization {norm} is not supported; expected CROSSCODER, SAE or NONE")
        activation = "batchtopk" if norm == "NONE" else "jumprelu"
        if norm != "NONE":
            threshold = (threshold / (norms_LQ.sum(0) if norm == "CROSSCODER" else norms_LQ.norm(dim=0))).float()
    weights = Weights(
        W_enc=state["encoder.weight"].permute(2, 0, 1).flatten(1),
        b_enc=state["encoder.bias"],
        W_dec=state["decoder.weight"].permute(1, 0, 2).flatten(1),
        b_dec=state["decoder.bias"].flatten(),
        threshold=threshold,
    )
    k = int(state["k"]) if activation == "batchtopk" else None
    return sparse_coder(weights, activation, k, "crosscoder", len(norms_LQ))


FORMAT: Format = Format("dictionary_learning", _FILES, refusal, write, read)
