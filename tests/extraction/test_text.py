"""Reading texts from files and folders."""

import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sdlcore.errors import SourceError
from sdlcore.extraction.text import opened_text, read_documents, read_labels


def write_parquet(path: Path, **columns: list) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=2)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "\none\ntwo\n\n \n\nthree\n", ["one\ntwo", "three"]),
        ("a.txt", "one\n\n  two", ["one", "  two"]),
        ("a.txt", "", []),
        ("a.json", '{"A": {"title": "A", "extract": "one"}, "B": {"extract": "two"}}', ["one", "two"]),
        ("a.json", '["one", "", "two"]', ["one", "", "two"]),
        ("a.json", '[{"text": "one"}, {"text": "two"}]', ["one", "two"]),
        ("a.jsonl", '{"text": "one\\nmore", "id": 1}\n\n"two"\n{"text": null}', ["one\nmore", "two", ""]),
    ],
)
def test_documents_of_every_form_are_read(name: str, content: str, expected: list[str], tmp_path: Path):
    (tmp_path / name).write_text(content)
    assert list(read_documents(tmp_path / name)) == expected


def test_parquet_files_are_read_by_column(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", id=[1, 2, 3], body=["one", None, "three"])
    assert list(read_documents(tmp_path / "a.parquet", "body")) == ["one", "", "three"]
    with pytest.raises(SourceError, match=r"document 1 has no text; .*set text_column"):
        list(read_documents(tmp_path / "a.parquet", "id"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", '{"A": {"extract": "one", "topic": "x"}, "B": {"extract": "two"}}', ["x", None]),
        ("a.json", '[{"text": "one", "topic": 3}, {"text": "two", "topic": null}]', [3, None]),
        ("a.jsonl", '{"text": "one", "topic": "x"}\n\n"two"\n{"text": null, "topic": "y"}', ["x", None, "y"]),
    ],
)
def test_each_document_has_its_class(name: str, content: str, expected: list, tmp_path: Path):
    (tmp_path / name).write_text(content)
    assert read_labels(tmp_path / name, "topic") == expected
    assert len(list(read_documents(tmp_path / name))) == len(expected)


def test_classes_of_a_folder_are_those_of_its_files_in_order(tmp_path: Path):
    for name, topics in (("b", ["x", None]), ("a", ["y", "z"])):
        write_parquet(tmp_path / f"{name}.parquet", text=["one", "two"], topic=topics)
    assert read_labels(tmp_path, "topic") == ["y", "z", "x", None]


def test_a_file_without_classes_is_read_beside_files_that_have_them(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}')
    (tmp_path / "b.jsonl").write_text('{"text": "two", "topic": "x"}')
    (tmp_path / "c.jsonl").write_text("")
    assert read_labels(tmp_path, "topic") == [None, "x"]


def test_a_folder_is_read_in_order_of_names_and_plain_files_are_documents(tmp_path: Path):
    for name in ("b", "a", "sub/c"):
        (tmp_path / "plain" / f"{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / f"{name}.txt").write_text(f"{name}\n\nmore")
    (tmp_path / "plain/README.md").write_text("no text")
    assert list(read_documents(tmp_path / "plain")) == ["a\n\nmore", "b\n\nmore", "sub/c\n\nmore"]
    (tmp_path / "rows").mkdir()
    for name in ("2", "1"):
        write_parquet(tmp_path / f"rows/{name}.parquet", text=[f"{name}a", f"{name}b"])
    assert list(read_documents(tmp_path / "rows")) == ["1a", "1b", "2a", "2b"]


def test_links_below_a_folder_are_followed_and_a_broken_one_is_an_error(tmp_path: Path):
    root = tmp_path / "root"
    (root / "sub.txt").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub.txt/b.txt").write_text("b")
    (tmp_path / "out.txt").write_text("out")
    (root / "out.txt").symlink_to("../out.txt")
    os.mkfifo(root / "pipe.txt")
    (root / "link.txt").symlink_to("pipe.txt")  # reading it would never end
    assert list(read_documents(root)) == ["a", "out", "b"]
    assert set(opened_text(root).facts["files"]) == {"a.txt", "out.txt", "sub.txt/b.txt"}
    (root / "nothing.txt").symlink_to("missing.txt")
    with pytest.raises(SourceError, match=r"nothing\.txt: not readable as a txt text \(FileNotFoundError"):
        list(read_documents(root))
