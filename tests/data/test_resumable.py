"""Stores whose writers were killed at any moment end up equal to uninterrupted ones.

What is killed are real processes, by SIGKILL. They are forked from one that has imported what they need.
"""

import gc
import json
import os
import random
import signal
import tracemalloc
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse

from sdlcore.data import writing
from sdlcore.data.reading import ActivationStore
from sdlcore.data.writing import Progress, resume_store
from sdlcore.errors import SourceError, StoreError
from tests.answering import Answering
from tests.stores import contents, verify

BLOCKS = 14
FORKING = """
import json, os, resource, signal, sys, time, traceback
from typing import Annotated
import h5py
import numpy as np
import scipy.sparse
from sdlcore.data.writing import resume_store
from sdlcore.settings import FromList, Settings

def block(number):
    rng = np.random.default_rng(number)
    rows = int(rng.integers(1, 400))
    return {
        "input": rng.standard_normal((rows, 40)),
        "target": rng.standard_normal((rows, 3)),
        "labels": rng.integers(-1, 2, rows),
        "references": {"path": [f"ü{number}/{i}.png" for i in range(rows)], "position": np.arange(rows)},
        "features": scipy.sparse.random_array((rows, 9), density=0.3, rng=rng, format="csr"),
    }

def fill_the_disk(file_bytes):
    # beyond so many bytes of a file it is as if it were full
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

class Progress(Settings):
    next: int = 0
    seen: Annotated[tuple[str, ...], FromList] = ()

def write(path, blocks, every=3, hold=0, full_at=None, **_):
    with resume_store(path, {"blocks": blocks}, "float16", ["a", "ç"]) as writer:
        print("from row", writer.rows, file=sys.stderr, flush=True)
        for number in range(writer.state(Progress()).next, blocks):
            if number == full_at:
                fill_the_disk(1000)
            columns = block(number)
            writer.append(columns.pop("input"), columns.pop("target"), **columns)
            if number % every == every - 1:
                writer.commit(Progress(number + 1, ("x",) * number))
            time.sleep(hold)

def die_at(number):
    # at the file operation with this number
    seen = 0
    def dying(owner, name):
        original = getattr(owner, name)
        def call(*arguments, **options):
            nonlocal seen
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)
        setattr(owner, name, call)
    for name in ("open", "mkdir", "fsync", "replace", "unlink", "rmdir", "truncate"):
        dying(os, name)
    dying(h5py.Dataset, "__setitem__")
    dying(h5py.File, "close")

print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
        try:
            if "die_at" in request:
                die_at(request["die_at"])
            if "file_bytes" in request:
                fill_the_disk(request["file_bytes"])
            write(**request)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if "die_after" in request:
        time.sleep(request["die_after"])
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Writers(Answering):
    """Runs store-writing processes, one at a time."""

    def __init__(self, whole: Path) -> None:
        super().__init__("-c", FORKING)
        assert self.write(whole) == 0, self.log(whole)
        self.whole = contents(whole)
        verify(whole)

    def write(self, path: Path, **request: object) -> int:
        """Return the exit status of a writer, negative for a signal."""
        request = {"path": str(path), "log": str(path.with_suffix(".log")), "blocks": BLOCKS, **request}
        return int(self.ask(json.dumps(request)))

    def log(self, path: Path) -> str:
        return path.with_suffix(".log").read_text()

    def assert_finished(self, path: Path) -> None:
        assert contents(path) == self.whole
        assert {file.name for file in path.parent.iterdir()} == {path.name, path.with_suffix(".log").name}


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    writers = Writers(tmp_path_factory.mktemp("whole") / "store.h5")
    yield writers
    writers.close()


def committed_rows(folder: Path) -> int:
    """Return the rows at the last commit of an unfinished store."""
    return int(json.loads((folder / ".store.h5.parts/progress.json").read_text())["rows"])


def test_a_writer_that_dies_before_any_file_operation_loses_no_commit(writers, tmp_path):
    few = {"blocks": 4, "every": 2}
    assert writers.write(tmp_path / "whole.h5", **few) == 0
    whole, number, status = contents(tmp_path / "whole.h5"), 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        number += random.randint(1, 4)
        path = tmp_path / str(number) / "store.h5"
        path.parent.mkdir()
        status = writers.write(path, die_at=number, **few)
        assert not path.exists() or contents(path) == whole
        assert writers.write(path, **few) == 0, writers.log(path)
        assert "damaged" not in writers.log(path)
        assert contents(path) == whole
        assert {file.name for file in path.parent.iterdir()} == {"store.h5", "store.log"}
    assert status == 0, writers.log(path)
    starts = [writers.log(path).splitlines()[-1] for path in tmp_path.glob("*/store.h5")]
    assert len(set(starts)) == 3, "every commit was gone on from"


@pytest.mark.parametrize(
    ("full", "blocks"), [({"full_at": 7}, 6), ({"file_bytes": 300_000}, 12)], ids=["in a block", "in the store"]
)
def test_a_full_disk_is_reported_and_loses_no_commit(writers, tmp_path, full, blocks):
    path = tmp_path / "store.h5"
    assert writers.write(path, **full) == 1
    assert "File too large" in writers.log(path)
    assert not path.exists()
    assert committed_rows(tmp_path) == sum(int(np.random.default_rng(n).integers(1, 400)) for n in range(blocks))
    assert writers.write(path) == 0
    assert "from row 0" not in writers.log(path).splitlines()[-1]
    writers.assert_finished(path)


def begun(path, provenance=None, rows=2500, commits=2, dtype="float16"):
    """Write an unfinished store with so many commits."""
    with suppress(InterruptedError), resume_store(path, provenance or {"a": 1}, dtype) as writer:
        for number in range(commits):
            writer.append(np.full((rows, 4), number + 1))
            writer.commit(Progress(number + 1))
        writer.append(np.zeros((10, 4)))
        raise InterruptedError


@pytest.mark.parametrize(
    "changed", [{"provenance": {"a": 2}}, {"dtype": "float32"}, {"class_names": ["x"]}, {"provenance": {}}]
)
def test_a_store_begun_with_other_settings_is_written_anew_with_a_message(tmp_path, caplog, changed):
    path = tmp_path / "store.h5"
    begun(path)
    with resume_store(path, **{"provenance": {"a": 1}, **changed}) as writer:
        assert (writer.rows, writer.state(Progress(7))) == (0, Progress(7))
        writer.append(np.ones((2, 3)))
    assert "was written with other settings or inputs; it is removed, and writing starts from row 0" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["store.h5"]


def test_only_one_writer_has_a_store_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "store.h5"
    monkeypatch.setattr(writing, "LOCK_SECONDS", 0.1)
    with resume_store(path, {}) as writer:
        writer.append(np.ones((2, 3)))
        refused = pytest.raises(SourceError, match=r"store\.h5: another process is writing it")
        with refused, resume_store(path, {}):
            pass
        writer.append(np.ones((2, 3)))
    with ActivationStore(path) as store:
        assert store.rows == 4


def test_an_attempt_without_a_commit_leaves_nothing(tmp_path):
    for error in (InterruptedError, KeyboardInterrupt):
        with suppress(error), resume_store(tmp_path / "s.h5", {}) as writer:
            writer.append(np.ones((2, 3)))
            raise error
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="at least one sample"), resume_store(tmp_path / "s.h5", {}):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_finished_store_stays_until_its_successor_is_whole(tmp_path):
    path = tmp_path / "store.h5"
    with resume_store(path, {"a": 1}) as writer:
        writer.append(np.ones((2, 3)))
    before = contents(path)
    begun(path)
    assert contents(path) == before
    with resume_store(path, {"a": 1}) as writer:
        assert writer.rows == 5000
    with ActivationStore(path) as store:
        assert store.rows == 5000


@pytest.mark.parametrize("damage", [lambda block: os.truncate(block, 1000), Path.unlink], ids=["cut", "missing"])
def test_a_block_that_is_shorter_than_at_the_last_commit_starts_the_store_anew(tmp_path, caplog, damage):
    """As after a loss of power, or a kill while the folder of another store was removed."""
    path = tmp_path / "store.h5"
    begun(path)
    damage(tmp_path / ".store.h5.parts/0.npz")
    with resume_store(path, {"a": 1}) as writer:
        assert (writer.rows, writer.state(Progress())) == (0, Progress())
        writer.append(np.full((2500, 4), 9))
    assert ".store.h5.parts: is damaged; it is removed, and writing starts from row 0" in caplog.text
    verify(path)
    assert [file.name for file in tmp_path.iterdir()] == ["store.h5"]


def test_a_failed_append_adds_no_row(tmp_path):
    with resume_store(tmp_path / "s.h5", {}) as writer:
        writer.append(np.ones((2, 3)), references={"path": ["a", "b"]})
        with pytest.raises(UnicodeEncodeError):
            writer.append(np.ones((2, 3)), references={"path": ["c", "\udcff"]})
        writer.append(np.ones((1, 3)), references={"path": ["d"]})
    with ActivationStore(tmp_path / "s.h5") as store:
        assert list(store.read("path")) == ["a", "b", "d"]
        assert store.rows == 3


def test_texts_with_line_separators_survive_an_interruption(tmp_path):
    texts = ["a\nb\r\nc\x0bd\x0ce\x1cf\x85g\u2028h", "", '"\\ü']
    for interrupted in (True, False):
        with suppress(InterruptedError), resume_store(tmp_path / "s.h5", {}) as writer:
            writer.append(np.ones((3, 2)), references={"path": texts})
            writer.commit(Progress(1))
            if interrupted:
                raise InterruptedError
    verify(tmp_path / "s.h5")
    with ActivationStore(tmp_path / "s.h5") as store:
        assert list(store.read("path")) == 2 * texts


def test_columns_and_their_types_are_those_of_the_first_block_whatever_part_they_are_in(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 4))
    blocks = [{"small": np.arange(10, dtype=np.int64)}, {"small": np.arange(10, dtype=np.int8)}]
    for name, commits in (("whole.h5", False), ("parts.h5", True)):
        for interrupted in (True, False) if commits else (False,):
            with suppress(InterruptedError), resume_store(tmp_path / name, {}) as writer:
                for number in range(writer.state(Progress()).next, 3):
                    references = {"small": blocks[number % 2]["small"] + (2**40 if number == 2 else 0)}
                    writer.append(x[10 * number : 10 * number + 10], references=references)
                    if commits:
                        writer.commit(Progress(number + 1))
                    if interrupted:
                        raise InterruptedError
                with pytest.raises(ValueError, match="block has columns"):
                    writer.append(x[:2])
                with pytest.raises(ValueError, match="block has columns"):
                    writer.append(x[:2, :3], references={"small": [1, 2]})
    assert contents(tmp_path / "whole.h5") == contents(tmp_path / "parts.h5")
    with ActivationStore(tmp_path / "parts.h5") as store:
        assert store.read("references/small").dtype == np.int64


def test_writing_and_copying_rows_take_memory_for_a_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "MOST_BYTES", 2**20)
    rows = np.ones((30_000, 512), np.float16)
    with resume_store(tmp_path / "first.h5", {}) as writer:  # imports what writing needs
        writer.append(rows[:1])
    gc.collect()
    tracemalloc.start()
    with resume_store(tmp_path / "s.h5", {}) as writer:
        for block in np.split(rows, 60):
            writer.append(block)
        assert len(list(writer.folder.glob("*.npz"))) == 20, "three blocks in each"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * 2**20 < rows.nbytes


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_coefficients_keep_the_type_of_their_indices(tmp_path, index):
    """It is part of the checksum, by which runs know a store."""
    features = scipy.sparse.random_array((20, 9), density=0.3, rng=np.random.default_rng(0), format="csr")
    features.indices, features.indptr = features.indices.astype(index), features.indptr.astype(index)
    with resume_store(tmp_path / "s.h5", {}) as writer:
        for rows in (slice(0, 8), slice(8, 20)):
            writer.append(np.ones((rows.stop - rows.start, 2)), features=features[rows])
            writer.commit(Progress(rows.stop))
    with h5py.File(tmp_path / "s.h5") as file:
        assert [file["features"][part].dtype for part in ("indices", "indptr")] == [index, index]
    with ActivationStore(tmp_path / "s.h5") as store:
        assert (store.features() != features.astype(np.float32)).nnz == 0


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_garbage_in_place_of_progress_is_named(content, tmp_path):
    (tmp_path / ".a.h5.parts").mkdir()
    (tmp_path / ".a.h5.parts/progress.json").write_text(content)
    with pytest.raises(SourceError, match=r"progress\.json: not readable as progress .*; remove .*parts to begin"):
        resume_store(tmp_path / "a.h5", {}).__enter__()
