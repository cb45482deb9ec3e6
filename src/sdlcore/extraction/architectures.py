"""Paths of the modules in a block of a transformers model, for each supported architecture.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
    return Paths(**{**dict(paths), "blocks": f"{prefix}.{paths.blocks}", "norm": f"{prefix}.{paths.norm}"})


def _gpt_neox(config: Mapping[str, Any]) -> Paths:
    middle = None if config.get("use_parallel_residual", True) else "post_attention_layernorm"
    return Paths(
        blocks="layers",
        attention_output="attention",
        middle=middle,
        mlp_input="mlp",
        mlp_output="mlp",
        norm="final_layer_norm",
    )


def _opt(config: Mapping[str, Any]) -> Paths:
    if not config.get("do_layer_norm_before", True):  # OPT-350m: each norm comes after the sum, so it makes the stream
        return Paths(
            blocks="decoder.layers", attention_output="self_attn", middle="fc1", mlp_input="fc1", mlp_output="fc2"
        )
    return Paths(
        blocks="decoder.layers",
        attention_output="self_attn",
        middle="final_layer_norm",
        mlp_input="fc1",
        mlp_output="fc2",
        norm="decoder.final_layer_norm",
    )


def _falcon(config: Mapping[str, Any]) -> Paths:
    parallel = config.get("new_decoder_architecture", False) or config.get("parallel_attn", True)
    return Paths(
        blocks="h",
        attention_output="self_attention",
        middle=None if parallel else "post_attention_layernorm",
        mlp_input="mlp",
        mlp_output="mlp",
        norm="ln_f",
    )


class Architecture(NamedTuple):
    """An architecture that transformers can load."""

    paths: Paths | Callable[[Mapping[str, Any]], Paths]
    """Paths, or a function of the model's configuration."""
    cuts: bool = True
    """Whether the first blocks can be loaded without the rest."""


ARCHITECTURES: dict[str, Architecture] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gpt_oss"), Architecture(LLAMA)),
    **dict.fromkeys(("gemma2", "gemma3_text"), Architecture(GEMMA)),
    "gemma3": Architecture(_below("language_model", GEMMA), cuts=False),
    # blocks share keys and values, and embeddings of all blocks are one matrix
    "gemma4_text": Architecture(GEMMA, cuts=False),
    "gemma4": Architecture(_below("language_model", GEMMA), cuts=False),
    "phi": Architecture(PHI),
    "gpt2": Architecture(GPT2),
    "gpt_neox": Architecture(_gpt_neox),
    "opt": Architecture(_opt),
    "falcon": Architecture(_falcon),
}
"""Architectures by transformers' ``model_type``, each tested against transformers' hidden states and against hooks."""

SITES = {
    "residual_before": "the residual stream before block",
    "attention_output": "the output of the attention of block",
    "residual_middle": "the residual stream between attention and MLP of block",
    "mlp_input": "the input of the MLP, after its norm, of block",
    "mlp_output": "the output of the MLP of block",
    "residual": "the residual stream after block",
}
"""Names of the sites of a block, in the order of a forward pass, with descriptions that end before its number."""
SIDES = ("input", "output")
BLOCK = "block."
"""Prefix of module paths that start at a block; other paths start at the model."""


def paths_of(config: Mapping[str, Any], paths: Paths | None, name: str) -> Paths:
    """Return the paths of a model's modules.

    Parameters
    ----------
    config
        The model's configuration, as in config.json.
    paths
        Paths from the user, which override the known ones.
    name
        Name of the model, for the error.

    Raises
    ------
    SourceError
        If the architecture is unknown and the user gave no paths.
    """
    if paths is not None:
        return paths
    kind = config.get("model_type")
    architecture = ARCHITECTURES.get(str(kind))
    if architecture is None:
        raise SourceError(
            f"{name}: the model's architecture is {kind!r}, but the table has only {', '.join(ARCHITECTURES)}; say "
            "where its modules are: set paths (docs/language-models.md, Other architectures)"
        )
    return architecture.paths if isinstance(architecture.paths, Paths) else architecture.paths(config)


def read_paths(paths: Paths | Mapping[str, str] | None) -> Paths | None:
    """Validate paths from the user. Raise ValueError with the name of an invalid key."""
    return Paths.from_dict(paths) if isinstance(paths, Mapping) else paths


def cuts(config: Mapping[str, Any], paths: Paths | None) -> bool:
    """Return whether the first blocks of a model can be loaded without the rest."""
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    return paths is None and architecture is not None and architecture.cuts


def module_of(part: str, paths: Paths) -> tuple[str | None, str]:
    """Return the path, from a block, of the module at a site, and whether the site is the module's input or output.

    The path is None if the architecture lacks the site, and for the residual streams before and after a block, which
    belong to no module in the block.
    """
    path = getattr(paths, "middle" if part == "residual_middle" else part)
    return path, "output" if part.endswith("_output") else "input"


def has(part: str, paths: Paths) -> bool:
    """Return whether an architecture has a site."""
    return part in ("residual", "residual_before") or module_of(part, paths)[0] is not None


def lacking(part: str, paths: Paths) -> str | None:
    """Return an explanation if an architecture lacks a site, otherwise None."""
    if has(part, paths):
        return None
    parts = ", ".join(one for one in SITES if has(one, paths))
    if part == "residual_middle":
        return (
            "the blocks compute attention and MLP in parallel, without a residual stream between them, or paths lack "
            f"middle; take one of {parts}"
        )
    return f"the model's paths do not say where {part} is; take one of {parts}, or add it to paths"
