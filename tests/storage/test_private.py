"""Unfinished files: they are hidden and private, no living writer loses one, and those of killed writers go."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sdlcore.data.resumable import resume_store
from sdlcore.storage import private
from sdlcore.storage.files import atomic_folder, atomic_path, write_text
from sdlcore.storage.private import open_lock, remove_leftovers
from sdlcore.storage.sharing import locked
from sdlcore.training.history import csv_file

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")


@contextmanager
def another_user() -> Iterator[None]:
    """Act as an unprivileged user for a while."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unfinished_file_lies_in_a_folder_that_only_its_owner_can_reach(tmp_path: Path):
    names = set()
    for _ in range(2):
        with atomic_path(tmp_path / "file") as part:
            (folder,) = tmp_path.glob(".*")
            names.add(folder.name)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert part.parent.samefile(folder)
            part.touch()
    assert len(names) == 2
    assert not any(str(os.getpid()) in name for name in names)


def test_links_in_the_place_of_unfinished_files_and_locks_are_not_followed(tmp_path: Path):
    (secret := tmp_path / "secret").write_text("secret")
    for name in ("history.part.csv", ".cache.lock", ".store.h5.lock"):
        (tmp_path / name).symlink_to(secret)
    with csv_file(tmp_path / "history.csv", [{"step": 1}]):
        pass
    with pytest.raises(OSError, match=r"\.cache\.lock"), locked(tmp_path / "cache"):
        pass
    with pytest.raises(OSError, match=r"\.store\.h5\.lock"), resume_store(tmp_path / "store.h5", {}):
        pass
    with pytest.raises(OSError, match=rf": '{tmp_path / 'file'}'$"), atomic_path(tmp_path / "file") as part:
        part.symlink_to(secret)
    assert secret.read_text() == "secret"


def test_a_file_in_the_place_of_the_folder_of_parts_is_named(tmp_path: Path):
    (tmp_path / ".store.h5.parts").touch()
    with pytest.raises(FileExistsError, match=r"\.store\.h5\.parts"), resume_store(tmp_path / "store.h5", {}):
        pass


def test_an_error_over_the_last_move_names_the_file_alone(tmp_path: Path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError, match=rf"Is a directory: '{tmp_path / 'file'}'$"):
        write_text(tmp_path / "file", "words")


WRITING = (
    "import sys; from sdlcore.storage.files import atomic_path\n"
    "with atomic_path(sys.argv[1]) as part:\n"
    "    part.write_text('half'); print('ready', flush=True); sys.stdin.read()\n"
    "    part.write_text('whole')\n"
)


def test_another_process_with_the_same_number_loses_nothing(tmp_path: Path):
    """As in two containers with a shared folder: process ids do not show whether a writer lives."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"] if _can_unshare() else []
    command = [*unshare, sys.executable, "-c", WRITING, str(tmp_path / "file")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        assert one.stdout.readline() == other.stdout.readline() == "ready\n"
        write_text(tmp_path / "file", "mine")
        assert len(list(tmp_path.glob(".*.part"))) == 2
        for process in (one, other):
            process.communicate("")
            assert process.returncode == 0
            assert (tmp_path / "file").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _can_unshare() -> bool:
    try:
        return subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path):
    target = tmp_path / "a.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        writer.stdout.readline()
        (leftover,) = tmp_path.glob(".*")
        remove_leftovers(target)
        assert leftover.exists()
        writer.send_signal(signal.SIGKILL)
    begun = Path(tempfile.mkdtemp(".part", private._prefix(target), tmp_path))  # killed before it wrote
    other_files = [
        ".a.h5.1234.part",
        f"{leftover.name}ial",
        leftover.name.replace(".a.", ".b."),
        leftover.name.replace("a.h5", "a"),
    ]
    other_files += [".a.h5.0123456789ab.abcdefgh.part"]  # from another machine
    for name in other_files:
        (tmp_path / name).mkdir()
    other_files += [f"{private._prefix(target)}alink.part", f"{private._prefix(target)}afile.part"]
    (tmp_path / other_files[-2]).symlink_to(tmp_path / other_files[0])
    (tmp_path / other_files[-1]).touch()
    (leftover / "folder").mkdir()
    with atomic_path(target) as part:
        assert not leftover.exists()
        assert not begun.exists()
        part.touch()
        with atomic_path(tmp_path / "a.txt") as other, atomic_path(target) as again:  # at the same time
            other.touch()
            again.touch()
            assert part.exists()
    assert {path.name for path in tmp_path.iterdir()} == {*other_files, "a.h5", "a.txt"}


def test_a_folder_removed_before_its_lock_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make, folders = tempfile.mkdtemp, []

    def removed(*arguments: str) -> str:
        folders.append(make(*arguments))
        if len(folders) == 1:
            Path(folders[0]).rmdir()
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", removed)
    write_text(tmp_path / "file", "words")
    assert (tmp_path / "file").read_text() == "words"
    assert len(folders) == 2


def test_a_file_gets_its_name_from_a_writer_that_appends_its_suffix(tmp_path):
    path = tmp_path / "ü.npy"
    with atomic_path(path) as part:
        np.save(part, np.arange(3))
    assert np.load(path).tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_of_several_that_write_one_file_the_last_wins_and_none_is_half_written(tmp_path: Path):
    path, errors = tmp_path / "file", []
    texts = [f"{i}" * 50_000 for i in range(4)]

    def write(text: str) -> None:
        try:
            for _ in range(10):
                write_text(path, text)
                assert path.read_text() in texts
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    def fail() -> None:
        with atomic_folder(tmp_path / "deep/folder") as part:
            (part / "a").touch()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert list((tmp_path / "deep").iterdir()) == []
    for _ in range(2):
        with atomic_folder(tmp_path / "deep/folder") as part:  # also replaces an empty folder
            pass
    with atomic_folder(tmp_path / "deep/folder") as part:
        (part / "a").touch()
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["folder", "a"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "deep/folder").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "deep/folder"):
        pass


def test_an_error_over_an_unfinished_file_names_the_finished_one(tmp_path: Path):
    def fail() -> None:
        with atomic_path(tmp_path / "file.txt") as part:
            (part.parent / "missing" / "file").touch()

    with pytest.raises(FileNotFoundError) as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "file.txt")


@needs_root
def test_a_folder_that_cannot_be_written_is_named_by_the_file():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        with another_user(), pytest.raises(PermissionError) as caught:
            write_text(Path(name) / "file", "words")
        assert caught.value.filename == f"{name}/file"


def test_opening_a_lock_does_not_change_its_file(tmp_path: Path):
    (tmp_path / "lock").write_text("words")
    os.close(open_lock(tmp_path / "lock"))
    assert (tmp_path / "lock").read_text() == "words"
