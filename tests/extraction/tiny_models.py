"""Tiny random language models of every architecture in the table."""

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    Gemma4TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from tests.extraction.tiny_llama import randomise

VOCABULARY, WIDTH, DEPTH, WINDOW = 60, 16, 2, 5
SIZES: dict[str, Any] = {
    **{"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 4},
    **{"max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
GROUPED = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2}
GEMMA = {**GROUPED, "head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
LAYERS = ["sliding_attention", "full_attention"]

# windows are shorter than the contexts of the tests, so that they matter
CONFIGURATIONS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED, sliding_window=WINDOW),
    "mixtral": MixtralConfig(**GROUPED, sliding_window=WINDOW, num_local_experts=4),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen2 with a window": Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
    "qwen3_moe": Qwen3MoeConfig(**GROUPED, head_dim=8, **MOE),
    "gemma2": Gemma2Config(**GEMMA, layer_types=LAYERS),
    "gemma3_text": Gemma3TextConfig(**GEMMA, layer_types=LAYERS),
    "gemma3": Gemma3Config(
        text_config={**GEMMA, "layer_types": LAYERS},
        vision_config={
            **{"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1},
            **{"image_size": 28, "patch_size": 14},
        },
        mm_tokens_per_image=4,
    ),
    "gemma4_text": Gemma4TextConfig(
        **{key: value for key, value in GEMMA.items() if key != "query_pre_attn_scalar"},
        layer_types=LAYERS,
        global_head_dim=8,
        hidden_size_per_layer_input=8,
        vocab_size_per_layer_input=VOCABULARY,
    ),
    "phi": PhiConfig(**SIZES, intermediate_size=24),
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=DEPTH, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
    "gpt_neox": GPTNeoXConfig(**SIZES, intermediate_size=24),
    "gpt_neox in sequence": GPTNeoXConfig(**SIZES, intermediate_size=24, use_parallel_residual=False),
    "falcon": FalconConfig(**SIZES),
    "falcon in sequence": FalconConfig(**SIZES, parallel_attn=False, alibi=True),
    "falcon, new": FalconConfig(**SIZES, new_decoder_architecture=True, num_kv_heads=2),
    "gpt_oss": GptOssConfig(**GROUPED, head_dim=8, sliding_window=WINDOW, num_local_experts=4, layer_types=LAYERS),
}


def make(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """Return a random model in evaluation mode."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGURATIONS[name], attn_implementation="eager")
    randomise(model)
    return model.to(dtype).eval()
