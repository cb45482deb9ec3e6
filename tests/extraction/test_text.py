"""Reading texts from files and folders."""

import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdlcore.errors import SourceError
from sdlcore.extraction.corpus import open_text
from sdlcore.extraction.text import list_texts, read_documents, read_labels


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
    with pytest.raises(SourceError, match="column 'id' contains int64, expected strings"):
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "one", "id": 1}', r"a\.jsonl: no document has the key 'topic', found id, text"),
        ("a.json", '["one"]', r"a\.json: no document has the key 'topic', found no keys"),
        ("a.txt", "one", r"a\.txt: plain text has no classes; expected .json, .jsonl or .parquet with"),
        ("a.parquet", {"text": ["one"]}, r"a\.parquet: has no column 'topic', found text"),
    ],
)
def test_texts_without_classes_are_refused(name: str, content: Any, message: str, tmp_path: Path):
    if isinstance(content, dict):
        write_parquet(tmp_path / name, **content)
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=message):
        read_labels(tmp_path / name, "topic")


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


DEEP_JSON = b"[" * 100_000


def refusal(path: Path) -> str | None:
    """Return what is said of a text that is refused; None of one that is read."""
    try:
        "".join(read_documents(path)).encode()
    except SourceError as error:
        return str(error)
    return None


def test_nul_bytes_are_text(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"one\0two")
    assert list(read_documents(tmp_path / "a.txt")) == ["one\0two"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_parquet_file_that_is_damaged_is_read_or_refused_in_a_sentence(data: st.DataObject, tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", text=["one", "two", "drei \u00e4", None, "five"])
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "a.parquet").write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    message = refusal(tmp_path / "a.parquet")
    assert message is None or "a.parquet: " in message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text('[]{}",:0null\\u d8ext\n', max_size=60).map(str.encode))
@pytest.mark.parametrize("suffix", ["txt", "json", "jsonl", "parquet"])
def test_any_bytes_are_read_or_refused_in_a_sentence(suffix: str, content: bytes, tmp_path: Path):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    message = refusal(tmp_path / f"a.{suffix}")
    assert message is None or f"a.{suffix}: " in message


def test_what_is_no_text_of_a_folder_is_skipped_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = tmp_path / "root"
    (root / "sub.txt").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub.txt/b.txt").write_text("b")
    (tmp_path / "out.txt").write_text("out")
    (root / "out.txt").symlink_to("../out.txt")
    (root / "nothing.txt").symlink_to("missing.txt")
    os.mkfifo(root / "pipe.txt")
    assert list(read_documents(root)) == ["a", "out", "b"]
    skipped = {path: reason.partition(":")[0] for path, reason in list_texts(root).skipped}
    assert skipped == {"nothing.txt": "FileNotFoundError", "pipe.txt": "not a regular file"}
    text = open_text(root)
    assert [entry["path"] for entry in text.facts["skipped"]] == ["nothing.txt", "pipe.txt"]
    assert set(text.facts["files"]) == {"a.txt", "out.txt", "sub.txt/b.txt"}
    assert f"{root}: skipped pipe.txt: not a regular file" in caplog.text


NO_FILE = "expected an existing text"
COLUMNS = {"id": [1], "body": ["one"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\n", rf"a\.csv: {NO_FILE}"),
        ("a.json", b"{", r"a\.json: not readable as UTF-8 json"),
        ("a.json", b'{"A": {"body": "x"}}', r"""entry 'A' has no text; expected an object with "extract\""""),
        ("a.json", b'["x", 3]', "entry 1 has no text"),
        ("a.json", b"3", r"a\.json: expected an object or a list"),
        ("a.json", DEEP_JSON, r"a\.json: not readable as UTF-8 json \(RecursionError: nested too deeply\)"),
        ("a.json", b"\xef\xbb\xbf[]", r"a\.json: not readable as UTF-8 json .*BOM"),
        ("a.json", b'["one", "\\ud800"]', r"a\.json: document 2 contains half of a character \(\\ud800\)"),
        ("a.jsonl", b'"x"\n{', "line 2 is not JSON"),
        (
            "a.jsonl",
            b'{"body": "x", "id": 3}',
            r'line 1 has no text; .*"text", found body, id; set text_column; in Python, text_opt',
        ),
        (
            "a.jsonl",
            b'{"text": [{"role": "user", "content": "x"}]}',
            r'line 1: "text" is a list, expected a string; write each chat as one string',
        ),
        ("a.jsonl", b'"x"\n\xff', r"a\.jsonl: not readable as UTF-8 jsonl"),
        ("a.jsonl", b'"one"\n' + DEEP_JSON, r"a\.jsonl: line 2 is not JSON \(RecursionError: nested too deeply\)"),
        ("a.txt", b"\xff\xfe", r"a\.txt: not readable as UTF-8 txt"),
        ("a.parquet", b"PAR1", r"a\.parquet: not readable as Parquet"),
        ("a.parquet", COLUMNS, r"has no column 'text', only id, body; set text_column"),
        ("nothing", None, NO_FILE),
        (".", None, r"expected a folder with text files of one format .*found none"),
        (".", {"txt": "x", "json": '["x"]'}, r"found \.json and \.txt"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_text_is_refused_in_one_sentence(name, content, message, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif name == "a.parquet":
        write_parquet(folder / name, **content)
    else:
        for suffix, text in (content or {}).items():
            (folder / f"a.{suffix}").write_text(text)
    with pytest.raises(SourceError, match=message) as error:
        list(read_documents(folder / name))
    assert "\n" not in str(error.value)


def test_folders_and_files_that_cannot_be_read_are_named(unprivileged: Path):
    for name in ("shut", "open"):
        (unprivileged / name).mkdir()
        (unprivileged / name / "a.txt").write_text(name)
    (unprivileged / "shut").chmod(0)
    assert list(read_documents(unprivileged)) == ["open"]
    (skipped,) = list_texts(unprivileged).skipped
    assert skipped.path == "shut"
    assert skipped.reason.startswith("a folder that cannot be read (PermissionError")
    (unprivileged / "open/a.txt").chmod(0)
    for read in (open_text, lambda path: list(read_documents(path))):
        with pytest.raises(SourceError, match=r"open/a\.txt: not readable as .*PermissionError"):
            read(unprivileged)
