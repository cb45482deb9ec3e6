"""The text of tokens."""

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sdlcore.inside.contexts import pieces_of
from sdlcore.inside.features import token_text
from tests.extraction.tiny_llama import make_tokenizer


@pytest.mark.parametrize("text", ["river stone\n\n  cloud", "Zoë 🌊, naïve — 水", ""])
def test_the_pieces_of_a_document_are_the_document(text: str):
    pieces = pieces_of(text, make_tokenizer())
    assert "".join(pieces) == text
    assert len(pieces) == len(make_tokenizer()(text)["input_ids"])


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
    assert pieces_of("river stone", tokenizer) == ["river", " stone"]
    assert token_text(tokenizer("river stone")["input_ids"][1], tokenizer) == " stone"
