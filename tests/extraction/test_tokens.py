"""Packing tokens into contexts, and going on where a context ended."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sdlcore.errors import SourceError
from sdlcore.extraction import tokens
from sdlcore.extraction.text import Content, Documents, opened_text
from sdlcore.extraction.tokens import (
    TokenisedDocument,
    TokenisedText,
    opening_of,
    pack,
    separator_of,
)

SEPARATOR, BOS = 1, 7
documents_of_tokens = st.lists(st.lists(st.integers(10, 99), max_size=12), max_size=12)


def tokenised(documents: list[list[int]]) -> list[TokenisedDocument]:
    """Return documents whose index in the text is not their place."""
    return [TokenisedDocument(place, 100 - place, ids) for place, ids in enumerate(documents)]


def test_contexts_open_with_the_bos_of_tokenizers_that_have_one():
    documents = [TokenisedDocument(0, 3, [10, 11, 12]), TokenisedDocument(1, 4, []), TokenisedDocument(2, 5, [20, 21])]
    packed = list(pack([*documents, TokenisedDocument(3, 6, [30])], SEPARATOR, context_length=4, bos=BOS))
    assert [context.token.tolist() for context in packed] == [[7, 10, 11, 12], [7, 1, 20, 21]]
    assert [context.document.tolist() for context in packed] == [[-1, 3, 3, 3], [-1, -1, 5, 5]]
    assert [context.position.tolist() for context in packed] == [[-1, 0, 1, 2], [-1, -1, 0, 1]]
    assert [context.place.tolist() for context in packed] == [[-1, 0, 0, 0], [-1, 2, 2, 2]]


@given(documents_of_tokens, st.integers(2, 9), st.sampled_from([None, BOS]))
def test_contexts_hold_all_tokens_in_order_with_separators_between_documents(documents, length, bos):
    packed = list(pack(tokenised(documents), SEPARATOR, length, bos))
    flat: list[int] = []
    for ids in filter(None, documents):
        flat += [*([SEPARATOR] if flat else []), *ids]
    body = length - (bos is not None)
    assert len(packed) == len(flat) // body
    assert all(len(context.token) == length for context in packed)
    assert [i for context in packed for i in context.token[length - body :]] == flat[: len(packed) * body]
    for context in packed:
        for token, document, position, place, _ in zip(*context, strict=True):
            if document >= 0:
                assert documents[place][position] == token
                assert document == 100 - place


@given(documents_of_tokens, st.integers(2, 9), st.sampled_from([None, BOS]), st.data())
def test_packing_goes_on_where_any_context_ended(documents, length, bos, data):
    packed = list(pack(tokenised(documents), SEPARATOR, length, bos))
    if not packed:
        return
    at = data.draw(st.integers(0, len(packed) - 1))
    place, position = packed[at].next
    rest = list(pack(tokenised(documents)[place:], SEPARATOR, length, bos, position))
    assert len(rest) == len(packed) - at - 1
    for actual, expected in zip(rest, packed[at + 1 :], strict=True):
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_separator_is_endoftext_if_the_vocabulary_has_it_and_else_the_eos():
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "<|endoftext|>": 3}, unk_token="a"))
    assert separator_of(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")) == 3
    plain = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, unk_token="a"))
    assert separator_of(PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>")) == 1
    with pytest.raises(SourceError, match=r"neither <\|endoftext\|> nor an eos token"):
        separator_of(PreTrainedTokenizerFast(tokenizer_object=plain))


def test_opening_is_the_bos_only_where_the_tokenizer_adds_it():
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, unk_token="a"))
    assert opening_of(PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>")) is None
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert opening_of(PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>")) == 0


def test_the_opening_is_as_the_user_says():
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>")
    assert [opening_of(tokenizer, bos) for bos in (True, False, None)] == [0, None, None]
    with pytest.raises(SourceError, match="bos is True, but the tokenizer has no bos token; leave bos out"):
        opening_of(PreTrainedTokenizerFast(tokenizer_object=words), True)


def test_long_documents_are_tokenised_in_pieces_that_end_before_a_space(monkeypatch: pytest.MonkeyPatch):
    words = Tokenizer(models.WordLevel({"a": 0, "bcd": 1, "</s>": 2}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer, lengths = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>"), []
    text = TokenisedText(opened_text(["a bcd " * 9, "", "x" * 25]), tokenizer, context_length=4)
    whole = [document.ids.tolist() for document in text.documents()]
    assert whole == [[0, 1] * 9, [], [0]]
    monkeypatch.setattr(tokens, "CHARACTERS_AT_ONCE", 10)
    of = TokenisedText._tokenised
    monkeypatch.setattr(TokenisedText, "_tokenised", lambda self, one: lengths.append(len(one)) or of(self, one))
    assert [document.ids.tolist() for document in text.documents()] == [*whole[:2], [0, 0, 0]]
    assert max(lengths) == 10


def test_a_misspelt_role_is_an_error_before_the_end_of_a_long_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokens, "CHATS", 3)
    words = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
    chat = [{"role": "user", "content": "a"}]
    read: list[int] = []

    def endless() -> Iterator[tuple[int, Content]]:
        for number in count():
            read.append(number)
            yield number, chat

    text = TokenisedText(Documents("chats", {}, endless), tokenizer, context_length=4, roles="usr")
    with pytest.raises(SourceError, match="chats: no message has the role usr, only user; set roles to some of these"):
        list(text.documents())
    assert len(read) == 3
