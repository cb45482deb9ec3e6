"""The order of documents, whole and streamed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlcore.extraction import text as corpus
from sdlcore.extraction.config import TextOptions
from sdlcore.extraction.text import opened_text, shuffled
from sdlcore.random_streams import stream

NUMBER = 200


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {number}"}) + "\n" for number in range(NUMBER)))
    return path


@given(st.integers(0, 60), st.integers(1, 80), st.integers(0, 5))
def test_a_buffer_gives_every_item_once_and_none_much_earlier(number, buffer, seed):
    items = [(index, str(index)) for index in range(number)]
    order = list(shuffled(items, buffer, stream(seed, "x")))
    assert sorted(order) == items
    # an item can be given only when it has been taken, after at most ``buffer`` others that wait
    assert all(place >= index - buffer for place, (index, _) in enumerate(order))
    if buffer == 1:
        assert order == items


@pytest.mark.parametrize("limit", [0, 2**20])
def test_documents_come_in_the_same_order_from_any_place_on(limit: int, lines: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "WHOLE_BYTES", limit)
    text = opened_text(lines, TextOptions(shuffle_buffer=30))
    whole = list(text.documents())
    assert sorted(document.number for document in whole) == list(range(NUMBER))
    assert [document.number for document in whole] != list(range(NUMBER))
    assert all(document.text == f"document {document.number}" for document in whole)
    assert [document.place for document in whole] == list(range(NUMBER))
    for start in (1, 77, NUMBER):
        assert list(opened_text(lines, TextOptions(shuffle_buffer=30)).documents(start)) == whole[start:]


def test_large_texts_are_read_as_far_as_they_are_needed(lines: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "WHOLE_BYTES", 0)
    with lines.open("a") as file:
        file.write("not JSON: whoever reads as far as this fails\n")
    documents = opened_text(lines, TextOptions(shuffle_buffer=10)).documents()
    assert len([next(documents) for _ in range(NUMBER - 20)]) == NUMBER - 20


def test_what_identifies_a_text_fits_into_a_store(tmp_path: Path):
    for number in range(3 * corpus.LISTED_FILES):
        (tmp_path / f"{number}.txt").write_text(f"document {number}")
    files = opened_text(tmp_path).facts["files"]
    assert list(files) == [f"{3 * corpus.LISTED_FILES} files"]
    (tmp_path / "0.txt").write_text("another")
    assert opened_text(tmp_path).facts["files"] != files
    for number in range(1, 3 * corpus.LISTED_FILES):
        (tmp_path / f"{number}.txt").unlink()
    assert list(opened_text(tmp_path).facts["files"]) == ["0.txt"]
