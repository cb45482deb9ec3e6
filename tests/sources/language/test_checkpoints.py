"""Finding, loading and refusing checkpoints."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from sdlcore.errors import SourceError
from sdlcore.sources.language.checkpoints import (
    load_any,
    load_tokenizer,
    load_truncated,
    load_whole,
    open_checkpoint,
    undisturbed,
)
from sdlcore.sources.language.settings import Site
from sdlcore.sources.language.sites import watch
from tests.sources.language.tiny_llama import BLOCKS, SIZES, randomise, save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


FAMILY = {
    "llama": LlamaConfig(vocab_size=100, **SIZES),
    # a window shorter than the contexts, so that it matters
    "mistral": MistralConfig(vocab_size=100, sliding_window=5, **SIZES),
    "qwen2": Qwen2Config(vocab_size=100, **SIZES),
    "qwen2 with a window": Qwen2Config(
        vocab_size=100, use_sliding_window=True, sliding_window=5, max_window_layers=1, **SIZES
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FAMILY)
def test_blocks_of_every_architecture_give_the_librarys_own_hidden_states_to_the_bit(
    name: str, dtype: str, tmp_path: Path
):
    config: PreTrainedConfig = FAMILY[name]
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config)
    randomise(made)
    made.save_pretrained(tmp_path)
    whole = load_whole(tmp_path, dtype)
    ids = torch.randint(100, (3, 12), generator=torch.Generator().manual_seed(0))
    before_norm: list[torch.Tensor] = []
    whole.model.norm.register_forward_pre_hook(lambda _, args: before_norm.append(args[0]))
    with torch.inference_mode():
        states = [*whole(ids, output_hidden_states=True).hidden_states[:-1], before_norm[0]]
        assert len(states) == BLOCKS + 1
        for layer in range(1, BLOCKS + 1):
            seen: list[torch.Tensor] = []
            stack = load_truncated(tmp_path, layer, dtype)
            watch(stack, Site(layer, "residual"), seen.append)
            last = stack(ids, use_cache=False).last_hidden_state
            assert torch.equal(last, states[layer]), layer
            assert torch.equal(seen[0], states[layer]), layer


@pytest.mark.parametrize("part", ["mlp_input", "mlp_output"])
def test_mlp_sites_are_what_enters_and_leaves_the_librarys_mlp(part: str, folder: Path):
    stack, seen = load_truncated(folder, 2), []
    watch(stack, Site(2, part), seen.append)
    ids = torch.arange(24).reshape(2, 12)
    with torch.inference_mode():
        stack(ids, use_cache=False)
        block, states = stack.layers[1], load_truncated(folder, 1)(ids, use_cache=False).last_hidden_state
        after = stack(ids, use_cache=False).last_hidden_state
        if part == "mlp_input":
            assert torch.equal(block.mlp(seen[0]), seen_at(stack, Site(2, "mlp_output"), ids))
        else:
            middle = after - seen[0]  # the stream that the MLP's output is added to
            assert not torch.allclose(middle, states)
            torch.testing.assert_close(block.mlp(block.post_attention_layernorm(middle)), seen[0], rtol=1e-3, atol=1e-4)


def seen_at(stack: torch.nn.Module, site: Site, ids: torch.Tensor) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    handle = watch(stack, site, seen.append)
    stack(ids, use_cache=False)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("part", ["residual", "mlp_input", "mlp_output"])
def test_what_a_watcher_returns_takes_the_activations_place(part: str, folder: Path):
    stack, ids = load_truncated(folder, 3), torch.arange(24).reshape(2, 12)
    with torch.inference_mode():
        clean = stack(ids, use_cache=False).last_hidden_state
        same = watch(stack, Site(2, part), lambda x: x.clone())
        assert torch.equal(stack(ids, use_cache=False).last_hidden_state, clean)
        same.remove()
        zeroed = watch(stack, Site(2, part), torch.zeros_like)
        assert not torch.allclose(stack(ids, use_cache=False).last_hidden_state, clean)
        zeroed.remove()
        assert torch.equal(stack(ids, use_cache=False).last_hidden_state, clean)


def test_a_path_that_is_no_folder_is_not_looked_for_at_the_hub():
    with pytest.raises(SourceError, match="no such folder on this machine, and no OWNER/NAME at the hub"):
        load_any("a/b/c")


def test_layer_that_the_model_does_not_have_is_refused(folder: Path):
    with pytest.raises(SourceError, match="layer is 5, but the model has 4 blocks"):
        load_truncated(folder, BLOCKS + 1)


def test_other_architecture_is_refused(tmp_path: Path):
    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="architecture is 'gpt2', but only llama, mistral, qwen2 are supported"):
        load_truncated(tmp_path, 1)


def test_checkpoint_without_safetensors_is_refused(folder: Path, tmp_path: Path):
    shutil.copy(folder / "config.json", tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match="expected a transformers checkpoint"):
        open_checkpoint(tmp_path)
    with pytest.raises(SourceError, match="expected a transformers checkpoint"):
        load_truncated(tmp_path, 1)


def test_checkpoint_that_lacks_weights_is_refused(folder: Path, tmp_path: Path):
    """Transformers would fill the gap with random numbers and only log it."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": BLOCKS + 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=r"the checkpoint lacks the weights .*layers\.4"):
        load_truncated(tmp_path, BLOCKS + 1)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["tokenizer.json", "another.safetensors"])
def test_a_pipe_in_a_checkpoint_is_not_waited_for(folder: Path, tmp_path: Path, name: str):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match=rf"{name}: not a regular file"):
        open_checkpoint(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    (tmp_path / "model/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert load_whole(tmp_path / "model").config.model_type == "llama"
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_needs_code_is_refused_whatever_standard_input_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model/config.json").write_text('{"model_type": "one_of_its_own"}')
    code = {"auto_map": {"AutoTokenizer": ["evil.Words", "evil.Words"]}, "tokenizer_class": "Words"}
    (tmp_path / "model/tokenizer_config.json").write_text(json.dumps(code))
    (tmp_path / "model/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(SourceError, match=r"model: not readable as a checkpoint's tokenizer .*is never run"):
        load_tokenizer(tmp_path / "model")
    assert not (tmp_path / "ran").exists()
    assert sys.stdin.readline() == "y\n"


def test_nobody_answers_what_transformers_asks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with undisturbed(), pytest.raises(EOFError):
        input("run the code?")
    assert sys.stdin.readline() == "y\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"\xff"),
        ("config.json", b"[" * 100_000),
        ("config.json", b'{"model_type": "llama", "hidden_size": "wide"}'),
        ("config.json", b'{"model_type": "llama", "num_attention_heads": 0, "hidden_size": 24}'),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
    ],
)
def test_a_broken_file_of_a_checkpoint_is_one_sentence(folder: Path, tmp_path: Path, name: str, content: bytes):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(content)
    with pytest.raises(SourceError, match=str(tmp_path / "model")):
        load_whole(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": 3}', b"\xff\xfe"])
def test_a_broken_tokenizer_is_one_sentence(folder: Path, tmp_path: Path, content: bytes):
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model/tokenizer.json").write_bytes(content)
    with pytest.raises(SourceError, match=f"{tmp_path}/model: not readable as a checkpoint's tokenizer"):
        load_tokenizer(tmp_path / "model")


def test_a_gguf_file_is_converted_first(folder: Path, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(SourceError, match="a GGUF file; convert it to a folder first"):
        open_checkpoint(tmp_path / "model.gguf")
    shutil.copytree(folder, tmp_path / "converted.gguf")
    assert open_checkpoint(tmp_path / "converted.gguf").folder == tmp_path / "converted.gguf"


@pytest.mark.parametrize("name", ["../elsewhere/model.safetensors", "/etc/model.safetensors", "model.bin", "..", 3])
@pytest.mark.parametrize("where", ["weight_map", "transformers_weights"])
def test_weights_outside_of_a_checkpoints_folder_are_not_followed(
    folder: Path, tmp_path: Path, where: str, name: object
):
    shutil.copytree(folder, tmp_path / "elsewhere")
    shutil.copytree(folder, tmp_path / "model")
    if where == "weight_map":
        (tmp_path / "model/model.safetensors").unlink()
        index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": name}}
        (tmp_path / "model/model.safetensors.index.json").write_text(json.dumps(index))
        (tmp_path / "model/other.safetensors").touch()
    else:
        config = json.loads((folder / "config.json").read_text()) | {where: name}
        (tmp_path / "model/config.json").write_text(json.dumps(config))
    for load in (load_whole, load_any):
        with pytest.raises(SourceError, match=rf"{where}.* is .*, expected the name of a safetensors file in"):
            load(tmp_path / "model")


def test_a_checkpoint_in_shards_is_read(folder: Path, tmp_path: Path):
    whole = load_whole(folder)
    whole.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found = load_whole(tmp_path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in whole.state_dict().items())
