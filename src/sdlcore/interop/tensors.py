"""Plain tensors: a safetensors file or an .npz with W_enc, W_dec and, where there are any, b_enc, b_dec, threshold,
W_skip. The file does not say how they are used, so that the caller has to."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from sdlcore.interop.format import check_names
from sdlcore.interop.weights import Weights, sparse_coder
from sdlcore.model.sparse_coder import SparseCoder
from sdlcore.run import Activation
from sdlcore.storage.parsing import SourceError, parsing


class UnsaidError(SourceError):
    """Plain tensors do not say how they are used, and nobody else does; the message names the option to give."""


Layout = Literal["by_latent", "saelens", "linear"]
_BY_LATENT: dict[Layout, tuple[bool, bool]] = {
    "by_latent": (True, True),
    "saelens": (False, True),
    "linear": (True, False),
}
"""Whether the rows of W_enc, and those of W_dec, belong to latents."""
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
    """Open plain tensors.

    Parameters
    ----------
    file
        A safetensors file or an .npz. Its W_skip is n_r x n_p in every layout, as all libraries that have one keep it.
    activation
        relu, jumprelu, topk or batchtopk; None for jumprelu where there is a threshold.
    k, threshold
        Where the file does not hold them. A single threshold counts for all latents.
    pair
        sae or transcoder; None for sae where inputs and targets have one width and there is no W_skip.
    apply_b_dec_to_input
        Subtract b_dec from inputs.
    layout
        by_latent: W_enc is n_q x n_p, W_dec n_q x n_r; saelens: W_enc is n_p x n_q; linear, as of nn.Linear: W_dec is
        n_r x n_q. None to tell by the shapes.
    """
    with parsing(file, "plain tensors of a dictionary"):
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(np.asarray(values)) for name, values in arrays.items()}
        else:
            found = load_file(file)
        named = {_NAMES.get(name.lower(), name): value for name, value in found.items()}
        check_names(file, named, {"W_enc", "W_dec"} | (named.keys() & set(_NAMES.values())))
        W_enc, W_dec = _by_latent(file, named, layout)
        n_q, n_p, n_r = len(W_enc), W_enc.shape[1], W_dec.shape[1]
        if threshold is not None and "threshold" in named:
            raise SourceError(f"{file}: holds a threshold of its own; leave {threshold:g} out")
        limit = named.get("threshold", None if threshold is None else torch.tensor(float(threshold)))
        activation = activation or ("jumprelu" if limit is not None else None)
        if activation is None:
            raise UnsaidError(f"{file}: does not say its activation; give activation, such as topk with k")
        if activation == "gated":
            raise SourceError(f"{file}: gated is more than plain tensors; save it in a library's format")
        if activation in ("topk", "batchtopk"):
            k = int(named["k"]) if k is None and "k" in named else k
            if k is None:
                raise UnsaidError(f"{file}: does not say its k; give k, which activation {activation} needs")
        if threshold is not None and activation not in ("jumprelu", "batchtopk"):
            raise SourceError(f"{file}: activation {activation} has no threshold; leave {threshold:g} out")
        if "threshold" in named and activation not in ("jumprelu", "batchtopk"):
            raise SourceError(f"{file}: holds a threshold, which activation {activation} has none of; give jumprelu")
        if activation in ("jumprelu", "batchtopk") and limit is None:
            raise UnsaidError(f"{file}: does not say its threshold; give threshold, which {activation} needs")
        weights = Weights(
            W_enc=W_enc,
            b_enc=named.get("b_enc", torch.zeros(n_q)),
            W_dec=W_dec,
            b_dec=named.get("b_dec", torch.zeros(n_r)),
            shift=named.get("b_dec") if apply_b_dec_to_input else None,
            threshold=_threshold(activation, limit, n_q),
            W_skip=named["W_skip"].T if "W_skip" in named else None,
        )
        if pair is None:
            pair = "sae" if n_p == n_r and weights.W_skip is None else "transcoder"
        return sparse_coder(weights, activation, k, pair)


def _threshold(activation: Activation, limit: Tensor | None, n_q: int) -> Tensor | None:
    if limit is None or activation in ("relu", "topk"):
        return None
    if activation == "batchtopk":
        return limit.reshape(())
    return limit.reshape(-1).expand(n_q)


def _by_latent(file: Path, named: dict[str, Tensor], layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Return encoder and decoder with a row for each latent."""
    W_enc, W_dec = named["W_enc"], named["W_dec"]
    if layout is None:
        latents = named["b_enc"].shape[0] if "b_enc" in named else None
        fitting = [
            name
            for name, (enc, dec) in _BY_LATENT.items()
            if (n_q := W_enc.shape[0 if enc else 1]) == W_dec.shape[0 if dec else 1]
            and latents in (None, n_q)
            and (dec or "b_dec" not in named or named["b_dec"].shape[0] == W_dec.shape[0])
            and (not dec or "b_dec" not in named or named["b_dec"].shape[0] == W_dec.shape[1])
        ]
        shapes = f"W_enc {tuple(W_enc.shape)}, W_dec {tuple(W_dec.shape)}"
        if not fitting:
            raise SourceError(f"{file}: {shapes} do not fit each other and the biases")
        if len(fitting) > 1:
            raise UnsaidError(f"{file}: {shapes} fit more than one layout; give layout, one of {', '.join(fitting)}")
        layout = fitting[0]
    if layout not in _BY_LATENT:
        raise SourceError(f"layout must be one of {', '.join(_BY_LATENT)}, found {layout!r}")
    enc, dec = _BY_LATENT[layout]
    return W_enc if enc else W_enc.T, W_dec if dec else W_dec.T
