"""The most active tokens of latents, and how they are shown."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sdlcore.config import ModelConfig
from sdlcore.data.reading import ActivationStore
from sdlcore.errors import SourceError
from sdlcore.extraction.text import Text, opened_text
from sdlcore.inside import firing
from sdlcore.inside.contexts import contexts_in_text, pieces_of, top_contexts
from sdlcore.inside.features import token_text
from sdlcore.inside.firing import codes_of_store, firings, latents_to_show, tokens_of_store
from sdlcore.model.coder import SparseCoder
from sdlcore.random_streams import stream, torch_stream
from tests.extraction.tiny_llama import documents, make_tokenizer
from tests.stores import write_store

D, N, Q = 8, 700, 24


@pytest.fixture(scope="module")
def coder() -> SparseCoder:
    return SparseCoder.from_config(
        ModelConfig(activation="topk", k=3, n_q=Q), (D,), (D,), torch_stream(0, "weights")
    ).eval()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    path = tmp_path_factory.mktemp("text") / "words.json"
    path.write_text(json.dumps(documents(60)))
    return opened_text(path)


@pytest.fixture(scope="module")
def store(text: Text, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    """Random activations at real tokens of the text, and at some that belong to no document."""
    path, tokenizer = tmp_path_factory.mktemp("store") / "a.h5", make_tokenizer()
    rows = [
        (document.number, position, token)
        for document in text.documents()
        for position, token in enumerate(tokenizer(document.text)["input_ids"])
    ][: N - 20]
    rows += [(-1, -1, 0)] * 20
    document, position, token = np.array(rows).T
    x = stream(0, "x").normal(size=(N, D))
    x[-20:] *= 100  # the largest of all
    write_store(path, x, references={"document": document, "position": position, "token": token})
    return ActivationStore(path)


def test_top_contexts_are_the_largest_activations_one_a_document(coder, store, text, monkeypatch):
    monkeypatch.setattr(firing, "ROWS_AT_ONCE", 64)
    with torch.inference_mode():
        latents_NQ = coder.encode(torch.from_numpy(store.read("input"))).numpy()
    document, position, token = (store.read(f"references/{name}") for name in ("document", "position", "token"))
    activations = firings(coder, tokens_of_store(coder, store), [3, 0, 17])
    assert activations.tokens == N
    assert set(np.flatnonzero(np.diff(activations.values.indptr))) == {3, 0, 17}
    for latent, contexts in top_contexts(activations, (3, 0, 17), text, make_tokenizer(), number=5).items():
        by_document: dict[int, tuple[Any, ...]] = {}
        for row in np.argsort(-latents_NQ[:, latent], kind="stable"):
            if latents_NQ[row, latent] > 0 and document[row] >= 0:
                where = document[row], position[row], token[row]
                by_document.setdefault(int(document[row]), (pytest.approx(latents_NQ[row, latent], rel=1e-5), *where))
        assert [context[:4] for context in contexts] == list(by_document.values())[:5]


def test_latents_to_show_run_from_the_most_to_the_least_frequent(coder: SparseCoder, store: ActivationStore):
    with torch.inference_mode():
        fired = (coder.encode(torch.from_numpy(store.read("input"))) > 0).sum(0).numpy()
    latents = latents_to_show(codes_of_store(coder, store), 5)
    assert len(set(latents)) == 5
    assert fired[latents[0]] == fired.max()
    assert fired[latents[-1]] == fired[fired > 0].min()
    assert sorted(fired[latents], reverse=True) == fired[latents].tolist()
    assert set(latents_to_show(codes_of_store(coder, store), 10 * Q)) == set(np.flatnonzero(fired))


def test_contexts_have_the_token_in_its_document(coder: SparseCoder, store: ActivationStore, text: Text):
    tokenizer = make_tokenizer()
    activations = firings(coder, tokens_of_store(coder, store), range(Q))
    contexts = contexts_in_text({q: (q, np.arange(4)) for q in range(Q)}, activations, text, tokenizer, width=3)
    by_number = {document.number: document.text for document in text.documents()}
    for context in (context for its in contexts.values() for context in its):
        assert context.before + context.token + context.after in by_number[context.document]
        assert tokenizer(context.token)["input_ids"] == [context.token_id]
        assert len(tokenizer(context.before)["input_ids"]) == context.at == min(3, context.position)


def test_every_token_of_a_context_has_its_activation(coder: SparseCoder, store: ActivationStore, text: Text):
    with torch.inference_mode():
        latents_NQ = coder.encode(torch.from_numpy(store.read("input"))).numpy()
    places = (store.read(f"references/{name}") for name in ("document", "position"))
    row_of = {where: row for row, where in enumerate(zip(*places, strict=True))}
    activations = firings(coder, tokens_of_store(coder, store), [3])
    contexts = contexts_in_text({3: (3, np.arange(6))}, activations, text, make_tokenizer(), width=4)[3]
    assert sum(value > 0 for context in contexts for value in context.values) > len(contexts)
    for context in contexts:
        assert len(context.values) == len(context.tokens)
        assert context.values[context.at] == context.activation
        for offset, value in enumerate(context.values, start=context.position - context.at):
            row = row_of.get((context.document, offset))  # the store ends within a document
            assert value == pytest.approx(0 if row is None else latents_NQ[row, 3], rel=1e-5)


@pytest.mark.parametrize("change", [(10**6, 0, 0), (0, 10**6, 0), (0, 0, 1)])
def test_a_text_other_than_the_stores_is_refused(coder: SparseCoder, store: ActivationStore, text: Text, change: Any):
    activations = firings(coder, tokens_of_store(coder, store), [3])
    other = activations._replace(where=activations.where + np.array(change))
    with pytest.raises(SourceError, match="the activations come from another text or tokenizer"):
        top_contexts(other, [3], text, make_tokenizer())


@pytest.mark.parametrize("text", ["river stone\n\n  cloud", "Zoë 🌊, naïve — 水", ""])
def test_the_pieces_of_a_document_are_the_document(text: str):
    ids, texts = pieces_of(text, make_tokenizer())
    assert "".join(texts) == text
    assert len(ids) == len(texts)


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that writes spaces as Llama 2 does."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(["river stone river stone"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("make", [make_tokenizer, metaspace_tokenizer])
def test_tokens_of_the_vocabulary_have_their_spaces(make: Any):
    tokenizer = make()
    ids, texts = pieces_of("river stone", tokenizer)
    assert texts == ["river", " stone"]
    assert token_text(ids[1], tokenizer) == " stone"
