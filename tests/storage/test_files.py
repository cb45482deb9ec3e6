"""Files appear whole or not at all, whatever happens to their writers; locks and changes of files are noticed."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sdlcore.errors import SourceError
from sdlcore.storage.files import (
    atomic_path,
    lock,
    make_once,
    remove_leftovers,
    write_json,
    write_text,
)


def test_a_file_appears_whole_and_nothing_stays_beside_it(tmp_path):
    target = tmp_path / "deep" / "ü.npy"
    with atomic_path(target) as part:
        np.save(part, np.arange(3))  # NumPy appends a suffix to other names
        assert not target.exists()
    assert np.load(target).tolist() == [0, 1, 2]
    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "new \ud800")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


KILLED = (
    "import os, signal, sys; from sdlcore.storage.files import atomic_path\n"
    "with atomic_path(sys.argv[1]) as part:\n"
    "    part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
)


def test_a_kill_leaves_the_old_file_and_a_later_writer_removes_the_rest(tmp_path):
    target, other = tmp_path / "file.txt", tmp_path / "file"
    target.write_text("old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(target)], env=os.environ, check=False)
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    (leftover,) = tmp_path.glob(".*")
    remove_leftovers(other, days=0)
    write_text(target, "new")
    assert leftover.exists(), "its writer may still run"
    yesterday = time.time() - 86400
    os.utime(leftover, (yesterday, yesterday))
    write_text(target, "new")
    assert list(tmp_path.iterdir()) == [target]


def test_others_can_read_a_file_as_far_as_the_umask_lets_them(tmp_path):
    with atomic_path(tmp_path / "file") as part:
        save_file({"x": np.ones(3)}, part)
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_of_several_that_write_one_file_the_last_wins_and_none_is_half_written(tmp_path):
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


def test_a_lock_is_held_by_one_and_released_by_a_kill(tmp_path):
    code = (
        "import sys; from sdlcore.storage.files import lock\n"
        "with lock(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(SourceError, match=r"run: another process is writing it\. Wait"), lock(tmp_path / "run"):
            pass
        holder.kill()
        with lock(tmp_path / "run", seconds=10):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_once_by_all_that_ask_for_it_and_appears_whole_or_not_at_all(tmp_path):
    made = []

    def fill(path: Path) -> None:
        (path / "a").touch()
        made.append(path)
        time.sleep(0.2)

    def fail(path: Path) -> None:
        (path / "a").touch()
        raise ValueError("stop")

    folder = tmp_path / "deep/folder"
    with pytest.raises(ValueError, match="stop"):
        make_once(folder, fail)
    assert list((tmp_path / "deep").iterdir()) == []
    threads = [threading.Thread(target=make_once, args=(folder, fill)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert list((tmp_path / "deep").rglob("*")) == [folder, folder / "a"]
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode)


def test_json_refuses_what_is_not_json_and_writes_a_list_of_numbers_on_one_line(tmp_path):
    content = {"numbers": [1, -2.5, 1e-07, 3.0], "words": ["1", "2"], "nested": [[1, 2], [3]], "empty": []}
    content["text"] = "[\n  1,\n  2\n]"
    write_json(tmp_path / "file.json", content)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == content
    assert '"numbers": [1, -2.5, 1e-07, 3.0]' in text
