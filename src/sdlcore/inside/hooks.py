"""Find the blocks, the final norm and the unembedding of a transformers model, and the sites that a dictionary uses.

Blocks are counted from 1, as in `sdlcore.extraction.hooks`: ``layer=12`` is the residual stream after 12 blocks,
which is ``hidden_states[12]`` in transformers and ``blocks.11.hook_resid_post`` in TransformerLens.
"""

import operator
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator
from torch import Tensor, nn

from sdlcore.data.pairs import site_column
from sdlcore.dictionary.card import ARROW, fitted_place
from sdlcore.dictionary.dictionary import Dictionary
from sdlcore.dictionary.load import coder_of
from sdlcore.extraction.config import Site, check_site, site_at
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.places import Paths, described, located
from sdlcore.model.coder import SparseCoder
from sdlcore.settings import checked
from sdlcore.user_warnings import warn_at_call


def _check_place(value: str) -> str:
    parts = value.split(ARROW)
    if len(parts) > 2:
        raise ValueError(f"{value!r} names {len(parts)} sites, expected at most two")
    for part in parts:
        check_site(part)
    return value


Place = Annotated[str, AfterValidator(_check_place)]
"""A site as in `LanguageSource.site`. Transcoders also take mlp (from mlp_input to mlp_output) and SITE->SITE."""


Layer = int | str | tuple[int | str, ...]
"""A block, counted from 1; or a name of its place, blocks.11.hook_resid_post or model.layers.11; or several."""


class Readout(NamedTuple):
    """The modules that turn the residual stream into logits."""

    norm: nn.Module
    unembedding: Tensor
    """Vocabulary x D."""


def readout_of(lm: Any, paths: Paths | Mapping[str, str] | None = None) -> Readout:
    """Return the final norm and the unembedding of a causal language model; TypeError for other models."""
    stack = Stack.of(lm, paths)
    head = lm.get_output_embeddings()
    if stack.paths.norm is None or head is None:
        raise TypeError(
            f"{type(lm).__name__} has no unembedding, or paths names no final norm; load it by AutoModelForCausalLM"
        )
    return Readout(stack.model.get_submodule(stack.paths.norm), head.weight)


def sites_of(
    coder: SparseCoder, stack: Stack, layer: int | tuple[int, ...], place: Place | None = None
) -> dict[str, Site]:
    """Return the sites that a dictionary reads (``input``) and, unless it is an autoencoder, writes (``target``).

    Blocks count from 1. Two blocks, (reads, writes), are for a transcoder between residual streams; two or more for a
    crosscoder. Without a place, an autoencoder is at the residual stream, and a transcoder goes from the input to the
    output of the MLP.

    Raises
    ------
    ValueError
        If the model has no such block or place, the place does not suit the pair, or the dictionary is in training
        mode.
    """
    if coder.training:
        raise ValueError("the dictionary is in training mode; call its eval() first")
    pair = coder.config.pair
    checked("place", Place | None, place)
    depth = len(stack.blocks)
    several = isinstance(layer, tuple | list)
    layers = [operator.index(block) for block in (layer if isinstance(layer, tuple | list) else [layer])]
    for block in layers:
        if not 1 <= block <= depth:
            raise ValueError(f"layer must be between 1 and {depth}, counted from 1; found {described(block)}")
    few = len(layers) < 2 or (len(layers) > 2 and pair == "transcoder")
    if several and (few or pair == "sae" or place == "mlp"):
        raise ValueError(f"several layers are for a crosscoder, and two for a transcoder, found {layers} for {pair}")
    if pair == "sae":
        if place == "mlp":
            raise ValueError("place mlp is for transcoders; an sae takes residual, mlp_input or mlp_output")
        sites = {"input": site_at(layers[0], place or "residual")}
    elif several:
        sites = {site_column(number): site_at(block, place or "residual") for number, block in enumerate(layers)}
    elif place in (None, "mlp"):
        sites = {"input": Site(layers[0], "mlp_input"), "target": Site(layers[0], "mlp_output")}
    elif isinstance(place, str) and ARROW in place:
        first, second = place.split(ARROW)
        sites = {"input": site_at(layers[0], first), "target": site_at(layers[0], second)}
    else:
        raise ValueError(f"a {pair} takes place mlp, or two layers of the residual stream; found {place}")
    for site in sites.values():
        stack.point(site)
    return sites


def require_width(coder: SparseCoder, x_NP: Tensor | np.ndarray) -> None:
    """Raise ValueError if a dictionary does not read activations of this width."""
    if x_NP.shape[1] != coder.W_enc.shape[1]:
        raise ValueError(
            f"the dictionary reads activations of width {coder.W_enc.shape[1]}, but the activations at this place have "
            f"width {x_NP.shape[1]}; use the place that it was trained on"
        )


def read_and_write(sites: Mapping[str, Site], pair: str) -> tuple[Site, Site]:
    """Return the site that a dictionary of this ``pair`` reads, and the site where its reconstruction belongs.

    An autoencoder reads and writes the input's site, a transcoder writes the target's. ValueError for a crosscoder,
    which would need two sites at once although one depends on the other, and for a reconstruction at residual_middle.
    """
    if pair == "crosscoder":
        raise ValueError(
            "a crosscoder's reconstruction cannot be spliced in: the part that it writes at its first site changes "
            "the activations that it read at its second; take an sae or a transcoder"
        )
    read, write = sites["input"], sites["target" if pair == "transcoder" else "input"]
    if write.part == "residual_middle":
        raise ValueError(
            "a reconstruction cannot be spliced in at residual_middle, since blocks read that stream twice; take "
            "residual or mlp_output"
        )
    return read, write


def where_in(dictionary: Dictionary | SparseCoder, layer: Layer | None, place: Place | None) -> dict[str, Any]:
    """Return layer and place at which a dictionary is put into a language model.

    It warns if the dictionary was fitted at another place.
    """
    layer, place = located(layer, place)
    pair = coder_of(dictionary).config.pair
    fitted = fitted_place(dictionary.provenance, pair) if isinstance(dictionary, Dictionary) else None
    if layer is None:
        if fitted is None:
            raise ValueError("layer is missing: the block, counted from 1, that the dictionary was fitted on")
        return fitted if place is None else {**fitted, "place": place}
    if fitted is not None:
        new_place = place or ("residual" if pair == "sae" else fitted["place"])
        if (layer, new_place) != (fitted["layer"], fitted["place"]):
            there, here = described(**fitted, pair=pair), described(layer, new_place, pair)
            warn_at_call(f"the dictionary was fitted at {there}, and is put at {here}")
    return {"layer": layer, "place": place}
