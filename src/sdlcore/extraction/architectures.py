"""Paths of the modules in a block of a transformers model, for each supported architecture.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Callable, Mapping
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


ARCHITECTURES: dict[str, Paths | Callable[[Mapping[str, Any]], Paths]] = {
    **dict.fromkeys(("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "gpt_oss"), LLAMA),
    **dict.fromkeys(("gemma2", "gemma3_text", "gemma4_text"), GEMMA),
    **dict.fromkeys(("gemma3", "gemma4"), _below("language_model", GEMMA)),
    "phi": PHI,
    "gpt2": GPT2,
    "gpt_neox": _gpt_neox,
    "opt": _opt,
    "falcon": _falcon,
}
"""Paths, or a function of the model's configuration, by transformers' ``model_type``. Each is tested against
transformers' hidden states and against hooks."""

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


def paths_of(config: Mapping[str, Any], name: str) -> Paths:
    """Return the paths of a model's modules, by its config.json; SourceError if the architecture is unknown."""
    kind = config.get("model_type")
    architecture = ARCHITECTURES.get(str(kind))
    if architecture is None:
        raise SourceError(
            f"{name}: the model's architecture is {kind!r}, but the table has only {', '.join(ARCHITECTURES)}; say "
            "where its modules are: set paths (docs/language-models.md, Other architectures)"
        )
    return architecture if isinstance(architecture, Paths) else architecture(config)


def read_paths(paths: Paths | Mapping[str, str] | None) -> Paths | None:
    """Validate paths from the user. Raise ValueError with the name of an invalid key."""
    return Paths.from_dict(paths) if isinstance(paths, Mapping) else paths
