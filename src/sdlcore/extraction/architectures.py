"""Paths of the modules in a block of a transformers model, for each supported architecture.

The module does not import torch, so that checking a configuration is fast.
"""

from collections.abc import Mapping

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


def read_paths(paths: Paths | Mapping[str, str] | None) -> Paths | None:
    """Validate paths from the user. Raise ValueError with the name of an invalid key."""
    return Paths.from_dict(paths) if isinstance(paths, Mapping) else paths
