"""Read a HookedTransformer of TransformerLens like a model of transformers."""

from types import SimpleNamespace
from typing import Any

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import Paths

PATHS = Paths(
    blocks="blocks",
    attention_output="hook_attn_out",
    middle="hook_resid_mid",
    mlp_input="mlp",
    mlp_output="hook_mlp_out",
    norm="ln_final",
)
"""Modules of a HookedTransformer. Its hooks are modules, too, whose input and output are the activations."""


class Hooked:
    """A HookedTransformer with those attributes of a transformers model that an extraction reads.

    Attributes
    ----------
    lm
        The HookedTransformer, as it is: `from_pretrained` of TransformerLens centres weights and folds norms into them,
        which changes activations; `from_pretrained_no_processing` leaves them as in transformers.
    """

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self.name_or_path = lm.cfg.model_name
        self.dtype = lm.cfg.dtype
        settings = {"max_position_embeddings": lm.cfg.n_ctx, "hidden_size": lm.cfg.d_model, "_commit_hash": None}
        self.config = SimpleNamespace(**settings)
        self.config.get_text_config = lambda: self.config
        self.config.to_dict = lambda: {"model_type": "hooked_transformer"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lm, name)

    def __call__(self, ids: Any, use_cache: bool) -> Any:
        return self.lm(ids, return_type=None, prepend_bos=False)

    def get_input_embeddings(self) -> Any:
        return SimpleNamespace(weight=self.lm.W_E)


def refuse_bridge(lm: Any) -> None:
    """Raise SourceError for a TransformerBridge, which has no hooks of a HookedTransformer."""
    if any(kind.__name__ == "TransformerBridge" for kind in type(lm).__mro__):
        raise SourceError(
            "lm is a TransformerBridge of TransformerLens, which is not supported yet; give the transformers model "
            "inside it, lm.original_model, with tokenizer=lm.tokenizer, before enable_compatibility_mode changes its "
            "weights"
        )


def is_hooked(lm: Any) -> bool:
    """Return whether a model is a HookedTransformer, without an import of TransformerLens."""
    return all(hasattr(lm, name) for name in ("cfg", "hook_dict", "blocks", "W_E"))
