"""Reading texts, and packing their tokens into contexts."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from sdlcore.activations.text import SourceError, opening_of, pack, read_documents, separator_of


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "\none\ntwo\n\n \n\nthree\n", ["one\ntwo", "three"]),
        ("a.json", '{"A": {"title": "A", "extract": "one"}, "B": {"extract": "two"}}', ["one", "two"]),
        ("a.json", '["one", "", "two"]', ["one", "", "two"]),
        ("a.json", '[{"text": "one"}, {"text": "two"}]', ["one", "two"]),
    ],
)
def test_documents_of_every_form_are_read(name: str, content: str, expected: list[str], tmp_path: Path):
    (tmp_path / name).write_text(content)
    assert read_documents(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1", r"a\.parquet: expected an existing text"),
        ("a.txt", b"\xff\xfe", r"a\.txt: not readable as UTF-8 txt"),
        ("a.json", b"{", r"a\.json: not readable as UTF-8 json"),
        ("a.json", b'{"A": {"body": "x"}}', r"""entry 'A' has no text; expected an object with "extract\""""),
        ("a.json", b'{"A": "x"}', "entry 'A' has no text"),
        ("a.json", b'["x", 3]', "entry 1 has no text"),
        ("a.json", b"3", r"a\.json: expected an object or a list"),
    ],
)
def test_text_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_documents(tmp_path / name)


def test_contexts_open_with_the_bos_of_tokenizers_that_have_one():
    documents = [(3, [10, 11, 12]), (4, []), (5, [20, 21, 22, 23])]
    packed = list(pack(documents, separator=1, context_length=4, bos=7))
    assert [context.token.tolist() for context in packed] == [[7, 10, 11, 12], [7, 1, 20, 21]]
    assert [context.document.tolist() for context in packed] == [[-1, 3, 3, 3], [-1, -1, 5, 5]]
    assert [context.position.tolist() for context in packed] == [[-1, 0, 1, 2], [-1, -1, 0, 1]]


def test_separator_is_endoftext_where_there_is_one_and_else_the_eos():
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
