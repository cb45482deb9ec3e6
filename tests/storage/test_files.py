import csv
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from sdlcore.storage.files import (
    atomic_path,
    check_writable,
    sha256_of,
    write_json,
    write_rows,
    write_text,
)


def test_a_file_appears_whole_and_nothing_stays_beside_it(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with atomic_path(target) as part:
        part.write_text("new")
        assert not target.exists()
        assert part.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target) as part:
            part.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys; from sdlcore.storage.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(target)], env=os.environ)
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    (leftover,) = tmp_path.glob(".*")
    with atomic_path(target) as part:
        part.write_text("new")
        assert not leftover.exists()
    assert list(tmp_path.iterdir()) == [target]


def test_checking_a_writable_folder_creates_it_empty(tmp_path):
    check_writable(tmp_path / "deep" / "folder")
    assert list((tmp_path / "deep" / "folder").iterdir()) == []


def test_a_folder_without_room_or_that_is_none_is_named_with_what_to_do(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # like a disk that is full after so many bytes
    try:
        with pytest.raises(OSError, match=rf"File too large: .*run this again: '{tmp_path}'"):
            check_writable(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"File exists: choose a folder that can be written, .*file'"):
        check_writable(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_others_can_read_a_file_as_far_as_the_umask_lets_them(tmp_path):
    with atomic_path(tmp_path / "file") as part:
        part.touch(mode=0o600)
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_writing_does_not_change_the_umask_of_other_threads(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.delattr(os, "umask")
            write_text(tmp_path / "file", "words")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_text_is_utf_8_and_replaces_a_file_as_a_whole(tmp_path):
    path = tmp_path / "folder/page.md"
    write_text(path, "\u03c3\n")
    assert path.read_bytes() == b"\xcf\x83\n"
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_bytes() == b"\xcf\x83\n"
    assert list(path.parent.iterdir()) == [path]


def test_json_refuses_what_is_not_json_and_keeps_the_old_file(tmp_path):
    target = tmp_path / "file.json"
    write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(target, {"a": float("nan")})
    assert json.loads(target.read_text()) == {"a": 1}


def test_a_list_of_numbers_takes_one_line_and_reads_back_the_same(tmp_path):
    content = {"numbers": [1, -2.5, 1e-07, 3.0], "words": ["1", "2"], "nested": [[1, 2], [3]], "empty": []}
    content["text"] = "[\n  1,\n  2\n]"
    write_json(tmp_path / "file.json", content)
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == content
    assert '"numbers": [1, -2.5, 1e-07, 3.0]' in text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left')"),
    ],
)
def test_a_full_disk_is_reported_with_the_file_that_did_not_fit(tmp_path, error):
    with pytest.raises(OSError, match=r"No space left on device: make room.*model\.safetensors"):  # noqa: SIM117
        with atomic_path(tmp_path / "model.safetensors"):
            raise error


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("x"), PermissionError(errno.EACCES, "no", "elsewhere")):
        with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "file"):
            raise error
        assert caught.value is error


def test_sha256(tmp_path):
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=3), max_size=4))
@example([["a\nb", "c\rd"], ["e\r\nf", 'g,"h"'], ["\u2028", "\x85\x0b\x0c\x1c"]])
def test_rows_of_a_table_survive_whatever_their_cells_hold(tmp_path: Path, rows: list[list[str]]):
    write_rows(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == rows


def test_plain_rows_are_written_plainly(tmp_path: Path):
    write_rows(tmp_path / "table.csv", [["a", "b"], ["1", "x,y"]])
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n1,"x,y"\n'
