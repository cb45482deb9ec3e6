"""Writing activation stores that go on after an interruption, from where they were committed last.

The unfinished store lies beside the one to be as ``.<name>.partial.h5``. It holds, besides columns, what every commit
said: how many rows there were, the checksums of what is not a whole block yet, and where the source stood. A kill
brings the file back to the last commit (see `undo`), and what is there then is believed only as far as checksums go.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from sdlcore.activations.layout import (
    CHECKSUM_ROWS,
    DAMAGE,
    VERSION,
    Checksum,
    StoreError,
    blocks_of,
    check_dtype,
    read_stored,
    signature,
)
from sdlcore.activations.undo import FileInUseError, UndoFile
from sdlcore.activations.writing import BlockWriter

log = logging.getLogger(__name__)


class _Commit(NamedTuple):
    """What an unfinished store can be gone on with from."""

    number: int
    rows: int
    state: dict[str, Any]
    checksums: dict[str, Checksum]


class ResumableWriter(BlockWriter):
    """Appends blocks of samples to a store that survives interruptions; see `resume_store`.

    Attributes
    ----------
    rows
        Samples written so far, in earlier attempts too.
    state
        What the last commit was given, as JSON gives it back; empty before the first.
    provenance
        What makes the store; what is known only at the end can be added until then.
    """

    def __init__(
        self,
        file: h5py.File,
        path: Path,
        dtype: str,
        provenance: Mapping[str, Any],
        class_names: Sequence[str] | None,
        storage: UndoFile,
    ) -> None:
        super().__init__(file, path, dtype, provenance, class_names)
        self.state: dict[str, Any] = {}
        self._storage = storage
        self._unfinished = file["unfinished"]

    def commit(self, state: Mapping[str, Any]) -> None:
        """Make sure that a kill loses nothing of what was appended before.

        Parameters
        ----------
        state
            Plain JSON values that say where the source stands; the next attempt finds them as `state`.
        """
        columns = {
            name: {"layout": _layout(self._datasets[name]), "rest": checksum.rest()}
            for name, checksum in self._checksums.items()
        }
        record = json.dumps({"rows": self.rows, "columns": columns, "state": dict(state)}, allow_nan=False)
        for name, checksum in self._checksums.items():
            if name not in self._unfinished["checksums"]:
                self._unfinished["checksums"].create_dataset(
                    name, (0, 32), np.uint8, maxshape=(None, 32), chunks=(128, 32)
                )
            stored = self._unfinished["checksums"][name]
            _extend(stored, [np.frombuffer(digest, np.uint8) for digest in checksum.whole[len(stored) :]])
        _extend(self._unfinished["commits"], [f"{_digest(record)} {record}"])
        self._file.flush()
        self._storage.commit()
        self.state = json.loads(record)["state"]

    def go_back_to(self, commit: _Commit) -> None:
        """Drop what came after a commit."""
        for name in list(self._datasets):
            if name in commit.checksums:
                self._datasets[name].resize(commit.rows, axis=0)
                self._unfinished["checksums"][name].resize(len(commit.checksums[name].whole), axis=0)
            else:
                del self._datasets[name], self._file[name], self._unfinished["checksums"][name]
        self._unfinished["commits"].resize(commit.number + 1, axis=0)
        self.rows, self.state, self._checksums = commit.rows, commit.state, commit.checksums
        self._file.flush()
        self._storage.commit()

    def finish(self) -> None:
        del self._unfinished, self._file["unfinished"]
        super().finish()


@contextmanager
def resume_store(
    path: str | Path,
    provenance: Mapping[str, Any],
    dtype: str | np.dtype = "float16",
    class_names: Sequence[str] | None = None,
) -> Iterator[ResumableWriter]:
    """Create a store at ``path``, or go on with one that an earlier attempt left unfinished.

    It appears there, whole, only when the block ends without an exception. After a kill or an exception, the next call
    with the same arguments begins with what was committed before; with others, anew. The finished store is the same
    in every dataset and attribute, however often it was interrupted, as long as the same samples are appended.

    Parameters
    ----------
    path
        File to make or replace.
    provenance
        What makes it (configuration, checksums of inputs, code, versions); kept as JSON. Whatever the samples depend
        on belongs here, so that nothing is gone on with that has other samples.
    dtype
        Precision of ``input`` and ``target``: float16, bfloat16 or float32.
    class_names
        Names of the classes that ``labels`` count.

    Raises
    ------
    StoreError
        If ``dtype`` is not known, another process is writing the same store, or it ends without a sample.
    """
    path = Path(path)
    dtype = check_dtype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = None if class_names is None else list(class_names)
    identity = _digest(json.dumps([VERSION, dtype, names, provenance], sort_keys=True))
    try:
        storage = UndoFile(path.with_name(f".{path.stem}.partial{path.suffix}"))
    except FileInUseError as error:
        raise StoreError(f"{path}: another process is writing this store; let it end, or stop it") from error
    with closing(storage):
        commit = _found(storage, identity, path)
        if commit is None and storage.size:
            storage.clear()
        file = h5py.File(storage, "w" if commit is None else "r+")
        try:
            if commit is None:
                file.create_group("unfinished").attrs["identity"] = identity
                file.create_group("unfinished/checksums")
                file.create_dataset("unfinished/commits", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(64,))
            writer = ResumableWriter(file, path, dtype, provenance, names, storage)
            if commit is not None:
                writer.go_back_to(commit)
                log.info("%s: going on from row %d", path, commit.rows)
            yield writer
            writer.finish()
        except BaseException:
            with suppress(Exception):  # the file goes back to its last commit in any case
                file.close()
            raise
        file.close()
        storage.move_to(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _layout(dataset: h5py.Dataset) -> str:
    return f"{signature(dataset)} {dataset.chunks} {dataset.maxshape}"


def _extend(dataset: h5py.Dataset, values: Sequence[Any]) -> None:
    if values:
        before = len(dataset)
        dataset.resize(before + len(values), axis=0)
        dataset[before:] = values


def _found(storage: UndoFile, identity: str, path: Path) -> _Commit | None:
    """Return the last commit that checksums prove, or None, having said why not where there is an unfinished store."""
    if not storage.size:
        return None
    try:
        with h5py.File(storage, "r") as file:
            if file["unfinished"].attrs["identity"] != identity:
                reason = "was begun with other settings, inputs or code"
            else:
                commit, last = _proven(file)
                if commit is not None:
                    if commit.number < last:
                        log.warning("%s: the unfinished store is damaged after row %d", path, commit.rows)
                    return commit
                reason = "is damaged from its first commit on"
    except DAMAGE as error:
        reason = f"is damaged ({error})"
    log.warning("%s: the unfinished store %s; it is removed, and the store begun anew", path, reason)
    return None


def _proven(file: h5py.File) -> tuple[_Commit | None, int]:
    """Return the last commit up to which all columns are as they were committed, and the number of the last one."""
    written = [text.split(" ", 1) for text in read_stored(file["unfinished/commits"])]
    records = {i: json.loads(text) for i, (digest, text) in enumerate(written) if digest == _digest(text)}
    last = len(written) - 1
    whole: dict[str, list[bytes]] = {}
    for number in sorted(records, reverse=True):
        rows, columns = records[number]["rows"], records[number]["columns"]
        for name in columns.keys() - whole.keys():
            whole[name] = _whole_blocks(file, name, rows)
        blocks = rows // CHECKSUM_ROWS
        checksums = {name: Checksum(whole[name][:blocks]) for name in columns}
        if any(len(whole[name]) < blocks for name in columns):
            continue
        with suppress(*DAMAGE):
            for name, checksum in checksums.items():
                checksum.update(read_stored(file[name], blocks * CHECKSUM_ROWS, rows))
            if all(
                checksum.rest() == columns[name]["rest"] and _layout(file[name]) == columns[name]["layout"]
                for name, checksum in checksums.items()
            ):
                return _Commit(number, rows, records[number]["state"], checksums), last
    return None, last


def _whole_blocks(file: h5py.File, name: str, rows: int) -> list[bytes]:
    """Return the digests of a column's blocks up to the first that is not as it was committed."""
    expected = [row.tobytes() for row in file[f"unfinished/checksums/{name}"][:]]
    proven: list[bytes] = []
    with suppress(*DAMAGE):
        for start, digest in blocks_of(file[name], rows - rows % CHECKSUM_ROWS):
            if digest != expected[start // CHECKSUM_ROWS]:
                break
            proven.append(digest)
    return proven
