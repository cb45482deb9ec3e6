"""GGUF files: what is converted, once and by one process, and what beside them has no part in it."""

import io
import json
import logging
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdlcore.errors import SourceError
from sdlcore.extraction import gguf_conversion
from sdlcore.extraction.gguf_conversion import convert_gguf, converted_gguf
from sdlcore.extraction.models import load_tokenizer, load_whole, open_checkpoint
from sdlcore.storage.files import link, lock
from tests.extraction.tiny_llama import WORDS, save_tiny_gguf, save_tiny_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def gguf_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_gguf(folder, tmp_path_factory.mktemp("gguf") / "model.gguf")


def test_a_converted_model_and_its_tokenizer_are_what_they_were(folder: Path, gguf_file: Path, tmp_path: Path):
    convert_gguf(gguf_file, tmp_path / "out")
    text = " ".join(WORDS)
    ids = torch.tensor([load_tokenizer(folder)(text)["input_ids"]])
    assert load_tokenizer(tmp_path / "out")(text)["input_ids"] == ids[0].tolist()
    with torch.inference_mode():
        torch.testing.assert_close(load_whole(tmp_path / "out")(ids).logits, load_whole(folder)(ids).logits)


def test_code_beside_a_gguf_file_is_not_run_whatever_standard_input_says(gguf_file, tmp_path, monkeypatch):
    beside = tmp_path / "model"
    beside.mkdir()
    shutil.copy(gguf_file, beside)
    code = {"auto_map": {"AutoTokenizer": ["evil.Words", "evil.Words"]}, "tokenizer_class": "Words"}
    (beside / "tokenizer_config.json").write_text(json.dumps(code))
    (beside / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "evil.Words"}}))
    lines = [f"open({str(tmp_path / 'ran')!r}, 'w')", "from transformers import PreTrainedTokenizerFast as Words", ""]
    (beside / "evil.py").write_text("\n".join(lines))
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    convert_gguf(beside / "model.gguf", tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert sys.stdin.readline() == "y\n"
    assert load_tokenizer(tmp_path / "out")(WORDS[0])["input_ids"]


@pytest.mark.parametrize("content", [b"PK\x03\x04", b""])
def test_what_is_no_gguf_file_is_refused(content: bytes, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(SourceError, match="does not begin like a GGUF file"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("length", [4, 24, 200, 20_000, 140_000])
def test_a_gguf_file_that_is_cut_off_is_one_sentence(length: int, gguf_file: Path, tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(gguf_file.read_bytes()[:length])
    with pytest.raises(SourceError, match=r"model\.gguf: not readable as a GGUF file"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def without_weights(content: bytes) -> bytes:
    """Rename a tensor: the block is there, and has no such weights."""
    return content.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight")


def with_another_block(content: bytes) -> bytes:
    """Raise the number of blocks in the settings from 4 to 5."""
    at = content.index(key := b"llama.block_count") + len(key) + 4
    return content[:at] + struct.pack("<I", 5) + content[at + 4 :]


@pytest.mark.parametrize(
    ("change", "weights"),
    [(without_weights, r"model\.layers\.1\.mlp\.up_proj\.weight"), (with_another_block, r"model\.layers\.4\.")],
)
def test_a_file_that_lacks_weights_is_refused(change, weights, gguf_file, tmp_path):
    """Transformers would draw them at random."""
    (tmp_path / "model.gguf").write_bytes(change(gguf_file.read_bytes()))
    with pytest.raises(SourceError, match=rf"model\.gguf: lacks the weights {weights}"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "out")


def test_a_model_is_converted_once_and_identified_by_its_content(gguf_file, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    model_folder = converted_gguf(gguf_file, cache)
    before = {path.name: path.stat().st_mtime_ns for path in model_folder.iterdir()}
    monkeypatch.setattr(gguf_conversion, "convert_gguf", None)
    shutil.copy(gguf_file, tmp_path / "model.gguf")
    assert converted_gguf(tmp_path / "model.gguf", cache) == model_folder
    assert {path.name: path.stat().st_mtime_ns for path in model_folder.iterdir()} == before


def test_another_file_of_the_same_name_is_another_model(folder: Path, gguf_file: Path, tmp_path: Path):
    first = converted_gguf(gguf_file, tmp_path / "cache")
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / gguf_file.name
    other.write_bytes(gguf_file.read_bytes() + b"\0" * 32)
    second = converted_gguf(other, tmp_path / "cache")
    assert first != second
    assert first.is_dir()
    assert second.is_dir()


CONVERT = """
import logging, sys
from sdlcore.extraction.gguf_conversion import converted_gguf
logging.basicConfig(level=logging.INFO, format="%(message)s")
print(converted_gguf(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.slow
def test_of_two_processes_with_one_cache_one_converts_and_the_other_waits(gguf_file, tmp_path, caplog):
    cache = tmp_path / "cache"
    name = converted_gguf(gguf_file, tmp_path / "elsewhere").name
    caplog.clear()
    with lock(cache / name):
        command = [sys.executable, "-c", CONVERT, gguf_file, cache]
        other = subprocess.Popen(command, text=True, stdout=-1, stderr=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(20)
        assert not (cache / name).exists()
    with caplog.at_level(logging.INFO):
        assert converted_gguf(gguf_file, cache) == cache / name
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err
    assert out.strip() == str(cache / name)
    assert (err + caplog.text).count("parameters converted") == 1
    assert sorted(path.name for path in cache.iterdir()) == [name]


def test_a_link_to_a_converted_model_is_one_and_moves_with_its_cache(folder: Path, tmp_path: Path):
    before = tmp_path / "before"
    shutil.copytree(folder, before / "cache/models/tiny")
    target = Path("cache/models/tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(before)
        for _ in range(2):  # again over what is there
            link(target, Path("results/models/tiny.gguf"))
        link(target.resolve(), Path("absolute"))
    before.rename(tmp_path / "after")
    assert open_checkpoint(tmp_path / "after/results/models/tiny.gguf").facts()["files"].keys() == {"model.safetensors"}
    assert not (tmp_path / "after/absolute").exists()
