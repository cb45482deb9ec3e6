"""Load plain tensors: a safetensors or .npz file with W_enc, W_dec and optionally b_enc, b_dec, threshold, W_skip.

The file does not describe how the tensors are used, so the caller gives options."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sdlcore.errors import SourceError
from sdlcore.interop.formats import PLAIN
from sdlcore.interop.tensor_files import (
    SHAPE,
    check_names,
    check_shapes,
    check_values,
    fits,
    read_npz,
    read_safetensors,
)
from sdlcore.interop.weights import Weights, sparse_coder
from sdlcore.model.coder import SparseCoder
from sdlcore.run import SELECTING, Activation
from sdlcore.storage.external_json import Settings
from sdlcore.storage.parsing import parsing
from sdlcore.text import listed


class UnsaidError(SourceError):
    """Plain tensors cannot be loaded without a further option; the message names it."""


Layout = Literal["by_latent", "saelens", "linear"]
_LAYOUTS: dict[Layout, dict[str, SHAPE]] = {
    "by_latent": {"W_enc": ("n_q", "n_p"), "W_dec": ("n_q", "n_r")},
    "saelens": {"W_enc": ("n_p", "n_q"), "W_dec": ("n_q", "n_r")},
    "linear": {"W_enc": ("n_q", "n_p"), "W_dec": ("n_r", "n_q")},
}
_BESIDE: dict[str, SHAPE] = {"b_enc": ("n_q",), "b_dec": ("n_r",), "W_skip": ("n_r", "n_p")}
"""Optional tensors, and their dimensions in every layout."""
_NAMES = {name.lower(): name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "W_skip", "k")}


def read(
    file: Path,
    *,
    activation: Activation | None = None,
    k: int | None = None,
    threshold: float | None = None,
    pair: Literal["sae", "transcoder"] | None = None,
    apply_b_dec_to_input: bool = False,
    layout: Layout | None = None,
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
        if file.is_dir():
            inside = sorted(path.name for path in file.iterdir() if path.suffix in PLAIN)
            raise SourceError(f"{file}: is a folder; give the file with the tensors ({listed(inside)})")
        options = Settings(
            "plain tensors", {"k": k, "threshold": threshold, "apply_b_dec_to_input": apply_b_dec_to_input}
        )
        k = options.count("k") if "k" in options else None
        threshold = options.number("threshold") if "threshold" in options else None
        shift = options.flag("apply_b_dec_to_input", False)
        named = _named(file, read_npz(file) if file.suffix == ".npz" else read_safetensors(file))
        check_values(file, named, counts=("k",))
        if "k" in named and named["k"].numel() != 1:
            raise SourceError(f"{file}: k has shape {tuple(named['k'].shape)}, expected one number")
        W_enc, W_dec = _by_latent(file, named, layout)
        n_q, n_p, n_r = len(W_enc), W_enc.shape[1], W_dec.shape[1]
        if threshold is not None and "threshold" in named:
            raise SourceError(f"{file}: contains a threshold; leave out threshold {threshold:g}")
        if k is not None and "k" in named:
            raise SourceError(f"{file}: contains k; leave out k {k}")
        limit = named.get("threshold", None if threshold is None else torch.tensor(float(threshold)))
        activation = activation or ("jumprelu" if limit is not None else None)
        if activation is None:
            raise UnsaidError(f"{file}: does not contain its activation; give activation, such as topk with k")
        if activation == "gated":
            raise SourceError(f"{file}: gated is not supported for plain tensors; save it in a library's format")
        if activation in SELECTING:
            k = int(named["k"].reshape(())) if "k" in named else k
            if k is None:
                raise UnsaidError(f"{file}: does not contain k; give k, which activation {activation} needs")
        if threshold is not None and activation not in ("jumprelu", "batchtopk"):
            raise SourceError(f"{file}: activation {activation} has no threshold; leave out threshold {threshold:g}")
        if "threshold" in named and activation not in ("jumprelu", "batchtopk"):
            raise SourceError(f"{file}: contains a threshold, but activation {activation} has none; give jumprelu")
        if activation in ("jumprelu", "batchtopk") and limit is None:
            raise UnsaidError(f"{file}: does not contain a threshold; give threshold, which {activation} needs")
        weights = Weights(
            W_enc=W_enc,
            b_enc=named.get("b_enc", torch.zeros(n_q)),
            W_dec=W_dec,
            b_dec=named.get("b_dec", torch.zeros(n_r)),
            shift=named.get("b_dec") if shift else None,
            threshold=_threshold(file, activation, limit, n_q),
            W_skip=named["W_skip"].T if "W_skip" in named else None,
        )
        if pair is None:
            pair = "sae" if n_p == n_r and weights.W_skip is None else "transcoder"
        return sparse_coder(weights, activation, k, pair)


def _named(file: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by sdlcore's names, ignoring case, since libraries write names in different case."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        ours = _NAMES.get(name.lower(), name)
        if ours in named:
            both = [other for other in tensors if _NAMES.get(other.lower()) == ours]
            raise SourceError(f"{file}: contains {' and '.join(both)}, which mean the same; keep one")
        named[ours] = value
    check_names(file, named, {"W_enc", "W_dec"}, frozenset(_NAMES.values()))
    return named


def _threshold(file: Path, activation: Activation, limit: Tensor | None, n_q: int) -> Tensor | None:
    if limit is None or activation not in ("jumprelu", "batchtopk"):
        return None
    if limit.numel() == 1:
        return limit.reshape(()) if activation == "batchtopk" else limit.reshape(1).expand(n_q)
    if activation == "batchtopk" or limit.shape != (n_q,):
        expected = "one number" if activation == "batchtopk" else f"one number or n_q = {n_q}"
        raise SourceError(f"{file}: threshold has shape {tuple(limit.shape)}, expected {expected}")
    return limit


def _by_latent(file: Path, named: dict[str, Tensor], layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Return encoder (n_q x n_p) and decoder (n_q x n_r), a row for each latent."""
    if layout is not None and layout not in _LAYOUTS:
        raise SourceError(f"layout must be one of {', '.join(_LAYOUTS)}, found {layout!r}")
    beside = {name: shape for name, shape in _BESIDE.items() if name in named}
    if layout is None:
        fitting = [name for name, shapes in _LAYOUTS.items() if fits(named, shapes | beside)]
        shapes = f"W_enc {tuple(named['W_enc'].shape)}, W_dec {tuple(named['W_dec'].shape)}"
        if not fitting:
            raise SourceError(f"{file}: the shapes of {shapes} and the biases do not match")
        if len(fitting) > 1:
            raise UnsaidError(f"{file}: {shapes} match several layouts; give layout, one of {', '.join(fitting)}")
        layout = fitting[0]
    check_shapes(file, named, _LAYOUTS[layout] | beside)
    enc, dec = (_LAYOUTS[layout][name][0] == "n_q" for name in ("W_enc", "W_dec"))
    return named["W_enc"] if enc else named["W_enc"].T, named["W_dec"] if dec else named["W_dec"].T
