"""Texts, plain, random or crafted, read as sources of kind `language` read them.

Documents must equal a plain reader's.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sdlcore.errors import SourceError
from sdlcore.sources.language.corpus import open_text
from sdlcore.sources.language.settings import TextOptions
from tests.fuzz.cases import ACCEPTED, Case, Fault, choose, damage, put, refusal

Plain = Callable[[], list[str]]


class Made(NamedTuple):
    """A text."""

    what: str
    path: Path
    plain: Plain | None
    """Its documents from another reader; None if it must be rejected."""
    plain_is_fine: bool
    """Whether rejecting it would be wrong."""
    column: str = "text"


def make(rng: np.random.Generator, folder: Path) -> Case:
    """Make a text, sometimes damaged, and read it."""
    file = choose(rng, *MAKERS)(rng, folder)
    if file.path.is_file() and rng.random() < 0.2:
        done = damage(rng, file.path)
        file = file._replace(what=f"{file.what}, {done}", plain_is_fine=False)
    return Case(file.what, lambda: _check(file))


def _check(file: Made) -> str:
    try:
        text = open_text(file.path, TextOptions(column=file.column))
        documents = [document for _, document in sorted(text.read())]
    except SourceError as error:
        if file.plain_is_fine:
            raise Fault(f"a plain text is refused: {error}") from error
        return refusal(error, [file.path.name, ascii(file.path.name).strip("'")])
    if file.plain is None:
        raise Fault(f"was accepted, with {len(documents)} documents")
    try:
        expected = file.plain()
    except Exception as error:
        raise Fault(f"was accepted, though a plain reader refuses it ({type(error).__name__}: {error})") from error
    if [document.lstrip("\ufeff") for document in documents] != [document.lstrip("\ufeff") for document in expected]:
        raise Fault(f"has documents {str(documents)[:300]}, a plain reader {str(expected)[:300]}")
    return ACCEPTED


WORDS = (
    *("dictionary", "sparse", "feature", "ä", "漢字", "🙂", "a\u2028b", "a\x85b", "a\x0bb", "tab\t", "\u200b", "\x00"),
    *("'", '"', "\\", "{x}", "<|endoftext|>", "é", "\x1f", "nul\x00l"),
)


def _document(rng: np.random.Generator) -> str:
    return " ".join(choose(rng, *WORDS) for _ in range(int(rng.integers(0, 12))))


def _documents(rng: np.random.Generator) -> list[str]:
    return [_document(rng) for _ in range(int(rng.integers(1, 20)))]


def _paragraphs(content: bytes) -> list[str]:
    text = re.sub("\r\n|\r", "\n", content.decode())
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["\n".join(lines) for lines in paragraphs if lines]


def txt(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.txt"
    blank = choose(rng, "\n\n", "\r\n\r\n", "\n \n", "\n\n\n\n", "\n\x0c\n", "\r\r")
    encoding = choose(rng, "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252")
    content = blank.join(_documents(rng)) + choose(rng, "", "\n", "\n\n")
    path.write_bytes(content.encode(encoding, errors="replace"))
    plain = encoding.startswith("utf-8") and bool(_paragraphs(content.encode()))
    return Made(f"txt in {encoding} with {blank!r}", path, lambda: _paragraphs(path.read_bytes()), plain)


def long_line(rng: np.random.Generator, folder: Path) -> Made:
    suffix = choose(rng, "txt", "json", "jsonl")
    path = folder / f"x.{suffix}"
    path.write_bytes(choose(rng, b"x", b"[", b'"', b"9", b"\x00", b'{"text":') * 20_000_000)
    return Made(f"{suffix} of one line of 20 MB", path, lambda: _paragraphs(path.read_bytes()), False)


def _of_json(entry: Any, key: str) -> str:
    text = entry[key] if isinstance(entry, dict) else entry
    if not isinstance(text, str):
        raise TypeError(f"no text: {entry!r}")
    return text


CRAFTED = (
    *(
        *("[" * 100_000, '{"text":' * 20_000, "[" + "9" * 5000 + "]", "NaN", "[NaN]", '["a", Infinity]', "null"),
        *("3", '"x"', ""),
    ),
    *(
        *("[", '["a",]', '{"a": 1}', '{"a": {"extract": 3}}', '[{"text": null}]', '["\\ud800"]', "{}", "[]", '[["a"]]'),
        *("\x00",),
    ),
    *(
        '{"a": {"extract": "x"}, "a": {"extract": "y"}}',
        '[{"text": "a", "text": "b"}]',
        "// comment\n[]",
        "['a']",
        "1e999",
    ),
)


def _json_list(content: bytes) -> list[str]:
    entries = json.loads(content.decode())
    if isinstance(entries, dict):
        return [_of_json(entry if isinstance(entry, dict) else {}, "extract") for entry in entries.values()]
    if not isinstance(entries, list):
        raise TypeError("no list")
    return [_of_json(entry, "text") for entry in entries]


def json_file(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.json"
    plain = rng.random() < 0.4
    if plain:
        documents = _documents(rng)
        content = choose(
            rng,
            documents,
            [{"text": document, "more": 3} for document in documents],
            {f"title {number}": {"extract": document} for number, document in enumerate(documents)},
        )
        text = json.dumps(content, ensure_ascii=bool(rng.random() < 0.5))
    else:
        text = choose(rng, *CRAFTED)
    encoding = "utf-8" if plain else choose(rng, "utf-8", "utf-8", "utf-8-sig", "utf-16")
    path.write_bytes(text.encode(encoding))
    return Made(f"json in {encoding}, {text[:30]!r}", path, lambda: _json_list(path.read_bytes()), plain)


def json_lines(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.jsonl"
    column = choose(rng, "text", "text", "content")
    lines = []
    for document in _documents(rng):
        entry = choose(rng, document, {column: document}, {column: document, "id": 3}, {column: None})
        lines.append(json.dumps(entry, ensure_ascii=bool(rng.random() < 0.5)))
        if rng.random() < 0.1:
            lines.append("")
    plain = rng.random() < 0.5
    what = "plain"
    if not plain:
        what = choose(rng, *CRAFTED, '{"other": "x"}', "[1, 2]", "true")
        lines.insert(int(rng.integers(len(lines) + 1)), what)
    path.write_bytes(choose(rng, "\n", "\r\n").join(lines).encode())

    def read() -> list[str]:
        texts = []
        for line in path.read_bytes().decode().split("\n"):
            if line.strip():
                entry = json.loads(line)
                if isinstance(entry, dict):
                    entry = "" if column in entry and entry[column] is None else entry[column]
                texts.append("" if entry is None else _of_json(entry, column))
        return texts

    return Made(f"jsonl with {what[:30]!r}", path, read, plain, column)


def parquet(rng: np.random.Generator, folder: Path) -> Made:
    path = folder / "x.parquet"
    documents: list[str | None] = [*_documents(rng), choose(rng, None, "x")]
    kind = choose(rng, pa.string(), pa.string(), pa.large_string(), None)
    if plain := kind is not None:
        array = pa.array(documents, kind)
    else:
        array = choose(
            rng,
            pa.array([document.encode() if document else None for document in documents], pa.binary()),
            pa.array(documents).dictionary_encode(),
            pa.array([[document] for document in documents]),
            pa.array([{"a": document} for document in documents]),
            pa.array(range(len(documents))),
            pa.array([None] * len(documents), pa.null()),
            pa.array(documents, pa.string_view()),
        )
    name = choose(rng, "text", "text", "text", "other")
    columns = {name: array, "id": pa.array(range(len(documents)))}
    twice = rng.random() < 0.05
    table = pa.Table.from_arrays([array, array], names=["text", "text"]) if twice else pa.table(columns)
    compression = choose(rng, "snappy", "zstd", "none", "gzip", "brotli")
    try:
        pq.write_table(table, path, compression=compression, row_group_size=7)
    except pa.ArrowNotImplementedError:
        path.write_bytes(b"PAR1PAR1")
    plain = plain and table.column_names == ["text", "id"]

    def read() -> list[str]:
        return [text or "" for text in pq.read_table(path)["text"].to_pylist()]

    return Made(f"parquet ({compression}) of {array.type} as {name}", path, read, plain)


def folder_of_texts(rng: np.random.Generator, folder: Path) -> Made:
    """A folder with valid files, and other files that may be there."""
    root = folder / "texts"
    (root / "sub").mkdir(parents=True)
    suffix = choose(rng, ".txt", ".jsonl")
    written = {}
    for name in ("b", "sub/a", "sub/c"):
        document = choose(rng, "one", "two", "three") + name
        written[name] = document
        content = document if suffix == ".txt" else json.dumps(document)
        (root / f"{name}{suffix}").write_text(content, encoding="utf-8")
    kind = choose(rng, *ODD_ENTRIES)
    plain = kind not in ("another format", "not UTF-8")
    odd = root / f"odd{suffix}"
    put(kind, odd)
    if kind == "a folder with a file's name":
        odd.mkdir()
    elif kind == "a link out":
        (folder / f"elsewhere{suffix}").write_text('"elsewhere"')
        odd.symlink_to(folder / f"elsewhere{suffix}")
    elif kind == "a link to a folder above":
        (root / "sub" / "up").symlink_to(root)
    elif kind == "another format":
        (root / "odd.json").write_text("[]")
    elif kind == "not UTF-8":
        odd.write_bytes(b"\xff\xfe")
    elif kind == "odd names":
        (root / f"a\nb{suffix}").write_text('"line"')
        written["a\nb"] = '"line"' if suffix == ".txt" else "line"
    elif kind == "hidden and other files":
        (root / f".hidden{suffix}").write_text('"hidden"')
        (root / "README.md").write_text("no text of this format")
    documents = [written[name] for name in sorted(written, key=lambda name: Path(f"{name}{suffix}"))]
    return Made(f"folder of {suffix} with {kind}", root, lambda: documents, plain)


ODD_ENTRIES = (
    *("nothing else", "a folder with a file's name", "a pipe", "a link to itself", "a dangling link", "a link out"),
    *("a link to a folder above", "deep folders", "another format", "not UTF-8", "odd names", "hidden and other files"),
)


def paths(rng: np.random.Generator, folder: Path) -> Made:
    """A path that is no text of a known format, or no file."""
    suffix = choose(rng, ".txt", ".json", ".jsonl", ".parquet")
    path = folder / f"x{suffix}"
    kind = choose(
        rng, "missing", "pipe", "link to itself", "dangling", "empty folder", "compressed", "device", "wrong type"
    )
    put(kind, path)
    if kind == "empty folder":
        path.mkdir()
    elif kind == "compressed":
        path.write_bytes(b"\x1f\x8b\x08\x00" + rng.bytes(40))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "wrong type":
        path = folder / choose(rng, "x.csv", "x", "x.TXT", "x.txt.gz")
        path.write_text("text")
    return Made(f"{kind} {suffix}", path, None, False)


MAKERS = (
    *(txt, txt, long_line, json_file, json_file, json_lines, json_lines, parquet, parquet),
    *(folder_of_texts, folder_of_texts, paths),
)
"""Makers, repeated by the share of cases that each should get."""
