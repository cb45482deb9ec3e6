"""Load plain tensors: a safetensors or .npz file with W_enc, W_dec and optionally b_enc, b_dec, threshold, W_skip.

The file does not describe how the tensors are used, so the caller gives options."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sdlcore.config import SELECTING, ActivationName
from sdlcore.errors import SourceError
from sdlcore.interop.layouts import Layout, check_tensors, count_in, fits, from_file, read_tensors
from sdlcore.interop.weights import sparse_coder
from sdlcore.model.coder import SparseCoder
from sdlcore.storage.parsing import parsing


class UnsaidError(SourceError):
    """Plain tensors cannot be loaded without a further option; the message names it."""


Orientation = Literal["by_latent", "saelens", "linear"]
_LAYOUTS: dict[Orientation, Layout] = {
    "by_latent": {"W_enc": ("W_enc", "n_q n_p"), "W_dec": ("W_dec", "n_q n_r")},
    "saelens": {"W_enc": ("W_enc", "n_p n_q"), "W_dec": ("W_dec", "n_q n_r")},
    "linear": {"W_enc": ("W_enc", "n_q n_p"), "W_dec": ("W_dec", "n_r n_q")},
}
_OPTIONAL: Layout = {"b_enc": ("b_enc", "n_q"), "b_dec": ("b_dec", "n_r"), "W_skip": ("W_skip", "n_r n_p")}
"""Optional tensors, with the same dimensions in every layout."""
_NAMES = {name.lower(): name for name in ("W_enc", "W_dec", *_OPTIONAL, "threshold", "k")}


def read(
    file: Path,
    *,
    activation: ActivationName | None = None,
    k: int | None = None,
    threshold: float | None = None,
    pair: Literal["sae", "transcoder"] | None = None,
    apply_b_dec_to_input: bool = False,
    layout: Orientation | None = None,
) -> SparseCoder:
    """Load a dictionary from plain tensors.

    Parameters
    ----------
    file
        A safetensors or .npz file. W_skip is n_r x n_p in every layout, as in all libraries with a W_skip.
    activation
        relu, jumprelu, topk, batchtopk or abstopk; None for jumprelu if there is a threshold.
    k, threshold
        Values that the file does not contain. A single threshold applies to all latents.
    pair
        sae or transcoder; None for sae if inputs and targets have the same width and there is no W_skip.
    apply_b_dec_to_input
        Subtract b_dec from inputs.
    layout
        by_latent: W_enc is n_q x n_p and W_dec is n_q x n_r; saelens: W_enc is n_p x n_q; linear, as in nn.Linear:
        W_dec is n_r x n_q. None to detect it by the shapes.

    Raises
    ------
    UnsaidError
        If an option is needed: activation, k, threshold or layout.
    SourceError
        If the file cannot be read, its tensors do not fit together, or an option contradicts them.
    """
    with parsing(file, "plain tensors of a dictionary"):
        named = _named(read_tensors(file))
        for name, option in (("k", k), ("threshold", threshold)):
            if option is not None and name in named:
                raise SourceError(f"{file}: contains {name}; leave out {name}")
        tensors = _layout_of(file, named, layout)
        weights = from_file(named, tensors)
        n_q, n_p = weights.W_enc.shape
        limit = named.get("threshold", None if threshold is None else torch.tensor(float(threshold)))
        activation = activation or (None if limit is None else "jumprelu")
        if activation is None:
            raise UnsaidError(f"{file}: does not contain its activation; give activation, such as topk with k")
        if "k" in named:
            k = count_in(file, "k", named["k"])
        if activation in SELECTING and k is None:
            raise UnsaidError(f"{file}: does not contain k; give k, which activation {activation} needs")
        if limit is None and activation in ("jumprelu", "batchtopk"):
            raise UnsaidError(f"{file}: does not contain a threshold; give threshold, which {activation} needs")
        if limit is not None and activation not in ("jumprelu", "batchtopk"):
            raise SourceError(f"{file}: activation {activation} has no threshold; leave it out, or take jumprelu")
        if limit is not None and limit.numel() == 1:
            limit = limit.reshape(()) if activation == "batchtopk" else limit.reshape(1).expand(n_q)
        weights = replace(weights, threshold=limit, shift=weights.b_dec if apply_b_dec_to_input else None)
        if pair is None:
            pair = "sae" if n_p == len(weights.b_dec) and weights.W_skip is None else "transcoder"
        return sparse_coder(weights, activation, k if activation in SELECTING else None, pair)


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by sdlcore's names, ignoring case, since libraries write names in different case."""
    return {_NAMES.get(name.lower(), name): value for name, value in tensors.items()}


def _layout_of(file: Path, named: dict[str, Tensor], orientation: Orientation | None) -> Layout:
    """Return the layout of the tensors, and add biases of zeros if they are missing."""
    optional = {name: place for name, place in _OPTIONAL.items() if name in named}
    layouts = {name: shapes | optional for name, shapes in _LAYOUTS.items()}
    if orientation is None and {"W_enc", "W_dec"} <= named.keys():
        fitting: list[Orientation] = [name for name, layout in layouts.items() if fits(named, layout)]
        if len(fitting) > 1:
            shapes = f"W_enc {tuple(named['W_enc'].shape)}, W_dec {tuple(named['W_dec'].shape)}"
            raise UnsaidError(f"{file}: {shapes} match several layouts; give layout, one of {', '.join(fitting)}")
        orientation = next(iter(fitting), None)
    layout = layouts[orientation or "by_latent"]
    check_tensors(file, named, layout, optional={"threshold", "k"})
    sizes = {
        dimension: size
        for name, (_, dimensions) in layout.items()
        for dimension, size in zip(dimensions.split(), named[name].shape, strict=True)
    }
    for name, (_, dimension) in (("b_enc", _OPTIONAL["b_enc"]), ("b_dec", _OPTIONAL["b_dec"])):
        named.setdefault(name, torch.zeros(sizes[dimension]))
    return {**layout, **{name: _OPTIONAL[name] for name in ("b_enc", "b_dec")}}
