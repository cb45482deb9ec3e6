"""Find the blocks, the final norm and the unembedding of a transformers model, and the sites that a dictionary uses.

Blocks are counted from 1, as in `sdlcore.sources.language.sites`: ``layer=12`` is the residual stream after 12 blocks,
transformers' ``hidden_states[12]``, TransformerLens' ``blocks.11.hook_resid_post``.
"""

import copy
import operator
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict, cast

from torch import Tensor, nn

from sdlcore.model.coder import SparseCoder
from sdlcore.settings import checked
from sdlcore.sources.language.settings import LanguageSource, Site
from sdlcore.sources.language.sites import blocks

Place = Literal["residual", "mlp", "mlp_input", "mlp_output"]
"""residual: the stream after a block; mlp_input: what enters its MLP, after the norm; mlp_output: what leaves it,
before it is added to the stream; mlp: from the one to the other, for transcoders."""


def stack_of(lm: Any, number: int | None = None) -> Any:
    """Return the stack of blocks of a transformers model like Llama or GPT-2: the model without its unembedding.

    Parameters
    ----------
    lm
        The model.
    number
        Leave out the blocks after so many. The stack shares the model's blocks, so that it takes no memory.

    Raises
    ------
    TypeError
        If the model has no blocks where those have them, or blocks without an ``mlp``.
    """
    base = getattr(lm, "base_model", lm)
    its = blocks(base)
    if not isinstance(its, nn.ModuleList) or not all(hasattr(block, "mlp") for block in its):
        raise TypeError(
            f"{type(lm).__name__}: found no blocks with an mlp; expected a transformers model like Llama "
            "(model.layers) or GPT-2 (transformer.h)"
        )
    if number is None or number >= len(its):
        return base
    shorter = copy.copy(base)
    shorter._modules = {name: module[:number] if module is its else module for name, module in base._modules.items()}
    return shorter


class Readout(NamedTuple):
    """What turns the residual stream into logits."""

    norm: nn.Module
    unembedding: Tensor
    """Vocabulary x D."""


def readout_of(lm: Any) -> Readout:
    """Return the final norm and the unembedding of a causal language model.

    Raises
    ------
    TypeError
        If the model has none.
    """
    base = getattr(lm, "base_model", lm)
    norm = getattr(base, "norm", getattr(base, "ln_f", getattr(base, "final_layer_norm", None)))
    head = lm.get_output_embeddings()
    if norm is None or head is None:
        raise TypeError(f"{type(lm).__name__}: has no final norm or no unembedding; load it by AutoModelForCausalLM")
    return Readout(norm, head.weight)


def sites_of(coder: SparseCoder, lm: Any, layer: int | tuple[int, int], place: Place | None = None) -> dict[str, Site]:
    """Return where a dictionary reads (``input``) and, unless it is an autoencoder, writes (``target``) in a model.

    Parameters
    ----------
    coder
        The dictionary.
    lm
        A transformers model.
    layer
        Block, counted from 1. Two blocks, (reads, writes), for a transcoder or crosscoder between residual streams.
    place
        None for the residual stream of an autoencoder, from in to out of the MLP for a transcoder.

    Raises
    ------
    ValueError
        If the model has no such block, there is no such place, the pair does not go with it, widths differ, or the
        dictionary is in training mode.
    """
    if coder.training:
        raise ValueError("the dictionary is in training mode; call its eval() first")
    stack = stack_of(lm)
    sites = sites_at(coder.config.pair, stack, layer, place)
    _require_widths(coder, stack.config.hidden_size, sites)
    return sites


def sites_at(pair: str, stack: Any, layer: int | tuple[int, int], place: Place | None = None) -> dict[str, Site]:
    """Return the same for any dictionary of a pair in a stack of blocks, whatever its widths."""
    checked("place", Place | None, place)
    depth = len(blocks(stack))
    two = isinstance(layer, tuple | list)
    layers = [operator.index(block) for block in (layer if isinstance(layer, tuple | list) else [layer])]
    for block in layers:
        if not 1 <= block <= depth:
            raise ValueError(
                f"layer must be between 1 and {depth}, since blocks are counted from 1 and the model has {depth}; "
                f"found {block}"
            )
    if two and (len(layers) != 2 or pair == "sae" or place not in (None, "residual")):
        raise ValueError(f"two layers are for a transcoder or crosscoder of residual streams, found {layers}, {pair}")
    if pair == "sae":
        if place == "mlp":
            raise ValueError("place mlp is for transcoders; an sae takes residual, mlp_input or mlp_output")
        sites = {"input": Site(layers[0], place or "residual")}
    elif two:
        sites = {"input": Site(layers[0], "residual"), "target": Site(layers[1], "residual")}
    elif place in (None, "mlp"):
        sites = {"input": Site(layers[0], "mlp_input"), "target": Site(layers[0], "mlp_output")}
    else:
        raise ValueError(f"a {pair} takes place mlp, or two layers of the residual stream; found {place}")
    return sites


def _require_widths(coder: SparseCoder, width: int, sites: Mapping[str, Site]) -> None:
    for widths, verb in ((coder.input_sites, "reads"), (coder.target_sites, "writes")):
        for found in widths:
            if found != width:
                where = ", ".join(f"{site.part} {site.block}" for site in sites.values())
                raise ValueError(
                    f"the dictionary {verb} activations of width {found}, but those of the model ({where}) have width "
                    f"{width}; take the model and the place that it was trained on"
                )


class Where(TypedDict):
    """What `splice` and `contexts` are told."""

    layer: int | tuple[int, int]
    place: Place | None


def where_of(source: LanguageSource, pair: str) -> Where:
    """Return the layer and the place that a dictionary of ``pair`` was trained on, by the source of its activations.

    For ``splice(lm, coder=coder, **where_of(source, pair))``.
    """
    if pair == "sae":
        return {"layer": source.sites["input"].block, "place": cast(Place, source.sites["input"].part)}
    if source.layers is not None:
        return {"layer": (source.layers[0], source.layers[1]), "place": None}
    return {"layer": source.layer, "place": source.site}


def read_and_write(sites: Mapping[str, Site], pair: str) -> tuple[Site, Site]:
    """Return where a dictionary of ``pair`` reads and where its reconstruction belongs.

    An autoencoder reads and writes the input's site, a transcoder writes the target's.

    Raises
    ------
    ValueError
        For a crosscoder: it needs sites that lie one behind the other at once. For a transcoder that reads behind the
        block at which it writes.
    """
    if pair == "crosscoder":
        raise ValueError(
            "a crosscoder's reconstruction cannot be spliced in: what it writes at its first site changes what it has "
            "read at its second; take an sae or a transcoder"
        )
    read, write = sites["input"], sites["target" if pair == "transcoder" else "input"]
    if read.block > write.block:
        raise ValueError(
            f"a transcoder that reads after block {read.block} cannot be spliced in at block {write.block}: a pass is "
            "there first"
        )
    return read, write
