"""Finding, loading and refusing checkpoints."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from sdlcore.errors import SourceError
from sdlcore.extraction.architectures import SITES, Paths
from sdlcore.extraction.config import Site
from sdlcore.extraction.models import (
    load_any,
    load_stack,
    load_tokenizer,
    load_whole,
    open_checkpoint,
    undisturbed,
)
from sdlcore.extraction.references import local_model
from tests.extraction.tiny_llama import BLOCKS, save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("part", [part for part in SITES if part != "residual_middle"])
def test_what_a_watcher_returns_takes_the_activations_place(part: str, folder: Path):
    stack, ids = load_stack(folder, 3), torch.arange(24).reshape(2, 12)

    def out() -> torch.Tensor:
        return stack.model(ids, use_cache=False).last_hidden_state

    with torch.inference_mode():
        clean = out()
        with stack.watch(Site(2, part), lambda x: x.clone()):
            assert torch.equal(out(), clean)
        with stack.watch(Site(2, part), torch.zeros_like):
            assert not torch.allclose(out(), clean)
        assert torch.equal(out(), clean)


def test_other_architecture_is_refused(tmp_path: Path):
    BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"architecture is 'bloom', but the table has only llama, .*; .* set paths"):
        load_stack(tmp_path, 1)
    assert len(load_stack(tmp_path, 1, paths=Paths("h")).blocks) == 1


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    (tmp_path / "model/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert load_whole(tmp_path / "model").config.model_type == "llama"
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_needs_code_is_refused_whatever_standard_input_says(folder, tmp_path, monkeypatch):
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


def with_settings(**changes: Any) -> Callable[[Path], object]:
    """Return a function that changes settings in a model's config.json."""

    def change(model: Path) -> None:
        config = json.loads((model / "config.json").read_text()) | changes
        (model / "config.json").write_text(json.dumps(config))

    return change


def with_content(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda model: (model / name).write_bytes(content)


def without_safetensors(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("load", "change", "message"),
    [
        (lambda _: load_any("a/b/c"), None, "no such folder on this machine, and no OWNER/NAME at the hub"),
        (lambda _: open_checkpoint("a/b/c"), None, "a/b/c: no such folder on this machine, and no OWNER/NAME at"),
        (lambda _: local_model("./models/llama"), None, r"\./models/llama: no such file or folder on this machine"),
        (lambda model: load_stack(model, BLOCKS + 1), None, "layer is 5, but the model has 4 blocks"),
        # transformers would fill the gap with random numbers and only log it
        (
            lambda model: load_stack(model, BLOCKS + 1),
            with_settings(num_hidden_layers=BLOCKS + 1),
            r"the checkpoint lacks the weights .*layers\.4",
        ),
        (open_checkpoint, without_safetensors, "expected a transformers checkpoint"),
        (lambda model: load_stack(model, 1), without_safetensors, "expected a transformers checkpoint"),
        *(
            (load_whole, with_content("config.json", content), "MODEL")
            for content in (b"{", b"[]", b"\xff", b"[" * 10**5)
        ),
        (load_whole, with_settings(hidden_size="wide"), "MODEL"),
        (load_whole, with_settings(num_attention_heads=0), "MODEL"),
        *(
            (load_whole, with_content("model.safetensors", content), "MODEL")
            for content in (b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}")
        ),
        *(
            (load_tokenizer, with_content("tokenizer.json", content), "MODEL: not readable as a checkpoint's tokenizer")
            for content in (b"", b"{", b"[]", b'{"model": 3}', b"\xff\xfe")
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(load, change, message, folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    if change is not None:
        change(model)
    with pytest.raises(SourceError, match=message.replace("MODEL", str(model))):
        load(model)


def test_a_gguf_file_is_converted_first(folder: Path, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(SourceError, match="a GGUF file; convert it to a folder first"):
        open_checkpoint(tmp_path / "model.gguf")
    shutil.copytree(folder, tmp_path / "converted.gguf")
    assert open_checkpoint(tmp_path / "converted.gguf").folder == tmp_path / "converted.gguf"


@pytest.mark.parametrize("name", ["../elsewhere/model.safetensors", "/etc/model.safetensors", "model.bin", "..", 3])
@pytest.mark.parametrize("where", ["weight_map", "transformers_weights"])
def test_weights_outside_of_a_checkpoints_folder_are_not_followed(folder, tmp_path, where, name):
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
    state = load_whole(tmp_path).state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())
