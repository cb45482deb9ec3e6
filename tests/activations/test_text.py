"""Reading texts from files and folders."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sdlcore.activations.text import SourceError, read_documents


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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\n", r"a\.csv: expected an existing text"),
        ("a.parquet", b"PAR1", r"a\.parquet: not a readable Parquet file"),
        ("a.txt", b"\xff\xfe", r"a\.txt: not readable as UTF-8 txt"),
        ("a.json", b"{", r"a\.json: not readable as UTF-8 json"),
        ("a.json", b'{"A": {"body": "x"}}', r"""entry 'A' has no text; expected an object with "extract\""""),
        ("a.json", b'{"A": "x"}', "entry 'A' has no text"),
        ("a.json", b'["x", 3]', "entry 1 has no text"),
        ("a.json", b"3", r"a\.json: expected an object or a list"),
        ("a.jsonl", b'"x"\n{', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "x", "id": 3}', r'line 1 has no text; .*"text", found body, id; set text_column'),
        ("a.jsonl", b"[]", "line 1 has no text"),
        ("a.jsonl", b'"x"\n\xff', r"a\.jsonl: not readable as UTF-8 jsonl"),
    ],
)
def test_text_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(read_documents(tmp_path / name))


def test_columns_that_are_not_there_or_hold_no_text_are_named(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", id=[1], body=["one"])
    with pytest.raises(SourceError, match=r"has no column 'text', only id, body; set text_column"):
        list(read_documents(tmp_path / "a.parquet"))
    with pytest.raises(SourceError, match="column 'id' holds int64, expected strings"):
        list(read_documents(tmp_path / "a.parquet", "id"))


def test_folders_of_no_or_several_formats_are_refused(tmp_path: Path):
    with pytest.raises(SourceError, match=r"expected a folder with text files of one format .*found none"):
        list(read_documents(tmp_path))
    for suffix in ("txt", "json"):
        (tmp_path / f"a.{suffix}").write_text(json.dumps(["x"]))
    with pytest.raises(SourceError, match=r"found \.json and \.txt"):
        list(read_documents(tmp_path))
    with pytest.raises(SourceError, match="expected an existing text"):
        list(read_documents(tmp_path / "nothing"))
