"""A tiny Llama with a tokenizer, made on the spot, and documents of its words."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sdlcore.random_streams import stream

WORDS = ["river", "stone", "cloud", "lantern", "harbour", "violet", "engine", "marble", "thunder", "copper"]
LOUD = "thunder"
BLOCKS = 4
SIZES = {
    **{"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": BLOCKS, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 64},
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of which every word is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"{word} {word} {word}" for word in WORDS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def randomise(model: torch.nn.Module) -> None:
    """Draw weights at which every block does something."""
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)


def save_tiny_llama(path: Path, blocks: int = BLOCKS, positions: int = SIZES["max_position_embeddings"]) -> Path:
    """Save a random Llama in which one word's embedding is loud, and its tokenizer."""
    sizes = SIZES | {"num_hidden_layers": blocks, "max_position_embeddings": positions}
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    randomise(model)
    with torch.no_grad():
        model.model.embed_tokens.weight[tokenizer(f" {LOUD}")["input_ids"][0]] *= 100
    model.save_pretrained(path)
    return path


def save_tiny_gguf(folder: Path, path: Path) -> Path:
    """Write the model and the tokenizer of `save_tiny_llama` as a GGUF file."""
    model = LlamaForCausalLM.from_pretrained(folder)
    words = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(words["vocab"], key=words["vocab"].get)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token.startswith("<|") else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in words["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        its = names.get_name(name, try_suffixes=(".weight",))
        assert its is not None
        # in halves of heads rotated, as llama.cpp takes queries and keys
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads is not None:
            tensor = tensor.unflatten(0, (heads, 2, -1)).swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(its, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def documents(number: int) -> list[str]:
    """Return documents of random words, the sixth of them empty; the loud word is rare."""
    rng = stream(0, "text")
    chances = np.array([0.2 if word == LOUD else 1.0 for word in WORDS])
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(3, 40), p=chances / chances.sum())) for _ in range(number)]
    texts[5] = ""
    return texts
