"""Places in language models: their names, and the modules that they denote in each supported architecture.

A *site* is a place in a block, and blocks are counted from 1. `blocks.11.hook_resid_post` (TransformerLens) and
`model.layers.11` (the output of a module in transformers) both name the residual stream after the twelfth block: their
indices begin at 0. The module does not import torch, so that checking a configuration is fast.
"""

import re
from collections.abc import Iterable
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.settings import Settings, Text


class Paths(Settings):
    """Paths of modules. `blocks` and `norm` start at the model without its unembedding, the others at a block.

    A site whose path is missing does not exist in the architecture.
    """

    blocks: Text
    """The list of blocks."""
    attention_output: Text | None = None
    """The module whose output is added to the residual stream after attention."""
    middle: Text | None = None
    """The module whose input is the residual stream between attention and MLP. Blocks that compute both in
    parallel have no such stream."""
    mlp_input: Text | None = None
    """The module whose input the MLP reads, i.e. the residual stream after the norm."""
    mlp_output: Text | None = None
    """The module whose output is added to the residual stream after the MLP."""
    norm: Text | None = None
    """The final norm. Logits of single latents need it."""

    @property
    def sites(self) -> dict[str, tuple[str, str]]:
        """Site -> path of its module, from a block, and whether it is what enters (input) or leaves it (output)."""
        places = {
            "residual_before": ("", "input"),
            "attention_output": (self.attention_output, "output"),
            "residual_middle": (self.middle, "input"),
            "mlp_input": (self.mlp_input, "input"),
            "mlp_output": (self.mlp_output, "output"),
            "residual": ("", "output"),
        }
        return {site: (path, side) for site, (path, side) in places.items() if path is not None}


LLAMA = Paths(
    blocks="layers",
    attention_output="self_attn",
    middle="post_attention_layernorm",
    mlp_input="mlp",
    mlp_output="mlp",
    norm="norm",
)
# norms before and after both parts
GEMMA = Paths(
    blocks="layers",
    attention_output="post_attention_layernorm",
    middle="pre_feedforward_layernorm",
    mlp_input="mlp",
    mlp_output="post_feedforward_layernorm",
    norm="norm",
)
GPT2 = Paths(blocks="h", attention_output="attn", middle="ln_2", mlp_input="mlp", mlp_output="mlp", norm="ln_f")
PHI = Paths(blocks="layers", attention_output="self_attn", mlp_input="mlp", mlp_output="mlp", norm="final_layernorm")


def _below(prefix: str, paths: Paths) -> Paths:
    return paths.changed(blocks=f"{prefix}.{paths.blocks}", norm=f"{prefix}.{paths.norm}")


ARCHITECTURES: dict[str, Paths] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gpt_oss"), LLAMA),
    **dict.fromkeys(("gemma2", "gemma3_text", "gemma4_text"), GEMMA),
    **dict.fromkeys(("gemma3", "gemma4"), _below("language_model", GEMMA)),
    "phi": PHI,
    "gpt2": GPT2,
    "gpt_neox": PHI.changed(attention_output="attention", norm="final_layer_norm"),
    # attention and MLP may be parallel or not, by the model's configuration
    "falcon": PHI.changed(blocks="h", attention_output="self_attention", norm="ln_f"),
}
"""Paths by transformers' ``model_type``. Each is tested against transformers' hidden states and against hooks."""

SITES = {
    "residual_before": "the residual stream before block",
    "attention_output": "the output of the attention of block",
    "residual_middle": "the residual stream between attention and MLP of block",
    "mlp_input": "the input of the MLP, after its norm, of block",
    "mlp_output": "the output of the MLP of block",
    "residual": "the residual stream after block",
}
"""Names of the sites of a block, in the order of a forward pass, with descriptions that end before its number."""
BLOCK = "block."
"""Prefix of module paths that start at a block; other paths start at the model."""


def paths_of(kind: str | None, name: str) -> Paths:
    """Return the paths of a model's modules, by its ``model_type``; SourceError if the architecture is unknown."""
    if kind in ARCHITECTURES:
        return ARCHITECTURES[kind]
    raise SourceError(
        f"{name}: the model's architecture is {kind!r}, but the table has only {', '.join(ARCHITECTURES)}; say where "
        "its modules are: set paths (docs/language-models.md, Other architectures)"
    )


HOOKS = {
    "residual": "hook_resid_post",
    "residual_before": "hook_resid_pre",
    "residual_middle": "hook_resid_mid",
    "attention_output": "hook_attn_out",
    # HookedSAETransformer and circuit-tracer add this hook; ln2.hook_normalized lacks an RMS norm's weights
    "mlp_input": "mlp.hook_in",
    "mlp_output": "hook_mlp_out",
}
"""Site -> the name of its hook in a block of TransformerLens."""
# the list of blocks, an index from 0, and perhaps a path in the block
_MODULE = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:layers|h)\.(\d{1,4})(?:\.([A-Za-z_][\w.]*))?")
_HOOK = re.compile(r"blocks\.(\d{1,4})\.(.+)")
_SHORT = re.compile(r"([a-z]+_[a-z]+)\.(\d{1,4})")
_SITES = {hook: site for site, hook in HOOKS.items()}
SHORT = {hook.replace(".hook_", "_").removeprefix("hook_"): site for site, hook in HOOKS.items()}
"""First part of a short name, such as ``resid_post.11`` or ``mlp_in.11`` -> site."""


def read_name(name: str) -> tuple[int, str]:
    """Return the block, counted from 1, and the place that a name denotes; ValueError for an unknown name."""
    if (match := _HOOK.fullmatch(name)) and match[2] in _SITES:
        return int(match[1]) + 1, _SITES[match[2]]
    if (match := _SHORT.fullmatch(name)) and match[1] in SHORT:
        return int(match[2]) + 1, SHORT[match[1]]
    if match := _MODULE.fullmatch(name):
        return int(match[1]) + 1, "residual" if match[2] is None else f"block.{match[2]}:output"
    raise ValueError(
        f"layer is {name!r}, expected a block, counted from 1, or a name such as model.layers.11, "
        f"blocks.11.hook_resid_post or resid_post.11 (also {', '.join(name for name in SHORT if name != 'resid_post')})"
    )


def located(layer: Any, place: str | None) -> tuple[Any, Any]:
    """Return layer and place, with names replaced by blocks, counted from 1, and the place that they name.

    ``layer`` is a block, a name, several of these, or None; ``place`` was given beside it, or is None. ValueError if a
    name is unknown, names another place than ``place``, or several name different places in different blocks.
    """
    several = list(layer) if isinstance(layer, Iterable) and not isinstance(layer, str) else [layer]
    if not any(isinstance(name, str) for name in several):
        return layer, place
    read = [read_name(name) if isinstance(name, str) else (name, "residual") for name in several]
    blocks, places = [block for block, _ in read], list(dict.fromkeys(part for _, part in read))
    if len(places) == 2 == len(read) and len(set(blocks)) == 1:  # a transcoder's
        named, blocks = "mlp" if places == ["mlp_input", "mlp_output"] else "->".join(places), blocks[:1]
    elif len(places) > 1:
        raise ValueError(f"layer names different places in different blocks ({', '.join(map(str, several))})")
    else:
        named = places[0]
    if place not in (None, named):
        raise ValueError(f"layer is {layer}, which names the place {named}, but the place is {place}; name it once")
    return blocks[0] if len(blocks) == 1 else tuple(blocks), named


def hook_names(layer: Any, place: str | None = None, pair: str = "sae") -> list[str | None]:
    """Return TransformerLens' name of each place that a dictionary reads and writes; None for places without a hook.

    ``layer`` and ``place`` are as for `sdlcore.inside.hooks.sites_of`, and so are defaults of ``place``.
    """
    blocks = list(layer) if isinstance(layer, tuple | list) else [layer]
    if place == "mlp" or (place is None and pair == "transcoder" and len(blocks) == 1):
        places = ["mlp_input", "mlp_output"]
    else:
        places = (place or "residual").split("->")
    number = max(len(blocks), len(places))
    pairs = zip(blocks * (number // len(blocks)), places * (number // len(places)), strict=True)
    return [f"blocks.{block - 1}.{HOOKS[part]}" if part in HOOKS else None for block, part in pairs]


def described(layer: Any, place: str | None = None, pair: str = "sae") -> str:
    """Return both names of a place, such as ``layer 12 (blocks.11.hook_resid_post)``."""
    several = isinstance(layer, tuple | list)
    text = f"layers {', '.join(map(str, layer))}" if several else f"layer {layer}"
    text += "" if place in (None, "residual") else f", {place}"
    hooks = [hook for hook in hook_names(layer, place, pair) if hook]
    return f"{text} ({', '.join(hooks)})" if hooks else text


def place_of(at: Iterable[str]) -> dict[str, Any] | None:
    """Return layer and place, as `splice` takes them, of names of places; None if they are no such place."""
    try:
        layer, place = located(tuple(at), None)
    except ValueError:
        return None
    return {"layer": layer, "place": place}
