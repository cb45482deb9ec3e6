"""Finding, loading and refusing checkpoints."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from sdlcore.errors import SourceError
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.extraction.places import Paths
from tests.extraction.tiny_llama import save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


def test_other_architecture_is_refused():
    lm = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=1, n_head=2))
    with pytest.raises(SourceError, match=r"architecture is 'bloom', but the table has only llama, .*; .* set paths"):
        Stack.of(lm)
    assert len(Stack.of(lm, Paths("h")).blocks) == len(Stack.of(lm, Paths("transformer.h")).blocks) == 1
    with pytest.raises(SourceError, match=r"paths\.blocks is ln_f, expected the path of a list of blocks"):
        Stack.of(lm, Paths("ln_f"))


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    (tmp_path / "model/evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert load_any(tmp_path / "model").config.model_type == "llama"
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_in_shards_is_read(folder: Path, tmp_path: Path):
    whole = load_any(folder)
    whole.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    state = load_any(tmp_path).state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())


def test_a_folder_named_like_a_gguf_file_is_a_checkpoint(tmp_path: Path):
    """The pipeline links a converted model under the name of its GGUF file."""
    folder = save_tiny_llama(tmp_path / "model.gguf")
    assert load_tokenizer(folder).vocab_size
    assert load_any(folder).config.model_type == "llama"
