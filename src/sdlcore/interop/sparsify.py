"""sparsify format (1.x): a folder with ``cfg.json`` and ``sae.safetensors`` for `SparseCoder.load_from_disk`.

delphi loads the folder too if it is named after its hook, such as ``layers.5.mlp``. sparsify's autoencoders subtract
the decoder bias from inputs; the exported encoder bias compensates for this.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.interop.base import SAVE_OURS, Count, Files, FileSettings, Format, json_file, safetensors_file
from sdlcore.interop.formats import FILES
from sdlcore.interop.layouts import Layout, check_tensors, from_file, read_tensors, to_file
from sdlcore.interop.weights import sparse_coder, weights_of
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.parsing import parsing, read_object
from sdlcore.text import listed

_FILES = FILES["sparsify"]
_LAYOUT: Layout = {
    "encoder.weight": ("W_enc", "n_q n_p"),
    "encoder.bias": ("b_enc", "n_q"),
    "W_dec": ("W_dec", "n_q n_r"),
    "b_dec": ("b_dec", "n_r"),
}
_SKIP: Layout = _LAYOUT | {"W_skip": ("W_skip", "n_r n_p")}
_ELSEWHERE = ("signed", "embed_skip", "gram_lookup", "jumprelu", "batch_topk", "sample_topk", "input_unit_norm")
"""Settings of other releases and forks that change the result of a dictionary; not supported if true."""


class SparsifySettings(FileSettings):
    """The settings in ``cfg.json``."""

    d_in: Count
    activation: Literal["topk"] = "topk"
    num_latents: int = 0
    """0 if ``expansion_factor`` determines the number."""
    expansion_factor: Count = 32
    k: Count = 32
    skip_connection: bool = False
    transcode: bool = False


def refusal(model: SparseCoder) -> str | None:
    config = model.config
    if config.activation != "topk":
        return f"its dictionaries keep the k largest latents of a sample; train it with activation topk, or {SAVE_OURS}"
    if config.pair == "crosscoder":
        return f"it has no class for crosscoders; {SAVE_OURS}"
    n_p, n_r = sum(model.input_sites), sum(model.target_sites)
    if n_p != n_r:
        return f"inputs and targets must have one width, found {n_p} and {n_r}; {SAVE_OURS}"
    return None


def write(model: SparseCoder) -> Files:
    """Return the files for a dictionary."""
    config, weights = model.config, weights_of(model)
    transcode = config.pair == "transcoder"
    if not transcode:
        weights = weights.shifted(weights.b_dec)
    n_q, n_p = weights.W_enc.shape
    cfg = {
        "activation": "topk",
        # not used by sparsify, since num_latents is given
        "expansion_factor": max(1, n_q // n_p),
        "normalize_decoder": config.decoder_norm == "unit",
        "num_latents": n_q,
        "k": config.k,
        "multi_topk": False,
        "skip_connection": config.skip,
        "transcode": transcode,
        "d_in": n_p,
    }
    return {
        _FILES[0]: safetensors_file(to_file(weights, _SKIP if config.skip else _LAYOUT)),
        _FILES[1]: json_file(cfg),
    }


def read(folder: Path) -> SparseCoder:
    """Load a folder that sparsify's trainer or `save_to_disk` wrote."""
    weights, file = folder / _FILES[0], folder / _FILES[1]
    with parsing(folder, "a dictionary of sparsify"):
        values = read_object(file)
        cfg = SparsifySettings.from_dict(values)
        if other := [name for name in _ELSEWHERE if values.get(name)]:
            raise SourceError(f"{file}: sets {listed(other)}, which is not supported")
        state = read_tensors(weights)
        layout = _SKIP if cfg.skip_connection else _LAYOUT
        n_q = cfg.num_latents or cfg.d_in * cfg.expansion_factor
        check_tensors(weights, state, layout, {"n_p": cfg.d_in, "n_r": cfg.d_in, "n_q": n_q})
        return from_sparsify(state, cfg.k, cfg.transcode)


def from_sparsify(state: Mapping[str, Tensor], k: int | None, transcode: bool = False) -> SparseCoder:
    """Build a dictionary from sparsify weights by name. A transcoder is recognised by its configuration or by
    ``W_skip``."""
    weights = from_file(state, _SKIP if "W_skip" in state else _LAYOUT)
    if not transcode:
        weights = replace(weights, shift=weights.b_dec)
    return sparse_coder(weights, "topk", k, "transcoder" if transcode or "W_skip" in state else "sae")


FORMAT: Format = Format("sparsify", refusal, write, read)
